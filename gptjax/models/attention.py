"""Scaled dot-product attention: over whole sequences, fused, and over a cache."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt32

from gptjax.models.dropout import keep_mask
from gptjax.models.layers import by_rows, transposed
from gptjax.models.relation_bias import RelationBias


def causal_attention(
    q: Float[Array, "B H T d"],
    k: Float[Array, "B H T d"],
    v: Float[Array, "B H T d"],
    key: Key[Array, ""] | None,
    rate: float,
    bias: RelationBias | None = None,
) -> Float[Array, "B H T d"]:
    """softmax(q kᵀ / sqrt(d) + bias) v, each position over itself and those before it.

    The queries are taken in up to four blocks, each with the keys up to its own end: that leaves
    out three eighths of the T × T products, exponentials and dropout decisions, most of what
    causality would mask. ``rate`` is the probability of dropping a weight; no key, no dropout.
    ``bias`` is that of one layer; its relations get no gradient.
    """
    length = q.shape[2]
    size = max(128, -(-length // 4))
    starts = range(0, length, size)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    words = None
    if key is not None and rate > 0:
        words = jax.random.bits(key, (len(starts), 2), jnp.uint32)
    if q.dtype == jnp.float32:
        return _blocks(q, k, v, words, bias, rate, size)[0]
    # The heads are an axis that was moved.
    return _narrow(by_rows(q), by_rows(k), by_rows(v), words, bias, rate, size)


def attention_weights(
    q: Float[Array, "B H T d"], k: Float[Array, "B H T d"]
) -> Float[Array, "B H T T"]:
    """softmax(q kᵀ / sqrt(d)), float32: how much each position (row) takes of each before it."""
    scores = _product("bhtd,bhsd->bhts", q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype), k)
    visible = jnp.tril(jnp.ones(scores.shape[-2:], bool))
    return jax.nn.softmax(jnp.where(visible[None, None], scores, -jnp.inf), axis=-1)


Saved = tuple[Array, Array]
"""Of a block of queries the weights before dropout, and what its output was divided by."""


def _blocks(
    q: Array,
    k: Array,
    v: Array,
    words: Array | None,
    bias: RelationBias | None,
    rate: float,
    size: int,
) -> tuple[Float[Array, "B H T d"], list[Saved]]:
    """Attention block by block; q is scaled already. In float32 the gradients are autodiff's."""
    outputs, saved = [], []
    for i, (start, end) in enumerate(_spans(q.shape[2], size)):
        block_words = None if words is None else words[i]
        block_bias = None if bias is None else bias.between(start, end)
        out, *more = _last_queries(
            q[:, :, start:end], k[:, :, :end], v[:, :, :end], block_words, block_bias, rate
        )
        outputs.append(out)
        saved.append((more[0], more[1]))
    return jnp.concatenate(outputs, axis=2), saved


def _spans(length: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _last_queries(
    q: Float[Array, "B H T d"],
    k: Float[Array, "B H S d"],
    v: Float[Array, "B H S d"],
    words: UInt32[Array, " 2"] | None,
    bias: RelationBias | None,
    rate: float,
) -> tuple[Float[Array, "B H T d"], Float[Array, "B H T S"], Float[Array, "B H T"]]:
    """Attention of the last T of S positions, and what the gradient needs, both float32.

    The weights are never normalised: dividing the output by their sum, and by the probability
    of keeping them, costs d products in place of S.
    """
    queries, length = q.shape[2], k.shape[2]
    scores = _product("bhtd,bhsd->bhts", q, k)
    if bias is not None:
        scores = scores + bias.scores()
    visible = jnp.arange(length)[None] <= jnp.arange(length - queries, length)[:, None]
    scores = jnp.where(visible[None, None], scores, -jnp.inf)
    powers = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    weights, total = powers, powers.sum(-1)
    if words is not None:
        weights = jnp.where(keep_mask(words, rate, weights.shape), weights, 0.0)
        total = total * (1 - rate)
    out = _product("bhts,bhsd->bhtd", weights.astype(v.dtype), v)
    return (out / total[..., None]).astype(v.dtype), powers, total


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _narrow(
    q: Array,
    k: Array,
    v: Array,
    words: Array | None,
    bias: RelationBias | None,
    rate: float,
    size: int,
) -> Array:
    """`_blocks` in a narrow type.

    Autodiff would make its products out of float32 operands, because the sums are float32. Here
    the operands are narrow there, too, and the sums are float32.
    """
    return _blocks(q, k, v, words, bias, rate, size)[0]


def _narrow_forward(
    q: Array,
    k: Array,
    v: Array,
    words: Array | None,
    bias: RelationBias | None,
    rate: float,
    size: int,
) -> tuple[Array, tuple[Any, ...]]:
    out, saved = _blocks(q, k, v, words, bias, rate, size)
    kept = [(powers.astype(q.dtype), total) for powers, total in saved]
    return out, (q, k, v, words, bias, kept, out)


def _narrow_backward(
    rate: float, size: int, saved: tuple[Any, ...], g: Array
) -> tuple[Array, Array, Array, None, RelationBias | None]:
    q, k, v, words, bias, kept, out = saved
    spans = _spans(q.shape[2], size)
    found, g_bias = [], None
    for i, (start, end) in enumerate(spans):
        *gradients, g_scores = _block_gradients(
            q[:, :, start:end],
            out[:, :, start:end],
            g[:, :, start:end],
            k[:, :, :end],
            v[:, :, :end],
            kept[i],
            None if words is None else words[i],
            rate,
        )
        found.append(gradients)
        if bias is not None:
            own = bias.between(start, end).gradient(g_scores)
            g_bias = own if g_bias is None else g_bias + own
    queries, keys, values = zip(*found, strict=True)

    def add_up(parts: Sequence[Array]) -> Array:
        """Of parts over the first positions, each longer than the one before."""
        sums = []
        for i, (start, end) in enumerate(spans):
            sums.append(sum(part[:, :, start:end] for part in parts[i:]))
        return jnp.concatenate(sums, axis=2).astype(q.dtype)

    of_weights = None if bias is None else bias._replace(relations=None, weights=g_bias)
    g_q = jnp.concatenate(queries, axis=2).astype(q.dtype)
    return g_q, add_up(keys), add_up(values), None, of_weights


def _block_gradients(
    q: Float[Array, "B H T d"],
    out: Float[Array, "B H T d"],
    g: Float[Array, "B H T d"],
    k: Float[Array, "B H S d"],
    v: Float[Array, "B H S d"],
    saved: Saved,
    words: UInt32[Array, " 2"] | None,
    rate: float,
) -> tuple[Array, Array, Array, Float[Array, "B H T S"]]:
    """The gradients of q, k, v and the scores, float32, of `_last_queries` with the output
    ``out``."""
    powers, total = saved
    wide, narrow = jnp.float32, q.dtype
    g_out = g.astype(wide) / total[..., None]
    # Of the sum of the weights, by which the output was divided.
    g_total = -(g_out * out.astype(wide)).sum(-1)
    g_out = g_out.astype(narrow)
    weights, g_powers = powers, _product("bhtd,bhsd->bhts", g_out, v)
    if words is not None:
        keep = keep_mask(words, rate, powers.shape)
        weights, g_powers = jnp.where(keep, weights, 0), jnp.where(keep, g_powers, 0.0)
        g_total = g_total * (1 - rate)
    g_wide = powers.astype(wide) * (g_powers + g_total[..., None])
    g_scores = g_wide.astype(narrow)
    g_q = _product("bhts,bhsd->bhtd", g_scores, k)
    g_k = _product("bhst,bhtd->bhsd", transposed(g_scores), q)
    g_v = _product("bhst,bhtd->bhsd", transposed(weights), g_out)
    return g_q, g_k, g_v, g_wide


_narrow.defvjp(_narrow_forward, _narrow_backward)


def _product(dimensions: str, x: Array, y: Array) -> Array:
    """A product with float32 sums."""
    return jnp.einsum(dimensions, x, y, preferred_element_type=jnp.float32)


def fused_attention(
    q: Float[Array, "B H T d"], k: Float[Array, "B H T d"], v: Float[Array, "B H T d"]
) -> Float[Array, "B H T d"]:
    """``causal_attention`` without dropout, by ``jax.nn.dot_product_attention``.

    Its kernel, cuDNN's, has to be asked for by name and takes 16-bit types on a GPU; for
    everything else XLA's formulation serves.
    """
    cudnn = jax.default_backend() == "gpu" and q.dtype == jnp.bfloat16
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    implementation: Literal["cudnn", "xla"] = "cudnn" if cudnn else "xla"
    out = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
    return out.swapaxes(1, 2)


def cached_attention(
    q: Float[Array, "B H T d"],
    keys: Float[Array, "B H S d"],
    values: Float[Array, "B H S d"],
    slot: Int[Array, ""],
    first: Int[Array, " B"],
) -> Float[Array, "B H T d"]:
    """Attention of the queries of slots slot, slot + 1, … over the slots first … of a cache.

    Slots before a row's ``first`` are padding: nothing after them sees them (a padding slot sees
    itself, so that no softmax is over nothing).
    """
    query_slots = slot + jnp.arange(q.shape[2])[None, :, None]
    key_slots = jnp.arange(keys.shape[2])[None, None, :]
    start = jnp.minimum(first[:, None, None], query_slots)
    visible = (key_slots <= query_slots) & (key_slots >= start)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    scores = _product("bhtd,bhsd->bhts", q, keys)
    weights = jax.nn.softmax(jnp.where(visible[:, None], scores, -jnp.inf), axis=-1)
    return _product("bhts,bhsd->bhtd", weights.astype(q.dtype), values).astype(q.dtype)
