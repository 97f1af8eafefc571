"""Ctrl-C, SIGTERM and a closed terminal: save first if there is something to save, or end at once.

Python runs a signal's handler between two steps of the main thread: not while a program compiles.
An exception that it raises is lost where a library has called Python back. So a thread of its own
hears of the signals through a pipe (`signal.set_wakeup_fd`), and acts at once.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from gptjax.errors import Interrupted

# SIGHUP comes from a terminal that is closed.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONCE_MORE = "once more to quit without saving"


class _Listener:
    """Calls ``receive`` with the number of each signal, in a thread that nothing keeps busy.

    Signals reach the main thread only; elsewhere nothing is installed.
    """

    def __init__(self, receive: Callable[[int], None]) -> None:
        self._receive = receive
        self._previous: dict[int, Any] = {}

    def start(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._thread = threading.Thread(target=self._listen, args=(reading,), daemon=True)
        self._thread.start()
        self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in SIGNALS:
            # Under nohup a closed terminal ends nothing.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._previous[number] = signal.signal(number, _go_on)

    def stop(self) -> None:
        if not self._previous:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._previous.items():
            # None stands for a handler that Python did not install and cannot put back.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._previous.clear()
        os.close(self._writing)
        self._thread.join()

    def _listen(self, reading: int) -> None:
        while numbers := os.read(reading, 64):  # empty once the other end is closed
            for number in numbers:
                if number in SIGNALS:
                    self._receive(number)
        os.close(reading)


def _go_on(number: int, frame: FrameType | None) -> None:
    """What the main thread does about a signal: the other thread has heard of it."""


class StopRequest:
    """While entered, a signal sets ``requested`` and says what is done; a second Ctrl-C quits.

    Args:
        doing: what is done upon the first one, as "saving step 7"; None quits at once.
        again: what a second one does.
    """

    def __init__(self, doing: Callable[[], str | None], again: str = ONCE_MORE) -> None:
        self.requested = False
        self._doing, self._again = doing, again
        self._presses = 0  # of Ctrl-C: a sweep's SIGTERM to a run may come in addition to one
        self._listener = _Listener(self._receive)

    def __enter__(self) -> "StopRequest":
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    def _receive(self, number: int) -> None:
        self._presses += number == signal.SIGINT
        if self._presses > 1:
            quit_at_once()
        if not self.requested:
            doing = self._doing()
            if doing is None:
                quit_at_once()
            self.requested = True
            _say(f"{doing}; {self._again}")


_ENDING = _Listener(lambda number: quit_at_once())
_BEFORE_QUITTING: list[Callable[[], None]] = []


def end_at_once() -> None:
    """From now on a signal ends the process with one line, whatever the process is doing."""
    _ENDING.start()


def wait() -> None:
    """Wait for a signal, while a server in another thread serves; in the main thread only."""
    ended = threading.Event()
    listener = _Listener(lambda number: ended.set())
    listener.start()
    try:
        ended.wait()
    finally:
        listener.stop()


@contextmanager
def before_quitting(function: Callable[[], None]) -> Iterator[None]:
    """While entered, the function is called before a signal ends the process."""
    _BEFORE_QUITTING.append(function)
    try:
        yield
    finally:
        _BEFORE_QUITTING.remove(function)


def quit_at_once() -> None:
    """End the process, without the clean-up of libraries: it may take long, or abort."""
    for function in _BEFORE_QUITTING:
        with suppress(Exception):
            function()
    _say("gptjax: interrupted; what was saved is intact")
    os._exit(Interrupted.exit_code)


def _say(text: str) -> None:
    # Not through Python's standard error, which the main thread may be writing to.
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())
