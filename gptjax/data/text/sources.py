"""Where documents come from: files, folders, the hub and the embedded corpus.

Documents stream: a text file is one document that arrives in chunks, a table one document per
row, and nothing is ever held whole. A byte order mark is removed and CRLF becomes LF.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gptjax.data.tables.readers import ROWS, EncodingErrors, clean_row, read_text
from gptjax.data.text.documents import Document, Source, hash_files, unreadable
from gptjax.data.text.embedded import embedded_documents
from gptjax.errors import UserError

SUFFIXES = {
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
    """The documents that a ``--data`` value names.

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
    kind: str
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
                f"--data {data}: no such file or folder (else: 'embedded', or hub:ID for a dataset "
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
        for name, value in ROWS[self.kind](file, self.text_column, self.encoding_errors):
            text = clean_row(value, name, self.encoding_errors)
            yield Document(str(file), iter([text]))


def _files_of(root: Path, data: str) -> tuple[list[Path], str]:
    found: dict[str, list[Path]] = {}
    for file in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        kind = SUFFIXES.get(file.suffix.lower())
        if kind and not hidden and file.is_file():
            found.setdefault(kind, []).append(file)
    if not found:
        raise UserError(
            f"--data {data}: no file ending in {', '.join(SUFFIXES)} in this folder; rename the "
            "text files to .txt, or name one file"
        )
    if len(found) > 1:
        kinds = ", ".join(f"{len(files)} {kind}" for kind, files in found.items())
        raise UserError(
            f"--data {data}: files of several kinds ({kinds}) in this folder; name one file or a "
            "folder with one kind"
        )
    kind, files = found.popitem()
    return files, kind
