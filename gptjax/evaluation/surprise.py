"""How surprised a model is by each token of a text, and what it had expected in its place."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gptjax.batch import Batch
from gptjax.evaluation.next_token import Guess, text_after
from gptjax.evaluation.text_scores import Span, read_spans
from gptjax.evaluation.unit_values import pieces_of
from gptjax.models import backbone
from gptjax.models.config import ModelConfig
from gptjax.runs.open import Run


class Surprise(NamedTuple):
    """A token of a text, and what the model had expected there.

    Attributes:
        token: its id.
        text: what it completes; nothing of a token that ends inside of a character.
        log_probability: given the tokens before it, nats.
        rank: how many tokens are at least as likely, itself included; 1 is the likeliest.
        likeliest: the likeliest tokens there, the first is the likeliest.
    """

    token: int
    text: str
    log_probability: float
    rank: int
    likeliest: tuple[Guess, ...]

    @property
    def bits(self) -> float:
        """The surprise: -log2 of the probability."""
        return -self.log_probability / math.log(2)


def surprises(run: Run, text: str, likeliest: int = 5) -> list[Surprise]:
    """What a model says to each token of a text, read as the beginning of a document.

    The log-probabilities add up to `Inspection.log_probability`: a text longer than the context is
    read in windows that do not overlap. Of a fine-tuned run the backbone is asked.

    Raises:
        UserError: the model is bidirectional.
    """
    ids = run.tokenizer.encode([text])[0]
    start, count = np.array([run.tokenizer.separator], np.int32), min(likeliest, run.tokenizer.size)
    (rows,) = read_spans(run, [Span(start, ids)], _expected(run.model, count), 1)
    found, before = [], start.tolist()
    tokens = ids.tolist()
    for token, piece, row in zip(tokens, pieces_of(run.tokenizer, tokens), rows, strict=True):
        score, rank, others = float(row[0]), int(row[1]), row[2:].reshape(2, -1)
        guesses = tuple(
            Guess(one, text_after(run, before, one), p, p)
            for one, p in zip(
                others[0].astype(int).tolist(), np.exp(others[1]).tolist(), strict=True
            )
        )
        found.append(Surprise(token, piece, score, rank, guesses))
        before = [token]
    return found


@functools.lru_cache(maxsize=16)
def _expected(config: ModelConfig, count: int) -> Callable[[Any, Batch], Array]:
    """(params, batch) -> of each token but the first its log-probability and rank, then the ids of
    the likeliest ones and their log-probabilities, [B, T, 2 + 2 count]."""

    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        states = backbone.states(config, params, tokens[:, :-1])
        scores = jax.nn.log_softmax(backbone.logits(config, params, states), axis=-1)
        chosen = jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1)
        rank = (scores >= chosen).sum(-1, keepdims=True)
        best, ids = jax.lax.top_k(scores, count)
        # float32 has every id: a vocabulary is far below 2^24.
        parts = (chosen, rank.astype(jnp.float32), ids.astype(jnp.float32), best)
        return jnp.concatenate(parts, axis=-1)

    return predict
