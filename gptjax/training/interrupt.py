"""A polite stop: SIGTERM and Ctrl-C ask, the loop finishes its step, saves and answers."""

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """While entered, SIGTERM and the first Ctrl-C set ``requested``; a second Ctrl-C kills.

    Signals reach the main thread only; elsewhere nothing is installed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
