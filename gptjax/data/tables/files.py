"""The files of a folder, and the bytes of a file, compressed or not."""

import bz2
import gzip
import io
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from gptjax.data.tables.containers import (
    ZIP,
    ZIP_MAGIC,
    ZstdStream,
    is_workbook,
    open_member,
    split_archive,
)
from gptjax.errors import UserError
from gptjax.files import open_file

# Why something in a folder is not read.
BROKEN = "broken links"
REPEATED = "linked folders that are read already"
UNFOLLOWED = "linked folders"
CLOSED = "folders without permission"
SPECIAL = "entries that are no files"


# The first bytes of a compressed file, what it is called, and what opens it.
COMPRESSIONS: Mapping[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda stream: io.BufferedReader(ZstdStream(stream))),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"BZh": ("bzip2", bz2.BZ2File),
}
# What damage to a compressed file makes of its reader; an unknown way of compression, too.
DAMAGE = (
    *(EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError),
    *(zipfile.BadZipFile, NotImplementedError),
)
COMPRESSED = (".gz", ".zst", ".xz", ".bz2", ZIP)


@dataclass(frozen=True)
class Folder:
    """What is in a folder."""

    files: list[Path]  # sorted by path
    left_out: dict[str, list[Path]] = field(default_factory=dict)  # by reason


def read_folder(folder: Path, *, follow_links: bool = True) -> Folder:
    """The files of a folder and its folders that are not hidden.

    A linked folder is read like any other. It is left out if it is read already: it leads back to
    the folder that it is in, or to one that has another path here.
    """
    found = Folder([])
    above = {_identity(parent) for parent in folder.resolve().parents}
    seen: set[tuple[int, int]] = set()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        here = waiting.pop() if waiting else links.pop(0)
        try:
            identity = _identity(here)
            if identity in seen | above:
                found.left_out.setdefault(REPEATED, []).append(here)
                continue
            seen.add(identity)
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            found.left_out.setdefault(CLOSED, []).append(here)
            continue
        for entry in entries:
            path, kind = Path(entry.path), _kind(entry)
            if entry.name.startswith("."):
                continue
            if kind == "file":
                found.files.append(path)
            elif kind != "folder":
                found.left_out.setdefault(kind, []).append(path)
            elif not entry.is_symlink():
                waiting.append(path)
            elif follow_links:
                links.append(path)
            else:
                found.left_out.setdefault(UNFOLLOWED, []).append(path)
    found.files.sort()
    return found


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _kind(entry: "os.DirEntry[str]") -> str:
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()
    except OSError:  # also of links that lead to each other
        return BROKEN if entry.is_symlink() else CLOSED
    return SPECIAL


def suffix_of(name: str) -> str:
    """The ending that says what a file is, in lower case; that of its compression is passed over:
    `.jsonl` of `a.jsonl.gz`."""
    path = Path(name.lower())
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


@contextmanager
def open_bytes(file: Path) -> Iterator[Any]:
    """A file to be read, decompressed if its content is compressed.

    A `.zip` stands for the only file in it; `archive.zip/inner.csv` is one of several. A workbook,
    which is such an archive too, stays as it is.

    Raises:
        UserError: it cannot be read, also later on, or is damaged.
    """
    archive, member = split_archive(file)
    name = ""
    try:
        with ExitStack() as opened:
            stream: Any = opened.enter_context(open_file(archive))
            if member is not None or stream.peek(4).startswith(ZIP_MAGIC):
                name = "zip"
                packed = opened.enter_context(zipfile.ZipFile(stream))
                if member is not None or not is_workbook(packed):
                    stream = opened.enter_context(open_member(packed, archive, member))
                else:
                    stream.seek(0)
            head = stream.peek(8)
            for magic, (called, decompressed) in COMPRESSIONS.items():
                if head.startswith(magic):
                    name = called
                    stream = opened.enter_context(decompressed(stream))
            yield stream
    except DAMAGE as error:
        if not name:
            raise
        raise _damaged(file, name, error) from error
    except OSError as error:
        if name and error.errno is None:
            raise _damaged(file, name, error) from error
        raise unreadable(file, error) from error


@contextmanager
def unpacked(file: Path) -> Iterator[Path]:
    """A path with the content of a file, for readers that jump about in it: the file itself, or if
    it is compressed a copy that is removed afterwards."""
    with tempfile.NamedTemporaryFile(prefix="gptjax-") as copy:
        with open_bytes(file) as stream:
            itself = isinstance(getattr(stream, "raw", None), io.FileIO)
            if not itself:
                shutil.copyfileobj(stream, copy)
                copy.flush()
        yield file if itself else Path(copy.name)


def _damaged(file: Path, name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{file}: damaged or cut off, as {name} ({reason}); copy it anew")


def unreadable(file: Path, error: OSError) -> UserError:
    """The refusal of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{file}: is not there (any more); put it back, or name other data")
    return UserError(f"{file}: cannot be read ({error.strerror or error}); check its permissions")
