"""What people see of a sweep while it runs, and what is noted of each run."""

import heapq
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gptjax import config as configs
from gptjax.runs.sweep_results import Status, SweepPoint, SweepResults
from gptjax.sweeps import summary
from gptjax.sweeps.plan import Plan
from gptjax.sweeps.summary import read_note


@dataclass(frozen=True)
class End:
    """How the process of a point ended; the fields are those of `SweepPoint`."""

    status: Status
    exit_code: int | None
    error: str = ""
    step: int | None = None


class Progress:
    """Tells people of each run, writes its note, and the tables as they stand.

    Attributes:
        plan: with the points so far, which each have the number of their place in it.
        waiting: how many points are yet to be started here.

    Args:
        jobs: how many run at a time.
        total: the number of points in all; None where nobody knows.
    """

    def __init__(self, plan: Plan, jobs: int, waiting: int, total: int | None) -> None:
        self.plan, self.waiting = plan, waiting
        self._jobs, self._total = jobs, total

    def begin(self, before: int) -> None:
        """Say how many runs there are, and how many of them had finished before."""
        runs = "a search" if self._total is None else f"{self._total} runs"
        there = f", {before} finished before" if before else ""
        at_a_time = f", {self._jobs} at a time" if self._jobs > 1 else ""
        say(f"{self.plan.sweep.out}: {runs}{there}{at_a_time}")

    def write(self) -> SweepResults:
        """Write the tables as they stand."""
        results = summary.collect(self.plan)
        summary.write(self.plan, results)
        return results

    def started(self, number: int) -> None:
        """Note that the process of a point is about to start."""
        self.waiting -= 1
        point = self.plan.points[number]
        begun = {"settings": point.settings, "status": "running", "exit_code": None, "error": ""}
        read_note(point).write(point, **begun, step=None)
        configs.write_table(point.table, point.beside(".toml"))
        self.write()
        say(f"{self._head(number)}: started")

    def ended(self, number: int, end: End, seconds: float, others: Collection[float]) -> None:
        """Note how the process of a point ended, after so many seconds, with others running."""
        planned = self.plan.points[number]
        note = read_note(planned)
        ended = {"status": end.status, "exit_code": end.exit_code, "error": end.error}
        note.write(planned, **ended, step=end.step, seconds=note.seconds + seconds)
        points = self.write().points
        if end.status == "finished":
            measured = summary.measured(self.plan, points[number])
            text = f"{self.plan.label} {measured} in {seconds:.0f} s"
        elif end.status == "failed":
            text = f"failed with exit code {end.exit_code} after {seconds:.0f} s: {end.error}"
        elif end.status == "pruned":
            measured = summary.measured(self.plan, points[number])
            text = f"{measured}, after {seconds:.0f} s{end.error and ': '}{end.error}"
        else:
            text = f"interrupted after {seconds:.0f} s"
        left = self._left(points, others) if end.status != "interrupted" else ""
        say(f"{self._head(number)}: {text}{left}")

    def _head(self, number: int) -> str:
        total = "" if self._total is None else f"/{self._total}"
        return f"[{number + 1}{total}] {self.plan.points[number].name}"

    def _left(self, points: Sequence[SweepPoint], others: Collection[float]) -> str:
        """An estimate: what is left takes as long, run by run, as what has finished did."""
        took = [point.seconds for point in points if point.status in ("finished", "pruned")]
        if self._total is None or not took or not (self.waiting or others):
            return ""
        mean = sum(took) / len(took)
        return f"; about {_duration(time_left(mean, self.waiting, others, self._jobs))} left"


def time_left(mean: float, waiting: int, running: Collection[float], jobs: int) -> float:
    """Seconds until all have ended, where each takes the mean and starts as soon as it can.

    So many are waiting; ``running`` says for how many seconds each of the others has run.
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


def say(text: str) -> None:
    """Print a line for people."""
    # `gptjax.runs.train.say` would ask jax which process this is, and jax would take the
    # accelerator, which the runs need.
    print(text, file=sys.stderr, flush=True)
