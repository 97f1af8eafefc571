"""The ways a command may end other than well, and the exit code of each."""

import errno
import math
import os
import re
from collections.abc import Callable, Collection
from typing import Any

LONGEST = 1000  # characters of a message
_END = 250  # of them the end, where what to do stands


def one_line(message: str) -> str:
    """A message as people see it: one line, without control characters, of a length to be read.

    What others wrote (a library, a file) may have line ends, a terminal's commands, or a megabyte.
    """
    if len(message) > 4 * LONGEST:
        message = f"{message[: 2 * LONGEST]} {message[-2 * LONGEST :]}"
    printable = (c if c.isprintable() or c.isspace() else ascii(c)[1:-1] for c in message)
    line = " ".join("".join(printable).split())
    if len(line) > LONGEST:
        line = f"{line[: LONGEST - _END - 3]} … {line[-_END:]}"
    return line


class GptjaxError(Exception):
    """Base of the errors that end a command with one line instead of a traceback."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UserError(GptjaxError):
    """Bad input or usage. The message says what, where, and what to do, in one line."""

    exit_code = 2


class UnreachableError(UserError):
    """What is asked for lies elsewhere, and cannot be reached from here."""


class DifferentProcessesError(UserError):
    """The processes of one run were started differently. All of them know it, and all end."""


class NoCheckpointError(GptjaxError):
    """Checkpoints exist or are needed, but none of them can be used."""

    exit_code = 3


class NonFiniteError(GptjaxError):
    """Training met a loss or gradient that is not finite, and stopped before using it."""

    exit_code = 4


class Interrupted(GptjaxError):
    """Training was asked to stop, and saved a checkpoint from which it can resume."""

    exit_code = 75


class FailedRunsError(GptjaxError):
    """Of several runs some did not end well, with these exit codes; the others did."""

    def __init__(self, message: str, codes: Collection[int]) -> None:
        super().__init__(message)
        if min(codes) == max(codes) > 0:  # all the same, and none was ended by a signal
            self.exit_code = min(codes)


LARGEST = 2**31 - 1  # what a count can be: the devices count in int32


def check_settings(
    settings: object, section: str, names: str, valid: Callable[[Any], bool], wanted: str
) -> None:
    """Refuse a setting that is neither None nor valid; ``wanted`` says what it must be."""
    for name in names.split():
        value = getattr(settings, name)
        if value is not None and not valid(value):
            where = (
                f"{section}.{name} is {shown(value)}, but"
                if section
                else f"`{name}={shown(value)}`:"
            )
            raise UserError(f"{where} it must be {wanted}")


def check_counts(
    settings: object, section: str, names: str, least: int = 1, most: int = LARGEST
) -> None:
    """Refuse a count below ``least``, or one so large that it cannot be meant."""
    check_settings(settings, section, names, lambda n: n >= least, f"at least {least}")
    check_settings(settings, section, names, lambda n: n <= most, f"at most {most:,}")


def shown(value: object) -> str:
    """A value for a message; of a very long number how many digits it has."""
    if isinstance(value, int) and abs(value) >= 10**15:
        return f"a number of {int(value.bit_length() * math.log10(2)) + 1:,} digits"
    return str(value)


# Errors of the file system that a user can cause and mend.
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another folder",
    errno.EACCES: "no permission; choose another path or change its permissions",
    errno.EPERM: "no permission; choose another path or change its permissions",
    errno.EROFS: "the file system is read-only; choose another path",
    errno.ENOTDIR: "a part of this path is a file, not a folder; choose another path",
    errno.EISDIR: "is a folder, where a file is wanted; choose another path",
    errno.EEXIST: "is there already; choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOENT: "no such file or folder (any more); choose another path",
    errno.ELOOP: "is a link that leads to itself; choose another path",
    errno.EIO: "the disk cannot be read or written; check it",
    errno.EFBIG: "the file would be larger than the system allows; choose another folder",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


def explain(error: BaseException) -> GptjaxError | None:
    """What to tell a user of an error that may be theirs, or None if it is a bug of ours."""
    if isinstance(error, GptjaxError):
        return error
    if isinstance(error, OSError) and error.errno in _ADVICE:
        where = f"{error.filename}: " if error.filename else ""
        return UserError(where + _ADVICE[error.errno])
    if isinstance(error, MemoryError):
        return UserError("out of memory; give less data at a time, or a smaller model")
    if os.strerror(errno.ENOSPC) in str(error):  # as libraries say it that have errors of their own
        return UserError(_ADVICE[errno.ENOSPC])
    if "RESOURCE_EXHAUSTED" in str(error):  # how XLA says it, in a RuntimeError
        return UserError(
            "out of device memory; try a smaller `train.batch_size`, a larger "
            "`train.accumulate`, or `model.rematerialize`"
        )
    return None


def as_options(message: str) -> str:
    """A message for the command line: settings in backticks, as `resume=auto`, become options."""

    def option(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')}" + (f" {found[2]}" if found[2] else "")

    return re.sub(r"(?<![\w/'\"])`([a-z][a-z_.]*)(?:=([^`]*))?`(?![\w/'\"])", option, message)
