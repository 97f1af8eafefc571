"""What more training examples bring: a metric at several sizes, and how sure each gain is.

The interval of a gain has two parts, which are added as independent errors are. One is of the
seeds, and with them of which examples were drawn: Student's t over the differences seed by seed,
as a seed's smaller draw is a part of its larger one. The other is of the examples measured on: a
paired bootstrap (`gptjax.evaluation.comparison`).
"""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from gptjax.data.tasks.metrics import LABELS, measure
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Task
from gptjax.evaluation.comparison import LEVEL, Group, compare
from gptjax.runs.folder import write_json
from gptjax.runs.records import keyed, to_plain
from gptjax.runs.results import Seeds
from gptjax.runs.sweep_results import SeedValue

JSON, TSV = "learning_curve.json", "learning_curve.tsv"
RESAMPLES = 1000


@dataclass(frozen=True)
class Gain:
    """What a size has over the one before it; the ends of its 95 % interval, None of one seed."""

    difference: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SizeResult:
    """The metric at one size over the seeds; sample standard deviation, None of one seed."""

    size: int  # training examples
    updates: int
    mean: float
    std: float | None
    values_by_seed: tuple[SeedValue, ...] = keyed("seed")
    gain: Gain | None = None  # None of the smallest size


@dataclass(frozen=True)
class LearningCurve:
    """All sizes of a task, the smallest first, measured on the same examples."""

    task: str
    metric: str
    split: str
    examples: int  # measured on
    sample: bool  # whether the data are the offline sample
    seeds: tuple[int, ...]
    # The metric of who always gives the label that is the commonest in training; None of scores.
    commonest: float | None
    sizes: tuple[SizeResult, ...] = keyed("size")


@dataclass(frozen=True)
class Measured:
    """One size: what its seeds came to, and their answers."""

    updates: int
    results: Seeds
    answers: Group


def learning_curve(
    task: Task, found: Mapping[int, Measured], commonest: float | None
) -> LearningCurve:
    """The task's first metric at every size."""
    metric, first = task.metrics[0], next(iter(found.values())).results
    gains = {}
    for (_, small), (size, large) in pairwise(sorted(found.items())):
        gains[size] = _gain(metric, small, large)
    sizes = []
    for size, one in sorted(found.items()):
        by_seed = one.results.by_seed(metric)
        values = list(by_seed.values())
        std = statistics.stdev(values) if len(values) > 1 else None
        of_seeds = tuple(SeedValue(*pair) for pair in by_seed.items())
        mean = statistics.fmean(values)
        sizes.append(SizeResult(size, one.updates, mean, std, of_seeds, gains.get(size)))
    return LearningCurve(
        task=task.name,
        metric=metric,
        split=first.split,
        examples=first.examples,
        sample=bool(first.data.sample),
        seeds=first.seeds,
        commonest=commonest,
        sizes=tuple(sizes),
    )


def _gain(metric: str, small: Measured, large: Measured) -> Gain:
    before, after = small.results.by_seed(metric), large.results.by_seed(metric)
    differences = [after[seed] - before[seed] for seed in before]
    mean, count = statistics.fmean(differences), len(differences)
    if count == 1:
        return Gain(mean, None, None)
    quantile = float(stats.t.ppf((1 + LEVEL) / 2, count - 1))
    of_seeds = quantile * statistics.stdev(differences) / math.sqrt(count)
    drawn = compare(small.answers, large.answers, resamples=RESAMPLES, seed=0, draw_seeds=False)
    low, high = drawn.interval
    half = math.hypot(of_seeds, (high - low) / 2)
    return Gain(mean, mean - half, mean + half)


def commonest_label(
    task: Task, train: Sequence[Example], measured: Sequence[Example]
) -> float | None:
    """The first metric of who always gives the commonest training label; None of scores."""
    if not task.labels:
        return None
    labels, counts = np.unique([example.target for example in train], return_counts=True)
    gold = np.array([example.target for example in measured])
    answers = np.full(len(gold), labels[counts.argmax()])
    return measure(task.metrics[:1], gold, answers)[task.metrics[0]]


def answer(curve: LearningCurve) -> str:
    """Whether more examples helped, in words, by the two largest sizes."""
    metric, last = LABELS[curve.metric], curve.sizes[-1]
    if last.gain is None:
        return "one size alone does not say what more rows bring: give two or more `train_sizes`"
    before, updates, gain = curve.sizes[-2].size, curve.sizes[-2].updates, last.gain
    # Epochs make more updates of more rows, and a part of the gain may be theirs.
    longer = "" if updates == last.updates else f" ({updates:,} to {last.updates:,} updates)"
    of_sizes = f"from {before:,} to {last.size:,} rows{longer} {metric}"
    points = 100 * gain.difference
    if gain.low is None or gain.high is None:
        said = f"{of_sizes} changes by {points:+.1f} points with one seed, which may be chance"
        return f"{said}: give several `seeds`"
    spread = f"{abs(points):.1f} ± {50 * (gain.high - gain.low):.1f} points"
    if gain.low > 0:
        doubled = points / math.log2(last.size / before)
        said = f"{of_sizes} rises by {spread} ({doubled:.1f} for each doubling)"
        said += ": more rows helped, and still more are likely to help"
    elif gain.high < 0:
        said = f"{of_sizes} falls by {spread}: more rows did not help"
    else:
        sign = "-" if points < 0 else "+"
        said = f"{of_sizes} changes by {sign}{spread}: no gain is shown"
        said += "; more seeds or more validation rows would tell a smaller one"
    if curve.commonest is not None and max(one.mean for one in curve.sizes) <= curve.commonest:
        share = f"{100 * curve.commonest:.1f}"
        said += f"; but no size is better than the commonest label alone ({share})"
    return said


def gain_text(gain: Gain | None) -> str:
    """A gain in points with half of its interval's length, for a table."""
    if gain is None:
        return "–"
    text = f"{100 * gain.difference:+.2f}"
    if gain.low is None or gain.high is None:
        return text
    return f"{text} ± {50 * (gain.high - gain.low):.2f}"


def report(curve: LearningCurve) -> list[str]:
    """The table for a terminal, times 100."""
    seeds = f"{len(curve.seeds)} seed{'s' if len(curve.seeds) > 1 else ''}"
    head = f"{LABELS[curve.metric]} on {curve.split} ({curve.examples:,} examples)"
    lines = [
        f"{curve.task}, {head}, {seeds} ({', '.join(map(str, curve.seeds))})",
        f"  {'rows':>9} {'updates':>9} {'mean':>7} {'std':>6}  gain over the size before",
    ]
    for one in curve.sizes:
        std = "–" if one.std is None else f"{100 * one.std:.2f}"
        row = f"  {one.size:9,} {one.updates:9,} {100 * one.mean:7.2f} {std:>6}"
        lines.append(f"{row}  {gain_text(one.gain)}")
    if curve.commonest is not None:
        lines.append(f"  {'commonest label':19} {100 * curve.commonest:7.2f}")
    return lines


def write(folder: Path, curve: LearningCurve) -> None:
    """Write learning_curve.json and learning_curve.tsv, unrounded."""
    write_json(
        folder / JSON, {"kind": "learning-curve", **to_plain(curve), "answer": answer(curve)}
    )
    seeds = [f"seed-{seed}" for seed in curve.seeds]
    rows: list[list[Any]] = [["size", "updates", "seeds", "mean", "std", "gain", "low", "high"]]
    rows[0] += seeds
    for one in curve.sizes:
        gain = (one.gain.difference, one.gain.low, one.gain.high) if one.gain else (None,) * 3
        by_seed = [value.value for value in one.values_by_seed]
        # csv writes None as nothing.
        rows.append([one.size, one.updates, len(by_seed), one.mean, one.std, *gain, *by_seed])
    with (folder / TSV).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)
