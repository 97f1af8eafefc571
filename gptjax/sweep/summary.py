"""A sweep as a whole: results.json, summary.tsv, a table for people, and figures."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.report import drawing
from gptjax.report.figures import Figure, Series, Table, mean_text, over_seeds
from gptjax.runs.folder import write_json
from gptjax.sweep.outcome import Point, is_best_candidate
from gptjax.sweep.plan import RESULTS, SUMMARY, Plan, text_of

LOG_SPAN = 4  # an axis whose values span more than this factor is logarithmic


def best_of(plan: Plan, points: Sequence[Point]) -> Point | None:
    """The run with the best mean, the first of equal ones; None if none has finished."""
    candidates = [point for point in points if is_best_candidate(point)]
    if not candidates:
        return None
    choose = min if plan.lower_is_better else max
    return choose(candidates, key=lambda point: point.mean)  # type: ignore[arg-type, return-value]


def write(plan: Plan, points: Sequence[Point]) -> None:
    """Write results.json and summary.tsv: every run in the order of the grid, unrounded."""
    best = best_of(plan, points)
    content: dict[str, Any] = {
        "command": plan.sweep.command,
        "metric": plan.metric,
        "points": [_entry(point) for point in points],
        "best": best.name if best else None,
    }
    write_json(plan.sweep.out / RESULTS, content)
    text = io.StringIO()
    sheet = csv.writer(text, delimiter="\t", lineterminator="\n")
    heads = [*_heads(plan), "status", plan.metric, "std", "seeds", "examples", "split", "seconds"]
    sheet.writerow([*heads, "folder"])
    for point in points:
        measured = [
            *(point.mean, point.std, len(point.values_by_seed) or None),
            *(point.examples, point.split, round(point.seconds, 1)),
        ]
        # csv writes None as nothing.
        sheet.writerow([*_cells(plan, point), point.status, *measured, point.name])
    (plan.sweep.out / SUMMARY).write_text(text.getvalue(), encoding="utf-8")


def _entry(point: Point) -> dict[str, Any]:
    return {
        "variant": point.variant,
        "values": dict(point.values),
        "folder": point.name,
        "status": point.status,
        "exit_code": point.exit_code,
        "error": point.error,
        "mean": point.mean,
        "std": point.std,
        "values_by_seed": {str(seed): value for seed, value in point.values_by_seed.items()},
        "examples": point.examples,
        "split": point.split,
        "sample": point.sample,
        "seconds": round(point.seconds, 1),
    }


def _heads(plan: Plan) -> list[str]:
    return [*(["variant"] if plan.sweep.variants else []), *plan.axes.values()]


def _cells(plan: Plan, point: Point) -> list[str]:
    variant = [point.variant] if plan.sweep.variants else []
    return [*variant, *(text_of(point.values[key]) for key in plan.axes)]


def measured(plan: Plan, point: Point) -> str:
    """The metric for people: mean and spread, or how it stands with the run."""
    if point.mean is None:
        return point.status
    values = [plan.scale * value for value in point.values_by_seed.values()]
    return mean_text(values, 1 if plan.scale == 100 else 3)


def table(plan: Plan, points: Sequence[Point]) -> str:
    """The table for a terminal, in the order of the grid; the best run has a star."""
    best = best_of(plan, points)
    rows = [["", *_heads(plan), plan.label, "seeds", "seconds"]]
    for point in points:
        star = "*" if point is best else ""
        seeds = str(len(point.values_by_seed)) if point.values_by_seed else ""
        cells = [*_cells(plan, point), measured(plan, point), seeds, f"{point.seconds:.0f}"]
        rows.append([star, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    words = 1 + len(_heads(plan))  # these to the left, numbers to the right
    lines = []
    for row in rows:
        padded = [
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def save_figures(plan: Plan, points: Sequence[Point]) -> None:
    """Write figures.json, and the plot as PNG and SVG if a run has finished."""
    drawn = [figure(plan, points)] if any(map(is_best_candidate, points)) else []
    drawing.save(plan.sweep.out, drawn, [_table(plan, points)])


def _title(plan: Plan) -> str:
    if plan.sweep.command == "pretrain":
        return f"{plan.sweep.out.name}: {plan.label}"
    names = {Path(point.settings["task"]["name"]).stem for point in plan.points}
    return f"{plan.sweep.out.name}: {plan.label} on {', '.join(sorted(names))}"


def _caption(plan: Plan, points: Sequence[Point]) -> str:
    done = [point for point in points if is_best_candidate(point)]
    where = sorted({f"{point.split} ({point.examples:,} examples)" for point in done})
    seeds = sorted({len(point.values_by_seed) for point in done})
    if not done:
        return "No run has finished."
    text = f"Measured on {', '.join(where)}."
    if seeds != [1]:
        counts = " or ".join(map(str, seeds))
        text += f" Mean of {counts} seeds, with their sample standard deviation."
    if missing := len(points) - len(done):
        text += f" {missing} of {len(points)} runs are missing."
    return text + "".join(f" {warning}." for warning in warnings(plan, points))


def warnings(plan: Plan, points: Sequence[Point]) -> list[str]:
    """What must be said beside the numbers: that they are of the offline sample."""
    names = {
        planned.settings["task"]["name"]
        for planned, point in zip(plan.points, points, strict=True)
        if point.sample
    }
    return [SAMPLE_WARNING.format(task=name) for name in sorted(names)]


def figure(plan: Plan, points: Sequence[Point]) -> Figure:
    """The metric over the first option of the grid, a series for each combination of the others.

    Over names, or where only variants are compared, it has bars.
    """
    done = [point for point in points if is_best_candidate(point)]
    first = next(iter(plan.axes), None)
    axis = [] if first is None else [point.values[first] for point in plan.points]
    numeric = bool(axis) and all(_is_number(value) for value in axis)
    groups: dict[str, list[tuple[Any, Point]]] = {}
    for point in done:
        rest = [f"{plan.axes[key]} {text_of(point.values[key])}" for key in [*plan.axes][1:]]
        if first is None:
            groups.setdefault("", []).append((point.variant, point))
        else:
            label = ", ".join([*([point.variant] if point.variant else []), *rest])
            value = point.values[first]
            groups.setdefault(label, []).append(
                (float(value) if numeric else text_of(value), point)
            )
    return Figure(
        name=plan.metric,
        title=_title(plan),
        caption=_caption(plan, points),
        x_label="variant" if first is None else plan.axes[first].replace("_", " "),
        y_label=f"{plan.label} (×100)" if plan.scale == 100 else plan.label,
        series=tuple(_series(plan, label, group, numeric) for label, group in groups.items()),
        kind="lines" if numeric else "bars",
        log_x=numeric and min(axis) > 0 and max(axis) > LOG_SPAN * min(axis),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _series(plan: Plan, label: str, group: list[tuple[Any, Point]], numeric: bool) -> Series:
    if numeric:
        group = sorted(group, key=lambda pair: pair[0])
    values = {x: [plan.scale * v for v in point.values_by_seed.values()] for x, point in group}
    return over_seeds(label, values, ", ".join(str(point.folder) for _, point in group))


def _table(plan: Plan, points: Sequence[Point]) -> Table:
    best = best_of(plan, points)
    rows = [
        (
            *_cells(plan, point),
            measured(plan, point) + (" (best)" if point is best else ""),
            str(len(point.values_by_seed)) if point.values_by_seed else "",
            f"{point.seconds:.0f}",
        )
        for point in points
    ]
    return Table(
        name=f"{plan.metric}-table",
        title=_title(plan),
        caption=_caption(plan, points),
        columns=(*_heads(plan), plan.label, "seeds", "seconds"),
        rows=tuple(rows),
        sources=tuple(str(point.folder) for point in points),
    )
