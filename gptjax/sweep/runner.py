"""What is missing of a sweep is run, what is there stays, and people see how far it is."""

import dataclasses
import fcntl
import heapq
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gptjax.errors import Interrupted, UserError
from gptjax.sweep import summary
from gptjax.sweep.outcome import (
    Note,
    Point,
    check_unchanged,
    is_finished,
    judge,
    read_note,
    read_point,
)
from gptjax.sweep.plan import LOCK, Plan, PlannedPoint, make_plan
from gptjax.sweep.processes import Start, Task, run_all, start_process
from gptjax.sweep.sweep_file import Sweep


def run_sweep(sweep: Sweep, jobs: int, start: Start = start_process) -> list[Point]:
    """Run what has not finished, and write results.json, summary.tsv and figures into sweep.out.

    Everything is checked before anything is started. A run that fails does not stop the others;
    called again, the sweep runs it again.

    Args:
        sweep: what to run.
        jobs: how many runs at a time, each with its share of the cores.
        start: starts the process of a run.

    Returns:
        All runs in the order of the grid, those that failed too (see `Point.status`).

    Raises:
        UserError: the sweep is refused, or another one is at work in its folder.
        Interrupted: by SIGTERM or Ctrl-C; the same call goes on.
    """
    return run_plan(make_plan(sweep), jobs, start)


def run_plan(plan: Plan, jobs: int, start: Start = start_process) -> list[Point]:
    """`run_sweep` of a sweep that was planned already."""
    sweep = plan.sweep
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: it must be at least 1")
    sweep.out.mkdir(parents=True, exist_ok=True)
    with _locked(sweep.out) as lock:
        for point in plan.points:
            check_unchanged(point)
        progress = _Progress(plan, jobs)
        tasks = [
            Task(number, _words(plan, point), point.beside(".log"))
            for number, point in enumerate(plan.points)
            if not is_finished(point)
        ]
        progress.begin([task.key for task in tasks])
        done = run_all(
            tasks, jobs, start, lock=lock, on_start=progress.started, on_end=progress.ended
        )
        points = progress.points()
        summary.write(plan, points)
        if not done:
            finished = sum(point.status == "finished" for point in points)
            raise Interrupted(
                f"{sweep.source}: interrupted with {finished} of {len(points)} runs finished; the "
                "same command goes on"
            )
        summary.save_figures(plan, points)
    return points


def _words(plan: Plan, point: PlannedPoint) -> tuple[str, ...]:
    own = ("--out", str(point.folder), "--resume", "auto")
    return (plan.sweep.command, *point.words, *own)


@contextmanager
def _locked(out: Path) -> Iterator[int]:
    """Keep other sweeps out of a folder, for as long as this one or a run of it is alive.

    The runs inherit the descriptor, and with it the lock, so that it holds even where the sweep
    was killed and a run is still saving its state.
    """
    descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            f"{out}: another sweep, or a run that one has left, is at work there; wait for it"
        ) from None
    except OSError as error:  # some network file systems have no locks
        _say(f"notice: {out}: cannot be locked ({error.strerror}); start no other sweep there")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Progress:
    """What people see of a sweep while it runs, and what is noted of each run."""

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._plan = plan
        self._jobs = jobs
        self._waiting = 0

    def points(self) -> list[Point]:
        return [read_point(point, self._plan.metric) for point in self._plan.points]

    def begin(self, numbers: Sequence[int]) -> None:
        for point in (self._plan.points[number] for number in numbers):
            # As a sweep that was killed has left it.
            if (note := read_note(point)) is not None and note.status == "running":
                dataclasses.replace(note, status="interrupted").write(point)
        total, waiting = len(self._plan.points), len(numbers)
        self._waiting = waiting
        there = f", {total - waiting} finished before" if total > waiting else ""
        at_a_time = f", {self._jobs} at a time" if self._jobs > 1 else ""
        _say(f"{self._plan.sweep.out}: {total} runs{there}{at_a_time}")

    def started(self, number: int) -> None:
        self._waiting -= 1
        point = self._plan.points[number]
        note = read_note(point) or Note(settings=point.settings)
        dataclasses.replace(
            note, settings=point.settings, status="running", exit_code=None, error=""
        ).write(point)
        summary.write(self._plan, self.points())
        _say(f"{self._head(number)}: started")

    def ended(self, number: int, exit_code: int, seconds: float, others: Collection[float]) -> None:
        planned = self._plan.points[number]
        note = read_note(planned) or Note(settings=planned.settings)
        status, error = judge(planned, exit_code)
        dataclasses.replace(
            note,
            status=status,
            exit_code=exit_code,
            error=error,
            seconds=note.seconds + seconds,
        ).write(planned)
        points = self.points()
        summary.write(self._plan, points)
        if status == "finished":
            what = f"{self._plan.label} {summary.measured(self._plan, points[number])}"
            text = f"{what} in {seconds:.0f} s"
        elif status == "failed":
            text = f"failed with exit code {exit_code} after {seconds:.0f} s: {error}"
        else:
            text = f"interrupted after {seconds:.0f} s"
        left = self._left(points, others) if status != "interrupted" else ""
        _say(f"{self._head(number)}: {text}{left}")

    def _head(self, number: int) -> str:
        return f"[{number + 1}/{len(self._plan.points)}] {self._plan.points[number].name}"

    def _left(self, points: list[Point], others: Collection[float]) -> str:
        """An estimate: what is left takes as long, run by run, as what has finished did."""
        took = [point.seconds for point in points if point.status == "finished"]
        if not took or not (self._waiting or others):
            return ""
        mean = sum(took) / len(took)
        return f"; about {_duration(time_left(mean, self._waiting, others, self._jobs))} left"


def time_left(mean: float, waiting: int, running: Collection[float], jobs: int) -> float:
    """Seconds until all have ended, where each takes the mean and starts as soon as it can.

    Args:
        mean: seconds of a run.
        waiting: how many have not started.
        running: for how many seconds each of the others has run.
        jobs: how many run at a time.
    """
    free_in = [max(0.0, mean - so_far) for so_far in running]
    free_in += [0.0] * (jobs - len(free_in))
    heapq.heapify(free_in)
    for _ in range(waiting):
        heapq.heapreplace(free_in, free_in[0] + mean)
    return max(free_in)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _say(text: str) -> None:
    # `gptjax.runs.train.say` would ask jax which process this is, and jax would take the
    # accelerator, which the runs need.
    print(text, file=sys.stderr, flush=True)
