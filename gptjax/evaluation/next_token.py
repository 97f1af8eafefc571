"""What may come next: the likeliest tokens after a prompt, and tokens that are drawn one by one.

A prompt is read as the beginning of a document, as `gptjax.evaluation.writing.write` reads it. Here
it is padded to one of a few lengths. So a longer prompt seldom is a program to compile, and each
answer takes a whole pass over the prompt.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.evaluation.sampling import added_text
from gptjax.evaluation.text_rows import Predict, rows_of
from gptjax.models import backbone
from gptjax.models.config import ModelConfig
from gptjax.models.draws import draw, probabilities
from gptjax.runs.open import Run


class Guess(NamedTuple):
    """A token that may come next.

    Attributes:
        token: its id.
        text: what it adds to the text before it; nothing of the token that ends a text.
        probability: that the model gives it.
        share: the probability with which it is drawn, given temperature and top-p.
    """

    token: int
    text: str
    probability: float
    share: float


def next_tokens(
    run: Run,
    prompt: Sequence[int],
    count: int = 10,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[Guess]:
    """The likeliest tokens after a prompt, the likeliest first; of a fine-tuned run the backbone's.

    Args:
        run: the model.
        prompt: its tokens, without the separator. Of one that is longer than the context the end
            is read.
        count: how many, at most the vocabulary.
        temperature: of the draws, as are the two below (`gptjax.models.decode.generate`).
        top_k: likewise.
        top_p: likewise.

    Raises:
        UserError: the model is bidirectional, or an option is out of its range.
    """
    _check(temperature, top_k, top_p)
    logits = jnp.asarray(_last_logits(run, prompt))[None]
    own = np.asarray(jax.nn.softmax(logits, axis=-1))[0]
    options = (np.float32(temperature), np.int32(top_k), np.float32(top_p))
    shares = np.asarray(_shares(logits, *options))[0]
    order = np.argsort(-own, kind="stable")[:count].tolist()
    return [
        Guess(token, text_after(run, prompt, token), float(own[token]), float(shares[token]))
        for token in order
    ]


def draw_on(
    run: Run,
    prompt: Sequence[int],
    count: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """Draw tokens one after the other; the end of a text ends them, and is not given.

    Within the context they are those of `gptjax.models.decode.generate` with the same arguments.
    """
    _check(temperature, top_k, top_p)
    key, drawn = jax.random.key(seed), list(prompt)
    options = (np.float32(temperature), np.int32(top_k), np.float32(top_p))
    for number in range(count):
        logits = jnp.asarray(_last_logits(run, drawn))[None]
        token = int(_draw(logits, jax.random.fold_in(key, number), *options)[0])
        if token == run.tokenizer.end:
            return
        drawn.append(token)
        yield token


def text_after(run: Run, before: Sequence[int], token: int) -> str:
    """What a token adds to the text of the tokens before it, of which the last one will do."""
    return added_text(run.tokenizer, list(before[-1:]), [token])


def _last_logits(run: Run, prompt: Sequence[int]) -> Float[np.ndarray, " V"]:
    """The logits after the last token of a prompt."""
    run.model.check_causal("tell of the next token")
    ids = np.array([run.tokenizer.separator, *prompt], np.int32)[-(run.model.context or 0) :]
    (found,) = rows_of(run, [ids], _after_rows(run.model), 1)
    return found


@functools.lru_cache(maxsize=16)
def _after_rows(config: ModelConfig) -> Predict:
    """(params, batch) -> logits after each row, [B, V]; the same function for the same model."""

    def predict(params: Any, batch: Batch) -> Array:
        states = backbone.states(config, params, jnp.asarray(batch.tokens)[:, 0])
        last = jnp.asarray(batch.extract)[:, :, None]
        return backbone.logits(config, params, jnp.take_along_axis(states, last, axis=1)[:, 0])

    return predict


_draw = jax.jit(draw)
_shares = jax.jit(probabilities)


def _check(temperature: float, top_k: int, top_p: float) -> None:
    if not 0 <= temperature < float("inf"):
        raise UserError(f"`temperature={temperature}`: it must be 0 (greedy) or positive")
    if top_k < 0:
        raise UserError(f"`top_k={top_k}`: it must be positive, or 0 for all tokens")
    if not 0 < top_p <= 1:
        raise UserError(f"`top_p={top_p}`: it must be above 0 and at most 1")
