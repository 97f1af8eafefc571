"""The face of every family of models: all that the rest of the package asks of a backbone.

A family is one file, with its config and its module, and one line of `FAMILIES`. In the shapes
below, B is rows, T tokens, D the width, V the vocabulary. ``config`` and ``params`` are the
backbone's everywhere.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from gptjax.models.bilm import BiLM
from gptjax.models.config import ModelConfig
from gptjax.models.family import (
    Columns,
    Family,
    LayerStates,
    RandomKey,
    Regularised,
    Slot,
    States,
    There,
    Tokens,
)
from gptjax.models.lstm import LSTM
from gptjax.models.mlstm import MLSTM
from gptjax.models.relation_bias import RelationBias
from gptjax.models.transformer import Transformer
from gptjax.models.vectors import Vectors

PyTree = Any
FAMILIES: Mapping[str, type[Family]] = {
    "transformer": Transformer,
    "lstm": LSTM,
    "mlstm": MLSTM,
    "bilm": BiLM,
    "vectors": Vectors,
}


def make_backbone(config: ModelConfig) -> Family:
    """The flax module of a config."""
    return FAMILIES[config.kind](config)


def init_backbone(config: ModelConfig, key: RandomKey) -> PyTree:
    """The parameters of a backbone that was never trained, float32."""
    return make_backbone(config).init(key, jnp.zeros((1, 1), jnp.int32))["params"]


def states(
    config: ModelConfig,
    params: PyTree,
    tokens: Tokens,
    key: RandomKey | None = None,
    there: There = None,
    bias: RelationBias | None = None,
) -> States:
    """The states of all positions, in the compute type; each sees its token and those before it.

    Those of a bidirectional model see the tokens after it, too.

    Args:
        tokens: int32 [B, T], T at most ``config.context``.
        key: a typed key for the dropout, or None for none (evaluation).
        there: where a row has tokens, its first ones, and no padding behind them; None: everywhere.
            Only states of bidirectional models depend on it.
        bias: of models with `ModelConfig.relation_arrays`: what relations of words add to the
            scores of attention.

    Raises:
        UserError: the rows are longer than the context.
    """
    given = _given(config, tokens, key, there, bias)
    found: Array = make_backbone(config).apply({"params": params}, *given)  # type: ignore[assignment]
    return found


def layer_states(
    config: ModelConfig,
    params: PyTree,
    tokens: Tokens,
    key: RandomKey | None = None,
    there: There = None,
    bias: RelationBias | None = None,
) -> LayerStates:
    """The states after each depth, [L + 1, B, T, D]: 0 is what the first block reads, N what block
    N gives. D is ``config.widest``; narrower states are padded with zeros.

    A final LayerNorm belongs to L, so that the last are those of `states`, whose arguments and
    errors these are.
    """
    given = _given(config, tokens, key, there, bias)
    found: Array = make_backbone(config).apply(  # type: ignore[assignment]
        {"params": params}, *given, method="layer_states"
    )
    return found


def _given(
    config: ModelConfig,
    tokens: Tokens,
    key: RandomKey | None,
    there: There,
    bias: RelationBias | None,
) -> tuple[Any, ...]:
    """What a family's module takes of the arguments of `states`."""
    if config.bidirectional:
        return tokens, key, there
    return (tokens, key) if bias is None else (tokens, key, bias)


def both_ways(
    config: ModelConfig, params: PyTree, tokens: Tokens, key: RandomKey | None, there: There
) -> tuple[Float[Array, "B S P"], Float[Array, "B S P"]]:
    """The last states of a bidirectional model, those of the forward direction and the others.

    Arguments are as of `states`. S is T + 1: behind each row's last token there is a marker, too.
    """
    found: tuple[Array, Array] = make_backbone(config).apply(  # type: ignore[assignment]
        {"params": params}, tokens, key, there, method="both_ways"
    )
    return found


def attention_weights(
    config: ModelConfig, params: PyTree, tokens: Tokens
) -> Float[Array, "L B H T T"]:
    """How much each position (row) takes of itself and those before it, float32; rows add to 1.

    They are those without dropout, of every block and head.

    Raises:
        UserError: the model has no attention, or the rows are longer than the context.
    """
    module = make_backbone(config)
    found: Array = module.apply({"params": params}, tokens, method="attention_weights")  # type: ignore[assignment]
    return found


def embed(config: ModelConfig, params: PyTree, tokens: Tokens) -> States:
    """What the first block reads of these tokens, without dropout."""
    found: Array = make_backbone(config).apply({"params": params}, tokens, method="embed")  # type: ignore[assignment]
    return found


def empty_cache(config: ModelConfig, batch: int, slots: int) -> PyTree:
    """What ``extend`` begins with, for ``batch`` rows of at most ``slots`` tokens.

    Raises:
        UserError: the family cannot go on from the tokens before; so does `extend`.
    """
    return make_backbone(config).empty_cache(batch, slots)


def extend(
    config: ModelConfig, params: PyTree, tokens: Tokens, cache: PyTree, slot: Slot, first: Columns
) -> tuple[States, PyTree]:
    """States of further positions, given the cache of those before them.

    Args:
        tokens: int32 [B, T], what follows the ``slot`` columns already seen.
        cache: from ``empty_cache`` or an earlier call.
        slot: int32 [], the column of the first of these tokens.
        first: int32 [B], the column of each row's first real token, whose position is 0; those
            before it are padding that no position sees.

    Returns:
        states [B, T, D], and the cache with these tokens in it.
    """
    found: tuple[Array, Any] = make_backbone(config).apply(
        {"params": params}, tokens, cache, slot, first, method="extend"
    )
    return found


def empty_carry(config: ModelConfig, rows: int) -> PyTree:
    """What `advance` begins with: nothing is remembered. Arrays [rows, …].

    Raises:
        UserError: the family has no state; so does `advance`.
    """
    return make_backbone(config).empty_carry(rows)


def advance(
    config: ModelConfig,
    params: PyTree,
    tokens: Tokens,
    key: RandomKey | None,
    carry: PyTree,
    fresh: Bool[Array, "B T"] | None,
) -> tuple[States, PyTree]:
    """`states` of a window that goes on from the one before it.

    Args:
        carry: what is remembered: `empty_carry`, or what the call before gave.
        fresh: where nothing is remembered of the positions before. None: nowhere.

    Returns:
        The states [B, T, D], and what is remembered after the last position.
    """
    found: tuple[Array, Any] = make_backbone(config).apply(
        {"params": params}, tokens, key, carry, fresh, method="advance"
    )
    return found


def regularised(
    config: ModelConfig,
    params: PyTree,
    tokens: Tokens,
    key: RandomKey | None,
    carry: PyTree | None,
    fresh: Bool[Array, "B T"] | None,
) -> Regularised:
    """`advance`, or `states` without a carry, for a model whose config has ``penalties``."""
    found: Regularised = make_backbone(config).apply(  # type: ignore[assignment]
        {"params": params}, tokens, key, carry, fresh, method="regularised"
    )
    return found


def thinned(config: ModelConfig, params: PyTree, key: RandomKey) -> PyTree:
    """The parameters without those that an update drops, where the config's ``thins`` says so.

    Args:
        key: of the update: the same for all of its rows, on all devices and in all micro-batches.

    Returns:
        What `states`, `advance`, `output` and `with_rows` take in the place of the parameters.
    """
    return make_backbone(config).thinned(params, key)


def output(
    config: ModelConfig, params: PyTree
) -> tuple[Float[Array, "V D"], Float[Array, " V"] | None]:
    """Output table and bias: logits are ``states @ table.T + bias``; None is no bias."""
    return make_backbone(config).output(params)


def logits(
    config: ModelConfig, params: PyTree, states: Float[Array, "*B D"]
) -> Float[Array, "*B V"]:
    """The logits after each state, float32; the product is made in the type of the states."""
    table, bias = output(config, params)
    table = table.astype(states.dtype)
    found = jnp.einsum("...d,vd->...v", states, table, preferred_element_type=jnp.float32)
    return found if bias is None else found + jnp.broadcast_to(bias, found.shape)


def for_loss(
    config: ModelConfig, params: PyTree, key: RandomKey | None, positions: int | None = None
) -> tuple[PyTree, Float[Array, "R D"], Float[Array, " R"] | None]:
    """The parameters to apply in an update, and the output table and bias of its loss.

    They are the model's own, except with dropout of the parameters themselves, or where the loss
    runs over more rows than the vocabulary (``fidelity="released"``).

    Args:
        key: a typed key for that dropout (of ``fidelity="released"``), or None for none.
        positions: with ``fidelity="released"``, how many positions the table has; None is all.
    """
    return make_backbone(config).for_loss(params, key, positions)


def row_width(config: ModelConfig) -> int:
    """R, how many numbers `with_rows` needs of a token: D, or more where the output is not tied."""
    return make_backbone(config).row_width()


def with_rows(config: ModelConfig, params: PyTree, rows: Float[Array, "S R"]) -> PyTree:
    """The parameters with further tokens after the vocabulary, which are read and predicted."""
    return make_backbone(config).with_rows(params, rows)


def with_vocabulary(config: ModelConfig, params: PyTree, rows: Int[np.ndarray, " V"]) -> PyTree:
    """The parameters of a model with another vocabulary, of which some tokens are known.

    Args:
        config: the model before.
        params: its parameters.
        rows: for each new token, the number of the token whose rows and bias it has; -1: it has the
            mean of all of them (Howard and Ruder 2018, in their code).
    """
    return make_backbone(config).with_vocabulary(params, rows)


def with_spelling(config: ModelConfig, params: PyTree, spelled: Int[Any, "V 50"] | None) -> PyTree:
    """The parameters with a vocabulary of words that are spelled so (`gptjax.spelling`).

    ``spelled`` is None of a model that does not read spelling; its parameters stay as they are.
    """
    if spelled is None:
        return params
    return make_backbone(config).with_spelling(params, spelled)


def depth(config: ModelConfig, name: str) -> int:
    """Where a parameter stands on the way from tokens to results.

    It is 0 of embeddings, 1 … L of the L blocks, L + 1 of what follows them, L + 2 of a task head.
    The name is keys joined by "/", of a backbone (``blocks_0/mlp/…``) or of a fine-tuned model
    (``backbone/blocks_0/…``, ``adapter/head/kernel``).
    """
    part, _, rest = name.partition("/")
    if part == "adapter":
        return config.num_layers + 2
    return make_backbone(config).depth(rest if part == "backbone" else name)


def groups(config: ModelConfig, params: PyTree) -> PyTree:
    """The depth of every array, as groups that are trained alike: an int in place of each.

    It is 0 of embeddings and of a task's special tokens, 1 … L of the blocks, and L + 1 of the task
    head. What follows the blocks, such as a final LayerNorm, belongs to L.
    """
    blocks = config.num_layers

    def group(name: str) -> int:
        if name.startswith("adapter/"):
            return 0 if name == "adapter/special_embedding" else blocks + 1
        return min(depth(config, name), blocks)

    return jax.tree.unflatten(jax.tree.structure(params), map(group, names_of(params)))


def matrices(config: ModelConfig, params: PyTree) -> PyTree:
    """Whether each array is a matrix of a block, for Muon; tables and heads are none."""
    leaves, structure = jax.tree.flatten(params)
    in_block = [1 <= depth(config, name) <= config.num_layers for name in names_of(params)]
    found = [yes and leaf.ndim == 2 for yes, leaf in zip(in_block, leaves, strict=True)]
    return jax.tree.unflatten(structure, found)


def names_of(params: PyTree) -> list[str]:
    """The name of every array, keys joined by "/", in the order of `jax.tree.leaves`."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]
