"""The files of a folder, and the bytes of a file, compressed or not."""

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptjax.errors import UserError
from gptjax.files import open_file

# Why something in a folder is not read.
BROKEN = "broken links"
REPEATED = "linked folders that are read already"
UNFOLLOWED = "linked folders"
CLOSED = "folders without permission"
SPECIAL = "entries that are no files"


def _zstd(stream: Any) -> Any:
    import pyarrow  # Takes a moment to import, and only this format needs it.

    return io.BufferedReader(pyarrow.input_stream(stream, compression="zstd"))


# The first bytes of a compressed file, what it is called, and what opens it.
COMPRESSIONS: Mapping[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda stream: gzip.GzipFile(fileobj=stream)),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"\xfd7zXZ\0": ("xz", lzma.LZMAFile),
    b"BZh": ("bzip2", bz2.BZ2File),
}
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")


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

    Raises:
        UserError: it cannot be read, also later on, or is damaged.
    """
    name = ""
    try:
        with open_file(file) as raw:
            head = raw.peek(8)  # type: ignore[attr-defined]
            found = [one for magic, one in COMPRESSIONS.items() if head.startswith(magic)]
            if not found:
                yield raw
                return
            name, decompressed = found[0]
            with decompressed(raw) as stream:
                yield stream
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(file, name, error) from error
    except OSError as error:
        if name and error.errno is None:
            raise _damaged(file, name, error) from error
        raise unreadable(file, error) from error


def _damaged(file: Path, name: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"{file}: damaged or cut off, as {name} ({reason}); copy it anew")


def unreadable(file: Path, error: OSError) -> UserError:
    """The refusal of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{file}: is not there (any more); put it back, or name other data")
    return UserError(f"{file}: cannot be read ({error.strerror or error}); check its permissions")
