"""Arrays that are computed once and kept on disk, each a file that is whole or not there."""

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.config import cache_folder
from gptjax.errors import UserError
from gptjax.files import make_folder

# Raised whenever the meaning of a file changes.
FORMAT = 1
CHECKSUM = ".crc"


def features_cache() -> Path:
    """The folder for what belongs to no run's folder; made."""
    folder = cache_folder() / "features"
    try:
        make_folder(folder)
    except OSError as error:
        raise UserError(
            f"cache folder {folder}: cannot be written ({error.strerror or error}); choose another "
            "folder with the environment variable GPTJAX_CACHE"
        ) from error
    return folder


def new_array(path: Path, shape: tuple[int, ...], dtype: Any = np.float32) -> np.memmap[Any, Any]:
    """A new file in memory. The disk has all of its room: a map over none would end the process."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                error.filename = str(path.parent)  # a full disk names no file
                raise
    return array


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a small array."""
    part = temporary(path)
    try:
        with part.open("wb") as file:
            np.save(file, array)
        finish_array(part, path, array)
    finally:
        part.unlink(missing_ok=True)


def finish_array(part: Path, path: Path, array: np.ndarray) -> None:
    """Give a file its name, its checksum beside it before."""
    path.with_suffix(CHECKSUM).write_text(_checksum(array))
    os.replace(part, path)


def temporary(path: Path) -> Path:
    """The name of a file while it is written."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def open_array(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """What is in a file; None if it is missing, or not as it was written."""
    try:
        found: np.ndarray = np.load(path, mmap_mode="r")
        kept = path.with_suffix(CHECKSUM).read_text()
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == shape and _checksum(found) == kept else None


def key_of(**identity: Any) -> str:
    """The name of a file, by what its content depends on."""
    text = json.dumps({"format": FORMAT, **identity}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _checksum(array: np.ndarray) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(array).data):08x}"
