"""predictions.tsv: what a model answers to each example of a split, in file order.

Columns: index (the row's number, from 0), gold, prediction, one for each score, and tokens.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Num

from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.files import read_text

FIRST = ("index", "gold", "prediction")
TOKENS = "tokens"
"""The last column of a run's file; files from before it was recorded do not have it."""


@dataclass(frozen=True)
class Predictions:
    """A model's answers to N examples, in file order."""

    labels: tuple[str, ...]  # the names of the classes; empty where the answer is a score
    columns: tuple[str, ...]  # the names of the S scores of an example
    index: Int[np.ndarray, " N"]  # the row of each example
    gold: Float[np.ndarray, " N"]  # the number of the class, or the score; NaN without a label
    predicted: Num[np.ndarray, " N"]  # the same of the model
    # Probabilities of the classes, the choices, or the points of the scale; of a task without
    # training on it log-probabilities of the candidates, in nats.
    scores: Float[np.ndarray, "N S"]
    tokens: Int[np.ndarray, " N"] | None = None  # in the longest sequence; None: not recorded


def class_names(task: Task) -> tuple[str, ...]:
    """The names of a task's columns of probabilities."""
    if task.scores is not None:
        return tuple(map(str, task.points))
    return task.labels


def name_of(labels: Sequence[str], value: float | int) -> str:
    """A label's name, or a score as it is written; nothing for NaN."""
    if np.isnan(value):
        return ""
    return labels[int(value)] if labels else f"{value:.4f}"


def quoted(text: str, delimiter: str) -> str:
    """A cell of a file with quotes, in these only if it needs them.

    The `csv` of Python 3.11 and 3.12 leaves a carriage return bare, which its readers take for the
    end of a line.
    """
    if any(one in text for one in (delimiter, '"', "\n", "\r")):
        return f'"{text.replace(chr(34), chr(34) * 2)}"'
    return text


def header(found: Predictions) -> list[str]:
    """The names of the columns."""
    return [*FIRST, *found.columns, *([] if found.tokens is None else [TOKENS])]


def lines_of(found: Predictions) -> Iterator[list[str]]:
    """The cells of each example."""
    tokens = [[]] * len(found.index) if found.tokens is None else found.tokens[:, None].tolist()
    answers = zip(found.gold.tolist(), found.predicted.tolist(), strict=True)
    rows = zip(found.index.tolist(), answers, found.scores, tokens, strict=True)
    for index, pair, scores, length in rows:
        names = (name_of(found.labels, value) for value in pair)
        yield [str(index), *names, *(f"{x:.6f}" for x in scores), *map(str, length)]


def write_predictions(path: Path, found: Predictions) -> None:
    """Write a TSV file; it is replaced whole."""
    lines = map("\t".join, [header(found), *lines_of(found)])
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_predictions(path: Path, task: Task, *, labelled: bool = True) -> Predictions:
    """Read the predictions of a task; where ``labelled``, every example must have its gold label.

    Of a file of `gptjax predict` the columns of the input, and rows without an answer, are passed
    over.

    Raises:
        UserError: none there, unreadable, without labels, or of another task.
    """
    text, columns = read_text(path, "predictions"), class_names(task)
    end = len(FIRST) + len(columns)
    lines = [line.split("\t") for line in text.splitlines()]
    if lines and len(lines[0]) > end + 1:
        lines = _without_input(text, end)
    head, rows = lines[0] if lines else [], lines[1:]
    recorded = head[end:] == [TOKENS]
    width = end + recorded
    if head[3:end] != list(columns) or not rows or any(len(row) != width for row in rows):
        raise UserError(f"{path}: not predictions of {task.name} (its rows have {width} columns)")
    if labelled and not all(row[1] for row in rows):
        raise UserError(f"{path}: has no gold labels, without which nothing can be said of it")
    numbers = {label: float(number) for number, label in enumerate(task.labels)}

    def value(name: str) -> float:
        return float(name or "nan") if task.scores else numbers[name] if name else np.nan

    try:
        gold, predicted = (np.array([value(row[i]) for row in rows]) for i in (1, 2))
        if np.isnan(predicted).any():
            raise ValueError("a row has no prediction")
        index = np.array([int(row[0]) for row in rows], np.int64)
        scores = np.array([row[3:end] for row in rows], np.float64)
        if any(np.isinf(found).any() for found in (gold, predicted, scores)):
            raise ValueError("a number is infinite")
        tokens = np.array([int(row[-1]) for row in rows], np.int64) if recorded else None
    except (KeyError, ValueError, OverflowError) as error:
        raise UserError(f"{path}: not predictions of {task.name} ({error})") from error
    return Predictions(task.labels, columns, index, gold, predicted, scores, tokens)


def _without_input(text: str, end: int) -> list[list[str]]:
    """The lines of a file that goes on after its own columns, without what follows these."""
    csv.field_size_limit(1 << 31)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
    except csv.Error:
        return []
    width = end + (lines[0][end : end + 1] == [TOKENS])
    answered = (line for line in lines if any(line[2:width]) or len(line) < width)
    return [line[:width] for line in answered]
