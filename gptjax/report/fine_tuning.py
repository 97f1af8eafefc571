"""Fine-tuned runs in a report: a table beside the paper's, and what their predictions show."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Task
from gptjax.errors import as_options
from gptjax.report.classes import class_table
from gptjax.report.entries import TunedRun
from gptjax.report.figures import Figure, Table, mean_text, over_seeds
from gptjax.report.order import natural
from gptjax.report.predictions import Predicted, confusions, of_predictions
from gptjax.report.sections import (
    FOLD,
    MOST_LINES,
    Section,
    line_figures,
    slug,
    with_labels,
    with_numbers,
)
from gptjax.runs.most_wrong import MOST_ROWS, cut

VALID = "valid"
MOST_OPEN = 2  # runs of a task whose details are not folded away
WORST, TEXT = 10, 300  # examples that are shown of a run, and characters of their texts
COLUMNS = ("metric", "split", "seeds", "examples", "median", "best")
HEAD = ("task", "run", "mean ± std", "paper", *COLUMNS, "remarks")

Labelled = Sequence[tuple[TunedRun, str]]
"""Runs of a task, and what each is called."""


def sections(runs: Sequence[TunedRun]) -> Iterator[Section]:
    """A table of all runs beside the paper's, and a section for each task."""
    if not runs:
        return
    order = {name: number for number, name in enumerate(TASKS)}
    tasks: dict[str, list[TunedRun]] = {}
    for run in runs:
        tasks.setdefault(run.task.name, []).append(run)
    names = sorted(tasks, key=lambda name: (order.get(name, len(order)), natural(name)))
    grouped = [with_labels(tasks[name]) for name in names]
    rows = [row for group in grouped for row in _rows(group, first=True)]
    warnings = tuple(
        f"{name}: some runs were on the offline sample, sentences made by a grammar. Their numbers "
        "say nothing about the task, and none of the paper's stands beside them."
        for name in names
        if any(run.sample for run in tasks[name])
    )
    columns, cells = with_numbers(HEAD, [cells for _, cells in rows], ("median", "best", "remarks"))
    table = Table(
        name="fine-tuning-table",
        title="Ours beside the paper's",
        caption="The first metric of each task, times 100: mean ± sample standard deviation over "
        "the seeds, median and best. The checkpoint of each run is the one that was best on its "
        "validation split, so that figures on valid are flattered by that choice. The paper's "
        "model is larger, and was trained on more text.",
        columns=columns,
        rows=cells,
        sources=tuple(source for source, _ in rows),
    )
    yield Section("fine-tuning", "Fine-tuning", warnings=warnings, tables=(table,))
    for group in grouped:
        yield from _task(group)


def _rows(runs: Labelled, *, first: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(source, cells) of the first metric of every run and split, or of all the others."""
    for run, label in runs:
        for split in dict.fromkeys(split for seed in run.seeds for split in seed.splits):
            for metric in run.task.metrics[:1] if first else run.task.metrics[1:]:
                values = _values(run, split, metric)
                seeds = [seed.splits[split] for seed in run.seeds if split in seed.splits]
                sizes = " or ".join(f"{n:,}" for n in sorted({one.examples for one in seeds}))
                median, best = "–", "–"
                if len(values) > 1:
                    median, best = f"{statistics.median(values):.2f}", f"{max(values):.2f}"
                cells = (LABELS[metric], split, str(len(values)), sizes, median, best)
                row: tuple[str, ...] = (label, mean_text(values, 2), *cells)
                if first:
                    paper = "–" if run.sample else _paper(run.task)
                    remarks = "; ".join(_remarks(run, split))
                    row = (run.task.name, *row[:2], paper, *cells, remarks)
                yield run.origin.path, row


def _values(run: TunedRun, split: str, metric: str) -> list[float]:
    """A metric of each seed, in per cent."""
    found = (seed.splits.get(split) for seed in run.seeds)
    return [100 * result.metrics[metric] for result in found if result]


def _paper(task: Task) -> str:
    return "–" if task.paper is None else f"{task.paper:g} ({task.paper_split})"


def _remarks(run: TunedRun, split: str) -> Iterator[str]:
    if run.sample:
        yield "OFFLINE SAMPLE, not the task"
    collapsed = sum(seed.collapsed for seed in run.seeds) if split == VALID else 0
    if collapsed:
        yield f"{collapsed} of {len(run.seeds)} seeds: every prediction is the same class"


def _task(runs: Labelled) -> Iterator[Section]:
    """A task's section, and below it what there is of each run."""
    task, shown = runs[0][0].task, ranked(runs)
    further = list(_rows(runs, first=False))
    tables = [*_further(task, further), *class_table(task, _predicted(runs))]
    together = [
        list(_training(task, shown)),
        *of_predictions(task, _predicted(shown)),
    ]
    # Of many runs the first figure of each kind has the best; the others are folded away.
    first = [figures[0] for figures in together if figures]
    others = [figure for figures in together for figure in figures[1:]]
    figures = (*_metric_bars(task, shown), *first)
    warnings = tuple(warning for run, label in runs for warning in _warnings(run, label))
    name, text = f"task-{slug(task.name)}", _gaps(runs)
    yield Section(name, task.name, 3, text, warnings, tuple(tables), figures)
    if others:
        title = f"{task.name}: curves of the other runs"
        yield Section(f"{name}-others", title, FOLD, figures=tuple(others), folded=True)
    for place, (run, label) in enumerate(shown):
        worst = tuple(_most_wrong(run, label))
        confused = tuple(confusions(task, _predicted([(run, label)])))
        if worst or confused:
            split = next(iter(run.seeds[0].splits))
            value = mean_text(_values(run, split, task.metrics[0]), 2)
            title = f"{label}: {LABELS[task.metrics[0]]} {value}"
            folded = place > 0 and len(runs) > MOST_OPEN
            part = f"{name}-{slug(label)}"
            yield Section(part, title, FOLD, tables=worst, figures=confused, folded=folded)


def ranked(runs: Labelled) -> Labelled:
    """The best first, of more runs than a figure can show; fewer stay in their order."""
    if len(runs) <= MOST_LINES:
        return runs
    return sorted(runs, key=lambda pair: -first_mean(pair[0]))


def first_mean(run: TunedRun) -> float:
    """The mean over the seeds of the task's first metric on the run's first split, in per cent."""
    return statistics.fmean(_values(run, next(iter(run.seeds[0].splits)), run.task.metrics[0]))


def _predicted(runs: Labelled) -> Predicted:
    return [
        (run.origin.path, label, found)
        for run, label in runs
        if (found := [seed.predictions for seed in run.seeds if seed.predictions is not None])
    ]


def _gaps(runs: Labelled) -> tuple[str, ...]:
    """What the figures do not have, and why."""
    text, predicted = [], _predicted(runs)
    unrecorded = [label for _, label, found in predicted if any(p.tokens is None for p in found)]
    if unrecorded:
        which = "these runs" if len(unrecorded) == len(runs) else ", ".join(unrecorded)
        text.append(
            f"The predictions of {which} do not say how long the inputs were (they are from before "
            "that was recorded); those that gptjax evaluate --out writes do."
        )
    absent = [label for run, label in runs if any(seed.predictions is None for seed in run.seeds)]
    if absent:
        text.append(f"Without predictions.tsv, and so in no figure of them: {', '.join(absent)}.")
    return tuple(text)


def _further(task: Task, rows: Sequence[tuple[str, tuple[str, ...]]]) -> Iterator[Table]:
    """The task's other metrics."""
    if rows:
        columns, cells = with_numbers(
            ("run", "mean ± std", *COLUMNS), [cells for _, cells in rows], ("median", "best")
        )
        yield Table(
            name=f"{slug(task.name)}-further-metrics",
            title=f"{task.name}: further metrics",
            caption="As in the table of all tasks.",
            columns=columns,
            rows=cells,
            sources=tuple(source for source, _ in rows),
        )


def _warnings(run: TunedRun, label: str) -> Iterator[str]:
    """What the run itself says of it, each once, with how many of its seeds say so."""
    for notice, count in Counter(one for seed in run.seeds for one in seed.notices).items():
        several = f" ({count} of {len(run.seeds)} seeds)" if len(run.seeds) > 1 else ""
        yield f"{label}{several}: {as_options(notice)}"


def _most_wrong(run: TunedRun, label: str) -> Iterator[Table]:
    """The examples that a run answers worst, of several seeds those of the first."""
    seed = next((seed for seed in run.seeds if seed.most_wrong is not None), None)
    if seed is None or seed.most_wrong is None or not seed.most_wrong.rows:
        return
    found, measure = seed.most_wrong, "the probability that their gold label was given"
    if run.task.scores is not None:
        measure = "the distance of the answer from the gold score"
    several = " of the first of these seeds" if len(run.seeds) > 1 else ""
    rows = [
        (index, gold, prediction, _wrong(float(value)), *(cut(text, TEXT) for text in texts))
        for index, gold, prediction, value, *texts in found.rows[:WORST]
    ]
    yield Table(
        name=f"{slug(run.task.name)}-most-wrong-{slug(label)}",
        title=f"{run.task.name}: most wrong of {label}",
        caption=f"Wrong answers{several} with {measure}, and the examples' texts, cut to {TEXT} "
        f"characters. The row's number is counted from 0. most_wrong.tsv has up to {MOST_ROWS}.",
        columns=(
            "row",
            *found.columns[1:3],
            found.columns[3].replace("_", " "),
            *found.columns[4:],
        ),
        rows=tuple(rows),
        sources=(run.origin.path,) * len(rows),
    )


def _wrong(value: float) -> str:
    """A probability or a distance; what is smaller than a thousandth has more digits."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.6f}"


def unit(metric: str) -> str:
    """What an axis says of a metric that is shown times 100."""
    return "accuracy, %" if metric == "accuracy" else f"{LABELS[metric]} × 100"


def _metric_bars(task: Task, runs: Labelled) -> Iterator[Figure]:
    metric = task.metrics[0]
    levels: tuple[tuple[str, float], ...] = ()
    if task.paper is not None and not all(run.sample for run, _ in runs):
        levels = ((f"paper: {_paper(task)}", task.paper),)
    if len(runs) == 1 and not levels:
        return
    splits = [next(iter(run.seeds[0].splits)) for run, _ in runs]
    marks = [_marks(run, split) for (run, _), split in zip(runs, splits, strict=True)]
    # What holds for all of them is said once.
    common = marks[0] if len(set(marks)) == 1 else ""
    values = {
        f"{label}{mark}" if mark != common else label: _values(run, split, metric)
        for (run, label), split, mark in zip(runs, splits, marks, strict=True)
    }
    sources = ", ".join(run.origin.path for run, _ in runs)
    yield Figure(
        name=f"{slug(task.name)}-metric",
        title=f"{task.name}: {LABELS[metric]}{common}",
        caption="Mean over the seeds, of more than four runs the best first; the error bars are "
        "the sample standard deviation, where there are several seeds.",
        x_label="",
        y_label=unit(metric),
        series=(over_seeds("ours", values, sources),),
        kind="bars",
        levels=levels,
    )


def _training(task: Task, runs: Labelled) -> Iterator[Figure]:
    """The task's metric at the evaluations on the way, of runs that have several of them."""
    metric, lines = task.metrics[0], []
    for run, label in runs:
        found = [{one["step"]: 100 * one[metric] for one in seed.evaluations} for seed in run.seeds]
        # A seed that stopped early has fewer.
        steps = sorted(set.intersection(*map(set, found)))
        if len(steps) > 1:
            values = {step: [seed[step] for seed in found] for step in steps}
            lines.append(over_seeds(label, values, run.origin.path))
    yield from line_figures(
        lines,
        name=f"{slug(task.name)}-training",
        title=f"{task.name}: {LABELS[metric]} while training",
        caption="On the validation split after so many updates: mean over the seeds and sample "
        "standard deviation, where there are several.",
        axes=("updates", unit(metric)),
    )


def _marks(run: TunedRun, split: str) -> str:
    """What is not as usual about a run's number, to stand after its name."""
    marks = [*([split] if split != VALID else []), *(["offline sample"] if run.sample else [])]
    return f" ({', '.join(marks)})" if marks else ""
