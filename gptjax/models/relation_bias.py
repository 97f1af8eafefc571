"""Relations of words inside attention: what KIM adds to the scores of co-attention, in a GPT."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gptjax.batch import NUM_RELATIONS
from gptjax.errors import UserError

WEIGHTS = "relation_weights"
"""The name of the weights in a task head."""


class RelationBias(NamedTuple):
    """What the relations of words add to the scores of attention.

    Head h of layer l gives position t, which looks at position s, the score

        q_t · k_s / √d  +  √D Σ_r w_lhr r_st

    where r_st are the relations of the word at s to the word at t. They are 0 unless s lies in the
    first text and t in the second: attention is causal, so that no other direction exists.

    KIM (Chen et al. 2018) adds λ where a pair has any relation, with one λ that is tuned by hand.
    Here each relation has a weight of its own, since a synonym speaks for entailment and an antonym
    against it. Each head has weights of its own, as it has for distances in T5 (Raffel et al.
    2020), because heads look for different things; so has each layer. They start at 0, where the
    model is the one without knowledge, and are L × H × 5 numbers. Those of the last layer change
    the states of words alone: a head that reads the extract token learns them from the LM loss.

    √D is there for the learning rate. That of fine-tuning is made for matrices, whose products of D
    numbers move a score much faster than one number would: without √D, w has hardly left 0 when a
    run of some hundred updates ends.

    Attributes:
        relations: by the positions t and s.
        weights: √D w of all L layers, or of one.
    """

    relations: Float[Array, "B R T S"]
    weights: Float[Array, "L H R"] | Float[Array, "H R"]

    def of_layer(self, number: int) -> "RelationBias":
        """That of one layer, from 0."""
        return self._replace(weights=self.weights[number])

    def between(self, start: int, end: int) -> "RelationBias":
        """That of the queries from ``start`` to before ``end``, and of the keys before ``end``."""
        return self._replace(relations=self.relations[:, :, start:end, :end])

    def scores(self) -> Float[Array, "B H T S"]:
        """What is added, in one layer."""
        return jnp.einsum("brts,hr->bhts", self.relations, self.weights)

    def gradient(self, scores: Float[Array, "B H T S"]) -> Float[Array, "H R"]:
        """The gradient of a layer's weights, given that of the scores."""
        return jnp.einsum("bhts,brts->hr", scores, self.relations)


Bias = RelationBias | None


def read_bias(
    params: Any, knowledge: Float[Any, "B S T R"] | None, width: int
) -> RelationBias | None:
    """That of a task head's arrays and a batch's knowledge, in a model of this width; None of a
    head without weights."""
    if WEIGHTS not in params:
        return None
    assert knowledge is not None, "the head has weights of relations, and the batch has none"
    # By rows of the scores, in which each position of the second text looks at the first.
    relations = jnp.asarray(knowledge).transpose(0, 3, 2, 1)
    return RelationBias(relations, width**0.5 * jnp.asarray(params[WEIGHTS]))


def describe_weights(params: Mapping[str, Any], width: int, names: Sequence[str]) -> str:
    """What is added for each relation, in words: the lowest and the highest of all layers and
    heads."""
    found = width**0.5 * np.asarray(params[WEIGHTS]).reshape(-1, NUM_RELATIONS)
    ends = zip(names, found.min(0), found.max(0), strict=True)
    return ", ".join(f"{name} {low:+.2f} to {high:+.2f}" for name, low, high in ends)


def bias_arrays(num_layers: int, num_heads: int, attention: str) -> dict[str, tuple[int, ...]]:
    """The name and shape of the weights in a task head.

    Raises:
        UserError: the attention is fused.
    """
    if attention == "fused":
        raise UserError(
            "task.knowledge: model.attention fused has no place for it; set model.attention to "
            "einsum"
        )
    return {WEIGHTS: (num_layers, num_heads, NUM_RELATIONS)}
