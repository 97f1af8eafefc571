"""Who waits for the device: a row of every request in turn, so that no large request holds up all.

A request is one or more rows (`Row`). Rows of one request need not be computed together.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Request:
    """Somebody who waits for rows; ``deliver`` is called in the device's thread.

    Its arguments are the number of a row, what was computed or an exception, and whether that was
    the last of the row.
    """

    deliver: Callable[[int, Any, bool], None]
    gone: bool = False  # nobody waits any more


@dataclass(eq=False)
class Row:
    """One thing to compute."""

    request: Request
    number: int  # among those of its request
    item: Any


@dataclass(eq=False)
class Line:
    """Rows that wait for the same kind of work. It is not safe between threads."""

    _of: dict[Request, deque[Row]] = field(default_factory=dict)
    _turns: deque[Request] = field(default_factory=deque)
    count: int = 0  # rows

    def add(self, row: Row) -> None:
        """Let a row wait behind those of its request."""
        if row.request not in self._of:
            self._of[row.request] = deque()
            self._turns.append(row.request)
        self._of[row.request].append(row)
        self.count += 1

    def take(self, most: int) -> list[Row]:
        """The next rows: one of each request in turn, in the order in which they came."""
        taken: list[Row] = []
        while self._turns and len(taken) < most:
            request = self._turns.popleft()
            taken.append(self._of[request].popleft())
            if self._of[request]:
                self._turns.append(request)
            else:
                del self._of[request]
        self.count -= len(taken)
        return taken

    def drop(self, request: Request) -> int:
        """Forget the rows of a request, and say how many they were."""
        rows = self._of.pop(request, deque())
        if rows:
            self._turns.remove(request)
        self.count -= len(rows)
        return len(rows)
