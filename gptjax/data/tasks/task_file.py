"""A task of one's own, from a TOML file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptjax.config import from_table
from gptjax.data.tables.lines import FileReading
from gptjax.data.tasks.task import (
    CATEGORY,
    LABEL,
    PARTS,
    ClassWeights,
    Format,
    Holdout,
    Metric,
    Number,
    Task,
    Wanted,
    usual_files,
)
from gptjax.data.tasks.weights import check_class_weights
from gptjax.errors import UserError
from gptjax.files import parse_toml, read_text


@dataclass(frozen=True)
class _Columns:
    """Section `columns` of a task file: the column of each part, by name or number, or several."""

    text: Wanted | None = None
    premise: Wanted | None = None
    hypothesis: Wanted | None = None
    first: Wanted | None = None
    second: Wanted | None = None
    context: Wanted | None = None
    question: Wanted | None = None
    options: Wanted | None = None
    label: str | int | None = None
    category: str | int | None = None


@dataclass(frozen=True)
class _Files:
    """Section `files` of a task file: the file of each split, relative to the task file."""

    train: str | None = None
    valid: str | None = None
    test: str | None = None


@dataclass(frozen=True)
class _TaskFile:
    """A task of one's own, as TOML."""

    format: Format
    metrics: tuple[Metric, ...] = ("accuracy",)
    labels: tuple[str | int | float | bool, ...] = ()
    unlabelled: tuple[str | int | float | bool, ...] = ()
    scores: tuple[int | float, ...] = ()
    class_weights: ClassWeights | None = None
    holdout: float = Holdout.fraction
    sheet: str | None = None
    encoding: str = FileReading.encoding
    delimiter: str | tuple[str, ...] = ()
    header: bool | None = None
    quoting: bool | None = None
    columns: _Columns = field(default_factory=_Columns)
    files: _Files = field(default_factory=_Files)


def read_task_file(path: Path) -> Task:
    """A task from a TOML file."""
    return parse_task(read_text(path), path.stem, str(path))


def parse_task(text: str, name: str, where: str) -> Task:
    """A task from the text of a TOML file; errors name ``where``.

    Raises:
        UserError: not TOML, an unknown key, or a task that contradicts itself.
    """
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise UserError(f"{where}: cannot be read as TOML: {error}") from None
    if "format" not in table:
        raise UserError(f"{where}: says no format; one of {', '.join(PARTS)}")
    section = table.get("columns")
    if isinstance(section, dict) and isinstance(section.get(LABEL), list):
        raise UserError(
            f"{where}: columns.label is a list of columns; one label a row is supported: name one "
            "column"
        )
    names = table.pop("label_names", {})
    given = from_table(_TaskFile, table, where=where)
    columns = {
        part: (column,) for part, column in vars(given.columns).items() if column is not None
    }
    raw, scores = tuple(map(_written, given.labels)), _scale(given.scores, where)
    labels = _named(raw, names, where)
    task = Task(
        name,
        given.format,
        given.metrics,
        labels=labels,
        scores=scores,
        aliases={value: label for value, label in zip(raw, labels, strict=True) if value != label},
        unusable=(*_hidden(scores), *map(_written, given.unlabelled)),
        columns=columns,
        named=frozenset(columns),
        files={
            split: (file, *usual) if (file := getattr(given.files, split)) is not None else usual
            for split, usual in usual_files().items()
        },
        class_weights=given.class_weights,
        holdout=Holdout(fraction=given.holdout),
        fewer_options=given.format == "choice",
        own_files=frozenset(split for split, file in vars(given.files).items() if file),
        reading=_reading(given, where),
        detect=True,
        file_text=text,
    )
    _check(task, where)
    return task


def _written(value: str | int | float | bool) -> str:
    """A label as files write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _named(labels: tuple[str, ...], names: Any, where: str) -> tuple[str, ...]:
    """The names of the labels, where section `label_names` has some."""
    if not isinstance(names, Mapping):
        raise UserError(f"{where}: 'label_names' is a section; write [label_names]")
    for label, name in names.items():
        if label not in labels:
            raise UserError(
                f"{where}: label_names has {label!r}, which is none of the labels: "
                f"{', '.join(map(repr, labels))}"
            )
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where}: label_names.{label} = {name!r} is no name")
        if name in labels and name != label:
            raise UserError(f"{where}: label_names.{label}: {name!r} is another label already")
    return tuple(names.get(label, label) for label in labels)


def _scale(scores: tuple[int | float, ...], where: str) -> tuple[Number, Number] | None:
    if not scores:
        return None
    if len(scores) != 2 or scores[0] >= scores[1]:
        raise UserError(f"{where}: scores are [lowest, highest]; they are {list(scores)}")
    low, high = (int(end) if float(end).is_integer() else end for end in scores)
    return low, high


def _hidden(scores: tuple[Number, Number] | None) -> tuple[str, ...]:
    """The usual values that stand for no label; -1 may be a score."""
    is_score = scores is not None and scores[0] <= -1 <= scores[1]
    return tuple(value for value in Task.unusable if not (is_score and value == "-1"))


def _reading(given: _TaskFile, where: str) -> FileReading:
    delimiter = (given.delimiter,) if isinstance(given.delimiter, str) else given.delimiter
    try:
        return FileReading(
            encoding=given.encoding,
            sheet=given.sheet,
            delimiter=delimiter,
            header=given.header,
            quoting=given.quoting,
        )
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _check(task: Task, where: str) -> None:
    if (task.scores is None) == (not task.labels):
        raise UserError(f"{where}: give either labels (names of classes) or scores = [low, high]")
    if task.scores is None and (len(task.labels) < 2 or len(set(task.labels)) < len(task.labels)):
        twice = next((label for label in task.labels if task.labels.count(label) > 1), None)
        what = f"have {twice!r} twice" if twice is not None else f"are {list(task.labels)}"
        raise UserError(f"{where}: labels {what}; there must be two or more, all different")
    if not task.metrics:
        raise UserError(f"{where}: metrics is empty; give one or more, the deciding one first")
    if not 0 < task.holdout.fraction < 1:
        raise UserError(f"{where}: holdout is {task.holdout.fraction}; it must be between 0 and 1")
    kind = "labels" if task.scores is None else "scores"
    for metric in task.metrics:
        if (metric in ("pearson", "spearman")) != (kind == "scores"):
            raise UserError(f"{where}: the metric {metric} does not fit a task with {kind}")
    if "f1" in task.metrics and len(task.labels) != 2:
        raise UserError(f"{where}: f1 is of two classes (the second one's); take macro_f1")
    if task.class_weights is not None:
        check_class_weights(task.class_weights, task, f"{where}: class_weights")
    if task.scores is not None and task.format == "choice":
        raise UserError(f"{where}: a choice has labels (the names of its options), not scores")
    for part in task.columns:
        if part not in (LABEL, CATEGORY, *task.parts):
            raise UserError(
                f"{where}: columns.{part} is no part of the format {task.format}, which has "
                f"{', '.join(task.parts)}, label and category"
            )
