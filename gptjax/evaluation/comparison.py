"""Two models on the same examples: the difference of a metric, and how sure it is."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptjax.data.tasks.metrics import measure
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import notices
from gptjax.runs.own_config import load_task
from gptjax.runs.predictions import read_predictions
from gptjax.runs.results import Seeds, read_results
from gptjax.runs.train import say

LEVEL = 0.95


@dataclass(frozen=True)
class Group:
    """The predictions of one or several seeds of a run on the same examples.

    Attributes:
        index: [N], the row of each example.
        gold: [N].
        predicted: [N] for each seed.
    """

    task: Task
    index: np.ndarray
    gold: np.ndarray
    predicted: Sequence[np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """The means over the seeds of two groups on the same examples, and the interval of b - a."""

    task: str
    metric: str
    num_examples: int
    a: float
    b: float
    interval: tuple[float, float]

    @property
    def difference(self) -> float:
        """b - a."""
        return self.b - self.a


def read_group(path: str, file: str, seeds: Collection[int] | None = None) -> Group:
    """The predictions in a run folder, or in its seed-N folders (``seeds``, or all that there are).

    Raises:
        UserError: none there, one of the seeds lost, unreadable, without labels, or of different
            examples.
    """
    folders = [run.path for run in RunFolder(Path(path)).seeds()] or [Path(path)]
    _check_all_there(RunFolder(Path(path)), folders)
    if seeds is not None:
        folders = [Path(path) / f"seed-{seed}" for seed in seeds]
    groups = [_read(folder, file) for folder in folders]
    for folder, group in zip(folders, groups, strict=True):
        _check_same(groups[0], group, str(folders[0]), str(folder))
    first = groups[0]
    return Group(first.task, first.index, first.gold, [g.predicted[0] for g in groups])


def _check_all_there(folder: RunFolder, found: Collection[Path]) -> None:
    """Refuse a folder of several seeds that lacks one that its summary names."""
    if not folder.results.exists() or folder.config.exists():
        return
    summary = read_results(folder.results)
    for seed in summary.seeds if isinstance(summary, Seeds) else ():
        if (lost := folder.path / f"seed-{seed}") not in found:
            raise UserError(
                f"{lost}: is no run folder (it has no config.toml), and {folder.results} names "
                "this seed; put back what was there, or train it anew"
            )


def compare(
    a: Group, b: Group, *, resamples: int, seed: int, draw_seeds: bool = True
) -> Comparison:
    """The difference of the task's first metric, with a paired bootstrap interval.

    Every sample draws examples with replacement, the same for both groups, and (where there are
    several, and ``draw_seeds``) seeds of each, so that the interval covers both kinds of chance
    (Efron and Tibshirani, 1993, percentile interval).

    Raises:
        UserError: other tasks, or other examples.
    """
    _check_same(a, b, "the first run", "the second run")
    metric, groups, count = a.task.metrics[0], (a, b), len(a.gold)
    rng = np.random.default_rng(seed)
    total_a, total_b = (
        float(np.mean([measure([metric], group.gold, one)[metric] for one in group.predicted]))
        for group in groups
    )
    statistics = [
        [_statistic(metric, group.gold, predicted) for predicted in group.predicted]
        for group in groups
    ]
    differences = np.empty(resamples)
    for sample in range(resamples):
        rows = rng.integers(0, count, count)
        weights = np.bincount(rows, minlength=count).astype(np.float64)
        drawn = []
        for of_seeds in statistics:
            seeds = list(range(len(of_seeds)))
            if draw_seeds:
                seeds = rng.integers(0, len(of_seeds), len(of_seeds)).tolist()
            found = {number: of_seeds[number](weights) for number in set(seeds)}
            drawn.append(np.mean([found[number] for number in seeds]))
        differences[sample] = drawn[1] - drawn[0]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Comparison(a.task.name, metric, count, total_a, total_b, (float(low), float(high)))


Statistic = Callable[[np.ndarray], float]
"""The value of a metric on drawn rows, from how often each row was drawn, float64 [N]."""


def _statistic(metric: str, gold: np.ndarray, predicted: np.ndarray) -> Statistic:
    """What `measure` computes on drawn rows, prepared for thousands of draws."""
    if metric == "pearson":
        x, y = ((values - values.mean()) / (np.ptp(values) or 1) for values in (gold, predicted))
        return lambda weights: _correlation(x, y, weights)
    if metric == "spearman":
        a, b = (np.unique(values, return_inverse=True)[1] for values in (gold, predicted))
        return lambda weights: _correlation(_ranks(a, weights), _ranks(b, weights), weights)
    # Each row is one cell of the table of gold classes (its rows) and predicted ones (its columns).
    classes, numbers = np.unique(np.concatenate([gold, predicted]), return_inverse=True)
    size, from_table = len(classes), FROM_TABLE[metric]
    cells = numbers[: len(gold)] * size + numbers[len(gold) :]
    return lambda weights: from_table(
        np.bincount(cells, weights, minlength=size * size).reshape(size, size), classes
    )


def _accuracy(table: np.ndarray, classes: np.ndarray) -> float:
    return float(np.trace(table) / table.sum())


def _matthews(table: np.ndarray, classes: np.ndarray) -> float:
    gold, predicted, total = table.sum(1), table.sum(0), table.sum()
    variances = (total**2 - predicted @ predicted) * (total**2 - gold @ gold)
    if variances == 0:
        return 0.0
    return float((np.trace(table) * total - gold @ predicted) / np.sqrt(variances))


def _f1(table: np.ndarray, classes: np.ndarray) -> float:
    one = classes == 1
    given = table[one].sum() + table[:, one].sum()
    return float(2 * table[one][:, one].sum() / given) if given else 0.0


def _of_each(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The F1 of each class, and how many examples or predictions it has."""
    given = table.sum(0) + table.sum(1)
    return 2 * np.diag(table) / np.maximum(given, 1), given


def _macro_f1(table: np.ndarray, classes: np.ndarray) -> float:
    f1, given = _of_each(table)
    return float(f1[given > 0].mean())


def _weighted_f1(table: np.ndarray, classes: np.ndarray) -> float:
    return float(_of_each(table)[0] @ table.sum(1) / table.sum())


def _balanced_accuracy(table: np.ndarray, classes: np.ndarray) -> float:
    gold = table.sum(1)
    return float((np.diag(table)[gold > 0] / gold[gold > 0]).mean())


FROM_TABLE = {
    "accuracy": _accuracy,
    "matthews": _matthews,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "balanced_accuracy": _balanced_accuracy,
}


def _correlation(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Pearson's, of values between -1 and 1 or of ranks; 0 where one of them is constant."""
    count = weights.sum()
    x, y = x - weights @ x / count, y - weights @ y / count
    weighted = weights * x
    variances = weighted @ x, weights @ (y * y)
    if min(variances) <= 1e-26 * count:  # nothing but rounding
        return 0.0
    return float(np.clip(weighted @ y / np.sqrt(variances[0] * variances[1]), -1, 1))


def _ranks(levels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The rank of each row's value among the drawn ones; equal values share their mean rank.

    ``levels`` is int [N], the place of each value among the distinct values.
    """
    counts = np.bincount(levels, weights)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(ranks[levels])


def _read(folder: Path, file: str) -> Group:
    task = load_task(folder)
    if task is None:
        raise UserError(f"{folder}: not a fine-tuned run")
    for notice in notices(RunFolder(folder)):
        say(f"notice: {notice}")
    found = read_predictions(folder / file, task)
    return Group(task, found.index, found.gold, [found.predicted])


def _check_same(a: Group, b: Group, name_a: str, name_b: str) -> None:
    if a.task.name != b.task.name:
        raise UserError(f"{name_a} is of {a.task.name}, and {name_b} of {b.task.name}")
    if not np.array_equal(a.index, b.index) or not np.array_equal(a.gold, b.gold):
        raise UserError(
            f"{name_a} and {name_b} predicted other examples; evaluate both on the same data"
        )
