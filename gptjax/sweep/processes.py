"""Runs as processes: several at a time, each with its share of the cores, none left behind."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from gptjax.training.interrupt import StopRequest

POLL_SECONDS = 0.1
# What jax reserves of an accelerator's memory, unless told otherwise.
MEMORY_SHARE = 0.75
# `python -m gptjax`, which Linux asks to stop (1 is PR_SET_PDEATHSIG) when its parent dies, even if
# that was killed and could tell nobody. A function to be called in the child before it starts would
# mean to fork a process that has jax's threads.
LAUNCHER = (
    "import ctypes, runpy, signal, sys; "
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "runpy.run_module('gptjax', run_name='__main__', alter_sys=True)"
)


@runtime_checkable  # as the tests check types
class Process(Protocol):
    """What is asked of a process, as `subprocess.Popen` has it."""

    def poll(self) -> int | None:
        """Its exit code (that of a signal is negative), or None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal; nothing happens if it has ended."""

    def wait(self) -> int:
        """Its exit code, when it has ended."""


@dataclass(frozen=True)
class Launch:
    """A process to start.

    Attributes:
        words: those after `gptjax`.
        log: the file that its output goes to, after what is there.
        lock: a file descriptor that it keeps open, and with it the lock on the sweep's folder.
        cores: those that it may use; None leaves the choice to the system.
        memory: its share of an accelerator's memory; None leaves it to jax.
    """

    words: tuple[str, ...]
    log: Path
    lock: int
    cores: frozenset[int] | None = None
    memory: float | None = None


Start = Callable[[Launch], Process]


def start_process(launch: Launch) -> Process:
    """Start `gptjax` with these words."""
    environment = dict(os.environ)
    # Under its older name jax takes it too, but not under both.
    if launch.memory is not None and "XLA_PYTHON_CLIENT_MEM_FRACTION" not in environment:
        environment.setdefault("XLA_CLIENT_MEM_FRACTION", f"{launch.memory:.3f}")
    with launch.log.open("ab") as log:
        log.write(f"$ gptjax {' '.join(launch.words)}\n".encode())
        log.flush()
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *launch.words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(launch.lock,),
        )
    if launch.cores is not None:
        # Long before it has any threads but the first, from which the others inherit this.
        os.sched_setaffinity(process.pid, launch.cores)
    return process


def shares(jobs: int) -> list[frozenset[int] | None]:
    """The cores of each of several processes at a time: neighbours, and all of them used.

    Two processes with a core each do more than two that share two cores, because the threads of
    one do not wait for each other. On systems that cannot say so, each is None.
    """
    if jobs == 1 or not hasattr(os, "sched_getaffinity"):
        return [None] * jobs
    cores = sorted(os.sched_getaffinity(0))
    if jobs > len(cores):
        return [frozenset({cores[i % len(cores)]}) for i in range(jobs)]
    ends = [i * len(cores) // jobs for i in range(jobs + 1)]
    return [frozenset(cores[a:b]) for a, b in itertools.pairwise(ends)]


@dataclass(frozen=True)
class _Running:
    number: int
    process: Process
    slot: int
    since: float


def run_all(
    launches: Mapping[int, Launch],
    jobs: int,
    start: Start,
    *,
    on_start: Callable[[int], None],
    on_end: Callable[[int, int, float, Collection[float]], None],
) -> bool:
    """Run all processes in their order, so many at a time, unless asked to stop.

    SIGTERM and Ctrl-C stop all: what runs is sent SIGTERM, upon which it saves, and nothing else is
    started. Whatever happens, no process outlives this call.

    Args:
        launches: number -> what to run; cores and memory are shared out here.
        jobs: how many at a time.
        start: starts one.
        on_start: is told the number of one that is about to start.
        on_end: is told its number, exit code and seconds, and for how long the others have run.

    Returns:
        Whether all have been run.
    """
    waiting = list(launches.items())[::-1]
    memory = MEMORY_SHARE / jobs if jobs > 1 else None
    cores = shares(jobs)
    free = list(reversed(range(jobs)))
    running: list[_Running] = []
    told = False
    try:
        with StopRequest() as stop:
            while running or (waiting and not stop.requested):
                while waiting and free and not stop.requested:
                    (number, launch), slot = waiting.pop(), free.pop()
                    on_start(number)
                    process = start(replace(launch, cores=cores[slot], memory=memory))
                    running.append(_Running(number, process, slot, time.monotonic()))
                if stop.requested and not told:
                    told = True
                    for one in running:
                        one.process.send_signal(signal.SIGTERM)
                ended = [one for one in running if one.process.poll() is not None]
                if not ended:
                    time.sleep(POLL_SECONDS)
                for one in ended:
                    running.remove(one)
                    free.append(one.slot)
                    now = time.monotonic()
                    others = [now - other.since for other in running]
                    on_end(one.number, one.process.wait(), now - one.since, others)
            return not stop.requested
    finally:
        for one in running:
            one.process.send_signal(signal.SIGTERM)
        for one in running:
            one.process.wait()
