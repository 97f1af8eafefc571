"""Files to rows: JSON, CSV (quoted), TSV (not quoted) and parquet, for corpora and for tasks.

Everything that is said about a file stands in one `TableFormat`. All kinds are read row by row;
only JSON in which one value spans several lines is held whole.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gptjax.data.tables.columns import absent, listed
from gptjax.data.tables.lines import BYTE_ORDER_MARK, EncodingErrors, read_lines
from gptjax.errors import UserError
from gptjax.files import check_regular, open_file, parse_json

Kind = Literal["json", "csv", "tsv", "parquet"]
PARQUET_MAGIC = b"PAR1"
HEAD_BYTES = 1 << 16
BATCH_ROWS = 256


class Row(NamedTuple):
    """One row."""

    where: str  # file and line (or row), for messages
    cells: Mapping[str, Any]  # by column; empty if the row cannot be split into its columns
    fault: str | None = None  # why it cannot


@dataclass(frozen=True)
class TableFormat:
    """How a file is read as rows."""

    # An object a line is json. None: the content tells, and JSON may also be one list or one
    # object of rows.
    kind: Kind | None = None
    encoding_errors: EncodingErrors = "strict"
    column: str | None = None  # the only one to read, which must be there; None reads all
    header: bool | None = None  # whether the first row names the columns; None: `known` tells
    known: frozenset[str] = frozenset()  # a first row with one of them (lower case) is a header
    headerless: tuple[str, ...] = ()  # without a header, the names by column ("" is not read)
    ragged: int = 0  # by how many columns a row may differ from the header
    # Names in lower case of a column that, where it is the last one, is also the last one of rows
    # with more columns.
    last: frozenset[str] = frozenset()
    hint: str = "correct the file"  # what to do if the columns are not found


def read_table(file: Path, format: TableFormat) -> Iterator[Row]:
    """The rows of a file, as a stream.

    Raises:
        UserError: not UTF-8, broken JSON, CSV or parquet, no such column, an unknown layout, or
            (where the content tells the kind) an empty file.
    """
    kind = format.kind or _kind_of(file)
    if kind == "parquet":
        return _parquet_rows(file, format)
    if kind == "json":
        return _json_rows(file, format)
    cells = _csv_cells if kind == "csv" else _tsv_cells
    layout = _all_columns if format.column is None else _one_column
    return layout(file, cells(file, format), format)


def files_in(folder: Path) -> list[Path]:
    """The files of a folder and its folders that are not hidden, sorted by path."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]


def missing_column(where: str, format: TableFormat, columns: Sequence[str]) -> UserError:
    """The refusal of a table or row without its one column."""
    return UserError(f"{where}: {absent(str(format.column), columns)}: {format.hint}")


def name_classes(cells: dict[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The same cells, with the names of classes for their numbers (-1 is none and stays)."""
    for column, classes in names.items():
        if cells[column] is not None and cells[column] >= 0:
            cells[column] = classes[cells[column]]
    return cells


def _kind_of(file: Path) -> Kind:
    with open_file(file) as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    text = head.removeprefix(BYTE_ORDER_MARK.encode()).lstrip()
    if not text:
        raise UserError(f"{file}: is empty; give a file with rows")
    if text[:1] in b"{[":
        return "json"
    first = text.partition(b"\n")[0]
    if b"\t" in first or (b"," not in first and file.suffix.lower() != ".csv"):
        return "tsv"
    return "csv"


# JSON


def _json_rows(file: Path, format: TableFormat) -> Iterator[Row]:
    first = True
    for number, line in enumerate(read_lines(file, format.encoding_errors), start=1):
        if not line.strip():
            continue
        where, may_be_all = f"{file}: line {number}", first and format.kind is None
        first = False
        try:
            value = parse_json(line)
        except ValueError as error:
            if may_be_all:  # The first of several lines of one value.
                yield from _collection(_json_whole(file, format), str(file))
                return
            raise UserError(f"{where} is not JSON ({error}); correct or remove it") from error
        if may_be_all:
            yield from _collection(value, where)
        else:
            yield _json_row(value, where)


def _json_whole(file: Path, format: TableFormat) -> Any:
    try:
        return parse_json("".join(read_lines(file, format.encoding_errors)))
    except JSONDecodeError as error:
        raise UserError(
            f"{file}: line {error.lineno} is not JSON ({error.msg}); correct or remove it"
        ) from error
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error}); correct it") from error


def _collection(value: Any, where: str) -> Iterator[Row]:
    """The rows in one JSON value: a list of them, an object of them by name, or a single one."""
    if isinstance(value, list):
        items = dict(enumerate(value))
    elif value and isinstance(value, dict) and all(isinstance(v, dict) for v in value.values()):
        items = value
    else:
        yield _json_row(value, where)
        return
    for key, item in items.items():
        yield _json_row(item, f"{where}: row {key}")


def _json_row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not a JSON object; each row must be one")
    return Row(where, value)


# Delimited columns

Cells = Iterator[tuple[int, list[str]]]


def _tsv_cells(file: Path, format: TableFormat) -> Cells:
    # A corpus is read to the letter: a line of white space is a document without text, and a
    # carriage return inside of a line is refused. Published files of tasks have both by accident.
    to_the_letter = format.column is not None
    for number, line in enumerate(read_lines(file, format.encoding_errors), start=1):
        line = line.rstrip("\r\n")
        if to_the_letter and "\r" in line:
            raise UserError(f"{file}: line {number} has a carriage return inside; correct it")
        if line if to_the_letter else line.strip():
            yield number, line.split("\t")


def _csv_cells(file: Path, format: TableFormat) -> Cells:
    csv.field_size_limit(1 << 31)
    reader = csv.reader(read_lines(file, format.encoding_errors), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(
            f"{file}: line {reader.line_num} is not CSV ({error}); correct it"
        ) from error


def _one_column(file: Path, rows: Cells, format: TableFormat) -> Iterator[Row]:
    column = format.column
    assert column is not None
    for _, names in rows:  # The first one only: the header.
        if column not in names:
            raise missing_column(str(file), format, names)
        place = names.index(column)
        for number, cells in rows:
            where = f"{file}: line {number}"
            if place < len(cells):
                yield Row(where, {column: cells[place]})
            else:
                fault = f"{len(cells)} columns, and {column!r} is column {place + 1}"
                yield Row(where, {}, fault)


def _all_columns(file: Path, rows: Cells, format: TableFormat) -> Iterator[Row]:
    for number, first in rows:  # The first one only.
        names = tuple(name.strip() for name in first)
        fewer, last = format.ragged, names[-1] if names[-1].lower() in format.last else None
        if not format.header and not any(name.lower() in format.known for name in names):
            if (
                not format.headerless
                or not 0 <= len(first) - len(format.headerless) <= format.ragged
            ):
                raise UserError(
                    f"{file}: line {number} names none of the columns that are known "
                    f"({', '.join(sorted(format.known))}); {format.hint} (the line has "
                    f"{listed(names)})"
                )
            names, fewer, last = format.headerless, 0, None
            rows = chain([(number, first)], rows)
        if last is not None:
            fewer = 0
        for number, cells in rows:
            where, excess = f"{file}: line {number}", len(cells) - len(names)
            if not -fewer <= excess <= format.ragged:
                yield Row(where, {}, f"{len(cells)} columns instead of {len(names)}")
                continue
            named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
            if last is not None:
                named[last] = cells[-1]
            yield Row(where, named)


# Parquet


def _parquet_rows(file: Path, format: TableFormat) -> Iterator[Row]:
    from pyarrow import parquet  # Takes a moment to import, and only this format needs it.

    check_regular(file)
    number = 0
    try:
        with parquet.ParquetFile(file) as table:
            schema = table.schema_arrow
            names, wanted = {}, None
            if format.column is None:
                names = _class_names(schema.metadata or {})
            elif format.column in schema.names:
                wanted = [format.column]
            else:
                raise missing_column(str(file), format, schema.names)
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                batch.validate()  # a damaged length would be read outside of its memory
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                for place in range(batch.num_rows):
                    number += 1
                    cells = {name: values[place].as_py() for name, values in columns.items()}
                    yield Row(f"{file}: row {number}", name_classes(cells, names))
    except UserError:
        raise
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: row {number} is not UTF-8; correct it") from error
    # Whatever a damaged file makes of its reader: errors of Arrow, of the file system, of dates
    # that there are not, of names that are no text.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{file}: not a readable parquet file ({reason})") from error


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of labels that `datasets` wrote into a parquet file beside their numbers."""
    described = parse_json(metadata.get(b"huggingface", b"{}").decode())
    features = described.get("info", {}).get("features", {})
    return {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
