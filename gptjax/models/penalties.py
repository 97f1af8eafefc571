"""What an objective adds for the states of the last layer: AR and TAR (Merity et al. 2017, 4.3).

The papers add two means to a mean loss: α · mean(h²) over all numbers after dropout, and
β · mean((h_t - h_{t-1})²) before it. Here an objective returns sums over its weights, which are
divided by the weights of the whole batch later. So a mean over positions is a sum over positions,
each with a weight, and the weights of both penalties add up to the same total as those of the loss.
Then micro-batches and devices add up to the same update, and the gradient is that of the means.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.family import Regularised

Weights = Float[Array, "B T"]


def penalty(
    strengths: tuple[float, float], found: Regularised, states: Weights, changes: Weights
) -> Float[Array, ""]:
    """α Σ w · mean over D of h² + β Σ w' · mean over D of (h_t - h_{t-1})², float32.

    Args:
        strengths: α and β.
        found: what was read, [B, T, D].
        states: the weight of each position.
        changes: the weight of the change from the position before, [B, T]; the first column is of
            no change and is not looked at.
    """
    activation, temporal = strengths
    total = jnp.zeros((), jnp.float32)
    if activation:
        total += activation * (states * _mean_square(found.states)).sum()
    if temporal:
        before = found.before.astype(jnp.float32)
        total += temporal * (changes[:, 1:] * _mean_square(before[:, 1:] - before[:, :-1])).sum()
    return total


def of_windows(weights: Weights, fresh: Array | None) -> tuple[Weights, Weights]:
    """The weights of positions and changes, where each position predicts a token.

    A position has the ``weights`` of its prediction. Of T positions there are T - 1 changes, each
    of which weighs T / (T - 1) as much. Where a state is ``fresh``, it did not change from the one
    before, and has no weight.
    """
    length = weights.shape[1]
    changes = weights * (length / max(length - 1, 1))
    return weights, changes if fresh is None else jnp.where(fresh, 0.0, changes)


def of_sequences(tokens: Weights, weights: Float[Array, " B"]) -> tuple[Weights, Weights]:
    """Likewise where a sequence weighs ``weights``, in equal parts of its tokens.

    ``tokens`` is 1 where a sequence has a token, from its beginning to its end, and else 0.
    """
    changes = tokens.at[:, 0].set(0.0)
    states, changes = (
        x / jnp.maximum(x.sum(-1, keepdims=True), 1.0) * weights[:, None] for x in (tokens, changes)
    )
    return states, changes


def _mean_square(x: Array) -> Float[Array, "B T"]:
    return jnp.square(x.astype(jnp.float32)).mean(-1)
