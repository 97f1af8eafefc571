"""Where documents come from: files, folders, the hub and the embedded corpus.

Documents stream: a text file is one document that arrives in chunks, a table one document per
row, and nothing is ever held whole. A byte order mark is removed and CRLF becomes LF.
"""

import codecs
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal

from gptjax.data.tables.containers import ZIP, is_file, name_inside, split_archive
from gptjax.data.tables.files import (
    COMPRESSED,
    Folder,
    open_bytes,
    read_folder,
    suffix_of,
    unreadable,
)
from gptjax.data.tables.format import Kind, TableFormat
from gptjax.data.tables.lines import (
    BYTE_ORDER_MARK,
    UTF_8,
    EncodingErrors,
    FileReading,
    check_encoding,
    encoding_error,
    nul_error,
)
from gptjax.data.tables.reader import read_table
from gptjax.data.tables.sheets import SHEETS
from gptjax.data.text.documents import (
    BLOCK_BYTES,
    COLUMN_HINT,
    Digest,
    Document,
    Source,
    digest_files,
    row_text,
)
from gptjax.data.text.embedded import embedded_documents
from gptjax.errors import UserError

TextKind = Kind | Literal["text"]
TEXT: Literal["text"] = "text"
ENDINGS = 4  # of files of other kinds, that a line lists
SUFFIXES: Mapping[str, TextKind] = {
    ".txt": TEXT,
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    **dict.fromkeys(SHEETS, "sheet"),
}
# In a folder these are read if it has no others, so that folders are read as they always were.
ALONE = (ZIP, *SHEETS)


def open_source(
    data: str,
    text_column: str = "text",
    encoding_errors: EncodingErrors = "strict",
    split: Literal["train", "validation"] = "train",
    *,
    encoding: str = UTF_8,
    sheet: str | None = None,
    suffixes: Collection[str] = (),
    follow_links: bool = True,
) -> Source:
    """The documents that a value of ``corpus.data`` names (see `CorpusConfig`).

    A folder is read recursively, sorted by path; ``split`` is the part of a hub dataset.
    ``suffixes`` are further endings of text files.

    Raises:
        UserError: nothing there, or nothing that can be read. Reading raises it too, for what
            is wrong inside.
    """
    if data == "embedded":
        return EmbeddedSource()
    if data.startswith("hub:"):
        from gptjax.data.text.hub import HubSource  # `datasets` takes a second to import.

        return HubSource(data, text_column, encoding_errors, split)
    reading = FileReading(encoding, encoding_errors, sheet)
    return FileSource(data, text_column, reading, suffixes, follow_links)


class EmbeddedSource:
    """The embedded corpus (see `gptjax.data.text.embedded`)."""

    name = "embedded"

    def __init__(self) -> None:
        self.left_out: Mapping[str, int] = {}
        self.total_bytes: int | None = sum(len(text.encode()) for _, text in embedded_documents())

    def fingerprint(self) -> str:
        """sha256 of every name and text."""
        content = "".join(f"{name}\0{text}\0" for name, text in embedded_documents())
        return hashlib.sha256(content.encode()).hexdigest()

    def digest(self) -> Digest:
        """The fingerprint, which has no names of files."""
        return Digest(self.fingerprint(), self.fingerprint())

    def documents(self) -> Iterator[Document]:
        """One document per topic of the language reference, then one per module."""
        for name, text in embedded_documents():
            yield Document(name, iter([text]))


class FileSource:
    """A file, or the files of one kind in a folder.

    ``left_out`` has the number of what else is in the folder, by reason.
    """

    total_bytes: int | None = None

    def __init__(
        self,
        data: str,
        text_column: str,
        reading: FileReading,
        suffixes: Collection[str] = (),
        follow_links: bool = True,
    ) -> None:
        self.name = data
        self.left_out: Mapping[str, int] = {}
        self._text_column = text_column
        self._reading = reading
        self._root = Path(data).expanduser()
        kinds = {**SUFFIXES, **{f".{end.lower().lstrip('.')}": TEXT for end in suffixes}}
        if self._root.is_dir():
            folder = read_folder(self._root, follow_links=follow_links)
            self._files, self._kind, self.left_out = _files_of(folder, data, kinds)
        elif is_file(self._root):
            self._files = [self._root]
            self._kind = _kind_of(self._root, kinds) or TEXT
        else:
            raise UserError(
                f"`data={data}`: no such file or folder (else: 'embedded', or hub:ID for a dataset "
                "on the hub)"
            )
        # Nobody knows how long compressed text is.
        if self._kind not in ("parquet", "sheet") and not any(map(_is_packed, self._files)):
            self.total_bytes = sum(map(_size, self._files))

    def fingerprint(self) -> str:
        """sha256 of every file's relative name, size and content."""
        return self.digest().named

    def digest(self) -> Digest:
        """Hashes of every file."""
        return digest_files(self._root, self._files, self._kind)

    def documents(self) -> Iterator[Document]:
        """One document per text file, or per row of a table; sorted by path."""
        for file in self._files:
            yield from self._documents_of(file)

    def _documents_of(self, file: Path) -> Iterator[Document]:
        if self._kind == TEXT:
            yield Document(str(file), read_text(file, self._reading))
            return
        format = TableFormat(self._kind, self._reading, self._text_column, hint=COLUMN_HINT)
        for row in read_table(file, format):
            yield Document(str(file), iter([row_text(row, format)]))


def _is_packed(file: Path) -> bool:
    return file.suffix.lower() in COMPRESSED or split_archive(file)[1] is not None


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise unreadable(file, error) from error


def _kind_of(file: Path, kinds: Mapping[str, TextKind]) -> TextKind | None:
    """By its ending, or by that before the ending of its compression."""
    name = name_inside(file)
    return kinds.get(suffix_of(name), kinds.get(file.suffix.lower()))


def _kind_inside(file: Path, kinds: Mapping[str, TextKind]) -> TextKind | None:
    """The same; None of an archive of which it cannot be told."""
    try:
        return _kind_of(file, kinds)
    except UserError:
        return None


def read_text(file: Path, reading: FileReading) -> Iterator[str]:
    """The text of a file in chunks of about 1 MiB, byte order mark removed, CRLF as LF.

    Raises:
        UserError: the file cannot be read, is not in the encoding or holds a NUL (``strict``);
            names the byte's position.
    """
    decoder = codecs.getincrementaldecoder(reading.encoding)(reading.errors)
    position, held, first = 0, "", True
    with open_bytes(file) as stream:
        check_encoding(file, stream, reading)
        while True:
            block = stream.read(BLOCK_BYTES)
            start = position - len(decoder.getstate()[0])
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise encoding_error(str(file), reading, start + error.start) from error
            if reading.errors == "strict" and (nul := text.find("\0")) >= 0:
                before = start + len(text[:nul].encode(reading.encoding, "replace"))
                raise nul_error(f"{file}: byte {before}")
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


def _files_of(
    folder: Folder, data: str, kinds: Mapping[str, TextKind]
) -> tuple[list[Path], TextKind, dict[str, int]]:
    """The files to read, their kind, and the number of what is left out by reason."""
    found: dict[TextKind, list[Path]] = {}
    alone: dict[TextKind, list[Path]] = {}
    others: Counter[str] = Counter()
    for file in folder.files:
        kind, late = _kind_inside(file, kinds), file.suffix.lower() in ALONE
        if kind:
            (alone if late else found).setdefault(kind, []).append(file)
        if not kind or late:
            others[file.suffix or "no ending"] += 1
    if not found:
        found = alone
        others.subtract(file.suffix for files in alone.values() for file in files)
        others = +others
    left_out = {reason: len(paths) for reason, paths in folder.left_out.items()}
    if others:
        usual = [ending for ending, _ in others.most_common(ENDINGS)]
        more = ", …" if len(others) > ENDINGS else ""
        left_out[f"files of other kinds ({', '.join(usual)}{more})"] = others.total()
    there = "; ".join(f"{count:,} {reason}" for reason, count in left_out.items())
    if not found:
        ending = next((one for one, _ in others.most_common() if one.startswith(".")), ".md")
        raise UserError(
            f"`data={data}`: no file ending in {', '.join(SUFFIXES)} in this folder"
            f"{f' (there: {there})' if there else ''}; read others as text: set "
            f"`suffixes={ending}`, or name one file"
        )
    if len(found) > 1:
        counts = ", ".join(f"{len(files)} {kind}" for kind, files in found.items())
        raise UserError(
            f"`data={data}`: files of several kinds ({counts}) in this folder; name one file or a "
            "folder with one kind"
        )
    kind, files = found.popitem()
    return files, kind, left_out
