"""What fine-tuning adds to a backbone: the rows of the special tokens, and a head.

Parameters of a fine-tuned model are ``{"backbone": …, "adapter": …}``, with the backbone as
pre-training made it. The task head is the second part, ``{"special_embedding": [3, D], "head":
{"kernel", "bias"}}``; checkpoints have always had it under the key ``adapter``, and it stays, so
that old runs resume.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gptjax.errors import UserError
from gptjax.models.backbone import depth, names_of
from gptjax.models.config import ModelConfig
from gptjax.models.dropout import dropout
from gptjax.models.family import RandomKey

# The logit of a sequence that is missing: nothing beside any other, and finite, so that nothing
# becomes NaN where its weight is 0, or where all are missing.
MISSING = -1e30
NUM_SPECIALS = 3  # start, delimiter, extract: the ids after the vocabulary, in this order
PyTree = Any


@dataclass(frozen=True)
class TaskHeadConfig:
    """What kind of head, and of how many classes.

    "classify" adds the states of an example's sequences and applies one linear map to the classes;
    "choose" maps the state of each sequence to one number, and the softmax runs over the sequences
    (paper, section 3.3).
    """

    head: Literal["classify", "choose"]
    num_classes: int  # C; of "choose", the number K of sequences
    dropout: float = 0.1  # of the state before the linear map
    # Of "choose", whether examples may have fewer sequences than K. Those that are missing, whose
    # extract position is 0, get no probability, and the mean LM loss is over the others.
    fewer: bool = False


def init_task_head(config: ModelConfig, head: TaskHeadConfig, key: RandomKey) -> PyTree:
    """Fresh rows and a fresh head: N(0, initial_std), biases 0."""
    rows, kernel = jax.random.split(key)
    std, width = config.initial_std, config.width
    columns = head.num_classes if head.head == "classify" else 1
    return {
        "special_embedding": std * jax.random.normal(rows, (NUM_SPECIALS, width), jnp.float32),
        "head": {
            "kernel": std * jax.random.normal(kernel, (width, columns), jnp.float32),
            "bias": jnp.zeros((columns,), jnp.float32),
        },
    }


def head_logits(
    params: PyTree,
    states: Float[Array, "B K D"],
    head: TaskHeadConfig,
    key: RandomKey | None,
    there: Bool[Array, "B K"],
) -> Float[Array, "B C"]:
    """Logits of the classes, or of the K choices; float32.

    The dropout of the choices of one example is the same, as in the released code: they differ
    by what they say, not by what was dropped. ``there`` says which sequences are not missing.
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
    logits = (states @ kernel + bias[None, None])[..., 0]
    return jnp.where(there, logits, MISSING) if head.fewer else logits


def transfer(config: ModelConfig, fresh: PyTree, loaded: PyTree, num_layers: int | None) -> PyTree:
    """The embeddings and ``num_layers`` blocks of a loaded backbone, the rest as in ``fresh``.

    ``num_layers`` None takes everything (paper, figure 2, left).

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
    return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == "adapter", params)
