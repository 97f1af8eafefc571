"""The memory cells of recurrent models: c of each layer, of which the states show a part only.

A family has them if its config says how many ``cells`` a layer has. What it remembers (the cache of
`gptjax.models.backbone.extend`) is then a tuple with a ``cell`` [B, N], float32, for each layer.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gptjax.models.backbone import empty_cache, extend
from gptjax.models.config import ModelConfig

CHUNK = 64  # tokens at once, as in the code of Radford et al. (2017); any number gives the same


def count(config: ModelConfig) -> int | None:
    """N, the memory cells of a layer, of the largest one; None: the family has none."""
    found: int | None = getattr(config, "cells", None)
    return found


def in_layer(config: ModelConfig, layer: int) -> int:
    """The memory cells of a layer, counted from 0, of a family that has some."""
    each: tuple[int, ...] | None = getattr(config, "layer_cells", None)
    return (count(config) or 0) if each is None else each[layer]


def cells_of(cache: Any) -> Float[Array, "L B N"]:
    """The memory cells of all layers, out of what a recurrent model remembers.

    Those of smaller layers are padded with zeros.
    """
    widest = max(carry.cell.shape[-1] for carry in cache)
    return jnp.stack(
        [jnp.pad(x, ((0, 0), (0, widest - x.shape[-1]))) for x in (carry.cell for carry in cache)]
    )


def after_rows(
    config: ModelConfig, params: Any, tokens: Int[Array, "B T"], lengths: Int[Array, " B"]
) -> Float[Array, "L B N"]:
    """The memory cells after the last token of each row, however long the rows are.

    A recurrent model has no positions, and nothing is cut. The rows are read in chunks, of which
    each begins with what the one before it left: the same as one pass, in a part of the memory.

    Args:
        config: the backbone, which has cells.
        params: its parameters.
        tokens: int32, padded on the right.
        lengths: int32, at least 1; the tokens of each row.
    """
    batch, longest = tokens.shape
    chunks = -(-longest // CHUNK)
    size = -(-longest // chunks)
    # All rows end together: the padding moves to the left, where it is no token.
    first = chunks * size - lengths
    columns = jnp.arange(chunks * size)[None] - first[:, None]
    turned = jnp.take_along_axis(tokens, jnp.maximum(columns, 0), axis=1)

    def read(cache: Any, slot: Array) -> tuple[Any, None]:
        part = jax.lax.dynamic_slice_in_dim(turned, slot, size, axis=1)
        return extend(config, params, part, cache, slot, first)[1], None

    start = empty_cache(config, batch, chunks * size)
    cache, _ = jax.lax.scan(read, start, size * jnp.arange(chunks))
    return cells_of(cache)


@partial(jax.jit, static_argnames="config")
def along(
    config: ModelConfig,
    params: Any,
    tokens: Int[Array, " T"],
    layer: Int[Array, ""],
    unit: Int[Array, ""],
) -> Float[Array, " T"]:
    """The value of one memory cell after each token of a row; ``layer`` is counted from 0."""

    def read(cache: Any, now: tuple[Array, Array]) -> tuple[Any, Array]:
        token, slot = now
        _, cache = extend(config, params, token[None, None], cache, slot, jnp.zeros(1, jnp.int32))
        return cache, cells_of(cache)[layer, 0, unit]

    start = empty_cache(config, 1, len(tokens))
    _, found = jax.lax.scan(read, start, (tokens, jnp.arange(len(tokens))))
    return found


class Held(NamedTuple):
    """Memory cells that are held at a value while a model writes."""

    which: Bool[Array, "L N"]
    values: Float[Array, "L N"]  # 0 elsewhere


def held(config: ModelConfig, units: Iterable[tuple[int, int, float]]) -> Held:
    """Hold these: the layer, counted from 0, the number of the cell, and its value."""
    shape = (config.num_layers, count(config) or 0)
    which, values = np.zeros(shape, bool), np.zeros(shape, np.float32)
    for layer, unit, value in units:
        which[layer, unit], values[layer, unit] = True, value
    return Held(jnp.asarray(which), jnp.asarray(values))


def hold(cache: Any, held: Held | None) -> Any:
    """What is remembered, with the held cells overwritten; the states stay as they are."""
    if held is None:
        return cache
    kept = []
    for carry, which, values in zip(cache, *held, strict=True):
        own = slice(carry.cell.shape[-1])
        cell = jnp.where(which[None, own], values[None, own], carry.cell)
        kept.append(carry._replace(cell=cell))
    return tuple(kept)
