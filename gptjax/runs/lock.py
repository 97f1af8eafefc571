"""One run at a time in a folder: who trains there holds a lock. Who reads never needs it."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from gptjax.errors import UserError, explain
from gptjax.screen import SCREEN
from gptjax.training import parallel

LOCK = ".lock"  # holds the host and the process that hold it


@contextmanager
def only_run(out: str | Path) -> Iterator[None]:
    """Keep other runs out of a folder. Process 0 holds the lock, and all end if it is refused."""
    with ExitStack() as stack:
        refused: dict[str, Any] = {}
        if parallel.is_main():
            try:
                stack.enter_context(locked(Path(out)))
            except UserError as error:
                refused = {"error": str(error)}
        refused = parallel.broadcast_json(refused)
        if refused:
            raise UserError(refused["error"])
        yield


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if it is missing.

    The system gives the lock up when the process ends, however it ends. The file is removed at the
    end, and so is a folder that was made here and is still empty.

    Raises:
        UserError: another run is using the folder, or it cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another folder with `out`")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _take(folder)
    except OSError as error:
        advice = f"cannot be written ({error.strerror}); choose another folder with `out`"
        if (known := explain(error)) is not None:
            advice = str(known).removeprefix(f"{error.filename}: ")
        raise UserError(f"{folder}: {advice}") from None
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may have been moved away
            if os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK)):
                (folder / LOCK).unlink()
        os.close(descriptor)
        with suppress(OSError):  # not empty
            for path in made:
                path.rmdir()


def _take(folder: Path) -> int:
    """The descriptor that holds the lock."""
    path = folder / LOCK
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip()
            os.close(descriptor)
            raise UserError(
                f"{folder}: a run is using this folder{holder and ': '}{holder}; wait for it, or "
                "choose another `out`"
            ) from None
        except OSError as error:  # some network file systems have no locks
            notice = f"cannot be locked ({error.strerror}); start no other run there"
            print(f"notice: {folder}: {notice}", file=SCREEN, flush=True)
        with suppress(OSError):  # who held it may have removed the file before it was locked here
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                _sign(descriptor)
                return descriptor
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    """Write who holds the lock into its file."""
    holder = f"host {socket.gethostname()}, pid {os.getpid()}\n"
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
