"""What is missing of a sweep is run, what is there stays, and people see how far it is."""

import fcntl
import heapq
import signal
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptjax import config as configs
from gptjax.errors import Interrupted, UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.sweep_results import Status, SweepPoint, SweepResults
from gptjax.sweep import summary
from gptjax.sweep.plan import LOCK, Plan, PlannedPoint
from gptjax.sweep.processes import Launch, Start, run_all, start_process
from gptjax.sweep.settings import flatten
from gptjax.sweep.summary import read_finished, read_note

STOPPED = (Interrupted.exit_code, -signal.SIGTERM, -signal.SIGINT)


def run_plan(plan: Plan, jobs: int, start: Start = start_process) -> SweepResults:
    """Run what has not finished, and write results.json, summary.tsv and figures into sweep.out.

    So many jobs run at a time, each with its share of the cores. A run that fails does not stop the
    others; called again, the sweep runs it again.

    Raises:
        UserError: another sweep is at work in its folder, or it holds other runs than these.
        Interrupted: by SIGTERM or Ctrl-C; the same call goes on.
    """
    sweep = plan.sweep
    if jobs < 1:
        raise UserError(f"`jobs={jobs}`: it must be at least 1")
    sweep.out.mkdir(parents=True, exist_ok=True)
    with _locked(sweep.out) as lock:
        for point in plan.points:
            _check_unchanged(point, plan.command.config)
        missing = {n: p for n, p in enumerate(plan.points) if read_finished(p) is None}
        for point in plan.points:
            _take_over(point)
        launches = {n: Launch(_words(plan, p), p.beside(".log"), lock) for n, p in missing.items()}
        progress = _Progress(plan, jobs, len(missing))
        done = run_all(launches, jobs, start, on_start=progress.started, on_end=progress.ended)
        results = progress.write()
        if not done:
            finished = sum(point.status == "finished" for point in results.points)
            there = f"{finished} of {len(results.points)} runs finished"
            raise Interrupted(f"{sweep.source}: interrupted with {there}; the same command goes on")
        summary.save_figures(plan, results)
    return results


def _take_over(point: PlannedPoint) -> None:
    """Note what became of a run whose sweep was killed: nobody has waited for its exit code."""
    note, log = read_note(point), point.beside(".log")
    if note.status != "running":
        return
    # The note was written when the run began, and the log as long as it lived.
    began = point.beside(".json").stat().st_mtime
    seconds = max(0.0, log.stat().st_mtime - began) if log.exists() else 0.0
    done = read_finished(point) is not None
    ended = {"status": "finished" if done else "interrupted", "exit_code": 0 if done else None}
    note.write(point, **ended, seconds=note.seconds + seconds)


def _words(plan: Plan, point: PlannedPoint) -> tuple[str, ...]:
    seeds = ("--seeds", *map(str, point.seeds)) if point.seeds else ()
    own = ("--out", str(point.folder), "--resume", "auto")
    return (plan.sweep.command, "--config", str(point.beside(".toml")), *seeds, *own)


def _check_unchanged(point: PlannedPoint, config: type[Any]) -> None:
    """Refuse to go on in a folder with other settings than it was made with; name the first."""
    note = read_note(point)
    advice = f"give another out, or remove {point.folder}"
    if not point.folder.exists() or not any(point.folder.iterdir()):
        return
    if not point.beside(".json").exists():
        raise UserError(f"{point.folder}: is there already, but not of this sweep; {advice}")
    single = RunFolder(point.folder).config.exists()
    several = bool(RunFolder(point.folder).seeds())
    if (single and point.seeds) or (several and not point.seeds):
        change = "one seed, and now it is several" if single else "several, and now it is one"
        raise UserError(f"{point.folder}: was made with {change}; {advice}")
    if not (single or several):  # it failed before it had begun
        return
    # An older note may lack what has been added to the config since.
    made = configs.from_resolved(config, note.settings, where=str(point.beside(".json")))
    before, now = flatten(configs.to_table(made)), flatten(point.settings)
    for name in (*now, *before):
        old, new = before.get(name), now.get(name)  # None is an absent key
        if old != new:
            change = f"{name} = {old}, and now it is {new}; change it back"
            raise UserError(f"{point.folder}: was made with {change}, {advice}")


def judge(point: PlannedPoint, exit_code: int) -> tuple[Status, str]:
    """How a process that has ended did, and the error that it left, if it failed."""
    if exit_code == 0 and read_finished(point) is not None:
        return "finished", ""
    if exit_code in STOPPED:
        return "interrupted", ""
    if exit_code < 0:
        return "failed", f"ended by {signal.Signals(-exit_code).name}"
    return "failed", last_line(point.beside(".log"))


def last_line(log: Path) -> str:
    """The last line of a log that says something, "" if there is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


@contextmanager
def _locked(out: Path) -> Iterator[int]:
    """Keep other sweeps out of a folder, for as long as this one or a run of it is alive.

    The runs inherit the descriptor, and with it the lock, so that it holds even where the sweep
    was killed and a run is still saving its state.
    """
    with (out / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "another sweep, or a run that one has left"
            raise UserError(f"{out}: {other}, is at work there; wait for it") from None
        except OSError as error:  # some network file systems have no locks
            _say(f"notice: {out}: cannot be locked ({error.strerror}); start no other sweep there")
        yield file.fileno()


class _Progress:
    """What people see of a sweep while it runs, and what is noted of each run."""

    def __init__(self, plan: Plan, jobs: int, waiting: int) -> None:
        self._plan, self._jobs, self._waiting = plan, jobs, waiting
        total = len(plan.points)
        there = f", {total - waiting} finished before" if total > waiting else ""
        at_a_time = f", {jobs} at a time" if jobs > 1 else ""
        _say(f"{plan.sweep.out}: {total} runs{there}{at_a_time}")

    def write(self) -> SweepResults:
        results = summary.collect(self._plan)
        summary.write(self._plan, results)
        return results

    def started(self, number: int) -> None:
        self._waiting -= 1
        point = self._plan.points[number]
        begun = {"settings": point.settings, "status": "running", "exit_code": None, "error": ""}
        read_note(point).write(point, **begun)
        configs.write_table(point.table, point.beside(".toml"))
        self.write()
        _say(f"{self._head(number)}: started")

    def ended(self, number: int, exit_code: int, seconds: float, others: Collection[float]) -> None:
        planned = self._plan.points[number]
        note = read_note(planned)
        status, error = judge(planned, exit_code)
        ended = {"status": status, "exit_code": exit_code, "error": error}
        note.write(planned, **ended, seconds=note.seconds + seconds)
        points = self.write().points
        if status == "finished":
            measured = summary.measured(self._plan, points[number])
            text = f"{self._plan.label} {measured} in {seconds:.0f} s"
        elif status == "failed":
            text = f"failed with exit code {exit_code} after {seconds:.0f} s: {error}"
        else:
            text = f"interrupted after {seconds:.0f} s"
        left = self._left(points, others) if status != "interrupted" else ""
        _say(f"{self._head(number)}: {text}{left}")

    def _head(self, number: int) -> str:
        return f"[{number + 1}/{len(self._plan.points)}] {self._plan.points[number].name}"

    def _left(self, points: Sequence[SweepPoint], others: Collection[float]) -> str:
        """An estimate: what is left takes as long, run by run, as what has finished did."""
        took = [point.seconds for point in points if point.status == "finished"]
        if not took or not (self._waiting or others):
            return ""
        mean = sum(took) / len(took)
        return f"; about {_duration(time_left(mean, self._waiting, others, self._jobs))} left"


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


def _say(text: str) -> None:
    # `gptjax.runs.train.say` would ask jax which process this is, and jax would take the
    # accelerator, which the runs need.
    print(text, file=sys.stderr, flush=True)
