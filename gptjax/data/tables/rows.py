"""Rows of a task's files, whatever published format they have; the content tells which.

A row is a mapping from column to value, with the place it came from. JSON lines, one JSON object
of rows, RACE's passages, parquet, CSV (quoted) and TSV (quoting off), with a header or with the
headerless layout that the task declares, and line-aligned text files.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gptjax.data.tables.readers import EncodingErrors, read_lines
from gptjax.data.tasks.task import LABEL, Task
from gptjax.errors import UserError

PARQUET_MAGIC = b"PAR1"
# Of line-aligned files, the names of all where the first is called s1.SPLIT.
ALIGNED = ("s1", "s2", "labels")


class Row(NamedTuple):
    """One row.

    Attributes:
        where: file and line (or row), for messages.
        cells: column -> value; empty if the row cannot be split into its columns.
        fault: why it cannot, else None.
    """

    where: str
    cells: Mapping[str, Any]
    fault: str | None = None


def files_of(path: Path) -> list[Path]:
    """The files of a split: the file itself, a folder's files, or line-aligned ones."""
    if path.is_dir():
        inside = (file for file in path.rglob("*") if file.is_file())
        return sorted(f for f in inside if not _hidden(f.relative_to(path)))
    if path.name.partition(".")[0] == ALIGNED[0]:
        rest = path.name.partition(".")[2]
        return [path.with_name(f"{name}.{rest}") for name in ALIGNED]
    return [path]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def read_rows(path: Path, task: Task, encoding_errors: EncodingErrors = "strict") -> Iterator[Row]:
    """The rows of a file, of a folder of files, or of line-aligned files.

    Args:
        path: what ``task.files`` or the user named.
        task: says which columns and which headerless layout to expect.
        encoding_errors: what to do with bytes that are not UTF-8.

    Raises:
        UserError: nothing there, not UTF-8, broken JSON or CSV, an unknown layout.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    files = files_of(path)
    if path.is_file() and len(files) > 1:
        yield from _aligned_rows(files, task, encoding_errors)
        return
    if not files:
        raise UserError(f"{path}: an empty folder; put the task's files there")
    for file in files:
        yield from _file_rows(file, task, encoding_errors)


def _file_rows(file: Path, task: Task, encoding_errors: EncodingErrors) -> Iterator[Row]:
    with file.open("rb") as stream:
        head = stream.read(1 << 16)
    if head.startswith(PARQUET_MAGIC):
        yield from _parquet_rows(file)
        return
    text = head.removeprefix("\ufeff".encode()).lstrip()
    if not text:
        raise UserError(f"{file}: is empty; give a file with rows")
    if text[:1] in b"{[":
        yield from _json_rows(file, encoding_errors)
        return
    first = text.partition(b"\n")[0]
    if b"\t" in first or (b"," not in first and file.suffix.lower() != ".csv"):
        rows = _tsv_cells(file, encoding_errors)
    else:
        rows = _csv_cells(file, encoding_errors)
    yield from _table_rows(file, rows, task)


# JSON


def _json_rows(file: Path, encoding_errors: EncodingErrors) -> Iterator[Row]:
    lines = enumerate(read_lines(file, encoding_errors), start=1)
    # A first line that is an object by itself is the first of many, or all there is.
    number, line = next((n, text) for n, text in lines if text.strip())
    if _json(line) is None:
        yield from _json_whole(file, encoding_errors)
        return
    while True:
        where = f"{file}: line {number}"
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where} is not JSON ({error}); correct or remove it") from error
        yield from _json_value(value, where, number == 1)
        number, line = next(((n, text) for n, text in lines if text.strip()), (0, ""))
        if not number:
            return


def _json_whole(file: Path, encoding_errors: EncodingErrors) -> Iterator[Row]:
    try:
        value = json.loads("".join(read_lines(file, encoding_errors)))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{file}: line {error.lineno} is not JSON ({error.msg}); correct or remove it"
        ) from error
    yield from _json_value(value, str(file), True)


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _json_value(value: Any, where: str, may_be_all: bool) -> Iterator[Row]:
    """The rows in one JSON value: a row, a passage with questions, or a collection of rows."""
    if isinstance(value, dict) and {"article", "questions"} <= value.keys():
        yield from _passage_rows(value, where)
        return
    items: list[tuple[Any, Any]] | None = None
    if may_be_all and isinstance(value, list):
        items = list(enumerate(value))
    elif may_be_all and value and isinstance(value, dict):
        rows = all(isinstance(item, dict) for item in value.values())
        items = list(value.items()) if rows else None
    named = [(where, value)] if items is None else [(f"{where}: row {k}", v) for k, v in items]
    for name, item in named:
        if not isinstance(item, dict):
            raise UserError(f"{name} is not a JSON object; each row must be one")
        yield Row(name, item)


def _passage_rows(value: Mapping[str, Any], where: str) -> Iterator[Row]:
    """A passage of RACE as published: one row per question."""
    columns = (value["questions"], value.get("options", []), value.get("answers", []))
    if not all(isinstance(column, list) for column in columns):
        raise UserError(f"{where}: questions, options and answers must be lists")
    questions, options, answers = columns
    if len(options) != len(questions) or (answers and len(answers) != len(questions)):
        raise UserError(
            f"{where}: {len(questions)} questions, {len(options)} lists of options and "
            f"{len(answers)} answers; there must be one of each for every question"
        )
    for number, question in enumerate(questions):
        cells = {"article": value["article"], "question": question, "options": options[number]}
        if answers:
            cells["answer"] = answers[number]
        yield Row(f"{where}: question {number + 1}", cells)


# Tables


def _tsv_cells(file: Path, encoding_errors: EncodingErrors) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(read_lines(file, encoding_errors), start=1):
        if line.strip():
            yield number, line.rstrip("\r\n").split("\t")


def _csv_cells(file: Path, encoding_errors: EncodingErrors) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(1 << 31)
    reader = csv.reader(read_lines(file, encoding_errors), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(
            f"{file}: line {reader.line_num} is not CSV ({error}); correct it"
        ) from error


def _table_rows(file: Path, rows: Iterator[tuple[int, list[str]]], task: Task) -> Iterator[Row]:
    number, first = next(rows)
    names = [name.strip() for name in first]
    known = known_columns(task)
    if any(name.lower() in known for name in names):
        header, slack = names, task.ragged
    elif task.headerless and 0 <= len(first) - len(task.headerless) <= task.ragged:
        header, slack = list(task.headerless), 0
        header += [""] * task.ragged
        yield _headerless(file, number, first, task)
    else:
        raise UserError(
            f"{file}: line {number} names none of the columns of {task.name} "
            f"({', '.join(sorted(known))}); name them with --columns PART=COLUMN"
        )
    if header is not names:
        for number, cells in rows:
            yield _headerless(file, number, cells, task)
        return
    label_is_last = names[-1].lower() in _names(task, LABEL)
    for number, cells in rows:
        where = f"{file}: line {number}"
        if abs(len(cells) - len(header)) > slack or (label_is_last and len(cells) < len(header)):
            yield _wrong_width(where, len(cells), len(header))
            continue
        values = dict(zip(header, cells, strict=False))
        if label_is_last:
            values[header[-1]] = cells[-1]
        yield Row(where, values)


def _headerless(file: Path, number: int, cells: Sequence[str], task: Task) -> Row:
    where, width = f"{file}: line {number}", len(task.headerless)
    if not 0 <= len(cells) - width <= task.ragged:
        return _wrong_width(where, len(cells), width)
    named = zip(task.headerless, cells, strict=False)
    return Row(where, {part: cell for part, cell in named if part})


def _wrong_width(where: str, found: int, expected: int) -> Row:
    return Row(where, {}, f"{found} columns instead of {expected}")


def known_columns(task: Task) -> set[str]:
    """Every column name, in lower case, that a part of the task may have."""
    return {name for part in (*task.parts, LABEL) for name in _names(task, part)}


def _names(task: Task, part: str) -> set[str]:
    found = {part}
    for column in task.columns.get(part, ()):
        found |= {column} if isinstance(column, str) else set(column)
    return {name.lower() for name in found}


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow  # Takes a moment to import, and only this format needs it.
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            number, names = 0, _class_names(table.schema_arrow.metadata or {})
            for batch in table.iter_batches(batch_size=1024):
                for cells in batch.to_pylist():
                    number += 1
                    for column, labels in names.items():
                        if cells[column] is not None and cells[column] >= 0:
                            cells[column] = labels[cells[column]]
                    yield Row(f"{file}: row {number}", cells)
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a readable parquet file ({reason})") from error


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of labels that `datasets` wrote into a parquet file beside their numbers."""
    described = json.loads(metadata.get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }


def _aligned_rows(files: list[Path], task: Task, encoding_errors: EncodingErrors) -> Iterator[Row]:
    for file in files[:2]:
        if not file.exists():
            raise UserError(f"{file}: missing beside {files[0]}")
    present = [file for file in files if file.exists()]
    columns = [[line.strip() for line in read_lines(file, encoding_errors)] for file in present]
    lengths = {file.name: len(lines) for file, lines in zip(present, columns, strict=True)}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} has {count:,}" for name, count in lengths.items())
        raise UserError(f"{files[0].parent}: aligned files of different lengths: {counts} lines")
    parts = (*task.parts[:2], LABEL)
    for number, cells in enumerate(zip(*columns, strict=True), start=1):
        yield Row(f"{files[0]}: line {number}", dict(zip(parts, cells, strict=False)))
