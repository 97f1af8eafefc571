"""What fine-tuning adds to a backbone: the rows of the special tokens, and a head.

Parameters of a fine-tuned model are ``{"backbone": …, "adapter": …}``, with the backbone as
pre-training made it. The task head is the second part, ``{"special_embedding": [3, D], "head":
{"kernel", "bias"}}``; checkpoints have always had it under the key ``adapter``, and it stays, so
that old runs resume.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gptjax.errors import UserError
from gptjax.models.backbone import depth, names_of, with_rows
from gptjax.models.config import ModelConfig
from gptjax.models.dropout import dropout

NUM_SPECIALS = 3  # start, delimiter, extract: the ids after the vocabulary, in this order
PyTree = Any


@dataclass(frozen=True)
class TaskHeadConfig:
    """What kind of head, and of how many classes.

    Attributes:
        head: "classify" adds the states of an example's sequences and applies one linear map to
            the classes; "choose" maps the state of each sequence to one number, and the softmax
            runs over the sequences (paper, section 3.3).
        num_classes: C; of "choose", the number K of sequences.
        dropout: of the state before the linear map.
    """

    head: Literal["classify", "choose"]
    num_classes: int
    dropout: float = 0.1

    @property
    def outputs(self) -> int:
        """Columns of the linear map."""
        return self.num_classes if self.head == "classify" else 1


def extended_config(config: ModelConfig) -> ModelConfig:
    """The backbone's config with the special tokens in its vocabulary."""
    return replace(config, vocabulary_size=config.vocabulary_size + NUM_SPECIALS)


def init_task_head(config: ModelConfig, head: TaskHeadConfig, key: Key[Array, ""]) -> PyTree:
    """Fresh rows and a fresh head: N(0, initial_std), biases 0."""
    rows, kernel = jax.random.split(key)
    std, width = config.initial_std, config.width
    return {
        "special_embedding": std * jax.random.normal(rows, (NUM_SPECIALS, width), jnp.float32),
        "head": {
            "kernel": std * jax.random.normal(kernel, (width, head.outputs), jnp.float32),
            "bias": jnp.zeros((head.outputs,), jnp.float32),
        },
    }


def with_special_rows(config: ModelConfig, params: PyTree) -> PyTree:
    """The backbone's parameters with the special tokens' rows after its own."""
    return with_rows(config, params["backbone"], params["adapter"]["special_embedding"])


def extract_states(
    states: Float[Array, "B K T D"], extract: Int[Array, "B K"]
) -> Float[Array, "B K D"]:
    """The state of each sequence at its extract token."""
    return jnp.take_along_axis(states, extract[..., None, None], axis=2)[:, :, 0]


def head_logits(
    params: PyTree,
    states: Float[Array, "B K D"],
    head: TaskHeadConfig,
    key: Key[Array, ""] | None,
) -> Float[Array, "B C"]:
    """Logits of the classes, or of the K choices; float32.

    The dropout of the choices of one example is the same, as in the released code: they differ
    by what they say, not by what was dropped.
    """
    states = states.astype(jnp.float32)
    kernel: Array = params["kernel"]
    bias: Array = params["bias"]
    if head.head == "classify":
        added = dropout(states.sum(1), key, head.dropout)
        return added @ kernel + bias[None]
    if key is not None and head.dropout > 0:
        ones = jnp.ones((states.shape[0], 1, states.shape[2]), jnp.float32)
        states = states * dropout(ones, key, head.dropout)
    return (states @ kernel + bias[None, None])[..., 0]


def transfer(config: ModelConfig, fresh: PyTree, loaded: PyTree, num_layers: int | None) -> PyTree:
    """The embeddings and the first blocks of a pre-trained backbone, the rest as in ``fresh``.

    Args:
        config: the backbone's.
        fresh: a backbone's parameters, which nothing but the shape is taken from unless a block
            is not transferred.
        loaded: the pre-trained one's.
        num_layers: how many blocks to take; None takes everything (paper, figure 2, left).

    Raises:
        UserError: a parameter is missing, unknown or of another shape; names it.
    """
    leaves, structure = jax.tree.flatten(fresh)
    names = names_of(fresh)
    there = dict(zip(names_of(loaded), jax.tree.leaves(loaded), strict=True))
    if unknown := sorted(there.keys() - set(names)):
        raise UserError(f"the loaded backbone has parameters that the model lacks: {unknown[0]}")
    deepest = config.num_layers + 2 if num_layers is None else min(num_layers, config.num_layers)
    chosen = []
    for name, leaf in zip(names, leaves, strict=True):
        if name not in there:
            raise UserError(f"the loaded backbone lacks the parameter {name}")
        if there[name].shape != leaf.shape:
            raise UserError(
                f"the parameter {name} is {list(there[name].shape)} in the loaded backbone and "
                f"{list(leaf.shape)} in the model"
            )
        chosen.append(there[name] if depth(config, name) <= deepest else leaf)
    return jax.tree.unflatten(structure, chosen)


def head_only(params: PyTree) -> PyTree:
    """True for the arrays of the task head, False for those of the backbone."""
    return {
        "backbone": jax.tree.map(lambda _: False, params["backbone"]),
        "adapter": jax.tree.map(lambda _: True, params["adapter"]),
    }
