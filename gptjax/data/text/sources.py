"""Where documents come from: files, folders, the hub and the embedded corpus.

Documents stream: a text file is one document that arrives in chunks, a table one document per
row, and nothing is ever held whole. A byte order mark is removed and CRLF becomes LF.
"""

import codecs
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
    """The documents that a value of ``corpus.data`` names.

    Args:
        data: ``embedded``; ``hub:ID[:CONFIG][@REVISION]``; a file (``.txt`` or any other
            text: one document; ``.jsonl``, ``.parquet``, ``.csv``, ``.tsv``: one document per
            row); or a folder of files of one of these kinds, read recursively, sorted by path.
        text_column: the column with the text, where there are columns.
        encoding_errors: ``strict`` refuses bytes that are not UTF-8 and NUL characters;
            ``replace`` puts U+FFFD in their place.
        split: which part of a hub dataset.

    Raises:
        UserError: nothing there, or nothing that can be read. Reading raises it too, for what
            is wrong inside.
    """
    if data == "embedded":
        return EmbeddedSource()
    if data.startswith("hub:"):
        from gptjax.data.text.hub import HubSource  # `datasets` takes a second to import.

        return HubSource(data, text_column, encoding_errors, split)
    return FileSource.open(data, text_column, encoding_errors)


class EmbeddedSource:
    """The embedded corpus (see `gptjax.data.text.embedded`)."""

    name = "embedded"

    def __init__(self) -> None:
        self.total_bytes: int | None = sum(len(text.encode()) for _, text in embedded_documents())

    def fingerprint(self) -> str:
        """sha256 of every name and text."""
        digest = hashlib.sha256()
        for name, text in embedded_documents():
            digest.update(f"{name}\0{text}\0".encode())
        return digest.hexdigest()

    def documents(self) -> Iterator[Document]:
        """One document per topic of the language reference, then one per module."""
        for name, text in embedded_documents():
            yield Document(name, iter([text]))


@dataclass(frozen=True)
class FileSource:
    """Files of one kind; make it with `open`."""

    name: str
    root: Path
    files: tuple[Path, ...]
    kind: Kind | Literal["text"]
    text_column: str
    encoding_errors: EncodingErrors
    total_bytes: int | None = field(default=None)

    @classmethod
    def open(cls, data: str, text_column: str, encoding_errors: EncodingErrors) -> "FileSource":
        """Find the files and their kind.

        Raises:
            UserError: no such path, no file of a known kind in it, or several kinds.
        """
        root = Path(data).expanduser()
        if root.is_dir():
            files, kind = _files_of(root, data)
        elif root.is_file():
            files, kind = [root], SUFFIXES.get(root.suffix.lower(), "text")
        else:
            raise UserError(
                f"`data={data}`: no such file or folder (else: 'embedded', or hub:ID for a dataset "
                "on the hub)"
            )
        total = sum(file.stat().st_size for file in files) if kind != "parquet" else None
        return cls(data, root, tuple(files), kind, text_column, encoding_errors, total)

    def fingerprint(self) -> str:
        """sha256 of every file's relative name, size and content."""
        return hash_files(self.root, self.files)

    def documents(self) -> Iterator[Document]:
        """One document per text file, or per row of a table; sorted by path."""
        for file in self.files:
            try:
                yield from self._documents_of(file)
            except OSError as error:
                raise unreadable(file, error) from error

    def _documents_of(self, file: Path) -> Iterator[Document]:
        if self.kind == "text":
            yield Document(str(file), read_text(file, self.encoding_errors))
            return
        format = TableFormat(self.kind, self.encoding_errors, self.text_column, hint=COLUMN_HINT)
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
        kind = SUFFIXES.get(file.suffix.lower())
        if kind:
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
