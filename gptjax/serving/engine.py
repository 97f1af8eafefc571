"""The one thread that owns the device, and what the others ask of it."""

import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol, runtime_checkable

from gptjax.errors import explain
from gptjax.serving.line import Line, Request, Row
from gptjax.serving.refusal import Refusal


@runtime_checkable
class Worker(Protocol):
    """One kind of work. Its methods are called in the device's thread alone."""

    @property
    def busy(self) -> bool:
        """Whether rows that it has taken are not done."""

    def wanted(self, waiting: int) -> int:
        """How many of so many waiting rows it takes now."""

    def turn(self, rows: Sequence[Row]) -> list[Row]:
        """Take these rows, compute a little, deliver, and return the rows that are done with."""

    def failed(self) -> list[Row]:
        """Give up all that was under way, and return its rows."""

    def warm_up(self) -> int:
        """Compile all that it may need, and return how many shapes that were."""


class Engine:
    """Rows of requests, computed in batches by the workers in turn.

    Args:
        workers: by the name of their kind.
        gather: seconds to wait for company where a request comes while the device is idle.
        queue: rows that may wait or be computed at a time.
    """

    def __init__(self, workers: Mapping[str, Worker], *, gather: float, queue: int) -> None:
        self._workers, self._gather, self._queue = workers, gather, queue
        self._lines = {kind: Line() for kind in workers}
        self._changed = threading.Condition()
        self._stopping = False
        self._rows = 0  # that wait or are computed
        self._thread = threading.Thread(target=self._work, name="device", daemon=True)

    @property
    def rows(self) -> int:
        """How many rows wait or are computed."""
        return self._rows

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End the thread, after what it does now but at most so many seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(seconds)

    def submit(self, request: Request, items: Sequence[tuple[str, Any]]) -> None:
        """Let the rows of a request wait, each of a kind.

        Raises:
            Refusal: too many wait already.
        """
        with self._changed:
            if self._rows + len(items) > self._queue:
                raise Refusal(503, f"{self._rows:,} rows are waiting here already; try again later")
            for number, (kind, item) in enumerate(items):
                self._lines[kind].add(Row(request, number, item))
            self._rows += len(items)
            self._changed.notify()

    def leave(self, request: Request) -> None:
        """Forget a request, of which nothing is delivered any more."""
        with self._changed:
            request.gone = True
            self._rows -= sum(line.drop(request) for line in self._lines.values())
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                idle = False
                while not (self._stopping or self._something()):
                    idle = True
                    self._changed.wait()
                if self._stopping:
                    return
            if idle:
                time.sleep(self._gather)
            for kind, worker in self._workers.items():
                with self._changed:
                    line = self._lines[kind]
                    rows = line.take(worker.wanted(line.count)) if line.count else []
                if rows or worker.busy:
                    self._turn(worker, rows)

    def _something(self) -> bool:
        waiting = any(line.count for line in self._lines.values())
        return waiting or any(worker.busy for worker in self._workers.values())

    def _turn(self, worker: Worker, rows: list[Row]) -> None:
        try:
            done = worker.turn(rows)
        except Exception as error:  # a bug, or no memory: the next request may do better
            done = list(dict.fromkeys([*rows, *worker.failed()]))
            known = explain(error)
            if known is None:
                traceback.print_exc(file=sys.stderr)
            refusal = Refusal(500 if known is None else 503, str(known or "a bug in the server"))
            for row in done:
                deliver(row, refusal, last=True)
        with self._changed:
            self._rows -= len(done)


def deliver(row: Row, value: Any, *, last: bool) -> None:
    """Give a request what was computed of a row, if it still waits."""
    if not row.request.gone:
        with suppress(RuntimeError):  # its event loop has ended
            row.request.deliver(row.number, value, last)
