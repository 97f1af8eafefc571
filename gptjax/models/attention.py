"""Scaled dot-product attention: over a whole sequence, and over a cache."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gptjax.models.dropout import keep_mask, key_words

NB = 4


def causal_attention(q, k, v, key, rate):
    """q k v: B T H d -> B T H d"""
    length = q.shape[1]
    n = NB if length % NB == 0 and length >= 256 else 1
    size = length // n
    words = None if key is None or rate == 0 else jax.random.bits(key, (n, 2), jnp.uint32)
    outs = []
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    for i in range(n):
        end = (i + 1) * size
        outs.append(
            _block(
                q[:, i * size : end],
                k[:, :end],
                v[:, :end],
                None if words is None else words[i],
                rate,
            )
        )
    return jnp.concatenate(outs, axis=1)


def _block(q, k, v, words, rate):
    t, s = q.shape[1], k.shape[1]
    scores = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)
    mask = jnp.arange(s)[None] <= jnp.arange(s - t, s)[:, None]
    scores = jnp.where(mask[None, None], scores, -jnp.inf)
    e = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    total = e.sum(-1)
    if words is not None:
        e = jnp.where(keep_mask(words, rate, e.shape), e, 0.0)
        total = total * (1 - rate)
    out = jnp.einsum("bhts,bshd->bthd", e.astype(v.dtype), v, preferred_element_type=jnp.float32)
    return (out / total.swapaxes(1, 2)[..., None]).astype(v.dtype)


def fused_attention(
    q: Float[Array, "B T H d"], k: Float[Array, "B T H d"], v: Float[Array, "B T H d"]
) -> Float[Array, "B T H d"]:
    """``causal_attention`` without dropout, as one kernel where there is one.

    cuDNN's needs a GPU and a 16-bit type; elsewhere XLA's formulation serves.
    """
    cudnn = jax.default_backend() == "gpu" and q.dtype == jnp.bfloat16
    return jax.nn.dot_product_attention(
        q, k, v, is_causal=True, implementation="cudnn" if cudnn else "xla"
    )


def cached_attention(
    q: Float[Array, "B T H d"],
    keys: Float[Array, "B S H d"],
    values: Float[Array, "B S H d"],
    slot: Int[Array, ""],
    first: Int[Array, " B"],
) -> Float[Array, "B T H d"]:
    """Attention of the queries of slots slot, slot + 1, … over the slots first … of a cache.

    Slots before a row's ``first`` are padding: nothing after them sees them (a padding slot sees
    itself, so that no softmax is over nothing).
    """
    query_slots = slot + jnp.arange(q.shape[1])[None, :, None]
    key_slots = jnp.arange(keys.shape[1])[None, None, :]
    start = jnp.minimum(first[:, None, None], query_slots)
    mask = (key_slots <= query_slots) & (key_slots >= start)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
    scores = jnp.einsum("bthd,bshd->bhts", q, keys, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask[:, None], scores, -jnp.inf), axis=-1)
    return jnp.einsum("bhts,bshd->bthd", weights.astype(q.dtype), values)
