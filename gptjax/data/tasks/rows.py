"""A task's files as rows: which files a path names, and the layouts that only tasks have."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gptjax.data.tables.containers import is_there
from gptjax.data.tables.files import BROKEN, read_folder
from gptjax.data.tables.format import Row, TableFormat
from gptjax.data.tables.lines import FileReading, check_not_utf8, read_lines
from gptjax.data.tables.reader import read_table
from gptjax.data.tasks.by_label import labelled_rows, says_label
from gptjax.data.tasks.task import LABEL, Task, named_columns, names_of
from gptjax.data.tasks.telling import numbers_of, telling_of
from gptjax.errors import UserError

# Of line-aligned files, the names of all where the first is called s1.SPLIT.
ALIGNED = ("s1", "s2", "labels")


def files_of(path: Path) -> list[Path]:
    """The files of a split: the file itself, a folder's files, or line-aligned ones."""
    if not is_there(path):
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir():
        found = read_folder(path)
        if broken := found.left_out.get(BROKEN):
            raise UserError(f"{broken[0]}: a link to nowhere; mend or remove it")
        return found.files
    stem, _, rest = path.name.partition(".")
    if stem == ALIGNED[0]:
        return [path.with_name(f"{name}.{rest}") for name in ALIGNED]
    return [path]


def read_rows(
    path: Path,
    task: Task,
    reading: FileReading | None = None,
    say: Callable[[str], None] | None = None,
    *,
    labels: bool = True,
) -> Iterator[Row]:
    """The rows of a file, of a folder of files, of files by label, or of line-aligned ones.

    ``say`` gets a line for each file whose content told how it is read. Without ``labels`` the file
    may have none.
    """
    format = format_of(task, reading or task.reading, labels=labels)
    if says_label(path):
        yield from labelled_rows(path, task, format, say)
        return
    files = files_of(path)
    if len(files) > 1 and not path.is_dir():
        yield from _aligned_rows(files, task, format.reading)
        return
    if not files:
        raise UserError(f"{path}: an empty folder; put the task's files there")
    for file in files:
        check_not_utf8(file, format.reading)
        for row in read_table(file, format, say):
            if {"article", "questions"} <= row.cells.keys():
                yield from _passage_rows(row)
            else:
                yield row


def format_of(task: Task, reading: FileReading, *, labels: bool = True) -> TableFormat:
    """How a task's files are read; they have ``labels`` or may have none."""
    return TableFormat(
        reading=reading,
        known=frozenset(name for part in (*task.parts, LABEL) for name in _names(task, part)),
        header=True if task.named else None,  # columns with names have a header
        headerless=() if numbers_of(task) else task.headerless,
        ragged=task.ragged,
        last=frozenset(_names(task, LABEL)),
        exact=frozenset(named_columns(task)),
        telling=telling_of(task, labels=labels) if task.detect else None,
        hint=columns_hint(task),
    )


def columns_hint(task: Task) -> str:
    """What to do with a file in which the task's columns are not found."""
    return f"is it a file of {task.name}? Name its columns: set `columns=PART=COLUMN`"


def _names(task: Task, part: str) -> set[str]:
    columns = (part, *task.columns.get(part, ()))
    return {name.lower() for column in columns for name in names_of(column)}


def _passage_rows(row: Row) -> Iterator[Row]:
    """A passage of RACE as published: one row per question."""
    questions: Any = row.cells["questions"]
    options, answers = row.cells.get("options", []), row.cells.get("answers", [])
    if not all(isinstance(column, list) for column in (questions, options, answers)):
        raise UserError(f"{row.where}: questions, options and answers must be lists")
    if len(options) != len(questions) or (answers and len(answers) != len(questions)):
        raise UserError(
            f"{row.where}: {len(questions)} questions, {len(options)} lists of options and "
            f"{len(answers)} answers; there must be one of each for every question"
        )
    for number, question in enumerate(questions):
        cells = {"article": row.cells["article"], "question": question, "options": options[number]}
        if answers:
            cells["answer"] = answers[number]
        yield Row(f"{row.where}: question {number + 1}", cells)


def _aligned_rows(files: Sequence[Path], task: Task, reading: FileReading) -> Iterator[Row]:
    for file in files[:2]:
        if not file.exists():
            raise UserError(f"{file}: missing beside {files[0]}")
    present = [file for file in files if file.exists()]
    columns = [[line.strip() for line in read_lines(file, reading)] for file in present]
    lengths = {file.name: len(lines) for file, lines in zip(present, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count:,}" for name, count in lengths.items())
        raise UserError(f"{files[0].parent}: aligned files of different lengths: {counts} lines")
    parts = (*task.parts[:2], LABEL)
    for number, cells in enumerate(zip(*columns, strict=True), start=1):
        yield Row(f"{files[0]}: line {number}", dict(zip(parts, cells, strict=False)))
