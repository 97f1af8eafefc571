"""What fine-tuning adds to a backbone: the rows of the special tokens, and a head.

Parameters of a fine-tuned model are ``{"backbone": …, "adapter": …}``, with the backbone as
pre-training made it and the adapter ``{"special_embedding": [3, D], "head": {"kernel", "bias"}}``.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gptjax.errors import UserError
from gptjax.models.backbone import make_backbone
from gptjax.models.config import ModelConfig
from gptjax.models.dropout import dropout

NUM_SPECIALS = 3  # start, delimiter, extract: the ids after the vocabulary, in this order
PyTree = Any


@dataclass(frozen=True)
class AdapterConfig:
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


def init_backbone(config: ModelConfig, key: Key[Array, ""]) -> PyTree:
    """A backbone that was never trained."""
    return make_backbone(config).init(key, jnp.zeros((1, 1), jnp.int32))["params"]


def init_adapter(config: ModelConfig, adapter: AdapterConfig, key: Key[Array, ""]) -> PyTree:
    """Fresh rows and a fresh head: N(0, initial_std), biases 0."""
    rows, head = jax.random.split(key)
    std, width = config.initial_std, config.width
    return {
        "special_embedding": std * jax.random.normal(rows, (NUM_SPECIALS, width), jnp.float32),
        "head": {
            "kernel": std * jax.random.normal(head, (width, adapter.outputs), jnp.float32),
            "bias": jnp.zeros((adapter.outputs,), jnp.float32),
        },
    }


def with_special_rows(params: PyTree) -> PyTree:
    """The backbone's parameters with the special tokens' rows after its own."""
    backbone = params["backbone"]
    rows = [backbone["token_embedding"], params["adapter"]["special_embedding"]]
    return {**backbone, "token_embedding": jnp.concatenate(rows)}


def extract_states(
    states: Float[Array, "B K T D"], extract: Int[Array, "B K"]
) -> Float[Array, "B K D"]:
    """The state of each sequence at its extract token."""
    return jnp.take_along_axis(states, extract[..., None, None], axis=2)[:, :, 0]


def head_logits(
    head: PyTree,
    states: Float[Array, "B K D"],
    adapter: AdapterConfig,
    key: Key[Array, ""] | None,
) -> Float[Array, "B C"]:
    """Logits of the classes, or of the K choices; float32.

    The dropout of the choices of one example is the same, as in the released code: they differ
    by what they say, not by what was dropped.
    """
    states = states.astype(jnp.float32)
    if adapter.head == "classify":
        added = dropout(states.sum(1), key, adapter.dropout)
        return added @ head["kernel"] + head["bias"][None]
    if key is not None and adapter.dropout > 0:
        ones = jnp.ones((states.shape[0], 1, states.shape[2]), jnp.float32)
        states = states * dropout(ones, key, adapter.dropout)
    return (states @ head["kernel"] + head["bias"][None, None])[..., 0]


def transfer(fresh: PyTree, loaded: PyTree, num_layers: int | None) -> PyTree:
    """The embeddings and the first blocks of a pre-trained backbone, the rest as in ``fresh``.

    Args:
        fresh: a backbone's parameters, which nothing but the shape is taken from unless a block
            is not transferred.
        loaded: the pre-trained one's.
        num_layers: how many blocks to take; None takes everything (paper, figure 2, left).

    Raises:
        UserError: a parameter is missing, unknown or of another shape; names it.
    """
    flat_fresh, structure = jax.tree_util.tree_flatten_with_path(fresh)
    there = {jax.tree_util.keystr(p): x for p, x in jax.tree_util.tree_leaves_with_path(loaded)}
    names = [jax.tree_util.keystr(path) for path, _ in flat_fresh]
    if unknown := sorted(there.keys() - set(names)):
        raise UserError(f"the loaded backbone has parameters that the model lacks: {unknown[0]}")
    leaves = []
    for name, (path, leaf) in zip(names, flat_fresh, strict=True):
        if name not in there:
            raise UserError(f"the loaded backbone lacks the parameter {name}")
        if there[name].shape != leaf.shape:
            raise UserError(
                f"the parameter {name} is {list(there[name].shape)} in the loaded backbone and "
                f"{list(leaf.shape)} in the model"
            )
        top = str(getattr(path[0], "key", path[0]))
        kept = num_layers is None or top.endswith("_embedding") or _block(top) < num_layers
        leaves.append(there[name] if kept else leaf)
    return jax.tree_util.tree_unflatten(structure, leaves)


def _block(name: str) -> float:
    """The number of a block; the final LayerNorm lies behind all of them."""
    number = name.removeprefix("blocks_")
    return float(number) if number.isdigit() else float("inf")


def adapter_only(params: PyTree) -> PyTree:
    """True for the arrays of the adapter, False for those of the backbone."""
    return {
        "backbone": jax.tree.map(lambda _: False, params["backbone"]),
        "adapter": jax.tree.map(lambda _: True, params["adapter"]),
    }
