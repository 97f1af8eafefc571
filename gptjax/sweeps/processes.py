"""Runs as processes: several at a time, each with its share of the cores, none left behind."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from gptjax.training.interrupt import StopRequest

POLL_SECONDS = 0.1
MEMORY_SHARE = 0.75  # what jax reserves of an accelerator's memory, unless told otherwise
# `python -m gptjax`, which Linux asks to stop (1 is PR_SET_PDEATHSIG) when its parent dies, even if
# that was killed and could tell nobody. A function to be called in the child before it starts would
# mean to fork a process that has jax's threads.
LAUNCHER = (
    "import ctypes, runpy, signal, sys; "
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
    "runpy.run_module('gptjax', run_name='__main__', alter_sys=True)"
)

Cores = frozenset[int] | None


@runtime_checkable  # as the tests check types
class Process(Protocol):
    """What is asked of a process, as `subprocess.Popen` has it."""

    def poll(self) -> int | None: ...
    def send_signal(self, sig: int) -> None: ...
    def wait(self) -> int: ...


@dataclass(frozen=True)
class Launch:
    """A process to start."""

    words: tuple[str, ...]  # those after `gptjax`
    log: Path  # the file that its output goes to, after what is there
    lock: int  # a file descriptor that it keeps open, and with it the lock of the sweep
    cores: Cores = None  # those that it may use; None leaves the choice to the system
    memory: float | None = None  # its share of an accelerator's memory; None leaves it to jax


Start = Callable[[Launch], Process]
OnStart = Callable[[int], None]
"""Is told the number of a process that is about to start."""
OnEnd = Callable[[int, int, float, Collection[float]], None]
"""Is told its number, exit code and seconds, and for how long each of the others has run."""


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


def shares(jobs: int) -> list[Cores]:
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


def run_all(
    launches: Iterable[tuple[int, Launch]],
    jobs: int,
    start: Start,
    *,
    on_start: OnStart,
    on_end: OnEnd,
    gives_up: Callable[[int], bool] = lambda number: False,
) -> bool:
    """Run all processes in their order, so many jobs at a time; say whether all have been run.

    The next of the numbered launches is asked for when it can start. A process that is given up,
    by its number, is sent SIGTERM.

    SIGTERM and Ctrl-C stop all: what runs is sent SIGTERM, upon which it saves, and nothing else is
    started. Whatever happens, no process outlives this call. Cores and memory are shared out here.
    """
    waiting, more = iter(launches), True
    memory = MEMORY_SHARE / jobs if jobs > 1 else None
    free = shares(jobs)[::-1]
    running: dict[int, tuple[Process, Cores, float]] = {}  # by number; the time is when it started
    told: set[int] = set()
    try:
        with StopRequest(lambda: "stopping the runs, which save their state") as stop:
            while running or (more and not stop.requested):
                while more and free and not stop.requested:
                    entry = next(waiting, None)
                    if entry is None:
                        more = False
                        break
                    (number, launch), cores = entry, free.pop()
                    on_start(number)
                    process = start(replace(launch, cores=cores, memory=memory))
                    running[number] = (process, cores, time.monotonic())
                for number in running.keys() - told:
                    if stop.requested or gives_up(number):
                        told.add(number)
                        running[number][0].send_signal(signal.SIGTERM)
                ended = [n for n, (process, _, _) in running.items() if process.poll() is not None]
                if running and not ended:
                    time.sleep(POLL_SECONDS)
                for number in ended:
                    process, cores, since = running.pop(number)
                    told.discard(number)
                    free.append(cores)
                    now = time.monotonic()
                    others = [now - other for _, _, other in running.values()]
                    on_end(number, process.wait(), now - since, others)
            return not stop.requested
    finally:
        for process, _, _ in running.values():
            process.send_signal(signal.SIGTERM)
        for process, _, _ in running.values():
            process.wait()
