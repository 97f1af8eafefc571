"""What is in a file: the text of a text file, the rows of a table; every refusal says where."""

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from gptjax.errors import UserError

EncodingErrors = Literal["strict", "replace"]

BLOCK_BYTES = 1 << 20
BYTE_ORDER_MARK = "\ufeff"


def read_text(file: Path, encoding_errors: EncodingErrors) -> Iterator[str]:
    """The text of a file in chunks of about 1 MiB, byte order mark removed, CRLF as LF.

    Raises:
        UserError: the file is not UTF-8 or holds a NUL (``strict``); names the byte's position.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(encoding_errors)
    position, held, first = 0, "", True
    with file.open("rb") as stream:
        while True:
            block = stream.read(BLOCK_BYTES)
            start = position - len(decoder.getstate()[0])
            nul = block.find(b"\0")
            if nul >= 0 and encoding_errors == "strict":
                raise nul_error(f"{file}: byte {position + nul}")
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise utf8_error(str(file), start + error.start) from error
            position += len(block)
            if first and text:
                text, first = text.removeprefix(BYTE_ORDER_MARK), False
            text = held + text
            # Half of a CRLF waits for its other half.
            held = "\r" if block and text.endswith("\r") else ""
            text = text[: len(text) - len(held)].replace("\r\n", "\n").replace("\0", "\ufffd")
            if text:
                yield text
            if not block:
                return


def clean_row(value: Any, name: str, encoding_errors: EncodingErrors) -> str:
    """The text of a row, CRLF as LF; None is the empty text.

    Raises:
        UserError: not text, or (``strict``) a NUL or half of a surrogate pair in it.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(
            f"{name}: the text column holds a {type(value).__name__}, not text; name another with "
            "--text-column"
        )
    if "\0" in value and encoding_errors == "strict":
        raise nul_error(f"{name}: character {value.index(chr(0))}")
    text = value.replace("\r\n", "\n").replace("\0", "\ufffd")
    if any("\ud800" <= character <= "\udfff" for character in (text if not text.isascii() else "")):
        if encoding_errors == "strict":
            raise UserError(
                f"{name}: half of a surrogate pair, which is no text; correct it, or put U+FFFD in "
                "its place with --encoding-errors replace"
            )
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def utf8_error(file: str, position: int) -> UserError:
    """The refusal of a byte that is not UTF-8."""
    return UserError(
        f"{file}: not UTF-8 at byte {position}; convert the file, or put U+FFFD in the place of "
        "such bytes with --encoding-errors replace"
    )


def nul_error(where: str) -> UserError:
    """The refusal of a NUL character."""
    return UserError(
        f"{where} is a NUL character (a binary file?); remove it, or put U+FFFD in its place with "
        "--encoding-errors replace"
    )


def column_error(where: str, column: str, columns: list[str]) -> UserError:
    """The refusal of a table without the text column."""
    return UserError(
        f"{where}: no column {column!r}; it has {', '.join(map(repr, columns)) or 'none'}: choose "
        "one with --text-column"
    )


Row = tuple[str, Any]


def read_lines(file: Path, encoding_errors: EncodingErrors) -> Iterator[str]:
    """The lines of a file with their ends, decoded one by one so that errors have a position."""
    position = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8", encoding_errors)
            except UnicodeDecodeError as error:
                where = f"{file}: line {number}"
                raise utf8_error(where, position + error.start) from error
            yield text if position else text.removeprefix(BYTE_ORDER_MARK)
            position += len(line)


def _json_rows(file: Path, column: str, encoding_errors: EncodingErrors) -> Iterator[Row]:
    for number, line in enumerate(read_lines(file, encoding_errors), start=1):
        if not line.strip():
            continue
        name = f"{file}: line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name} is not JSON ({error}); correct or remove it") from error
        if not isinstance(row, dict):
            raise UserError(f"{name} is not a JSON object; each line must be one")
        if column not in row:
            raise column_error(name, column, list(row))
        yield name, row[column]


def _csv_rows(file: Path, column: str, encoding_errors: EncodingErrors) -> Iterator[Row]:
    csv.field_size_limit(1 << 31)
    lines = read_lines(file, encoding_errors)
    if file.suffix.lower() == ".tsv":  # Published TSV files do not quote.
        reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, strict=True)
    place: int | None = None
    try:
        for row in reader:
            name = f"{file}: line {reader.line_num}"
            if place is None:
                if column not in row:
                    raise column_error(str(file), column, row)
                place = row.index(column)
            elif place < len(row):
                yield name, row[place]
            elif row:
                raise UserError(
                    f"{name} has {len(row)} columns, and the text is column {place + 1}; correct "
                    "or remove it"
                )
    except csv.Error as error:
        raise UserError(
            f"{file}: line {reader.line_num} is not {file.suffix[1:].upper()} ({error}); correct it"
        ) from error


def _parquet_rows(file: Path, column: str, encoding_errors: EncodingErrors) -> Iterator[Row]:
    import pyarrow  # Takes a moment to import, and only this format needs it.
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            if column not in table.schema_arrow.names:
                raise column_error(str(file), column, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=[column]):
                for value in batch.column(0):
                    number += 1
                    yield f"{file}: row {number}", value.as_py()
    except pyarrow.ArrowException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a readable parquet file ({reason})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: row {number} is not UTF-8; correct it") from error


# How to get (name for messages, value of the text column) pairs from each kind of table.
ROWS = {"json": _json_rows, "csv": _csv_rows, "tsv": _csv_rows, "parquet": _parquet_rows}
