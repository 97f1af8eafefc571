"""A bidirectional LSTM that reads the states of a backbone, as a part of a task head."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gptjax.models.family import RandomKey
from gptjax.models.lstm_recurrence import recurrence
from gptjax.models.pooling import Pooling, pool
from gptjax.models.recurrent import nothing

DIRECTIONS = ("forward", "backward")


def bilstm_arrays(width: int, units: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of its arrays: N cells in each direction, on states of this width."""
    return {
        f"{direction}_{name}": shape
        for direction in DIRECTIONS
        for name, shape in (
            ("kernel", (width, 4 * units)),
            ("recurrent", (units, 4 * units)),
            ("bias", (4 * units,)),
        )
    }


def init_bilstm(width: int, units: int, key: RandomKey) -> dict[str, Array]:
    """Fresh arrays: matrices N(0, 1 / inputs), as of a layer of `gptjax.models.lstm`; biases 0."""
    arrays: dict[str, Array] = {}
    for number, (name, shape) in enumerate(bilstm_arrays(width, units).items()):
        own = jax.random.fold_in(key, number)
        drawn = shape[0] ** -0.5 * jax.random.normal(own, shape, jnp.float32)
        arrays[name] = jnp.zeros(shape, jnp.float32) if len(shape) == 1 else drawn
    return arrays


def read_both_ways(
    params: Mapping[str, Array],
    states: Float[Array, "*B T D"],
    there: Bool[Array, "*B T"],
    text: Bool[Array, "*B T"],
    pooling: Pooling | None,
) -> Float[Array, "*B E"]:
    """What two LSTMs make of each sequence, one from its begin and one from its end; float32.

    Each direction is pooled in its own order, so that last is where it ends: of the backward one
    the first token. What is pooled of the two stands side by side.

    Args:
        params: arrays by the names of `bilstm_arrays`.
        states: what is read.
        there: where there is a token; what is remembered passes over all else.
        text: which positions are pooled.
        pooling: how; None takes the state after the last token that there is.
    """
    parts = []
    for direction in DIRECTIONS:
        if direction == "backward":
            # Padding comes first then, and nothing is remembered of it: it starts at the end of
            # each sequence all the same.
            states, there, text = (jnp.flip(x, there.ndim - 1) for x in (states, there, text))
        hidden = _hidden(params, direction, states, there)
        counts = there if pooling is None else text
        parts.append(pool(hidden, counts, pooling or "last"))
    return jnp.concatenate(parts, axis=-1)


def _hidden(
    params: Mapping[str, Array],
    direction: str,
    states: Float[Array, "*B T D"],
    there: Bool[Array, "*B T"],
) -> Float[Array, "*B T N"]:
    kernel, bias = params[f"{direction}_kernel"], params[f"{direction}_bias"]
    length, width = states.shape[-2:]
    rows = states.astype(jnp.float32).reshape(-1, length, width)
    recurrent = params[f"{direction}_recurrent"]
    carry = nothing(len(rows), len(recurrent))
    hidden, _ = recurrence(
        rows @ kernel + bias[None, None], recurrent, there.reshape(-1, length), None, carry
    )
    return hidden.reshape(*states.shape[:-1], -1)
