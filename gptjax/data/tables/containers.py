"""What packs other files: `.zst` as a stream of bytes, and one file of a `.zip`."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zstandard

from gptjax.data.tables.columns import listed
from gptjax.errors import UserError

ZIP = ".zip"
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # the second one of an archive without a file
# Names in the archives that are workbooks, of Excel (both of its kinds) and of OpenDocument.
WORKBOOK = frozenset({"xl/workbook.xml", "xl/workbook.bin", "content.xml"})
# Compressed bytes that are read at once, whose content is held: up to 40,000 times as much.
STEP_BYTES = 1 << 8
WIDEST = 1 << 31  # bytes that a frame of zstandard may look back (its option --long=31)
ENCRYPTED = 1  # bit of a member's flags


class ZstdStream(io.RawIOBase):
    """The content of a file of zstandard; unlike the library's own reader it says if the end is
    missing."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._library = zstandard.ZstdDecompressor(max_window_size=WIDEST)
        self._frame: Any = None  # the one that is not at its end
        self._packed = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the content at hand goes; 0 at the end."""
        while not self._content:
            self._packed = self._packed or self._stream.read(STEP_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the end is missing")
                return 0
            if self._frame is None:
                self._frame = self._library.decompressobj()
            self._content = memoryview(self._frame.decompress(self._packed))
            self._packed = b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count


def split_archive(path: Path) -> tuple[Path, str | None]:
    """`archive.zip/inner.csv` as the archive and the file in it; any other path and None."""
    for parent in path.parents:
        if parent.suffix.lower() == ZIP and parent.is_file():
            return parent, path.relative_to(parent).as_posix()
    return path, None


def is_file(path: Path) -> bool:
    """Whether it is a file, also one that an archive should have."""
    return path.is_file() or split_archive(path)[1] is not None


def is_there(path: Path) -> bool:
    """Whether it is a file or a folder; see `is_file`."""
    return path.exists() or is_file(path)


def name_inside(file: Path) -> str:
    """The name of the only file of an archive; of any other file its own."""
    archive, member = split_archive(file)
    if member is not None or archive.suffix.lower() != ZIP:
        return file.name
    try:
        with zipfile.ZipFile(archive) as packed:
            return _member(packed, archive, None).filename
    except (OSError, zipfile.BadZipFile):  # reading it says what is wrong
        return file.name


def is_workbook(packed: zipfile.ZipFile) -> bool:
    """Whether an archive is a workbook, which is not unpacked."""
    return not WORKBOOK.isdisjoint(packed.namelist())


@contextmanager
def open_member(packed: zipfile.ZipFile, archive: Path, member: str | None) -> Iterator[Any]:
    """The content of a file of an archive, by default of its only one.

    Raises:
        UserError: no such file, several, or an encrypted one.
    """
    found = _member(packed, archive, member)
    if found.flag_bits & ENCRYPTED:
        raise UserError(f"{archive}: {found.filename} is encrypted; unpack it first")
    with packed.open(found) as stream:
        yield io.BufferedReader(stream)


def _member(packed: zipfile.ZipFile, archive: Path, name: str | None) -> zipfile.ZipInfo:
    files = [found for found in packed.infolist() if not found.is_dir() and _is_shown(found)]
    names = [found.filename for found in files]
    if name is not None:
        if name not in names:
            raise UserError(
                f"{archive}/{name}: the archive has no such file; it has {listed(names)}"
            )
        return files[names.index(name)]
    if not files:
        raise UserError(f"{archive}: an archive without a file; give one with a file")
    if len(files) > 1:
        raise UserError(
            f"{archive}: an archive of {len(files):,} files ({listed(names)}); name one of them, "
            f"such as {archive}/{names[0]}"
        )
    return files[0]


def _is_shown(found: zipfile.ZipInfo) -> bool:
    parts = found.filename.split("/")
    return parts[0] != "__MACOSX" and not any(part.startswith(".") for part in parts)
