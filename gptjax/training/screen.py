"""Standard error, for people who may have left: nothing that a run says can stop it."""

import sys
from contextlib import suppress
from typing import Any


class Screen:
    """Standard error as a file. What cannot be written is dropped.

    The terminal may be closed, the pipe's reader gone, the log's disk full.
    """

    def write(self, text: str) -> int:
        """Write text; returns its length, as files do."""
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Show what was written."""
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


SCREEN = Screen()
