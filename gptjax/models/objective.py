"""Training problems over the models: what is minimised, as pairs of pure functions."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gptjax.batch import Batch, Objective, Sums
from gptjax.errors import UserError
from gptjax.models.backbone import (
    advance,
    empty_carry,
    for_loss,
    init_backbone,
    regularised,
    states,
    thinned,
)
from gptjax.models.both_ways import bidirectional
from gptjax.models.config import ModelConfig
from gptjax.models.cross_entropy import cross_entropies, cross_entropy
from gptjax.models.family import RandomKey
from gptjax.models.mix import mix_penalty
from gptjax.models.penalties import of_sequences, of_windows, penalty
from gptjax.models.task_head import (
    TaskHeadConfig,
    init_task_head,
    linear_gain,
)
from gptjax.models.task_states import kept, read


def num_parameters(objective: Objective) -> int:
    """The number of parameters, without making them."""
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def lm(config: ModelConfig, end: int | None = None, *, streams: bool = False) -> Objective:
    """Language modelling: predict each token from those before it (paper, equation 1).

    A batch has T + 1 tokens per sequence: the model sees all but the last and predicts all but
    the first. The loss sums weight × negative log-likelihood in nats, where a token's weight is
    its ``lm_weights`` times its row's ``weights``; the metric ``accuracy`` sums the weights of
    tokens whose logit is the highest.

    With ``end``, evaluation measures the token with that id apart: loss, weight and ``accuracy``
    are of all other tokens, as if it had no weight, and the metric ``end_loss`` is its own, with
    its own weight. Training makes no difference between them.

    With ``streams`` the rows of a batch go on from the batch before, but where they are ``fresh``:
    the carry is what the model remembers (`gptjax.models.backbone.advance`).

    In training, the penalties of the model are added to the loss, and are the metric ``penalty``
    (`gptjax.models.penalties`). Of a bidirectional model it is
    `gptjax.models.both_ways.bidirectional`, which needs to know ``end`` in training, too.

    Raises:
        UserError: ``streams``, and the model has no state.
    """
    if streams:
        empty_carry(config, 1)  # refuses a model without state
    if config.bidirectional:
        return bidirectional(config, end)
    init = partial(init_backbone, config)

    def loss(params: Any, batch: Batch, key: RandomKey | None, carry: Any) -> tuple[Sums, Any]:
        length = batch.tokens.shape[-1]
        tokens = jnp.asarray(batch.tokens).reshape(-1, length)
        weights = jnp.asarray(batch.lm_weights * batch.weights[:, None, None])
        weights = weights.reshape(-1, length)[:, 1:]
        drop_key = None
        if key is not None and config.fidelity == "released":
            key, drop_key = jax.random.split(key)
        params, table, bias = for_loss(config, params, drop_key)
        fresh = jnp.asarray(batch.fresh).reshape(len(tokens), -1) if streams else None
        seen, carry, extra = _seen(config, params, tokens[:, :-1], weights, key, carry, fresh)
        rows, targets = seen.reshape(-1, seen.shape[-1]), tokens[:, 1:].reshape(-1)
        if end is None or key is not None:
            total, correct = cross_entropy(rows, table, targets, weights.reshape(-1), bias)
            return _with(extra, Sums(total, weights.sum(), {"accuracy": correct})), carry
        ending = jnp.where(tokens[:, 1:] == end, weights, 0.0)
        weights = jnp.where(tokens[:, 1:] == end, 0.0, weights)
        both = (weights.reshape(-1), ending.reshape(-1))
        (total, correct), (end_loss, _) = cross_entropies(rows, table, targets, both, bias)
        metrics = {"accuracy": correct, "end_loss": (end_loss, ending.sum())}
        return Sums(total, weights.sum(), metrics), carry

    found = Objective(init, loss, thin=partial(thinned, config) if config.thins else None)
    if not streams:
        return found
    return found._replace(init_carry=partial(empty_carry, config))


def _seen(
    config: ModelConfig,
    params: Any,
    tokens: Array,
    weights: Array,
    key: RandomKey | None,
    carry: Any,
    fresh: Array | None,
) -> tuple[Array, Any, Array | None]:
    """States of windows, what is carried then, and the penalties; without streams nothing is
    ``fresh``."""
    if key is not None and any(config.penalties):
        before = None if fresh is None else carry
        found = regularised(config, params, tokens, key, before, fresh)
        extra = penalty(config.penalties, found, *of_windows(weights, fresh))
        return found.states, carry if fresh is None else found.carry, extra
    if fresh is None:
        return states(config, params, tokens, key), carry, None
    return *advance(config, params, tokens, key, carry, fresh), None


def _with(extra: Array | None, sums: Sums) -> Sums:
    """The sums with what is added for the states."""
    if extra is None:
        return sums
    return Sums(sums.loss + extra, sums.weight, {**sums.metrics, "penalty": extra})


class TaskFunctions(NamedTuple):
    """Fine-tuning as pure functions.

    ``log_probabilities`` is float32 [B, C], over the classes or choices, without dropout.
    ``states`` are what a batch may have in the place of a backbone that is frozen (see `Batch`).
    """

    objective: Objective
    log_probabilities: Callable[[Any, Batch], Array]
    states: Callable[[Any, Batch], Array]


def task(
    config: ModelConfig,
    head: TaskHeadConfig,
    *,
    lm_coefficient: float = 0.0,
    freeze_backbone: bool = False,
    positions: int | None = None,
    label_gain: bool = False,
    mix_l2: float = 0.0,
) -> TaskFunctions:
    """Supervised fine-tuning with an auxiliary LM loss (paper, equations 3 to 5).

    The loss of an example is the cross-entropy of its target distribution plus
    ``lm_coefficient`` times the mean, over its sequences, of each sequence's mean negative
    log-likelihood per token; the sums run over examples, each times its weight. Its softmax covers
    the vocabulary and the three special tokens. A batch has whole sequences: T tokens are seen,
    those after the first are predicted.

    Metrics: ``task_loss``, ``lm_loss`` (absent with coefficient 0) and ``accuracy`` (whether the
    likeliest class is the target's likeliest). In training, the penalties of the model are added to
    the loss as in `lm`: each sequence's mean over its tokens, the mean over the sequences.

    Args:
        config: the backbone's, whose vocabulary does not hold the special tokens.
        lm_coefficient: λ of equation 5; the paper has 0.5.
        freeze_backbone: no gradient reaches the backbone's parameters.
        positions: with ``fidelity="released"``, how many positions the softmax runs over: the
            released code keeps as many as the longest sequence has. None: all.
        label_gain: the label's cross-entropy is the mean over all positions of an example's one
            sequence, by their `linear_gain`. Predictions are of the extract token all the same.
        mix_l2: what the loss has of the sum of the squared weights of the head's mix.
    """
    _check_coefficient(config, lm_coefficient)
    init = partial(_init_task, config, head)
    run = partial(read, config, head, freeze_backbone, positions)

    def loss(params: Any, batch: Batch, key: RandomKey | None, carry: Any) -> tuple[Sums, Any]:
        logits, found, table, bias, penalised = run(params, batch, key, label_gain)
        given = (logits, found, table, bias)
        sums = _task_sums(batch, lm_coefficient, head.fewer, label_gain, *given)
        if mix_l2:  # times the weight, since what is minimised is the mean
            added = mix_l2 * mix_penalty(params["adapter"]["head"]) * sums.weight
            sums = sums._replace(loss=sums.loss + added)
        if penalised is not None:
            extent = of_sequences(*_extent(batch, head.fewer))
            sums = _with(penalty(config.penalties, penalised, *extent), sums)
        return sums, carry

    def log_probabilities(params: Any, batch: Batch) -> Array:
        return jax.nn.log_softmax(run(params, batch, None)[0])

    def thin(params: Any, key: RandomKey) -> Any:
        return {**params, "backbone": thinned(config, params["backbone"], key)}

    keep = partial(kept, config, head, positions, head.shape.reads_ends and not label_gain)
    trained = Objective(init, loss, thin=thin if config.thins else None)
    return TaskFunctions(trained, log_probabilities, keep)


def _check_coefficient(config: ModelConfig, lm_coefficient: float) -> None:
    if lm_coefficient and not config.has_lm_loss:
        raise UserError(
            f"task.lm_coefficient {lm_coefficient}: {config.called} has no such loss beside a "
            "task's; set task.lm_coefficient 0"
        )


def _init_task(config: ModelConfig, head: TaskHeadConfig, key: RandomKey) -> Any:
    backbone_key, head_key = jax.random.split(key)
    return {
        "backbone": init_backbone(config, backbone_key),
        "adapter": init_task_head(config, head, head_key),
    }


def _extent(batch: Batch, fewer: bool) -> tuple[Array, Array]:
    """Where each of the B K sequences has tokens, and the weight of each: an example's, shared."""
    extract = jnp.asarray(batch.extract)
    tokens = jnp.arange(batch.tokens.shape[-1])[None, None] <= extract[..., None]
    there = (extract > 0 if fewer else jnp.ones_like(extract, bool)).astype(jnp.float32)
    share = there / jnp.maximum(there.sum(-1, keepdims=True), 1.0)
    weights = share * jnp.asarray(batch.weights)[:, None]
    shape = (-1, batch.tokens.shape[-1])
    return tokens.reshape(shape).astype(jnp.float32), weights.reshape(-1)


def _gained(batch: Batch, everywhere: Array) -> tuple[Array, Array]:
    """The mean loss of each example over its positions by their gain, and its logits at the end.

    ``everywhere`` is float32 [B, T, C]; an example counts once, however long it is.
    """
    targets, extract = jnp.asarray(batch.targets), jnp.asarray(batch.extract)[:, 0]
    gain = linear_gain(extract, everywhere.shape[1])
    share = gain / jnp.maximum(gain.sum(-1, keepdims=True), 1.0)  # 0 of what pads the batch
    losses = -(targets[:, None] * jax.nn.log_softmax(everywhere)).sum(-1)
    logits = jnp.take_along_axis(everywhere, extract[:, None, None], axis=1)[:, 0]
    return (share * losses).sum(-1), logits


def _task_sums(
    batch: Batch,
    coefficient: float,
    fewer: bool,
    gain: bool,
    logits: Array,
    found: Array,
    table: Array,
    bias: Array | None,
) -> Sums:
    """Loss and metrics, given what `task` makes of a batch; with ``gain`` logits [B, T, C]."""
    targets, weights = jnp.asarray(batch.targets), jnp.asarray(batch.weights)
    if gain:
        losses, logits = _gained(batch, logits)
    else:
        losses = -(targets * jax.nn.log_softmax(logits)).sum(-1)
    total = task_loss = (weights * losses).sum()
    hits = (logits.argmax(-1) == targets.argmax(-1)).astype(jnp.float32)
    metrics = {"task_loss": task_loss, "accuracy": (weights * hits).sum()}
    if coefficient:
        own = jnp.asarray(batch.lm_weights)[..., 1:]
        # Each sequence's mean over its own tokens, then the mean over the K sequences.
        count: Any = own.shape[1]
        if fewer:
            there = (jnp.asarray(batch.extract) > 0).astype(jnp.float32)
            count = jnp.maximum(there.sum(-1), 1.0)[:, None, None]
        share = own / jnp.maximum(own.sum(-1, keepdims=True), 1.0) / count
        rows = found[:, :, :-1].reshape(-1, found.shape[-1])
        following = jnp.asarray(batch.tokens)[..., 1:].reshape(-1)
        share = (share * weights[:, None, None]).reshape(-1)
        metrics["lm_loss"], _ = cross_entropy(rows, table, following, share, bias)
        total = total + coefficient * metrics["lm_loss"]
    return Sums(total, weights.sum(), metrics)
