"""The loss over the vocabulary, without keeping its logits."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_CHUNK = 2**25
"""The most logits to hold at once: 128 MB in float32."""


@jax.custom_vjp
def cross_entropy(
    states: Float[Array, "N D"],
    table: Float[Array, "V D"],
    targets: Int[Array, " N"],
    weights: Float[Array, " N"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Cross-entropy of softmax(states @ tableᵀ) with the targets.

    The N × V logits are the largest array of a language model, so they are made for some rows at
    a time and dropped. Where a gradient is asked for, it is finished in the same pass, while a
    row's logits are at hand: the gradients have the size of states and table, and the backward
    pass only scales them.

    Args:
        states: in the compute type.
        table: float32, a row per token; cast to the compute type.
        targets: token ids.
        weights: float32.

    Returns:
        Σ weight × negative log-likelihood in nats, and Σ weight over the rows where no logit is
        above the target's. Both float32; the second is a metric, without a gradient.
    """

    def add(sums: Any, row: Any) -> Any:
        logits, nll, correct = _losses(row[0], cast, row[1])
        return (sums[0] + (row[2] * nll).sum(), sums[1] + (row[2] * correct).sum()), None

    cast = table.astype(states.dtype)
    sums, _ = jax.lax.scan(add, (jnp.float32(0), jnp.float32(0)), _chunks(states, table.shape[0], targets, weights))
    return sums


def _losses(states, table, targets):
    logits = jnp.einsum("nd,vd->nv", states, table, preferred_element_type=jnp.float32)
    top = logits.max(-1)
    target = jnp.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return logits, top, target


def _forward(states, table, targets, weights):
    cast = table.astype(states.dtype)
    vocabulary = table.shape[0]

    def add(carry, row):
        h, t, w = row
        loss, right, d_table = carry
        logits, top, target = _losses(h, cast, t)
        e = jnp.exp(logits - top[:, None])
        total = e.sum(-1)
        nll = jnp.log(total) + top - target
        hot = t[:, None] == jnp.arange(vocabulary)[None]
        d = (e * (w / total)[:, None] - jnp.where(hot, w[:, None], 0.0)).astype(h.dtype)
        d_h = jnp.einsum("nv,vd->nd", d, cast)
        d_table = d_table + jnp.einsum("nv,nd->vd", d, h, preferred_element_type=jnp.float32)
        loss = loss + (w * nll).sum()
        right = right + jnp.where(target >= top, w, 0.0).sum()
        return (loss, right, d_table), (d_h, nll)

    start = (jnp.float32(0), jnp.float32(0), jnp.zeros(table.shape, jnp.float32))
    chunks = _chunks(states, vocabulary, targets, weights)
    if chunks[1].shape[0] == 1:
        (loss, right, d_table), (d_h, nll) = add((jnp.float32(0), jnp.float32(0), jnp.float32(0)), jax.tree.map(lambda x: x[0], chunks))
    else:
        (loss, right, d_table), (d_h, nll) = jax.lax.scan(add, start, chunks)
    n = states.shape[0]
    d_h = d_h.reshape(-1, states.shape[1])[:n]
    return (loss, right), (d_h, d_table, nll.reshape(-1)[:n])


def _backward(residuals, gradients):
    g = gradients[0]
    d_h, d_table, nll = residuals
    return d_h * g.astype(d_h.dtype), d_table * g, None, nll * g


def _chunks(states, vocabulary, targets, weights):
    n = states.shape[0]
    count = -(-n * vocabulary // _CHUNK)
    rows = -(-n // count)
    pad = rows * count - n
    def cut(x):
        if pad: x = jnp.pad(x, ((0, pad),) + ((0, 0),) * (x.ndim - 1))
        return x.reshape(count, rows, *x.shape[1:])
    return cut(states), cut(targets), cut(weights)


cross_entropy.defvjp(_forward, _backward)
