"""Texts as rows of batches, for what a model makes of each of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.runs.memory import rows_at_once
from gptjax.runs.open import Run
from gptjax.training.evaluation import Predictor

Ids = Int[np.ndarray, " _"]
Predict = Callable[[Any, Batch], Array]
SHORTEST = 16  # tokens of a row; each shape of a batch is a program to compile


def one_or_several(texts: str | Iterable[str], ask: Callable[[Sequence[str]], Any]) -> Any:
    """What ``ask`` says of a list of texts; of one text that is no list, its answer alone."""
    if isinstance(texts, str):
        return ask([texts])[0]
    several = list(texts)
    if not all(isinstance(text, str) for text in several):
        raise UserError("`texts`: give a text or a list of them")
    return ask(several)


def read(run: Run, texts: Sequence[str], *, truncate: bool, whole: bool = False) -> list[Ids]:
    """The tokens of each text, the separator first.

    Args:
        run: the model.
        texts: any; an empty one is the separator alone.
        truncate: whether a text that is longer than the context loses its end.
        whole: whether the model reads texts of any length.

    Raises:
        UserError: a text is longer than the context.
    """
    start, most = run.tokenizer.separator, run.model.context_length
    ids = [np.concatenate([[start], own]).astype(np.int32) for own in run.tokenizer.encode(texts)]
    if whole:
        return ids
    for number, own in enumerate(ids):
        if len(own) > most and not truncate:
            raise UserError(
                f"`texts[{number}]`: has {len(own) - 1:,} tokens, and the model reads {most - 1:,} "
                "after the separator; cut it, or set `truncate=True`"
            )
    return [own[:most] for own in ids]


def rows_of(run: Run, ids: Sequence[Ids], predict: Predict, batch_size: int) -> list[np.ndarray]:
    """The rows of each text, in the order of the texts, padding included."""
    if not ids:
        return []
    rows = _Rows(ids, rows_at_once(run.model, batch_size, len(ids)), run.model.context_length)
    found: list[Any] = [None] * len(ids)
    for index, answers in enumerate(Predictor(predict, rows).each(run.backbone)):
        for member, answer in zip(rows.members[index], answers, strict=False):
            found[member] = np.asarray(answer, np.float32)
    return found


def there(batch: Batch) -> Bool[Array, "B T"]:
    """Where the rows of a batch have tokens, the separator included, and no padding."""
    own: Bool[Array, "B T"] = jnp.asarray(batch.lm_weights)[:, 0] > 0
    return own.at[:, 0].set(True)


def width_for(length: int, context: int) -> int:
    """The tokens of a row for so many: the next power of two, or the context where that is longer.

    So texts of nearly all lengths have a shape that is compiled already.
    """
    width = SHORTEST
    while width < length:
        width *= 2
    return max(length, min(width, context))


class _Rows:
    """Texts as batches: those of like length together, in few shapes.

    Attributes:
        batch_size: rows of a batch.
        members: which texts are in each batch.
    """

    def __init__(self, ids: Sequence[Ids], batch_size: int, context: int) -> None:
        self._ids, self._context, self.batch_size = ids, context, batch_size
        by_width: dict[int, list[int]] = {}
        for number in sorted(range(len(ids)), key=lambda n: len(ids[n])):
            by_width.setdefault(width_for(len(ids[number]), context), []).append(number)
        self.members = [
            group[begin : begin + batch_size]
            for group in by_width.values()
            for begin in range(0, len(group), batch_size)
        ]

    def __len__(self) -> int:
        return len(self.members)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """The batch of a number; rows that fill it up are of the separator alone."""
        own = [self._ids[number] for number in self.members[index]]
        width = width_for(max(map(len, own)), self._context)
        tokens = np.zeros((self.batch_size, 1, width), np.int32)
        there = np.zeros((self.batch_size, 1, width), np.float32)
        last = np.zeros((self.batch_size, 1), np.int32)
        for row, ids in enumerate(own):
            tokens[row, 0, : len(ids)], there[row, 0, 1 : len(ids)] = ids, 1
            last[row] = len(ids) - 1
        none = np.zeros((self.batch_size, 1), np.float32)
        return Batch(tokens[rows], there[rows], last[rows], none[rows], none[rows, 0])

    def describe(self, epoch: int, index: int) -> str:
        """Which texts these are."""
        return f"texts {', '.join(map(str, self.members[index]))}"
