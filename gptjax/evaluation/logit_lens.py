"""The logit lens: what each layer would say comes next, if it were the last one."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gptjax.batch import Batch
from gptjax.evaluation.next_token import Guess, text_after
from gptjax.evaluation.text_rows import Predict, read, rows_of
from gptjax.evaluation.unit_values import pieces_of
from gptjax.models.config import ModelConfig
from gptjax.models.inside import lens_logits
from gptjax.runs.open import Run


class Lens(NamedTuple):
    """What the output makes of the states after each depth.

    Attributes:
        pieces: the text of each of the n + 1 positions; the first is the separator's, which is
            nothing.
        guesses: by the number of the depth, for each position the likeliest next tokens. A depth
            whose states the output cannot read is absent.
        cut: whether the text is longer than the context, and lost its end.
    """

    pieces: list[str]
    guesses: dict[int, list[tuple[Guess, ...]]]
    cut: bool


def logit_lens(run: Run, text: str, likeliest: int = 5) -> Lens:
    """The likeliest next tokens by depth and position (`gptjax.models.inside.lens_logits`).

    Raises:
        UserError: the model is bidirectional.
    """
    run.model.check_causal("tell of the next token")
    (ids,) = read(run, [text], truncate=True, whole=True)
    own = ids[: run.model.context_length]
    count = min(likeliest, run.tokenizer.size)
    (rows,) = rows_of(run, [own], _lens(run.model, count), 1)
    depths = [n for n, width in enumerate(run.model.depth_widths) if width == run.model.width]
    guesses = {
        depth: [
            _guesses(run, own[: place + 1], found) for place, found in enumerate(layer[: len(own)])
        ]
        for depth, layer in zip(depths, rows, strict=True)
    }
    return Lens(["", *pieces_of(run.tokenizer, own[1:].tolist())], guesses, len(own) < len(ids))


def _guesses(run: Run, before: np.ndarray, found: np.ndarray) -> tuple[Guess, ...]:
    ids, shares = found.reshape(2, -1)
    pairs = zip(ids.astype(int).tolist(), shares.tolist(), strict=True)
    known = before[-1:].tolist()
    return tuple(Guess(one, text_after(run, known, one), share, share) for one, share in pairs)


@functools.lru_cache(maxsize=16)
def _lens(config: ModelConfig, count: int) -> Predict:
    """(params, batch) -> ids of the likeliest tokens by depth, then their probabilities,
    [B, depths, T, 2 count]; the same function for the same model."""

    def predict(params: Any, batch: Batch) -> Array:
        found = []
        for logits in lens_logits(config, params, jnp.asarray(batch.tokens)[:, 0]).values():
            best, ids = jax.lax.top_k(jax.nn.softmax(logits, axis=-1), count)
            found.append(jnp.concatenate([ids.astype(jnp.float32), best], axis=-1))
        return jnp.stack(found, axis=1)

    return predict
