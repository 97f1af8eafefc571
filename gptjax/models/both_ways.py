"""Language modelling in both directions: each token from those before it, and from those after."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gptjax.batch import Batch, Objective, Sums
from gptjax.models.backbone import both_ways, init_backbone, output
from gptjax.models.config import ModelConfig
from gptjax.models.cross_entropy import cross_entropies, cross_entropy
from gptjax.models.family import RandomKey


class Rows(NamedTuple):
    """Rows of a batch, of T tokens each, one after another."""

    tokens: Int[Array, "B T"]
    there: Bool[Array, "B T"]  # what is read: not what pads a row, nor an end that is predicted
    text: Float[Array, "B T"]  # weights of the tokens that both directions predict
    first: Float[Array, "B T"]  # of the separator before a text, which the backward one predicts
    last: Float[Array, "B T"]  # of the end of a text, which the forward one predicts


def rows_of(batch: Batch, end: int | None) -> Rows:
    """What is read and predicted of a batch; ``end`` is the token that ends a text, if it is."""
    length = batch.tokens.shape[-1]
    tokens = jnp.asarray(batch.tokens).reshape(-1, length)
    weights = jnp.asarray(batch.lm_weights).reshape(-1, length)
    column = jnp.arange(length)[None]
    weights = jnp.where(column == 0, jnp.zeros_like(weights), weights)
    counts = jnp.asarray(batch.weights)[:, None, None]
    counts = jnp.broadcast_to(counts, batch.tokens.shape).reshape(-1, length)
    is_end = jnp.zeros(tokens.shape, bool) if end is None else tokens == end
    nothing = jnp.zeros_like(weights)
    text = jnp.where(is_end, nothing, weights)
    behind = jnp.where(text > 0, column + 1, 1).max(1)[:, None]
    first = jnp.where(is_end & (column == 0), counts, nothing)
    last = jnp.where(is_end, weights * counts, nothing)
    return Rows(tokens, column < behind, text * counts, first, last)


def bidirectional(config: ModelConfig, end: int | None = None) -> Objective:
    """Predict each token from those before it, and once more from those after it.

    A batch is that of `gptjax.models.objective.lm`. Each row is a text of its own with a marker
    before and behind it. The loss is the mean of both directions: a token weighs a half in each.
    Both have the same output table, over which the softmax is a full one.

    With ``end``, what that token ends is predicted too: the forward direction predicts it after the
    text, the backward one the separator before the text. Evaluation measures these apart, as
    `gptjax.models.objective.lm` does.
    """

    def init(key: RandomKey) -> Any:
        return init_backbone(config, key)

    def loss(params: Any, batch: Batch, key: RandomKey | None, carry: Any) -> tuple[Sums, Any]:
        rows = rows_of(batch, end)
        table, bias = output(config, params)
        forward, backward = both_ways(config, params, rows.tokens, key, rows.there)
        # The forward state of a place predicts the next one; the backward one that before it.
        ahead, back = forward[:, :-2], backward[:, 1:]
        width = ahead.shape[-1]
        states = jnp.concatenate([ahead.reshape(-1, width), back.reshape(-1, width)])

        def beside(forward: Array, backward: Array) -> Array:
            return jnp.concatenate([forward[:, 1:].reshape(-1), backward.reshape(-1)])

        targets = beside(rows.tokens, rows.tokens)
        text, ends = 0.5 * beside(rows.text, rows.text), 0.5 * beside(rows.last, rows.first)
        if end is None or key is not None:
            total, correct = cross_entropy(states, table, targets, text + ends, bias)
            return Sums(total, (text + ends).sum(), {"accuracy": correct}), carry
        both = (text, ends)
        (total, correct), (end_loss, _) = cross_entropies(states, table, targets, both, bias)
        metrics = {"accuracy": correct, "end_loss": (end_loss, ends.sum())}
        return Sums(total, text.sum(), metrics), carry

    return Objective(init, loss)
