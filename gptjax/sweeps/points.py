"""A point of a sweep: whether it may go on in its folder, its process's words, how that ended."""

import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptjax import config as configs
from gptjax.errors import Interrupted, UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.sweep_results import Status, SweepResults
from gptjax.sweeps.plan import LOCK, Plan, PlannedPoint
from gptjax.sweeps.progress import say
from gptjax.sweeps.settings import flatten
from gptjax.sweeps.summary import read_finished, read_note

STOPPED = (Interrupted.exit_code, -signal.SIGTERM, -signal.SIGINT)


def take_over(point: PlannedPoint) -> None:
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


def words(plan: Plan, point: PlannedPoint) -> tuple[str, ...]:
    """The words of the process that runs a point, or goes on with it."""
    seeds = ("--seeds", *map(str, point.seeds)) if point.seeds else ()
    own = ("--out", str(point.folder), "--resume", "auto")
    return (plan.sweep.command, "--config", str(point.beside(".toml")), *seeds, *own)


def check_unchanged(point: PlannedPoint, config: type[Any]) -> None:
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


def interrupted(plan: Plan, results: SweepResults) -> Interrupted:
    """The error that a sweep ends with that was stopped."""
    finished = sum(point.status == "finished" for point in results.points)
    there = f"{finished} of {len(results.points)} runs finished"
    return Interrupted(f"{plan.sweep.source}: interrupted with {there}; the same command goes on")


@contextmanager
def locked(out: Path, *, shared: bool = False) -> Iterator[int]:
    """Keep other sweeps out of a folder, for as long as this one or a run of it is alive.

    Several searches may be there together: their lock is ``shared`` by them.

    The runs inherit the descriptor, and with it the lock, so that it holds even where the sweep
    was killed and a run is still saving its state.
    """
    with (out / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            other = "another sweep, or a run that one has left"
            raise UserError(f"{out}: {other}, is at work there; wait for it") from None
        except OSError as error:  # some network file systems have no locks
            say(f"notice: {out}: cannot be locked ({error.strerror}); start no other sweep there")
        yield file.fileno()
