"""Work that is done in one pass: a task's answers, and the log-probabilities of texts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gptjax.batch import Batch
from gptjax.data.tasks.buckets import padded, width_of
from gptjax.data.tasks.formats import Sequences
from gptjax.data.tasks.related import spread_knowledge, spread_words
from gptjax.models import backbone, objective
from gptjax.models.config import ModelConfig
from gptjax.models.pool import ALTERNATIVES
from gptjax.runs.head import head_config
from gptjax.runs.open import Run
from gptjax.serving.engine import deliver
from gptjax.serving.limits import Limits, size_for
from gptjax.serving.line import Row
from gptjax.training import parallel

Predict = Callable[[Any, Batch], Array]
# Of some items, how many rows and how many tokens: a batch.
Fill = Callable[[Sequence[Any], int, int], Batch]


class Told(NamedTuple):
    """What a model says of the token after each of L tokens."""

    log_probability: np.ndarray  # float32 [L], of the one that follows, in nats
    best: np.ndarray  # int32 [L, K], the likeliest ones, the first of them first
    best_log_probability: np.ndarray  # float32 [L, K]


class Reader:
    """Rows of one length, as batches of a few sizes; see `gptjax.serving.engine.Worker`.

    Args:
        predict: what is computed of a batch, a row for each of its rows.
        params: its parameters, on the devices.
        fill: makes a batch of items.
        answer: what of a row of the result is an item's.
        length: tokens of a row.
        sizes: the numbers of rows that are compiled.
    """

    busy = False

    def __init__(
        self,
        predict: Predict,
        params: Any,
        fill: Fill,
        answer: Callable[[Any, np.ndarray], Any],
        length: int,
        sizes: Sequence[int],
    ) -> None:
        self._step = parallel.prediction_step(predict)
        self._params, self._fill, self._answer = params, fill, answer
        self._length, self._sizes = length, sizes

    def wanted(self, waiting: int) -> int:
        """As many as the next batch holds."""
        return size_for(waiting, self._sizes)

    def turn(self, rows: Sequence[Row]) -> list[Row]:
        """Compute one batch."""
        own = [row for row in rows if not row.request.gone]
        if own:
            size = next(size for size in self._sizes if size >= len(own))
            found = self._read([row.item for row in own], size)
            for row, answer in zip(own, found, strict=False):
                deliver(row, self._answer(row.item, answer), last=True)
        return list(rows)

    def failed(self) -> list[Row]:
        """Nothing is ever under way between two turns."""
        return []

    def warm_up(self) -> int:
        """Compile each size."""
        for size in self._sizes:
            self._read([], size)
        return len(self._sizes)

    def _read(self, items: Sequence[Any], size: int) -> np.ndarray:
        batch = parallel.shard(self._fill(items, size, self._length))
        return np.asarray(jax.device_get(self._step(self._params, batch)))


def task_readers(run: Run, limits: Limits) -> dict[str, Reader]:
    """Of a fine-tuned run: the log-probability of each class of a `Sequences`, float32 [C]."""
    assert run.task is not None
    task, width = run.task, width_of(run.task, run.head.separate)
    # An option may be missing in any row that comes.
    head = head_config(task, fewer=task.format == "choice", shape=run.head)
    predict = _task(run.model, head)

    def fill(items: Sequence[Sequences], size: int, length: int) -> Batch:
        tokens, weights, extract = padded([*items, *[None] * (size - len(items))], width, length)
        none = np.zeros((size, task.num_classes), np.float32)
        batch = Batch(tokens, weights, extract, none, np.ones(size, np.float32))
        if not run.head.knowledge:
            return batch
        related = [(row, one.related) for row, one in enumerate(items) if one.related is not None]
        knowledge = spread_knowledge(related, tokens.shape)
        return batch._replace(knowledge=knowledge, words=spread_words(related, tokens.shape))

    return _of_lengths(predict, run.params, fill, lambda item, found: found, limits)


def text_readers(run: Run, limits: Limits) -> dict[str, Reader]:
    """What a model says of a text: of an array of L + 1 tokens, `Told` of the last L.

    Of a fine-tuned run the backbone is asked.
    """

    def fill(items: Sequence[np.ndarray], size: int, length: int) -> Batch:
        tokens = np.zeros((size, 1, length + 1), np.int32)
        for row, ids in zip(tokens, items, strict=False):
            row[0, : len(ids)] = ids
        nothing = np.zeros((size, 1), np.float32)
        return Batch(tokens, nothing[:, :, None], nothing, nothing, nothing[:, 0])

    def answer(item: np.ndarray, found: np.ndarray) -> Told:
        own = found[: len(item) - 1]
        best = own[:, 1 : 1 + ALTERNATIVES].astype(np.int32)
        return Told(own[:, 0], best, own[:, 1 + ALTERNATIVES :])

    return _of_lengths(_text(run.model), run.backbone, fill, answer, limits)


def _of_lengths(
    predict: Predict,
    params: Any,
    fill: Fill,
    answer: Callable[[Any, np.ndarray], Any],
    limits: Limits,
) -> dict[str, Reader]:
    """A reader for each length, by the length's name."""
    placed, sizes = parallel.place(params), limits.row_sizes(parallel.device_count())
    return {
        str(length): Reader(predict, placed, fill, answer, length, sizes)
        for length in limits.lengths()
    }


@functools.lru_cache(maxsize=16)
def _task(model: ModelConfig, head: Any) -> Predict:
    """The same function for the same model, so that it is compiled once. So is that below."""
    return objective.task(model, head).log_probabilities


@functools.lru_cache(maxsize=16)
def _text(config: ModelConfig) -> Predict:
    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        states = backbone.states(config, params, tokens[:, :-1])
        logits = backbone.logits(config, params, states)
        chosen = jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1)
        values, best = jax.lax.top_k(logits, min(ALTERNATIVES, logits.shape[-1]))
        missing = ((0, 0), (0, 0), (0, ALTERNATIVES - best.shape[-1]))
        best = jnp.pad(best, missing, constant_values=-1)
        values = jnp.pad(values, missing, constant_values=-jnp.inf)
        total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
        # As one array: ids are exact in float32 below 2^24.
        return jnp.concatenate([chosen - total, best.astype(jnp.float32), values - total], axis=-1)

    return predict
