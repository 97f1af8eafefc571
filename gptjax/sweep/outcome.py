"""What a run of a sweep came to: read from its folder, and from what the sweep noted beside it."""

import json
import math
import signal
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gptjax.errors import Interrupted, UserError
from gptjax.runs.folder import RunFolder, write_json
from gptjax.sweep.options import flatten
from gptjax.sweep.plan import PlannedPoint

Status = Literal["waiting", "running", "finished", "failed", "interrupted"]
STOPPED = (Interrupted.exit_code, -signal.SIGTERM, -signal.SIGINT)
TAIL = 65536  # bytes of a log in which its last line is looked for


@dataclass(frozen=True)
class Point:
    """A run of a sweep, and what it came to.

    Attributes:
        variant: its name, "" where the sweep has none.
        values: option -> value, of the grid.
        folder: its run folder; of several seeds that of `seed-N`.
        status: finished, failed, interrupted (and resumable), running or waiting.
        exit_code: of its last process; None where none has ended.
        error: the last line that a failed process wrote, otherwise "".
        mean: of the metric over seeds; None before it is finished.
        std: sample standard deviation over seeds; None of a single one.
        values_by_seed: the metric of each seed.
        examples: how many it was measured on.
        split: which of them.
        sample: whether its data were the offline sample, which says nothing about a task.
        seconds: that its processes took in all.
    """

    variant: str
    values: Mapping[str, Any]
    folder: Path
    status: Status
    exit_code: int | None
    error: str
    mean: float | None
    std: float | None
    values_by_seed: Mapping[int, float]
    examples: int | None
    split: str | None
    sample: bool
    seconds: float

    @property
    def name(self) -> str:
        """What it is called, which is the name of its folder."""
        return self.folder.name


@dataclass(frozen=True)
class Note:
    """What the sweep writes down of a run, in NAME.json.

    Attributes:
        settings: the whole config that it is made with.
        status: as the sweep last saw it.
        exit_code, error, seconds: as in `Point`.
    """

    settings: Mapping[str, Any]
    status: Status = "waiting"
    exit_code: int | None = None
    error: str = ""
    seconds: float = 0.0

    def write(self, point: PlannedPoint) -> None:
        """Write it beside the run folder."""
        content = {
            "settings": self.settings,
            "status": self.status,
            "exit_code": self.exit_code,
            "error": self.error,
            "seconds": round(self.seconds, 1),
        }
        write_json(point.beside(".json"), content)


def read_note(point: PlannedPoint) -> Note | None:
    """What the sweep noted of a run earlier, if it ever began with it.

    Raises:
        UserError: the note is damaged.
    """
    path = point.beside(".json")
    try:
        return Note(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: is no note of a sweep ({error}); remove {point.folder} and what lies beside "
            "it to run it again, or give another out"
        ) from None


def check_unchanged(point: PlannedPoint) -> None:
    """Refuse to go on in a folder with other settings than it was made with.

    Raises:
        UserError: naming the first setting that differs.
    """
    note = read_note(point)
    advice = f"give another out, or remove {point.folder}"
    if not point.folder.exists() or not any(point.folder.iterdir()):
        return
    if note is None:
        raise UserError(f"{point.folder}: is there already, but not of this sweep; {advice}")
    single = RunFolder(point.folder).config.exists()
    several = bool(RunFolder(point.folder).seeds())
    if (single and point.seeds) or (several and not point.seeds):
        change = "one seed, and now it is several" if single else "several, and now it is one"
        raise UserError(f"{point.folder}: was made with {change}; {advice}")
    if not (single or several):  # it failed before it had begun
        return
    # What was written as JSON is compared as JSON: tuples are lists there.
    before = flatten(note.settings)
    now = flatten(json.loads(json.dumps(point.settings)))
    for name in (*now, *before):
        old, new = before.get(name), now.get(name)  # None is an absent key
        if old != new:
            raise UserError(
                f"{point.folder}: was made with {name} = {old}, and now it is {new}; change it "
                f"back, {advice}"
            )


def is_finished(point: PlannedPoint) -> bool:
    """Whether the run has come to its end, with all seeds that are wanted."""
    results = _results(point)
    if results is None:
        return False
    if point.seeds:
        return set(point.seeds) <= set(results["seeds"])
    return RunFolder(point.folder).read_meta()["status"] == "finished"


def _results(point: PlannedPoint) -> dict[str, Any] | None:
    """The content of the run's results.json, if it is there.

    Raises:
        UserError: it is damaged.
    """
    path = RunFolder(point.folder).results
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove {point.folder}") from None
    if not isinstance(content, dict) or ("seeds" in content) != bool(point.seeds):
        raise UserError(f"{path}: is not of this run; remove {point.folder}")
    return content


def read_point(point: PlannedPoint, metric: str) -> Point:
    """What a run has come to so far.

    Raises:
        UserError: its files are damaged.
    """
    note = read_note(point) or Note(settings=point.settings)
    results = _results(point) if is_finished(point) else None
    values: dict[int, float] = {}
    if results is not None:
        try:
            values = _by_seed(results, metric, point.seeds)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{RunFolder(point.folder).results}: has no {metric} ({error}); remove "
                f"{point.folder}"
            ) from None
    status: Status = "finished" if results else note.status
    return Point(
        variant=point.variant,
        values=point.values,
        folder=point.folder,
        # A note of what was running or finished may be older than what lies there now.
        status="waiting" if status == "finished" and not results else status,
        exit_code=note.exit_code,
        error=note.error,
        mean=statistics.fmean(values.values()) if values else None,
        std=statistics.stdev(values.values()) if len(values) > 1 else None,
        values_by_seed=values,
        examples=results["examples"] if results else None,
        split=results["split"] if results else None,
        sample=bool(results and "sample" in results["data"] and results["data"]["sample"]),
        seconds=note.seconds,
    )


def _by_seed(results: Mapping[str, Any], metric: str, seeds: Sequence[int]) -> dict[int, float]:
    """The metric of each of the seeds that are wanted; more may lie there."""
    if "seeds" not in results:
        return {results["seed"]: results["metrics"][metric]}
    spread = results["splits"][results["split"]]["metrics"][metric]
    there = dict(zip(results["seeds"], spread["values"], strict=True))
    return {seed: there[seed] for seed in seeds}


def judge(point: PlannedPoint, exit_code: int) -> tuple[Status, str]:
    """How a process that has ended did, and the error that it left, if it failed."""
    if exit_code == 0 and is_finished(point):
        return "finished", ""
    if exit_code in STOPPED:
        return "interrupted", ""
    if exit_code < 0:
        return "failed", f"ended by {signal.Signals(-exit_code).name}"
    return "failed", last_line(point.beside(".log"))


def last_line(log: Path) -> str:
    """The last line of a log that says something, "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def is_best_candidate(point: Point) -> bool:
    """Whether a run has a number that can be compared."""
    return point.mean is not None and math.isfinite(point.mean)
