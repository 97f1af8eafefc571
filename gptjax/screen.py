"""Standard error, for people who may have left, and progress bars.

Nothing that a run says can stop it.
"""

import sys
from contextlib import suppress
from typing import Any

from tqdm.auto import tqdm


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


def in_notebook() -> bool:
    """Whether bars are drawn by a notebook. It needs ipywidgets for them."""
    return any(base.__name__ == "tqdm_notebook" for base in tqdm.__mro__)


def shows_bars() -> bool:
    """Whether anybody can see a bar: on a terminal, and in a notebook."""
    return in_notebook() or SCREEN.isatty()


def progress_bar(total: int | None, **options: Any) -> tqdm:
    """A bar of tqdm, in a notebook its widget; drawn only where `shows_bars`.

    Args:
        total: how many units there are, where that is known.
        options: tqdm's.
    """
    if not in_notebook():
        # tqdm's notebook draws by itself where it is not told a file.
        options["file"] = SCREEN
    return tqdm(total=total, disable=not shows_bars(), **options)
