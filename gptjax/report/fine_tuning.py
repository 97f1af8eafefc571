"""Fine-tuned runs in a report: a table beside the paper's, and what their predictions show."""

import statistics
from collections.abc import Iterator, Sequence

from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.table import TASKS
from gptjax.report.entries import TunedRun
from gptjax.report.figures import Figure, Table, mean_text, over_seeds
from gptjax.report.sections import Section, in_parts, labels_of, slug
from gptjax.report.task_predictions import of_predictions

VALID = "valid"


def sections(runs: Sequence[TunedRun]) -> Iterator[Section]:
    """A table of all runs beside the paper's, and a section for each task."""
    if not runs:
        return
    order = {name: number for number, name in enumerate(TASKS)}
    tasks: dict[str, list[TunedRun]] = {}
    for run in runs:
        tasks.setdefault(run.task.name, []).append(run)
    names = sorted(tasks, key=lambda name: (order.get(name, len(order)), name))
    grouped = [tasks[name] for name in names]
    rows = [row for group in grouped for row in _rows(group, first=True)]
    sampled = [name for name in names if any(run.sample for run in tasks[name])]
    warnings = tuple(
        f"{name}: some runs were on the offline sample, sentences made by a grammar. Their numbers "
        "say nothing about the task, and none of the paper's stands beside them."
        for name in sampled
    )
    remarks = any(cells[-1] for _, cells in rows)
    table = Table(
        name="fine-tuning-table",
        title="Ours beside the paper's",
        caption="The first metric of each task, times 100: mean ± sample standard deviation over "
        "the seeds, median and best. The checkpoint of each run is the one that was best on its "
        "validation split, so that figures on valid are flattered by that choice. The paper's "
        "model is larger, and was trained on more text.",
        columns=("task", "run", "mean ± std", "paper", *COLUMNS, *(["remarks"] if remarks else [])),
        rows=tuple(cells if remarks else cells[:-1] for _, cells in rows),
        sources=tuple(source for source, _ in rows),
    )
    yield Section("fine-tuning", "Fine-tuning", warnings=warnings, tables=(table,))
    for group in grouped:
        yield _task(group)


COLUMNS = ("metric", "split", "seeds", "examples", "median", "best")


def _rows(runs: Sequence[TunedRun], *, first: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(source, cells) of the first metric of every run and split, or of all the others."""
    labels = labels_of([run.origin.path for run in runs])
    for run, label in zip(runs, labels, strict=True):
        for split in dict.fromkeys(split for seed in run.seeds for split in seed.labelled):
            known = run.task.metrics[:1] if first else run.task.metrics[1:]
            for metric in known:
                mean, cells = _spread_cells(run, split, metric)
                row = (label, mean, *cells)
                if first:
                    row = (run.task.name, label, mean, _paper(run), *cells)
                    row += ("; ".join(_remarks(run, split)),)
                yield run.origin.path, row


def values_of(run: TunedRun, split: str, metric: str) -> list[float]:
    """A metric of each seed, in per cent."""
    found = (seed.labelled.get(split) for seed in run.seeds)
    return [100 * result.metrics[metric] for result in found if result]


def _spread_cells(run: TunedRun, split: str, metric: str) -> tuple[str, tuple[str, ...]]:
    """The mean, and what stands in `COLUMNS`."""
    values = values_of(run, split, metric)
    examples = {one.examples for seed in run.seeds for one in seed.splits if one.name == split}
    return mean_text(values, 2), (
        LABELS[metric],
        split,
        str(len(values)),
        " or ".join(f"{count:,}" for count in sorted(examples)),
        f"{statistics.median(values):.2f}",
        f"{max(values):.2f}",
    )


def _paper(run: TunedRun) -> str:
    if run.task.paper is None or run.sample:
        return "–"
    return f"{run.task.paper:g} ({run.task.paper_split})"


def _remarks(run: TunedRun, split: str) -> Iterator[str]:
    if run.sample:
        yield "OFFLINE SAMPLE, not the task"
    collapsed = sum(seed.collapsed for seed in run.seeds) if split == VALID else 0
    if collapsed:
        yield f"{collapsed} of {len(run.seeds)} seeds: every prediction is the same class"


def _task(runs: Sequence[TunedRun]) -> Section:
    task, labels = runs[0].task, labels_of([run.origin.path for run in runs])
    predicted = [
        (run, label, [seed.predictions for seed in run.seeds if seed.predictions is not None])
        for run, label in zip(runs, labels, strict=True)
    ]
    predicted = [item for item in predicted if item[2]]
    text = []
    unrecorded = [label for _, label, found in predicted if any(p.tokens is None for p in found)]
    if unrecorded:
        which = "these runs" if len(unrecorded) == len(runs) else ", ".join(unrecorded)
        text.append(
            f"The predictions of {which} do not say how long the inputs were (they are from before "
            "that was recorded); those that gptjax evaluate --out writes do."
        )
    if absent := [label for run, label in zip(runs, labels, strict=True) if not _all_read(run)]:
        text.append(f"Without predictions.tsv, and so in no figure of them: {', '.join(absent)}.")
    rows = list(_rows(runs, first=False))
    further = Table(
        name=f"{slug(task.name)}-further-metrics",
        title=f"{task.name}: further metrics",
        caption="As in the table of all tasks.",
        columns=("run", "mean ± std", *COLUMNS),
        rows=tuple(cells for _, cells in rows),
        sources=tuple(source for source, _ in rows),
    )
    figures = [
        *_metric_bars(runs, labels),
        *_training(runs, labels),
        *of_predictions(task, predicted),
    ]
    return Section(
        name=f"task-{slug(task.name)}",
        title=task.name,
        level=3,
        text=tuple(text),
        tables=(further,) if rows else (),
        figures=tuple(figures),
    )


def _all_read(run: TunedRun) -> bool:
    return all(seed.predictions is not None for seed in run.seeds)


def _metric_bars(runs: Sequence[TunedRun], labels: Sequence[str]) -> Iterator[Figure]:
    task = runs[0].task
    metric = task.metrics[0]
    levels: tuple[tuple[str, float], ...] = ()
    if task.paper is not None and not all(run.sample for run in runs):
        levels = ((f"paper: {task.paper:g} ({task.paper_split})", task.paper),)
    if len(runs) == 1 and not levels:
        return
    splits = [next(iter(run.seeds[0].labelled)) for run in runs]
    marks = [_marks(run, split) for run, split in zip(runs, splits, strict=True)]
    # What holds for all of them is said once.
    common = marks[0] if len(set(marks)) == 1 else ""
    names = [
        f"{label}{mark}" if mark != common else label
        for label, mark in zip(labels, marks, strict=True)
    ]
    values = [values_of(run, split, metric) for run, split in zip(runs, splits, strict=True)]
    yield Figure(
        name=f"{slug(task.name)}-metric",
        title=f"{task.name}: {LABELS[metric]}{common}",
        caption="Mean over the seeds; the error bars are the sample standard deviation, where "
        "there are several seeds.",
        x_label="",
        y_label="accuracy, %" if metric == "accuracy" else f"{LABELS[metric]} × 100",
        series=(
            over_seeds(
                "ours",
                dict(zip(names, values, strict=True)),
                ", ".join(run.origin.path for run in runs),
            ),
        ),
        kind="bars",
        levels=levels,
    )


def _training(runs: Sequence[TunedRun], labels: Sequence[str]) -> Iterator[Figure]:
    """The task's metric at the evaluations on the way, of runs that have several of them."""
    task = runs[0].task
    metric = task.metrics[0]
    lines = []
    for run, label in zip(runs, labels, strict=True):
        found = [{one["step"]: 100 * one[metric] for one in seed.evaluations} for seed in run.seeds]
        # A seed that stopped early has fewer.
        steps = sorted(set.intersection(*(set(seed) for seed in found)))
        if len(steps) < 2:
            continue
        values = {step: [seed[step] for seed in found] for step in steps}
        lines.append(over_seeds(label, values, run.origin.path))
    if lines:
        yield from in_parts(
            Figure(
                name=f"{slug(task.name)}-training",
                title=f"{task.name}: {LABELS[metric]} while training",
                caption="On the validation split after so many updates: mean over the seeds and "
                "sample standard deviation, where there are several.",
                x_label="updates",
                y_label="accuracy, %" if metric == "accuracy" else f"{LABELS[metric]} × 100",
                series=tuple(lines),
            )
        )


def _marks(run: TunedRun, split: str) -> str:
    """What is not as usual about a run's number, to stand after its name."""
    marks = [*([split] if split != VALID else []), *(["offline sample"] if run.sample else [])]
    return f" ({', '.join(marks)})" if marks else ""
