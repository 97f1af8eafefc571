"""What the runs of a sweep came to: one table, as results.json, summary.tsv, text and figures."""

import csv
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.errors import UserError
from gptjax.files import read_json
from gptjax.report import drawing
from gptjax.report.figures import Figure, Series, Table, mean_text, over_seeds
from gptjax.runs import results as kinds
from gptjax.runs import sweep_results as sweeps
from gptjax.runs.folder import RunFolder, write_json
from gptjax.sweeps.plan import RESULTS, SUMMARY, Plan, PlannedPoint, text_of
from gptjax.sweeps.settings import Settings

Finished = kinds.LanguageModelling | kinds.TaskRun | kinds.Seeds
LOG_SPAN = 4  # an axis whose values span more than this factor is logarithmic


@dataclass(frozen=True)
class Note:
    """What the sweep writes down of a run, in NAME.json; the fields are those of `SweepPoint`."""

    settings: Settings  # the whole config that the run is made with
    status: sweeps.Status = "waiting"
    exit_code: int | None = None
    error: str = ""
    seconds: float = 0.0
    step: int | None = None  # at which the point was pruned

    def write(self, point: PlannedPoint, **changes: Any) -> None:
        """Write it beside the run folder, with these changes."""
        fields = {**vars(self), **changes}
        if fields["step"] is None:
            del fields["step"]
        write_json(point.beside(".json"), {**fields, "seconds": round(fields["seconds"], 1)})


def read_note(point: PlannedPoint) -> Note:
    """What the sweep noted of a run earlier; a new note where it never began with it."""
    path = point.beside(".json")
    if not path.exists():
        return Note(settings=point.settings)
    try:
        found = Note(**read_json(path))
        status, types = (
            found.status in get_args(sweeps.Status),
            (dict, str, int | None, str, int | None),
        )
        values = (found.settings, found.status, found.exit_code, found.error, found.step)
        if not status or not all(map(isinstance, values, types)):
            raise TypeError("a field is of another type")
        return replace(found, seconds=float(found.seconds))
    except (UserError, ValueError, TypeError, OverflowError) as error:
        again = f"remove {point.folder} and what lies beside it to run it again"
        what = f"is no note of a sweep ({error}); {again}, or give another out"
        raise UserError(f"{path}: {what}") from None


def read_finished(point: PlannedPoint) -> Finished | None:
    """What a run came to, with all seeds that are wanted; None before its end."""
    folder = RunFolder(point.folder)
    if not folder.results.exists():
        return None
    found = kinds.read_results(folder.results)
    if isinstance(found, kinds.Seeds) and point.seeds:
        return found if set(point.seeds) <= set(found.seeds) else None
    if isinstance(found, kinds.LanguageModelling | kinds.TaskRun) and not point.seeds:
        return found if folder.read_meta().get("status") == "finished" else None
    raise UserError(f"{folder.results}: is not of this run; remove {point.folder}")


def collect(plan: Plan) -> sweeps.SweepResults:
    """What all runs have come to so far, in the order of the grid; of equals the first is best."""
    points = tuple(read_point(point, plan.metric) for point in plan.points)
    choose = min if plan.lower_is_better else max
    best = choose(_compared(points), key=lambda point: point.mean or 0.0, default=None)
    name = best.folder if best else None
    return sweeps.SweepResults(plan.sweep.command, plan.metric, points, name)


def _compared(points: Iterable[sweeps.SweepPoint]) -> list[sweeps.SweepPoint]:
    """The runs that have a number that can be drawn."""
    return [p for p in points if p.mean is not None and math.isfinite(p.mean)]


def read_point(point: PlannedPoint, metric: str) -> sweeps.SweepPoint:
    """What a run has come to so far."""
    note = read_note(point)
    results = read_finished(point)
    by_seed: dict[int, float] = {}
    try:
        if isinstance(results, kinds.Seeds):  # more may lie there than are wanted
            there = results.by_seed(metric)
            by_seed = {seed: there[seed] for seed in point.seeds}
        elif results is not None:
            by_seed = {results.seed: results.metrics[metric]}
    except KeyError:
        path = RunFolder(point.folder).results
        raise UserError(f"{path}: has no {metric}; remove {point.folder}") from None
    values = list(by_seed.values())
    status: sweeps.Status = "finished" if results else note.status
    return sweeps.SweepPoint(
        variant=point.variant,
        values=tuple(sweeps.Setting(name, _plain(value)) for name, value in point.values.items()),
        folder=point.name,
        # A note of what was running or finished may be older than what lies there now.
        status="waiting" if status == "finished" and not results else status,
        exit_code=note.exit_code,
        error=note.error,
        mean=statistics.fmean(values) if values else None,
        std=statistics.stdev(values) if len(values) > 1 else None,
        values_by_seed=tuple(sweeps.SeedValue(seed, value) for seed, value in by_seed.items()),
        examples=results.examples if results else None,
        split=results.split if results else None,
        sample=bool(results and results.data.sample),
        seconds=round(note.seconds, 1),
        step=None if results else note.step,
    )


def _plain(value: object) -> sweeps.Value:
    """A value of the grid as results.json has it."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return value if isinstance(value, str | int | float) else str(value)


def write(plan: Plan, results: sweeps.SweepResults) -> None:
    """Write results.json and summary.tsv: every run in the order of the grid, unrounded."""
    kinds.write_results(plan.sweep.out / RESULTS, results)
    numbers = (plan.metric, "std", "seeds", "examples", "split", "seconds")
    rows: list[list[Any]] = [[*_heads(plan), "status", *numbers, "folder"]]
    for p in results.points:
        seeds = len(p.values_by_seed) or None  # csv writes None as nothing
        found = (p.mean, p.std, seeds, p.examples, p.split, p.seconds)
        rows.append([*_names(plan, p), p.status, *found, p.folder])
    with (plan.sweep.out / SUMMARY).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)


def _heads(plan: Plan) -> list[str]:
    return [*(["variant"] if plan.sweep.variants else []), *plan.axes.values()]


def _names(plan: Plan, point: sweeps.SweepPoint) -> list[str]:
    """What is below `_heads`."""
    variant = [point.variant] if plan.sweep.variants else []
    return [*variant, *(text_of(setting.value) for setting in point.values)]


def measured(plan: Plan, point: sweeps.SweepPoint) -> str:
    """The metric for people: mean and spread, or how it stands with the run."""
    if point.mean is None:
        return point.status + ("" if point.step is None else f" at step {point.step:,}")
    return mean_text(_values(plan, point), 1 if plan.scale == 100 else 3)


def _values(plan: Plan, point: sweeps.SweepPoint) -> list[float]:
    """The metric of each seed, as people see it."""
    return [plan.scale * one.value for one in point.values_by_seed]


def _rows(plan: Plan, results: sweeps.SweepResults, best: str) -> list[list[str]]:
    """The table for people, with its heads; ``best`` follows the metric of the best run."""
    rows = [[*_heads(plan), plan.label, "seeds", "seconds"]]
    for point in results.points:
        metric = measured(plan, point) + (best if point.folder == results.best else "")
        seeds = str(len(point.values_by_seed) or "")
        rows.append([*_names(plan, point), metric, seeds, f"{point.seconds:.0f}"])
    return rows


def table(plan: Plan, results: sweeps.SweepResults) -> str:
    """The table for a terminal, in the order of the grid; the best run has a star."""
    stars = ["", *("*" if point.folder == results.best else "" for point in results.points)]
    rows = [[star, *row] for star, row in zip(stars, _rows(plan, results, ""), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = "<" * (1 + len(_heads(plan))) + ">>>"  # words to the left, numbers to the right
    cells = [[f"{c:{s}{w}}" for c, s, w in zip(row, sides, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def save_figures(
    plan: Plan, results: sweeps.SweepResults, importances: Mapping[str, float] | None = None
) -> None:
    """Write figures.json, and the plots as PNG and SVG if a run has finished.

    A search has a plot for each option, and one of the ``importances`` of its options, if there
    are some.
    """
    drawn = [] if results.best is None else [figure(plan, results)]
    if drawn and plan.search is not None:
        drawn = _scatter(plan, results, importances or {})
    heads, *rows = map(tuple, _rows(plan, results, " (best)"))
    sources = tuple(str(plan.sweep.out / point.folder) for point in results.points)
    name, title, caption = f"{plan.metric}-table", _title(plan), _caption(plan, results)
    drawing.save(plan.sweep.out, drawn, [Table(name, title, caption, heads, tuple(rows), sources)])


def _tasks(points: Iterable[PlannedPoint]) -> list[str]:
    """The tasks that runs are fine-tuned on; pre-training has none."""
    return sorted({point.settings["task"]["name"] for point in points if "task" in point.settings})


def _title(plan: Plan) -> str:
    on = ", ".join(sorted(Path(name).stem for name in _tasks(plan.points)))
    return f"{plan.sweep.out.name}: {plan.label}{f' on {on}' if on else ''}"


def _caption(plan: Plan, results: sweeps.SweepResults) -> str:
    done = _compared(results.points)
    if not done:
        return "No run has finished."
    where = sorted({f"{point.split} ({point.examples:,} examples)" for point in done})
    seeds = sorted({len(point.values_by_seed) for point in done})
    text = f"Measured on {', '.join(where)}."
    if seeds != [1]:
        counts = " or ".join(map(str, seeds))
        text += f" Mean of {counts} seeds, with their sample standard deviation."
    pruned = sum(point.status == "pruned" for point in results.points)
    if pruned:
        text += f" {pruned} of {len(results.points)} runs were pruned."
    if missing := len(results.points) - len(done) - pruned:
        text += f" {missing} of {len(results.points)} runs are missing."
    return text + "".join(f" {warning}." for warning in warnings(plan, results))


def warnings(plan: Plan, results: sweeps.SweepResults) -> list[str]:
    """What must be said beside the numbers: that they are of the offline sample."""
    sampled = [_planned(plan, found) for found in results.points if found.sample]
    return [SAMPLE_WARNING.format(task=name) for name in _tasks(sampled)]


def _planned(plan: Plan, found: sweeps.SweepPoint) -> PlannedPoint:
    """The point that a result is of; the plan of a search may not have it yet."""
    if plan.point is not None:
        return plan.point({one.option: one.value for one in found.values})
    return next(point for point in plan.points if point.name == found.folder)


def figure(plan: Plan, results: sweeps.SweepResults) -> Figure:
    """The metric over the first option of the grid, a series for each combination of the others.

    Over names, or where only variants are compared, it has bars.
    """
    first = next(iter(plan.axes), None)
    axis = [] if first is None else [point.values[first] for point in plan.points]
    numeric = bool(axis) and all(isinstance(x, int | float) and type(x) is not bool for x in axis)
    groups: dict[str, dict[Any, sweeps.SweepPoint]] = {}
    for point in _compared(results.points):
        x = point.values[0].value if point.values else point.variant
        others = [f"{plan.axes[one.option]} {text_of(one.value)}" for one in point.values[1:]]
        label = ", ".join(filter(None, [point.variant, *others])) if point.values else ""
        groups.setdefault(label, {})[x if numeric else text_of(x)] = point
    series = []
    for label, group in groups.items():
        pairs = sorted(group.items()) if numeric else list(group.items())
        values = {x: _values(plan, point) for x, point in pairs}
        source = ", ".join(str(plan.sweep.out / point.folder) for _, point in pairs)
        series.append(over_seeds(label, values, source))
    return Figure(
        name=plan.metric,
        title=_title(plan),
        caption=_caption(plan, results),
        x_label="variant" if first is None else plan.axes[first].replace("_", " "),
        y_label=f"{plan.label} (×100)" if plan.scale == 100 else plan.label,
        series=tuple(series),
        kind="lines" if numeric else "bars",
        log_x=numeric and min(axis) > 0 and max(axis) > LOG_SPAN * min(axis),
    )


def _scatter(
    plan: Plan, results: sweeps.SweepResults, importances: Mapping[str, float]
) -> list[Figure]:
    """Of a search: the metric of every point over each option, and the options' importances."""
    assert plan.search is not None
    done, caption, figures = _compared(results.points), _caption(plan, results), []
    y = [plan.scale * point.mean for point in done if point.mean is not None]
    log_y = plan.lower_is_better and min(y) > 0 and max(y) > LOG_SPAN * min(y)
    for number, axis in enumerate(plan.search.axes):
        short = plan.axes[axis.name]
        x = [point.values[number].value for point in done]
        numbers = [one for one in x if isinstance(one, int | float) and type(one) is not bool]
        if numeric := len(numbers) == len(x):
            series = Series("", tuple(numbers), tuple(y), source=str(plan.sweep.out))
        else:
            order = list(map(text_of, axis.values))  # in which names stand below the axis
            named = sorted(zip(map(text_of, x), y, strict=True), key=lambda p: order.index(p[0]))
            names, heights = tuple(name for name, _ in named), tuple(height for _, height in named)
            series = Series("", names, heights, source=str(plan.sweep.out))
        spans = numeric and min(numbers) > 0 and max(numbers) > LOG_SPAN * min(numbers)
        figures.append(
            Figure(
                name=f"{plan.metric}-{short}",
                title=_title(plan),
                caption=caption,
                x_label=short.replace("_", " "),
                y_label=f"{plan.label} (×100)" if plan.scale == 100 else plan.label,
                series=(series,),
                kind="points",
                log_x=spans and axis.kind != "integer",
                log_y=log_y,
            )
        )
    if importances:
        figures.append(_importances(plan, importances, len(done)))
    return figures


def _importances(plan: Plan, importances: Mapping[str, float], count: int) -> Figure:
    names = tuple(plan.axes[name].replace("_", " ") for name in importances)
    shares = tuple(100 * share for share in importances.values())
    what = "Each option's share in what sets the best points apart (PED-ANOVA)"
    return Figure(
        name=f"{plan.metric}-importances",
        title=f"{_title(plan)}: what mattered",
        caption=f"{what}, of {count} points; of few points it says little.",
        x_label="option",
        y_label="importance (%)",
        series=(Series("", names, shares, source=str(plan.sweep.out)),),
        kind="bars",
    )
