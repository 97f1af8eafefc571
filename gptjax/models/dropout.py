"""Dropout whose decisions are a hash of the position, so that no mask is ever stored."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt32


def keep_mask(key: UInt32[Array, "..."], rate: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Independent decisions, each true with probability 1 - rate.

    A decision compares 32 bits with the rate: a keyed hash of the element's index, two rounds of
    a 32-bit mixing function with one key word each (xor-shift-multiply with the constants of
    Wellons' hash-prospector, "lowbias32", whose avalanche bias is below 0.2 %). Counters in place
    of a generator cost a tenth or less on a CPU: the hash becomes part of the operation that
    reads the mask, is computed again in the backward pass, and takes no memory. Decisions repeat
    only after 2^32 elements; ``rate`` is realised to 2^-32. The key is from ``key_words``.
    """
    x = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    x = _mix(_mix(x ^ key[0]) + key[1])
    keep: Array = x >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))
    return keep


def key_words(key: Key[Array, ""]) -> UInt32[Array, " 2"]:
    """The two words that ``keep_mask`` mixes in, drawn with the typed key."""
    return jax.random.bits(key, (2,), jnp.uint32)


def dropout(x: Float[Array, "..."], key: Key[Array, ""] | None, rate: float) -> Float[Array, "..."]:
    """Zero each component with probability ``rate`` < 1, and scale the others by 1 / (1 - rate).

    Without a key, x is as it was (evaluation).
    """
    if key is None or rate == 0:
        return x
    keep = keep_mask(key_words(key), rate, x.shape)
    return jnp.where(keep, x * jnp.asarray(1 / (1 - rate), x.dtype), jnp.zeros_like(x))


def _mix(x: UInt32[Array, "..."]) -> UInt32[Array, "..."]:
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
