"""Where documents come from: files, folders, the hub and the embedded corpus.

Documents stream: a text file is one document that arrives in chunks, a table one document per
row, and nothing is ever held whole. A byte order mark is removed and CRLF becomes LF.
"""

import codecs
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from gptjax.data.tables.lines import BYTE_ORDER_MARK, EncodingErrors, nul_error, utf8_error
from gptjax.data.tables.reader import Kind, TableFormat, files_in, read_table
from gptjax.data.text.documents import (
    BLOCK_BYTES,
    COLUMN_HINT,
    Document,
    Source,
    hash_files,
    row_text,
    unreadable,
)
from gptjax.data.text.embedded import embedded_documents
from gptjax.errors import UserError

SUFFIXES: Mapping[str, Kind | Literal["text"]] = {
    ".txt": "text",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
}


def open_source(
    data: str,
    text_column: str = "text",
    encoding_errors: EncodingErrors = "strict",
    split: Literal["train", "validation"] = "train",
) -> Source:
    """The documents that a value of ``corpus.data`` names (see `CorpusConfig`).

    A folder is read recursively, sorted by path; ``split`` is the part of a hub dataset.

    Raises:
        UserError: nothing there, or nothing that can be read. Reading raises it too, for what
            is wrong inside.
    """
    if data == "embedded":
        return EmbeddedSource()
    if data.startswith("hub:"):
        from gptjax.data.text.hub import HubSource  # `datasets` takes a second to import.

        return HubSource(data, text_column, encoding_errors, split)
    return FileSource(data, text_column, encoding_errors)


class EmbeddedSource:
    """The embedded corpus (see `gptjax.data.text.embedded`)."""

    name = "embedded"

    def __init__(self) -> None:
        self.total_bytes: int | None = sum(len(text.encode()) for _, text in embedded_documents())

    def fingerprint(self) -> str:
        """sha256 of every name and text."""
        content = "".join(f"{name}\0{text}\0" for name, text in embedded_documents())
        return hashlib.sha256(content.encode()).hexdigest()

    def documents(self) -> Iterator[Document]:
        """One document per topic of the language reference, then one per module."""
        for name, text in embedded_documents():
            yield Document(name, iter([text]))


class FileSource:
    """A file, or the files of one kind in a folder."""

    total_bytes: int | None = None

    def __init__(self, data: str, text_column: str, encoding_errors: EncodingErrors) -> None:
        self.name = data
        self._text_column = text_column
        self._encoding_errors = encoding_errors
        self._root = Path(data).expanduser()
        if self._root.is_dir():
            self._files, self._kind = _files_of(self._root, data)
        elif self._root.is_file():
            self._files = [self._root]
            self._kind = SUFFIXES.get(self._root.suffix.lower(), "text")
        else:
            raise UserError(
                f"`data={data}`: no such file or folder (else: 'embedded', or hub:ID for a dataset "
                "on the hub)"
            )
        if self._kind != "parquet":
            self.total_bytes = sum(file.stat().st_size for file in self._files)

    def fingerprint(self) -> str:
        """sha256 of every file's relative name, size and content."""
        return hash_files(self._root, self._files)

    def documents(self) -> Iterator[Document]:
        """One document per text file, or per row of a table; sorted by path."""
        for file in self._files:
            try:
                yield from self._documents_of(file)
            except OSError as error:
                raise unreadable(file, error) from error

    def _documents_of(self, file: Path) -> Iterator[Document]:
        if self._kind == "text":
            yield Document(str(file), read_text(file, self._encoding_errors))
            return
        format = TableFormat(self._kind, self._encoding_errors, self._text_column, hint=COLUMN_HINT)
        for row in read_table(file, format):
            yield Document(str(file), iter([row_text(row, format)]))


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


def _files_of(root: Path, data: str) -> tuple[list[Path], Kind | Literal["text"]]:
    found: dict[Kind | Literal["text"], list[Path]] = {}
    for file in files_in(root):
        if kind := SUFFIXES.get(file.suffix.lower()):
            found.setdefault(kind, []).append(file)
    if not found:
        raise UserError(
            f"`data={data}`: no file ending in {', '.join(SUFFIXES)} in this folder; rename the "
            "text files to .txt, or name one file"
        )
    if len(found) > 1:
        kinds = ", ".join(f"{len(files)} {kind}" for kind, files in found.items())
        raise UserError(
            f"`data={data}`: files of several kinds ({kinds}) in this folder; name one file or a "
            "folder with one kind"
        )
    kind, files = found.popitem()
    return files, kind
