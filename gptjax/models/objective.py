"""Training problems over the models: what is minimised, as pairs of pure functions."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Key

from gptjax.batch import Batch, Objective, Sums
from gptjax.models.cross_entropy import cross_entropy
from gptjax.models.transformer import ModelConfig, Transformer


def lm(config: ModelConfig) -> Objective:
    """Language modelling: predict each token from those before it (paper, equation 1).

    A batch has T + 1 tokens per sequence: the model sees all but the last and predicts all but
    the first. The loss sums weight × negative log-likelihood in nats, where a token's weight is
    its ``lm_weights`` times its row's ``weights``; the metric ``accuracy`` sums the weights of
    tokens whose logit is the highest.
    """
    model = Transformer(config)

    def init(key: Key[Array, ""]) -> Any:
        return model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]

    def loss(params: Any, batch: Batch, key: Key[Array, ""] | None) -> Sums:
        length = batch.tokens.shape[-1]
        tokens = jnp.asarray(batch.tokens).reshape(-1, length)
        weights = jnp.asarray(batch.lm_weights * batch.weights[:, None, None]).reshape(-1, length)[
            :, 1:
        ]
        states: Any = model.apply({"params": params}, tokens[:, :-1], key)
        total, correct = cross_entropy(
            states.reshape(-1, config.width),
            params["token_embedding"],
            tokens[:, 1:].reshape(-1),
            weights.reshape(-1),
        )
        return Sums(total, weights.sum(), {"accuracy": correct})

    return Objective(init, loss)
