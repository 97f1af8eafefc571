"""Two models on the same examples: the difference of a metric, and how sure it is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptjax.data.tasks.metrics import measure
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.open import load_task
from gptjax.runs.predictions import read_predictions

LEVEL = 0.95


@dataclass(frozen=True)
class Group:
    """The predictions of one or several seeds of a run on the same examples.

    Attributes:
        task: what was predicted.
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
    """The outcome.

    Attributes:
        task, metric: what was measured.
        num_examples: on how many.
        a, b: the metric of each group, the mean over its seeds.
        interval: of b - a, 95 %.
    """

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
    """The predictions in a run folder, or in its seed-N folders.

    Args:
        path: the folder.
        file: of predictions, in the folder or in each of its seeds.
        seeds: of which seeds; None is all that there are.

    Raises:
        UserError: none there, unreadable, without labels, or of different examples.
    """
    folders = [run.path for run in RunFolder(Path(path)).seeds()] or [Path(path)]
    if seeds is not None:
        folders = [Path(path) / f"seed-{seed}" for seed in seeds]
    groups = [_read(folder, file) for folder in folders]
    for folder, group in zip(folders, groups, strict=True):
        _check_same(groups[0], group, str(folders[0]), str(folder))
    first = groups[0]
    return Group(first.task, first.index, first.gold, [g.predicted[0] for g in groups])


def compare(a: Group, b: Group, *, resamples: int, seed: int) -> Comparison:
    """The difference of the task's first metric, with a paired bootstrap interval.

    Every sample draws examples with replacement, the same for both groups, and (where there are
    several) seeds of each, so that the interval covers both kinds of chance (Efron and
    Tibshirani, 1993, percentile interval).

    Raises:
        UserError: other tasks, or other examples.
    """
    _check_same(a, b, "the first run", "the second run")
    metric = a.task.metrics[0]
    rng = np.random.default_rng(seed)

    def value(group: Group, seeds: Sequence[int], rows: np.ndarray) -> float:
        gold = group.gold[rows]
        values = [measure([metric], gold, group.predicted[i][rows])[metric] for i in seeds]
        return float(np.mean(values))

    everything = np.arange(len(a.gold))
    total_a, total_b = (value(group, range(len(group.predicted)), everything) for group in (a, b))
    differences = np.empty(resamples)
    for sample in range(resamples):
        rows = rng.integers(0, len(a.gold), len(a.gold))
        drawn = [
            value(group, rng.integers(0, len(group.predicted), len(group.predicted)).tolist(), rows)
            for group in (a, b)
        ]
        differences[sample] = drawn[1] - drawn[0]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(differences, [tail, 100 - tail])
    return Comparison(a.task.name, metric, len(a.gold), total_a, total_b, (float(low), float(high)))


def _read(folder: Path, file: str) -> Group:
    task = load_task(folder)
    if task is None:
        raise UserError(f"{folder}: not a fine-tuned run")
    found = read_predictions(folder / file, task)
    return Group(task, found.index, found.gold, [found.predicted])


def _check_same(a: Group, b: Group, name_a: str, name_b: str) -> None:
    if a.task.name != b.task.name:
        raise UserError(f"{name_a} is of {a.task.name}, and {name_b} of {b.task.name}")
    if not np.array_equal(a.index, b.index) or not np.array_equal(a.gold, b.gold):
        raise UserError(
            f"{name_a} and {name_b} predicted other examples; evaluate both on the same data"
        )
