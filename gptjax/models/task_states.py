"""What a task's objective reads: states of a batch's sequences, from the backbone or kept ones."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gptjax.batch import Batch
from gptjax.models.backbone import for_loss, layer_states, regularised, states, with_rows
from gptjax.models.config import ModelConfig
from gptjax.models.family import RandomKey, Regularised
from gptjax.models.relation_bias import RelationBias, read_bias
from gptjax.models.task_head import NUM_SPECIALS, TaskHeadConfig, task_logits


def read(
    config: ModelConfig,
    head: TaskHeadConfig,
    frozen: bool,
    positions: int | None,
    params: Any,
    batch: Batch,
    key: RandomKey | None,
    everywhere: bool = False,
) -> tuple[Array, Array, Array, Array | None, Regularised | None]:
    """Logits of the classes (of every position), states, output table and bias; and, in training,
    what penalties need."""
    extended = replace(config, vocabulary_size=config.vocabulary_size + NUM_SPECIALS)
    if frozen:
        params = {**params, "backbone": jax.lax.stop_gradient(params["backbone"])}
    tokens, extract = jnp.asarray(batch.tokens), jnp.asarray(batch.extract)
    keys = (None, None) if key is None else jax.random.split(key)
    drop_key = None if key is None else jax.random.fold_in(key, 2)
    longer = with_rows(config, params["backbone"], params["adapter"]["special_embedding"])
    backbone, table, bias = for_loss(extended, longer, drop_key, positions)
    penalised = None
    if batch.states is None and key is not None and any(config.penalties):
        rows = tokens.reshape(-1, tokens.shape[-1])
        penalised = regularised(extended, backbone, rows, keys[0], None, None)
    if batch.states is not None:
        depths = jnp.moveaxis(jnp.asarray(batch.states), 3, 0)
    elif penalised is not None and not head.shape.mix:
        depths = penalised.states.reshape(1, *tokens.shape, -1)
    else:
        related = read_bias(params["adapter"]["head"], batch.knowledge, config.width)
        depths = _depths(extended, head, backbone, tokens, extract, keys[0], related)
    found = depths[-1]
    heard = depths if head.shape.mix else found
    if found.shape[-1] > config.width:
        found = found[..., : config.width]  # without the padding beside wider depths
    maps, text = params["adapter"]["head"], is_text(tokens, extract, config.vocabulary_size)
    text = text[..., : depths.shape[-2]]  # kept states may be of the extract tokens alone
    known = None if batch.knowledge is None else jnp.asarray(batch.knowledge)
    logits = task_logits(maps, heard, text, extract, head, keys[1], everywhere, known)
    return logits, found, table, bias, penalised


def kept(
    config: ModelConfig,
    head: TaskHeadConfig,
    positions: int | None,
    ends: bool,
    params: Any,
    batch: Batch,
) -> Array:
    """`TaskFunctions.states`; with ``ends`` of the extract tokens alone."""
    extended = replace(config, vocabulary_size=config.vocabulary_size + NUM_SPECIALS)
    longer = with_rows(config, params["backbone"], params["adapter"]["special_embedding"])
    backbone, _, _ = for_loss(extended, longer, None, positions)
    tokens, extract = jnp.asarray(batch.tokens), jnp.asarray(batch.extract)
    found = _depths(extended, head, backbone, tokens, extract, None)
    if ends:
        at = extract[None, ..., None, None]
        found = jnp.take_along_axis(found, at, axis=3)
    return jnp.moveaxis(found, 0, 3)


def _depths(
    config: ModelConfig,
    head: TaskHeadConfig,
    backbone: Any,
    tokens: Array,
    extract: Array,
    key: RandomKey | None,
    bias: RelationBias | None = None,
) -> Array:
    """The states [N, B, K, T, D] after every depth where the head mixes them, else the last."""
    rows = tokens.reshape(-1, tokens.shape[-1])
    there = None
    if config.bidirectional:
        there = jnp.arange(tokens.shape[-1])[None, None] <= extract[..., None]
        there = there.reshape(rows.shape)
    if head.shape.mix:
        found = layer_states(config, backbone, rows, key, there, bias)
    else:
        found = states(config, backbone, rows, key, there, bias)[None]
    return found.reshape(len(found), *tokens.shape, -1)


def is_text(tokens: Array, extract: Array, size: int) -> Array:
    """Where a sequence has tokens of its text: before its end, and none of the special ones."""
    before = jnp.arange(tokens.shape[-1])[None, None] < extract[..., None]
    return (tokens < size) & before
