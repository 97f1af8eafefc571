"""Training problems over the models: what is minimised, as pairs of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from gptjax.batch import Batch, Objective, Sums
from gptjax.models.backbone import make_backbone
from gptjax.models.config import ModelConfig
from gptjax.models.cross_entropy import cross_entropy
from gptjax.models.task_head import (
    AdapterConfig,
    extended_config,
    extract_states,
    head_logits,
    init_adapter,
    init_backbone,
    with_special_rows,
)
from gptjax.models.transformer import tables


def lm(config: ModelConfig) -> Objective:
    """Language modelling: predict each token from those before it (paper, equation 1).

    A batch has T + 1 tokens per sequence: the model sees all but the last and predicts all but
    the first. The loss sums weight × negative log-likelihood in nats, where a token's weight is
    its ``lm_weights`` times its row's ``weights``; the metric ``accuracy`` sums the weights of
    tokens whose logit is the highest.
    """
    model = make_backbone(config)

    def init(key: Key[Array, ""]) -> Any:
        return model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]

    def loss(params: Any, batch: Batch, key: Key[Array, ""] | None) -> Sums:
        length = batch.tokens.shape[-1]
        tokens = jnp.asarray(batch.tokens).reshape(-1, length)
        weights = jnp.asarray(batch.lm_weights * batch.weights[:, None, None]).reshape(-1, length)[
            :, 1:
        ]
        drop_key = None
        if key is not None and config.fidelity == "released":
            key, drop_key = jax.random.split(key)
        params, table = tables(params, config, drop_key)
        states: Any = model.apply({"params": params}, tokens[:, :-1], key)
        total, correct = cross_entropy(
            states.reshape(-1, config.width),
            table,
            tokens[:, 1:].reshape(-1),
            weights.reshape(-1),
        )
        return Sums(total, weights.sum(), {"accuracy": correct})

    return Objective(init, loss)


class TaskFunctions(NamedTuple):
    """Fine-tuning as pure functions.

    Attributes:
        objective: what is minimised.
        log_probabilities: (params, batch) -> float32 [B, C], log-softmax over the classes or
            choices, without dropout.
    """

    objective: Objective
    log_probabilities: Callable[[Any, Batch], Array]


def task(
    config: ModelConfig,
    adapter: AdapterConfig,
    *,
    lm_coefficient: float = 0.0,
    freeze_backbone: bool = False,
    positions: int | None = None,
) -> TaskFunctions:
    """Supervised fine-tuning with an auxiliary LM loss (paper, equations 3 to 5).

    The loss of an example is the cross-entropy of its target distribution plus
    ``lm_coefficient`` times the mean, over its sequences, of each sequence's mean negative
    log-likelihood per token; the sums run over examples. Its softmax covers the vocabulary and
    the three special tokens. A batch has whole sequences: T tokens are seen, those after the first
    are predicted.

    Metrics: ``task_loss``, ``lm_loss`` (absent with coefficient 0) and ``accuracy`` (whether the
    likeliest class is the target's likeliest).

    Args:
        config: the backbone's, whose vocabulary does not hold the special tokens.
        adapter: the head.
        lm_coefficient: λ of equation 5; the paper has 0.5.
        freeze_backbone: no gradient reaches the backbone's parameters.
        positions: with ``fidelity="released"``, how many positions the softmax runs over: the
            released code keeps as many as the longest sequence has. None: all.
    """
    model = make_backbone(extended_config(config))

    def init(key: Key[Array, ""]) -> Any:
        backbone, head = jax.random.split(key)
        return {
            "backbone": init_backbone(config, backbone),
            "adapter": init_adapter(config, adapter, head),
        }

    def run(params: Any, batch: Batch, key: Key[Array, ""] | None) -> tuple[Array, Array, Array]:
        if freeze_backbone:
            params = {**params, "backbone": jax.lax.stop_gradient(params["backbone"])}
        tokens = jnp.asarray(batch.tokens)
        sequences, length = tokens.shape[:2], tokens.shape[2]
        keys = (None, None) if key is None else jax.random.split(key)
        drop_key = None if key is None else jax.random.fold_in(key, 2)
        extended, table = tables(with_special_rows(params), config, drop_key, positions)
        states: Any = model.apply({"params": extended}, tokens.reshape(-1, length), keys[0])
        states = states.reshape(*sequences, length, config.width)
        extracted = extract_states(states, jnp.asarray(batch.extract))
        logits = head_logits(params["adapter"]["head"], extracted, adapter, keys[1])
        return logits, states, table

    def loss(params: Any, batch: Batch, key: Key[Array, ""] | None) -> Sums:
        logits, states, table = run(params, batch, key)
        targets, weights = jnp.asarray(batch.targets), jnp.asarray(batch.weights)
        per_example = -(targets * jax.nn.log_softmax(logits)).sum(-1)
        task_loss = (weights * per_example).sum()
        hits = (logits.argmax(-1) == targets.argmax(-1)).astype(jnp.float32)
        metrics = {"task_loss": task_loss, "accuracy": (weights * hits).sum()}
        total = task_loss
        if lm_coefficient:
            own = jnp.asarray(batch.lm_weights)[..., 1:]
            # Each sequence's mean over its own tokens, then the mean over the K sequences.
            share = own / jnp.maximum(own.sum(-1, keepdims=True), 1.0) / own.shape[1]
            lm_loss, _ = cross_entropy(
                states[:, :, :-1].reshape(-1, config.width),
                table,
                jnp.asarray(batch.tokens)[..., 1:].reshape(-1),
                (share * weights[:, None, None]).reshape(-1),
            )
            metrics["lm_loss"] = lm_loss
            total = total + lm_coefficient * lm_loss
        return Sums(total, weights.sum(), metrics)

    def log_probabilities(params: Any, batch: Batch) -> Array:
        logits, _, _ = run(params, batch, None)
        return jax.nn.log_softmax(logits)

    return TaskFunctions(Objective(init, loss), log_probabilities)
