"""What a corpus is made of: documents, where they come from, and a hash of files."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from gptjax.data.tables.columns import with_nested
from gptjax.data.tables.files import unreadable
from gptjax.data.tables.lines import clean_text
from gptjax.data.tables.reader import Row, TableFormat, missing_column
from gptjax.errors import UserError
from gptjax.files import open_file

BLOCK_BYTES = 1 << 20
COLUMN_HINT = "set `text_column` to one of these"  # of a `TableFormat` with one column


class Document(NamedTuple):
    """One document: the file (or topic, or split) it is from, and its text in chunks.

    The chunks are read once, in order, before the next document is asked for.
    """

    origin: str
    chunks: Iterator[str]


@runtime_checkable
class Source(Protocol):
    """Some documents that can be read again and again."""

    name: str  # what the user called it
    total_bytes: int | None  # about how many bytes of text there are; None if nobody knows

    def fingerprint(self) -> str:
        """A hash (hex) of the content, or of what fixes it."""
        ...

    def documents(self) -> Iterator[Document]:
        """Every document, in a fixed order."""
        ...


def row_text(row: Row, format: TableFormat) -> str:
    """The text of a row, CRLF as LF; a missing value is the empty text."""
    if row.fault is not None:
        raise UserError(f"{row.where} has {row.fault}; correct or remove it")
    assert format.column is not None
    cells = with_nested(row.cells, [format.column])
    if format.column not in cells:
        raise missing_column(row.where, format, row.cells)
    value = cells[format.column]
    if value is not None and not isinstance(value, str):
        raise UserError(
            f"{row.where}: the text column holds a {type(value).__name__}, not text; set "
            "`text_column` to another one"
        )
    return clean_text(value or "", row.where, format.reading.errors)


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """sha256 of the relative name, size and content of files under a root (or the root itself).

    The content is read every time: sizes and dates alone would miss some changes.
    """
    digest = hashlib.sha256()
    for file in files:
        relative = file.name if file == root else file.relative_to(root).as_posix()
        try:
            with open_file(file) as stream:
                digest.update(f"\0{relative}\0{os.fstat(stream.fileno()).st_size}\0".encode())
                while block := stream.read(BLOCK_BYTES):
                    digest.update(block)
        except OSError as error:
            raise unreadable(file, error) from error
    return digest.hexdigest()
