"""What the runs of a sweep came to: one table, as results.json, summary.tsv, text and figures."""

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.errors import UserError
from gptjax.report import drawing
from gptjax.report.figures import Figure, Series, Table, mean_text, over_seeds
from gptjax.runs.folder import RunFolder, write_json
from gptjax.runs.results import (
    LanguageModelling,
    Seeds,
    SeedValue,
    Setting,
    Status,
    SweepPoint,
    SweepResults,
    TaskRun,
    Value,
    read_results,
    write_results,
)
from gptjax.sweep.plan import RESULTS, SUMMARY, Plan, PlannedPoint, text_of
from gptjax.sweep.settings import Settings

LOG_SPAN = 4  # an axis whose values span more than this factor is logarithmic


@dataclass(frozen=True)
class Note:
    """What the sweep writes down of a run, in NAME.json.

    Attributes:
        settings: the whole config that it is made with.
        status: as the sweep last saw it.
        exit_code, error, seconds: as in `SweepPoint`.
    """

    settings: Settings
    status: Status = "waiting"
    exit_code: int | None = None
    error: str = ""
    seconds: float = 0.0

    def write(self, point: PlannedPoint) -> None:
        """Write it beside the run folder."""
        write_json(point.beside(".json"), {**vars(self), "seconds": round(self.seconds, 1)})


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


def read_finished(point: PlannedPoint) -> LanguageModelling | TaskRun | Seeds | None:
    """What a run came to, with all seeds that are wanted; None before its end.

    Raises:
        UserError: its results are damaged, or of another run.
    """
    folder = RunFolder(point.folder)
    if not folder.results.exists():
        return None
    found = read_results(folder.results)
    if isinstance(found, Seeds) and point.seeds:
        return found if set(point.seeds) <= set(found.seeds) else None
    if isinstance(found, LanguageModelling | TaskRun) and not point.seeds:
        return found if folder.read_meta().get("status") == "finished" else None
    raise UserError(f"{folder.results}: is not of this run; remove {point.folder}")


def collect(plan: Plan) -> SweepResults:
    """What all runs have come to so far, in the order of the grid; the first of the best is best.

    Raises:
        UserError: the files of a run are damaged.
    """
    points = tuple(_read_point(point, plan.metric) for point in plan.points)
    choose = min if plan.lower_is_better else max
    best = choose(_compared(points), key=lambda point: point.mean or 0.0, default=None)
    return SweepResults(plan.sweep.command, plan.metric, points, best.folder if best else None)


def _compared(points: Iterable[SweepPoint]) -> list[SweepPoint]:
    """The runs that have a number that can be drawn."""
    return [p for p in points if p.mean is not None and math.isfinite(p.mean)]


def _read_point(point: PlannedPoint, metric: str) -> SweepPoint:
    note = read_note(point) or Note(settings=point.settings)
    results = read_finished(point)
    by_seed: dict[int, float] = {}
    try:
        if isinstance(results, Seeds):  # more may lie there than are wanted
            there = results.by_seed(metric)
            by_seed = {seed: there[seed] for seed in point.seeds}
        elif results is not None:
            by_seed = {results.seed: results.metrics[metric]}
    except KeyError:
        path = RunFolder(point.folder).results
        raise UserError(f"{path}: has no {metric}; remove {point.folder}") from None
    values = list(by_seed.values())
    status: Status = "finished" if results else note.status
    return SweepPoint(
        variant=point.variant,
        values=tuple(Setting(name, _plain(value)) for name, value in point.values.items()),
        folder=point.name,
        # A note of what was running or finished may be older than what lies there now.
        status="waiting" if status == "finished" and not results else status,
        exit_code=note.exit_code,
        error=note.error,
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        values_by_seed=tuple(SeedValue(seed, value) for seed, value in by_seed.items()),
        examples=results.examples if results else None,
        split=results.split if results else None,
        sample=bool(results and results.data.sample),
        seconds=round(note.seconds, 1),
    )


def _plain(value: object) -> Value:
    """A value of the grid as results.json has it."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return value if isinstance(value, str | int | float) else str(value)


def write(plan: Plan, results: SweepResults) -> None:
    """Write results.json and summary.tsv: every run in the order of the grid, unrounded."""
    write_results(plan.sweep.out / RESULTS, results)
    text = io.StringIO()
    sheet = csv.writer(text, delimiter="\t", lineterminator="\n")
    heads = [*_heads(plan), "status", plan.metric, "std", "seeds", "examples", "split", "seconds"]
    sheet.writerow([*heads, "folder"])
    for point in results.points:
        seeds = len(point.values_by_seed) or None  # csv writes None as nothing
        numbers = [point.mean, point.std, seeds, point.examples, point.split, point.seconds]
        sheet.writerow([*_names(plan, point), point.status, *numbers, point.folder])
    (plan.sweep.out / SUMMARY).write_text(text.getvalue(), encoding="utf-8")


def _heads(plan: Plan) -> list[str]:
    return [*(["variant"] if plan.sweep.variants else []), *plan.axes.values()]


def _names(plan: Plan, point: SweepPoint) -> list[str]:
    """The variant, if there are any, and the values of the grid."""
    variant = [point.variant] if plan.sweep.variants else []
    return [*variant, *(text_of(setting.value) for setting in point.values)]


def measured(plan: Plan, point: SweepPoint) -> str:
    """The metric for people: mean and spread, or how it stands with the run."""
    if point.mean is None:
        return point.status
    return mean_text(_values(plan, point), 1 if plan.scale == 100 else 3)


def _values(plan: Plan, point: SweepPoint) -> list[float]:
    """The metric of each seed, as people see it."""
    return [plan.scale * one.value for one in point.values_by_seed]


def _rows(plan: Plan, results: SweepResults) -> tuple[list[str], list[list[str]]]:
    """The heads and cells of the table for people."""
    rows = []
    for point in results.points:
        seeds = str(len(point.values_by_seed) or "")
        numbers = [measured(plan, point), seeds, f"{point.seconds:.0f}"]
        rows.append([*_names(plan, point), *numbers])
    return [*_heads(plan), plan.label, "seeds", "seconds"], rows


def table(plan: Plan, results: SweepResults) -> str:
    """The table for a terminal, in the order of the grid; the best run has a star."""
    heads, rows = _rows(plan, results)
    stars = ["*" if point.folder == results.best else "" for point in results.points]
    rows = [["", *heads], *([star, *row] for star, row in zip(stars, rows, strict=True))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = 1 + len(_heads(plan))  # these to the left, numbers to the right
    lines = []
    for row in rows:
        padded = [
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def save_figures(plan: Plan, results: SweepResults) -> None:
    """Write figures.json, and the plot as PNG and SVG if a run has finished."""
    drawn = [figure(plan, results)] if results.best is not None else []
    heads, rows = _rows(plan, results)
    for row, point in zip(rows, results.points, strict=True):
        if point.folder == results.best:
            row[len(_heads(plan))] += " (best)"
    whole = Table(
        name=f"{plan.metric}-table",
        title=_title(plan),
        caption=_caption(plan, results),
        columns=tuple(heads),
        rows=tuple(map(tuple, rows)),
        sources=tuple(str(plan.sweep.out / point.folder) for point in results.points),
    )
    drawing.save(plan.sweep.out, drawn, [whole])


def _tasks(points: Iterable[PlannedPoint]) -> list[str]:
    """The tasks that runs are fine-tuned on; pre-training has none."""
    return sorted({point.settings["task"]["name"] for point in points if "task" in point.settings})


def _title(plan: Plan) -> str:
    on = ", ".join(sorted(Path(name).stem for name in _tasks(plan.points)))
    return f"{plan.sweep.out.name}: {plan.label}{f' on {on}' if on else ''}"


def _caption(plan: Plan, results: SweepResults) -> str:
    done = _compared(results.points)
    if not done:
        return "No run has finished."
    where = sorted({f"{point.split} ({point.examples:,} examples)" for point in done})
    seeds = sorted({len(point.values_by_seed) for point in done})
    text = f"Measured on {', '.join(where)}."
    if seeds != [1]:
        counts = " or ".join(map(str, seeds))
        text += f" Mean of {counts} seeds, with their sample standard deviation."
    if missing := len(results.points) - len(done):
        text += f" {missing} of {len(results.points)} runs are missing."
    return text + "".join(f" {warning}." for warning in warnings(plan, results))


def warnings(plan: Plan, results: SweepResults) -> list[str]:
    """What must be said beside the numbers: that they are of the offline sample."""
    pairs = zip(plan.points, results.points, strict=True)
    sampled = [planned for planned, point in pairs if point.sample]
    return [SAMPLE_WARNING.format(task=name) for name in _tasks(sampled)]


def figure(plan: Plan, results: SweepResults) -> Figure:
    """The metric over the first option of the grid, a series for each combination of the others.

    Over names, or where only variants are compared, it has bars.
    """
    first = next(iter(plan.axes), None)
    axis = [] if first is None else [point.values[first] for point in plan.points]
    numeric = bool(axis) and all(_is_number(value) for value in axis)
    groups: dict[str, list[tuple[Any, SweepPoint]]] = {}
    for point in _compared(results.points):
        pairs = zip(plan.axes.values(), point.values, strict=True)
        by_axis = [f"{name} {text_of(setting.value)}" for name, setting in pairs]
        if first is None:
            groups.setdefault("", []).append((point.variant, point))
        else:
            label = ", ".join(filter(None, [point.variant, *by_axis[1:]]))
            value = point.values[0].value
            groups.setdefault(label, []).append((value if numeric else text_of(value), point))
    return Figure(
        name=plan.metric,
        title=_title(plan),
        caption=_caption(plan, results),
        x_label="variant" if first is None else plan.axes[first].replace("_", " "),
        y_label=f"{plan.label} (×100)" if plan.scale == 100 else plan.label,
        series=tuple(_series(plan, label, group, numeric) for label, group in groups.items()),
        kind="lines" if numeric else "bars",
        log_x=numeric and min(axis) > 0 and max(axis) > LOG_SPAN * min(axis),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _series(plan: Plan, label: str, group: list[tuple[Any, SweepPoint]], numeric: bool) -> Series:
    if numeric:
        group = sorted(group, key=lambda pair: pair[0])
    values = {x: _values(plan, point) for x, point in group}
    sources = ", ".join(str(plan.sweep.out / point.folder) for _, point in group)
    return over_seeds(label, values, sources)
