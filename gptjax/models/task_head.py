"""What fine-tuning adds to a backbone: the rows of the special tokens, and a head.

Parameters of a fine-tuned model are ``{"backbone": …, "adapter": …}``, with the backbone as
pre-training made it. The task head is the second part, ``{"special_embedding": [3, R], "head":
{"kernel", "bias"}}``, with R of `gptjax.models.backbone.row_width`; checkpoints have always had it
under the key ``adapter``, and it stays, so that old runs resume. A head of another shape
(`HeadShape`) has further arrays in ``head``.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gptjax.models.backbone import row_width
from gptjax.models.bilstm import DIRECTIONS, bilstm_arrays, init_bilstm, read_both_ways
from gptjax.models.co_attention import (
    NOWHERE,
    Uses,
    co_attention_arrays,
    co_attention_width,
    init_co_attention,
    read_pair,
)
from gptjax.models.config import ModelConfig
from gptjax.models.dropout import dropout
from gptjax.models.family import RandomKey
from gptjax.models.layers import layer_norm
from gptjax.models.mix import mix_arrays, scalar_mix
from gptjax.models.pooling import Pooling, pool, pooled_width

# The logit of a sequence that is missing: nothing beside any other, and finite, so that nothing
# becomes NaN where its weight is 0, or where all are missing.
MISSING = -1e30
NUM_SPECIALS = 3  # start, delimiter, extract: the ids after the vocabulary, in this order
PyTree = Any
HeadPooling = Literal["extract"] | Pooling
HeadModel = Literal["linear", "bilstm", "co-attention"]
# Those that compare two texts, each of which is a sequence of its own.
COMPARING = frozenset({"co-attention"})


@dataclass(frozen=True)
class HeadShape:
    """What a head reads, and what stands before its linear map to the classes.

    Each of the blocks is LayerNorm (with ``norm``), dropout, a linear map, and ReLU between two
    maps. ULMFiT has concat, a hidden layer of 50, and BatchNorm in the place of LayerNorm.
    """

    pooling: HeadPooling = "extract"  # which states are read (`head_features`)
    width: int | None = None  # of a hidden layer; None is no such layer
    norm: bool = False  # LayerNorm before each linear map
    # Reads a learned mix of all depths in the place of the last one (`gptjax.models.mix`); with
    # mix_norm each depth is normalised over what a device sees of a batch.
    mix: bool = False
    mix_norm: bool = False
    model: HeadModel = "linear"  # what reads the states before they are pooled; linear is nothing
    units: int | None = None  # cells of an LSTM in each direction; None: the width of the states
    knowledge: bool = False  # reads the relations of words that batches have
    # Where they act in a co-attention (`gptjax.models.co_attention.Uses`).
    knowledge_attention: float = 1.0
    knowledge_inference: bool = True
    knowledge_composition: bool = True

    def described(self) -> dict[str, Any]:
        """Its fields by name; those that came later where they are not as usual, so that older
        heads are the same heads."""
        usual = {field.name: field.default for field in fields(self)}
        older = ("pooling", "width", "norm")
        found = asdict(self)
        return {name: found[name] for name in found if name in older or found[name] != usual[name]}

    @property
    def reads_ends(self) -> bool:
        """Whether the states at the extract tokens are all that is read."""
        return self.pooling == "extract" and self.model == "linear" and not self.mix_norm

    @property
    def separate(self) -> bool:
        """Whether the two texts of an example are sequences of their own, and not one."""
        return self.model in COMPARING

    @property
    def uses(self) -> Uses:
        """Where a co-attention uses the relations of words."""
        if not self.knowledge:
            return NOWHERE
        places = (self.knowledge_inference, self.knowledge_composition)
        return Uses(self.knowledge_attention, *places)


USUAL = HeadShape()
"""The head of the GPT-1 paper: a linear map from the state at the extract token."""


@dataclass(frozen=True)
class TaskHeadConfig:
    """What kind of head, and of how many classes.

    "classify" adds the states of an example's sequences and applies one linear map to the classes;
    "choose" maps the state of each sequence to one number, and the softmax runs over the sequences
    (paper, section 3.3).
    """

    head: Literal["classify", "choose"]
    num_classes: int  # C; of "choose", the number K of sequences
    dropout: float = 0.1  # before each linear map
    # Of "choose", whether examples may have fewer sequences than K. Those that are missing, whose
    # extract position is 0, get no probability, and the mean LM loss is over the others.
    fewer: bool = False
    shape: HeadShape = USUAL


def init_task_head(config: ModelConfig, head: TaskHeadConfig, key: RandomKey) -> PyTree:
    """Fresh rows and a fresh head: N(0, initial_std), biases 0, LayerNorm 1 and 0."""
    rows, kernel = jax.random.split(key)
    std = config.initial_std
    size = (NUM_SPECIALS, row_width(config))
    arrays: dict[str, Array] = {}
    for name, shape in head_arrays(config, head).items():
        if name.startswith(DIRECTIONS):
            continue
        if name.endswith("kernel"):
            own = kernel if name == "kernel" else jax.random.fold_in(kernel, 1)
            arrays[name] = std * jax.random.normal(own, shape, jnp.float32)
        else:
            fill = jnp.ones if name.endswith("scale") else jnp.zeros
            arrays[name] = fill(shape, jnp.float32)
    if head.shape.model == "bilstm":
        width = read_width(config, head.shape)
        units = head.shape.units or width
        arrays |= init_bilstm(width, units, jax.random.fold_in(kernel, 2))
    elif head.shape.model == "co-attention":
        own = {name: x.shape for name, x in arrays.items() if not name.startswith("mix_")}
        arrays |= init_co_attention(own, jax.random.fold_in(kernel, 2))
    return {
        "special_embedding": std * jax.random.normal(rows, size, jnp.float32),
        "head": arrays,
    }


def read_width(config: ModelConfig, shape: HeadShape) -> int:
    """The size of a state that a head reads; a mix reads all depths, the narrower ones padded."""
    return config.widest if shape.mix else config.width


def head_arrays(config: ModelConfig, head: TaskHeadConfig) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a head's arrays, on the states of this backbone.

    ``kernel`` and ``bias`` are the map to the classes, those with ``hidden_`` of the hidden layer,
    and ``norm_`` and ``hidden_norm_`` of the LayerNorm before each of the two. Those of a mix begin
    with ``mix_``, of a bilstm with its two directions, and those of a co-attention are of
    `gptjax.models.co_attention.co_attention_arrays`. What the relations of two texts' words weigh
    inside the backbone is here, too (`gptjax.models.relation_bias`): it is trained for a task, with
    a frozen backbone as well.

    Raises:
        UserError: with knowledge, a backbone without attention.
    """
    shape, width = head.shape, read_width(config, head.shape)
    arrays = mix_arrays(config.num_layers) if shape.mix else {}
    if shape.knowledge and not shape.separate:
        arrays |= config.relation_arrays()
    if shape.model == "bilstm":
        units = shape.units or width
        arrays |= bilstm_arrays(width, units)
        width = len(DIRECTIONS) * units
    columns, hidden = head.num_classes if head.head == "classify" else 1, shape.width
    features = width if shape.pooling == "extract" else pooled_width(width, shape.pooling)
    if shape.model == "co-attention":
        units = shape.units or width
        arrays |= co_attention_arrays(width, units, shape.uses)
        features, hidden = co_attention_width(units, shape.uses), hidden or units
    for prefix, size in (("hidden_", hidden), ("", columns)):
        if size is None:
            continue
        if shape.norm:
            arrays |= {f"{prefix}norm_{name}": (features,) for name in ("scale", "bias")}
        arrays |= {f"{prefix}kernel": (features, size), f"{prefix}bias": (size,)}
        features = size
    return arrays


def head_features(
    states: Float[Array, "B K T D"],
    text: Bool[Array, "B K T"],
    extract: Int[Array, "B K"],
    pooling: HeadPooling,
) -> Float[Array, "B K E"]:
    """What the head reads of each sequence.

    extract is the state at the extract token. The others are `gptjax.models.pooling.pool` over the
    tokens of the text: special tokens and padding, where ``text`` is False, do not count.
    """
    if pooling == "extract":
        return jnp.take_along_axis(states, extract[..., None, None], axis=2)[:, :, 0]
    return pool(states, text, pooling)


def task_logits(
    params: PyTree,
    states: Float[Array, "B K T D"] | Float[Array, "N B K T D"],
    text: Bool[Array, "B K T"],
    extract: Int[Array, "B K"],
    head: TaskHeadConfig,
    key: RandomKey | None = None,
    everywhere: bool = False,
    knowledge: Float[Array, "B T T 5"] | None = None,
) -> Float[Array, "B C"] | Float[Array, "B T C"]:
    """Logits of a head from the states of its sequences; float32.

    Args:
        params: the head's own arrays.
        states: of the last depth, or of all N of them where the head mixes.
        text: the positions that are pooled (`head_features`).
        extract: the last position of each sequence, or 0 where a sequence is missing.
        head: what kind of head.
        key: of its dropout, or None for none.
        everywhere: the logits at every position of an example's only sequence.
        knowledge: relations of words, as of `gptjax.batch.Batch`.
    """
    shape, dtype = head.shape, states.dtype
    there = jnp.arange(states.shape[-2])[None, None] <= extract[..., None]
    there = there & (extract > 0)[..., None]
    if shape.mix:
        states = scalar_mix(params, states, there if shape.mix_norm else None)
    if everywhere:
        return logits_everywhere(params, states, head, key)
    if shape.model == "linear":
        # Where the states are those at the extract tokens alone, there is one position.
        at = jnp.minimum(extract, states.shape[-2] - 1)
        features = head_features(states, text, at, shape.pooling)
    elif shape.model == "co-attention":
        own = None if key is None else jax.random.fold_in(key, 2)
        given = (states.astype(dtype), there, knowledge, shape.uses, own, head.dropout)
        features = read_pair(params, *given)[:, None]
    else:
        if key is not None and head.dropout > 0:  # the same of all sequences of an example
            ones = jnp.ones((states.shape[0], 1, *states.shape[2:]), states.dtype)
            states = states * dropout(ones, jax.random.fold_in(key, 2), head.dropout)
        how = None if shape.pooling == "extract" else shape.pooling
        features = read_both_ways(params, states, there, text, how)
    there = extract[:, : features.shape[1]] > 0  # a co-attention has made one of two
    return head_logits(params, features, head, key, there)


def linear_gain(extract: Int[Array, " B"], length: int) -> Float[Array, "B T"]:
    """How much the label counts at each of T positions of a sequence: i / (k - 1) at position i.

    It is 0 at the first position, 1 at the extract token at k - 1, and 0 after it (Dai and Le 2015,
    linear gain; the weights are those of their group's released code).
    """
    position, last = jnp.arange(length)[None], extract[:, None]
    gain = position.astype(jnp.float32) / jnp.maximum(last, 1).astype(jnp.float32)
    return jnp.where(position <= last, gain, 0.0)


def logits_everywhere(
    params: PyTree, states: Float[Array, "B 1 T D"], head: TaskHeadConfig, key: RandomKey | None
) -> Float[Array, "B T C"]:
    """Logits of the classes at every position of an example's only sequence; float32.

    At the extract token they are those of `head_logits`: all positions share their dropout.
    """
    return _mapped(params, states[:, 0].astype(jnp.float32), head, key)


def head_logits(
    params: PyTree,
    states: Float[Array, "B K E"],
    head: TaskHeadConfig,
    key: RandomKey | None,
    there: Bool[Array, "B K"],
) -> Float[Array, "B C"]:
    """Logits of the classes, or of the K choices; float32.

    The dropout of the choices of one example is the same, as in the released code: they differ
    by what they say, not by what was dropped. ``there`` says which sequences are not missing.
    """
    states = states.astype(jnp.float32)
    if head.head == "classify":
        return _mapped(params, states.sum(1, keepdims=True), head, key)[:, 0]
    logits = _mapped(params, states, head, key)[..., 0]
    return jnp.where(there, logits, MISSING) if head.fewer else logits


def _mapped(
    params: PyTree, x: Float[Array, "B K E"], head: TaskHeadConfig, key: RandomKey | None
) -> Float[Array, "B K C"]:
    """The head's maps, one after the other."""
    if "hidden_kernel" in params:
        hidden = None if key is None else jax.random.fold_in(key, 1)
        activation = jnp.tanh if head.shape.model == "co-attention" else jax.nn.relu
        x = activation(_linear(params, "hidden_", x, head, hidden))
    return _linear(params, "", x, head, key)


def _linear(
    params: PyTree,
    prefix: str,
    x: Float[Array, "B K E"],
    head: TaskHeadConfig,
    key: RandomKey | None,
) -> Float[Array, "B K F"]:
    """LayerNorm, dropout, and a linear map; all that each of the blocks has."""
    kernel: Array = params[f"{prefix}kernel"]
    bias: Array = params[f"{prefix}bias"]
    if head.shape.norm:
        scale: Array = params[f"{prefix}norm_scale"]
        shift: Array = params[f"{prefix}norm_bias"]
        x = layer_norm(x, scale, shift)
    if key is not None and head.dropout > 0:
        ones = jnp.ones((x.shape[0], 1, x.shape[2]), jnp.float32)
        x = x * dropout(ones, key, head.dropout)
    return x @ kernel + bias[None, None]
