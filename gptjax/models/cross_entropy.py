"""The loss over the vocabulary, without keeping its logits."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.models.layers import kernel_gradient, product

_ROWS, _ROWS_ON_CPU = 4096, 1024
"""Rows whose logits are held at once: the more, the fewer times the table's gradient is added up.
4,096 rows over GPT-1's vocabulary are 665 MB in float32, 1,024 rows 166 MB, which a CPU's caches
and memory like better."""

_COLUMNS = 128
"""An accelerator multiplies tiles of this many columns: a table that is no multiple of it is
padded here, and nowhere else. GPT-1's 40,478 rows become 40,576."""


@jax.custom_vjp
def cross_entropy(
    states: Float[Array, "N D"],
    table: Float[Array, "V D"],
    targets: Int[Array, " N"],
    weights: Float[Array, " N"],
    bias: Float[Array, " V"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy of softmax(states @ tableᵀ + bias) with the targets.

    The N × V logits are the largest array of a language model, so they are made for some rows at
    a time and dropped. Where a gradient is asked for, it is finished in the same pass, while the
    logits are at hand: what is kept has the size of states and table, and the backward pass only
    scales it.

    The states are in the compute type, in which the table is used; all else is float32.

    Returns:
        Σ weight × negative log-likelihood in nats, and Σ weight over the rows where no logit is
        above the target's. Both float32; the second is a metric, without a gradient.
    """
    (sums,) = cross_entropies(states, table, targets, (weights,), bias)
    return sums


def cross_entropies(
    states: Float[Array, "N D"],
    table: Float[Array, "V D"],
    targets: Int[Array, " N"],
    weights: tuple[Float[Array, " N"], ...],
    bias: Float[Array, " V"] | None = None,
) -> tuple[tuple[Float[Array, ""], Float[Array, ""]], ...]:
    """What `cross_entropy` returns, for each of several weights; the logits are made once."""
    cast, bias = _padded(table.astype(states.dtype), bias)

    def add(sums: Any, chunk: tuple[Array, Array, tuple[Array, ...]]) -> Any:
        x, target, several = chunk
        _, _, nll, correct = _softmax(x, cast, bias, target)
        return tuple(
            (loss + (weight * nll).sum(), hits + (weight * correct).sum())
            for (loss, hits), weight in zip(sums, several, strict=True)
        ), None

    start = ((jnp.float32(0), jnp.float32(0)),) * len(weights)
    sums, _ = jax.lax.scan(add, start, _chunks(states, targets, weights))
    found: tuple[tuple[Array, Array], ...] = sums
    return found


def _softmax(
    x: Array, table: Array, bias: Array | None, targets: Array
) -> tuple[Array, Array, Array, Array]:
    """exp(logit - highest) [n, V], its sum, the negative log-likelihood and the hits (1 or 0)."""
    logits = jnp.einsum("nd,vd->nv", x, table, preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + bias[None]
    top = logits.max(-1)
    target = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    powers = jnp.exp(logits - top[:, None])
    total = powers.sum(-1)
    return powers, total, jnp.log(total) + (top - target), (target >= top).astype(jnp.float32)


_Saved = tuple[Array, Array, Array | None, Array]


def _forward(
    states: Array, table: Array, targets: Array, weights: Array, bias: Array | None
) -> tuple[tuple[Array, Array], _Saved]:
    size, has_bias = table.shape[0], bias is not None
    cast, bias = _padded(table.astype(states.dtype), bias)
    ids = jnp.arange(len(cast))[None]

    def add(
        sums: tuple[Array, Array, Array, Array | None], chunk: tuple[Array, Array, Array]
    ) -> Any:
        x, target, weight = chunk
        powers, total, nll, correct = _softmax(x, cast, bias, target)
        hit = jnp.where(ids == target[:, None], weight[:, None], 0.0)
        # d loss / d logits: weight × (softmax - one-hot).
        d_wide = powers * (weight / total)[:, None] - hit
        d_logits = d_wide.astype(x.dtype)
        d_x = product("nv,vd->nd", d_logits, cast)
        d_table = kernel_gradient(d_logits, x)
        loss, hits, table_sum, bias_sum = sums
        if bias_sum is not None:
            bias_sum = bias_sum + d_wide.sum(0)
        loss, hits = loss + (weight * nll).sum(), hits + (weight * correct).sum()
        return (loss, hits, table_sum + d_table, bias_sum), (d_x, nll)

    none = jnp.zeros(len(cast), jnp.float32) if has_bias else None
    start = (jnp.float32(0), jnp.float32(0), jnp.zeros(cast.shape, jnp.float32), none)
    sums, (d_states, nll) = jax.lax.scan(add, start, _chunks(states, targets, weights))
    loss, hits, d_table, d_bias = sums
    rows = states.shape[0]
    d_states = d_states.reshape(-1, states.shape[1])[:rows]
    d_bias = None if d_bias is None else d_bias[:size]
    return (loss, hits), (d_states, d_table[:size], d_bias, nll.reshape(-1)[:rows])


def _backward(saved: _Saved, g: tuple[Array, Array]) -> tuple[Array | None, ...]:
    d_states, d_table, d_bias, nll = saved
    d_bias = None if d_bias is None else d_bias * g[0]
    return d_states * g[0].astype(d_states.dtype), d_table * g[0], None, nll * g[0], d_bias


cross_entropy.defvjp(_forward, _backward)


def _on_cpu() -> bool:
    backend: str = jax.default_backend()
    return backend == "cpu"


def _padded(table: Array, bias: Array | None) -> tuple[Array, Array | None]:
    """The table with as many rows as the backend likes; those that are added are never likely."""
    added = -len(table) % (1 if _on_cpu() else _COLUMNS)
    if not added:
        return table, bias
    own = jnp.zeros(len(table), jnp.float32) if bias is None else bias
    return jnp.pad(table, ((0, added), (0, 0))), jnp.pad(own, (0, added), constant_values=-jnp.inf)


def _chunks(states: Array, targets: Array, weights: Any) -> tuple[Array, Array, Any]:
    """Equal chunks of as many rows as the backend likes; what fills up the last weighs 0."""
    most = _ROWS_ON_CPU if _on_cpu() else _ROWS
    rows, count = states.shape[0], -(-states.shape[0] // most)
    size = -(-rows // count)

    def cut(x: Array) -> Array:
        padding = ((0, size * count - rows),) + ((0, 0),) * (x.ndim - 1)
        return jnp.pad(x, padding).reshape(count, size, *x.shape[1:])

    return cut(states), cut(targets), jax.tree.map(cut, weights)
