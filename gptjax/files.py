"""Files that may be anything: opened, and read as text, JSON and TOML; what is wrong is one line.

Whatever a person names, and whatever of a run may have been damaged since it was written, is read
here, so that no content of a file is a traceback and no file makes a command wait for ever.
"""

import errno
import json
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from gptjax.errors import UserError

DEEPEST = 100
"""Lists and tables inside each other; what nests deeper was made by accident or to do harm."""
_KEY = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_LONG_KEY = re.compile(rf"""(?<![\w"'-])(?:{_KEY}){{{DEEPEST + 1}}}""")
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular(path: Path) -> None:
    """Refuse a pipe, a device or a socket, whose reading may never end; all else passes.

    Files are read more than once, so that a pipe could not be read even if its writer is there.
    """
    try:
        kind = _KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except (OSError, ValueError):  # opening it says what is wrong
        return
    if kind is not None:
        raise UserError(f"{path}: is {kind}, not a file; write the content to a file first")


def make_folder(folder: Path) -> None:
    """Make a folder, if it is missing, that files are going to be written into.

    Raises:
        OSError: it cannot be made, or nothing can be written there: said before the work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        number = errno.EROFS if read_only else errno.EACCES
        raise OSError(number, os.strerror(number), str(folder))


def open_file(path: Path) -> BinaryIO:
    """A file to read, as bytes; errors of the file system are left to the caller."""
    check_regular(path)
    return path.open("rb")


def read_bytes(path: Path, what: str = "file") -> bytes:
    """The content of a small file; ``what`` it should be is said where there is none."""
    try:
        with open_file(path) as stream:
            return stream.read()
    except FileNotFoundError:
        raise UserError(f"{path}: no such {what}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None


def read_text(path: Path, what: str = "file") -> str:
    """The text of a small file in UTF-8, its line ends as \\n."""
    try:
        text = read_bytes(path, what).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: is damaged, or no text in UTF-8 (at byte {error.start:,})"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str) -> Any:
    """The value of a JSON text; whatever is wrong with it is a ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"lists and objects nest deeper than {DEEPEST}") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # of an integer that Python refuses to convert
        raise ValueError("a number has too many digits") from None
    if text.count("[") + text.count("{") > DEEPEST:
        for _ in _values(value):
            pass
    return value


def read_json(path: Path, what: str = "file") -> Any:
    """The content of a JSON file; a UserError names one that is absent or damaged."""
    try:
        return parse_json(read_text(path, what))
    except ValueError as error:
        raise UserError(f"{path}: is damaged, no JSON ({error})") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text; whatever is wrong with it is a ValueError."""
    if _LONG_KEY.search(text):  # which tomllib takes for ever to read
        raise ValueError(f"a key has more than {DEEPEST} dots")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        raise ValueError("nests too deep" if deep else "a number has too many digits") from None
    for value in _values(table):
        # TOML's integers have 64 bits; Python's would be converted to what has no room for them.
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise ValueError("an integer has more than 64 bits")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("a text has a NUL character")
    return table


def read_toml(path: Path, what: str = "file") -> dict[str, Any]:
    """The content of a TOML file; a UserError names one that is absent or damaged."""
    try:
        return parse_toml(read_text(path, what))
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as TOML: {error}") from None


def _values(value: Any) -> Iterator[Any]:
    """Everything inside of lists and tables; a ValueError where they nest deeper than `DEEPEST`."""
    level = [value]
    for _ in range(DEEPEST):
        yield from level
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"lists and tables nest deeper than {DEEPEST}")
