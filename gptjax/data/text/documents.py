"""What a corpus is made of: documents, where they come from, and a hash of files."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

from gptjax.data.tables.columns import with_nested
from gptjax.data.tables.containers import split_archive
from gptjax.data.tables.files import unreadable
from gptjax.data.tables.format import Row, TableFormat, missing_column
from gptjax.data.tables.lines import clean_text
from gptjax.errors import UserError
from gptjax.files import open_file

BLOCK_BYTES = 1 << 20
MOST_LISTED = 1000  # files that a run lists
COLUMN_HINT = "set `text_column` to one of these"  # of a `TableFormat` with one column


class Document(NamedTuple):
    """One document: the file (or topic, or split) it is from, and its text in chunks.

    The chunks are read once, in order, before the next document is asked for.
    """

    origin: str
    chunks: Iterator[str]


@dataclass(frozen=True)
class Digest:
    """Hashes (hex) of some data."""

    content: str  # of what is read, in its order, whatever the files are called
    named: str  # of the files' names too, which is what runs recorded at first
    # Name of each file -> its size and hash, in order; none where there are too many.
    files: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """Some documents that can be read again and again."""

    name: str  # what the user called it
    total_bytes: int | None  # about how many bytes of text there are; None if nobody knows
    left_out: Mapping[str, int]  # reason -> how many of what is there are no documents

    def fingerprint(self) -> str:
        """A hash (hex) of the content, or of what fixes it."""
        ...

    def digest(self) -> "Digest":
        """Hashes of the content, with and without names."""
        ...

    def documents(self) -> Iterator[Document]:
        """Every document, in a fixed order."""
        ...


class Sources(NamedTuple):
    """What a language model is trained on and validated on."""

    train: Source
    validation: Source | None  # None: some of the training documents are held back


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


def digest_files(root: Path, files: Iterable[Path], kind: str = "") -> Digest:
    """Hashes of files under a root (or the root itself), which are read in the way of a ``kind``.

    The content is read every time: sizes and dates alone would miss some changes.
    """
    named, content = hashlib.sha256(), hashlib.sha256(f"{kind}\0".encode())
    found: dict[str, str] = {}
    for file in files:
        relative = file.name if file == root else file.relative_to(root).as_posix()
        one, (archive, member) = hashlib.sha256(), split_archive(file)
        try:
            with open_file(archive) as stream:
                size = os.fstat(stream.fileno()).st_size
                named.update(f"\0{relative}\0{size}\0".encode())
                while block := stream.read(BLOCK_BYTES):
                    named.update(block)
                    one.update(block)
        except OSError as error:
            raise unreadable(file, error) from error
        inside = "" if member is None else f" {member}"  # the archive may have other files, too
        content.update(f"{size} {one.hexdigest()}{inside}\0".encode())
        found[relative] = f"{size:,} bytes, {one.hexdigest()[:16]}"
    few = found if len(found) <= MOST_LISTED else {}
    return Digest(content.hexdigest(), named.hexdigest(), few)


def hash_files(root: Path, files: Iterable[Path]) -> str:
    """sha256 of the relative name, size and content of files under a root (or the root itself)."""
    return digest_files(root, files).named
