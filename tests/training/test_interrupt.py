"""Signals: what a process does about them, and that nothing swallows one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptjax.training.interrupt import StopRequest, before_quitting

# The main thread waits in C, where no Python handler runs: as in compiling.
IN_C = """
import ctypes, sys
from gptjax.training.interrupt import StopRequest, before_quitting, end_at_once
sleep = ctypes.CDLL(None).usleep
end_at_once()
with before_quitting(lambda: open(sys.argv[1], "w").write("told")):
    if sys.argv[2] == "start":
        print("ready", flush=True)
        for _ in range(100): sleep(300_000)
    with StopRequest(lambda: None if sys.argv[2] == "compile" else "saving step 7") as stop:
        print("ready", flush=True)
        for _ in range(100): sleep(300_000)
"""


@pytest.mark.parametrize(
    ("where", "numbers", "said"),
    [
        ("start", [signal.SIGINT], []),
        ("start", [signal.SIGHUP], []),
        ("compile", [signal.SIGTERM], []),
        (
            "save",
            [signal.SIGINT, signal.SIGINT],
            ["saving step 7; once more to quit without saving"],
        ),
    ],
)
def test_a_signal_in_a_long_call_of_a_library(tmp_path, where, numbers, said):
    note = tmp_path / "note"
    words = [sys.executable, "-c", IN_C, str(note), where]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == "ready\n"
        for number, line in zip(numbers, [*said, None], strict=True):
            process.send_signal(number)
            if line is not None:
                assert process.stderr.readline() == f"{line}\n"
                assert process.poll() is None
        shown = process.communicate(timeout=60)[1]
    assert process.returncode == 75
    assert shown == "gptjax: interrupted; what was saved is intact\n"
    assert note.read_text() == "told"


def send(number: int, stop: StopRequest) -> None:
    os.kill(os.getpid(), number)
    deadline = time.monotonic() + 60
    while not stop.requested:
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_is_said_at_once_and_handlers_are_put_back(capfd, number):
    before = signal.getsignal(number)
    for _ in range(2):
        with StopRequest(lambda: "saving step 3") as stop:
            send(number, stop)
            # A sweep asks its runs as well, after a Ctrl-C that they have had.
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.02)
        assert signal.getsignal(number) is before
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["saving step 3; once more to quit without saving"] * 2


def test_a_closed_terminal_under_nohup_is_nothing():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest(lambda: "saving") as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_told_before_quitting_may_fail(monkeypatch):
    """And it is told no more after its block."""
    import gptjax.training.interrupt as module

    ended, told = [], []
    monkeypatch.setattr(module.os, "_exit", ended.append)
    with before_quitting(lambda: 1 / 0), before_quitting(lambda: told.append(1)):
        module.quit_at_once()
    module.quit_at_once()
    assert (ended, told) == ([75, 75], [1])


@pytest.mark.parametrize("delay", [0.1, pytest.param(None, marks=pytest.mark.slow)])
def test_start_up_ends_at_once(tmp_path, delay):
    """The command itself, from its first import on, while it trains a tokenizer and encodes."""
    words = [sys.executable, "-m", "gptjax", "pretrain", "--config", "small", "--data", "embedded"]
    own = {**os.environ, "GPTJAX_CACHE": str(tmp_path / "cache")}
    for wait in [delay] if delay else [0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0]:
        started = [*words, "--out", str(tmp_path / f"run-{wait}")]
        pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL}
        with subprocess.Popen(started, env=own, **pipes) as process:
            handled = Path(f"/proc/{process.pid}/status")
            while not int(handled.read_text().partition("SigCgt:")[2].split()[0], 16) & 1 << 14:
                time.sleep(0.001)  # SIGTERM has a handler
            time.sleep(wait)
            process.send_signal(signal.SIGINT)
            shown = process.communicate(timeout=5)[1].decode()
        assert (process.returncode, shown.splitlines()[-1]) == (
            75,
            "gptjax: interrupted; what was saved is intact",
        )
        assert "Traceback" not in shown
