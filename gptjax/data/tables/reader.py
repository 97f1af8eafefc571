"""Files to rows: JSON, CSV (quoted), TSV (not quoted), spreadsheets and parquet.

Everything that is said about a file stands in one `TableFormat`. All kinds are read row by row,
but for JSON in which one value spans several lines, and for spreadsheets.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from json import JSONDecodeError, JSONDecoder
from pathlib import Path
from typing import Any

from gptjax.data.tables.columns import outermost
from gptjax.data.tables.containers import ZIP_MAGIC, name_inside
from gptjax.data.tables.delimited import CSV, TSV, delimited_rows, numbered_rows
from gptjax.data.tables.detect import settle, settle_header
from gptjax.data.tables.files import open_bytes, suffix_of, unpacked, unreadable
from gptjax.data.tables.format import Kind, Row, TableFormat, missing_column
from gptjax.data.tables.lines import BYTE_ORDER_MARK, FileReading, evident_encoding, read_lines
from gptjax.data.tables.sheets import OLD_MAGIC, sheet_rows
from gptjax.errors import UserError
from gptjax.files import parse_json

PARQUET_MAGIC = b"PAR1"
HEAD_BYTES = 1 << 16
BATCH_ROWS = 256
DECODER = JSONDecoder()
NOT_SPACE = re.compile(r"\S")


def read_table(
    file: Path, format: TableFormat, say: Callable[[str], None] | None = None
) -> Iterator[Row]:
    """The rows of a file, as a stream; ``say`` gets a line where its content told how to read it.

    Raises:
        UserError: not UTF-8, broken JSON, CSV or parquet, no such column, an unknown layout, or
            (where the content tells the kind) an empty file.
    """
    kind = format.kind or _kind_of(file, format.reading)
    if kind == "parquet":
        return _parquet_rows(file, format)
    if kind == "json":
        return _json_rows(file, format)
    if kind == "sheet":
        return _sheet_rows(file, format, say)
    layout = settle(file, CSV if kind == "csv" else TSV, format)
    if layout.note and say:
        say(layout.note)
    return delimited_rows(file, layout, format)


def name_classes(cells: dict[str, Any], names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The same cells, with the names of classes for their numbers (-1 is none and stays)."""
    for column, classes in names.items():
        if cells[column] is not None and cells[column] >= 0:
            cells[column] = classes[cells[column]]
    return cells


def _kind_of(file: Path, reading: FileReading) -> Kind:
    with open_bytes(file) as stream:
        head = stream.read(HEAD_BYTES)
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    if head.startswith((*ZIP_MAGIC, OLD_MAGIC)):
        return "sheet"
    # Letters of other encodings may be cut in two here; what decides is in ASCII.
    encoding = evident_encoding(head) or reading.encoding
    text = head.decode(encoding, "replace").removeprefix(BYTE_ORDER_MARK).lstrip()
    if not text:
        raise UserError(f"{file}: is empty; give a file with rows")
    first = text.partition("\n" if "\n" in text else "\r")[0]
    if text[0] in "{[" and not (reading.delimiter and _no_json(first)):
        return "json"
    if "\t" in first or ("," not in first and suffix_of(name_inside(file)) != ".csv"):
        return "tsv"
    return "csv"


def _no_json(line: str) -> bool:
    """Whether a line that begins like JSON is none, nor the beginning of a longer value."""
    try:
        parse_json(line)
    except ValueError as error:
        return not _goes_on(line, error)
    return False


# JSON


def _json_rows(file: Path, format: TableFormat) -> Iterator[Row]:
    every = enumerate(read_lines(file, format.reading), start=1)
    lines = ((number, line) for number, line in every if line.strip())
    for number, line in lines:  # The first one only: it may begin a value of several lines.
        where = f"{file}: line {number}"
        try:
            value = parse_json(line)
        except ValueError as error:
            if not _goes_on(line, error):
                raise _not_json(where, error) from error
            yield from _whole_json(file, format)
            return
        second = next(lines, None)
        if second is None:
            yield from _collection(value, where, format)
            return
        yield _json_row(value, where)
        for number, line in chain([second], lines):
            where = f"{file}: line {number}"
            try:
                value = parse_json(line)
            except ValueError as error:
                raise _not_json(where, error) from error
            yield _json_row(value, where)


def _goes_on(line: str, error: ValueError) -> bool:
    """Whether a line that is not JSON is the beginning of a value that goes on."""
    if not isinstance(error, JSONDecodeError) or error.msg.startswith("Unterminated"):
        return False
    return error.pos >= len(line.rstrip()) - 1


def _not_json(where: str, error: Exception) -> UserError:
    return UserError(f"{where} is not JSON ({error}); correct or remove it")


def _whole_json(file: Path, format: TableFormat) -> Iterator[Row]:
    """The rows of a file with values of several lines: one collection, or a row each."""
    text = "".join(read_lines(file, format.reading))
    try:
        yield from _collection(parse_json(text), str(file), format)
        return
    except JSONDecodeError as error:
        if error.msg != "Extra data":
            where = f"{file}: line {error.lineno}"
            raise UserError(f"{where} is not JSON ({error.msg}); correct or remove it") from error
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error}); correct it") from error
    place = _after_space(text, 0)
    while place < len(text):
        where = f"{file}: line {1 + text.count(chr(10), 0, place)}"
        try:
            _, end = DECODER.raw_decode(text, place)
            value = parse_json(text[place:end])
        except (ValueError, RecursionError) as error:
            raise _not_json(where, error) from error
        yield _json_row(value, where)
        place = _after_space(text, end)


def _after_space(text: str, place: int) -> int:
    found = NOT_SPACE.search(text, place)
    return len(text) if found is None else found.start()


def _collection(value: Any, where: str, format: TableFormat) -> Iterator[Row]:
    """The rows in one JSON value: a list of them, an object of them by name, or a single one."""
    if isinstance(value, list):
        items = dict(enumerate(value))
    elif _is_rows(value, format):
        items = value
    else:
        yield _json_row(value, where)
        return
    for key, item in items.items():
        yield _json_row(item, f"{where}: row {key}")


def _is_rows(value: Any, format: TableFormat) -> bool:
    """Whether an object is one of rows by name, and not a row of nested columns."""
    if (
        not value
        or not isinstance(value, dict)
        or not all(isinstance(v, dict) for v in value.values())
    ):
        return False
    wanted = {format.column} if format.column is not None else format.known
    return not any(outermost(name).lower() in {key.lower() for key in value} for name in wanted)


def _json_row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not a JSON object; each row must be one")
    return Row(where, value, ordered=False)


# Spreadsheets


def _sheet_rows(
    file: Path, format: TableFormat, say: Callable[[str], None] | None
) -> Iterator[Row]:
    rows = list(sheet_rows(file, format.reading.sheet))
    header, note = settle_header(file, rows[0][1] if rows else (), format)
    if note and say:
        say(note)
    return numbered_rows(file, rows, header, format, unit="row")


# Parquet


def _parquet_rows(file: Path, format: TableFormat) -> Iterator[Row]:
    from pyarrow import parquet  # Takes a moment to import, and only this format needs it.

    number = 0
    try:
        with unpacked(file) as path, parquet.ParquetFile(path) as table:
            schema = table.schema_arrow
            names, wanted = {}, None
            if format.column is None:
                names = _class_names(schema.metadata or {})
            elif format.column in schema.names:
                wanted = [format.column]
            elif (outer := outermost(format.column)) in schema.names:
                wanted = [outer]  # a nested column is found in it
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
    except FileNotFoundError as error:
        raise unreadable(file, error) from error
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
