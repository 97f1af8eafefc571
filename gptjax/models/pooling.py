"""One vector of the states of several positions; the positions that do not count never do."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Pooling = Literal["last", "mean", "max", "concat"]


def pool(
    states: Float[Array, "*B T D"], counts: Bool[Array, "*B T"], how: Pooling
) -> Float[Array, "*B E"]:
    """The states of the positions that count, as one vector; float32.

    last is the state of the last of them, mean and max run over them for each component, and concat
    is last, max and mean one after the other (Howard and Ruder 2018, section 3.3). E is D, or of
    concat 3 D. Where no position counts, all is 0.
    """
    states = states.astype(jnp.float32)
    if how == "concat":
        parts = [pool(states, counts, one) for one in ("last", "max", "mean")]
        return jnp.concatenate(parts, axis=-1)
    there, own = counts.any(-1, keepdims=True), counts[..., None]
    if how == "last":
        # A sum and no index: jax 0.12 on a CPU without optimisation gets the gradient of the
        # index wrong where it stands beside that of the maximum.
        after = jnp.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]  # itself included
        found = jnp.where(own & (after == 1)[..., None], states, 0.0).sum(-2)
    elif how == "max":
        found = jnp.where(own, states, -jnp.inf).max(-2)
    else:
        number = jnp.maximum(counts.sum(-1, keepdims=True), 1)
        found = jnp.where(own, states, 0.0).sum(-2) / number
    return jnp.where(there, found, 0.0)


def pooled_width(width: int, how: Pooling) -> int:
    """E of `pool` for states of this width."""
    return 3 * width if how == "concat" else width
