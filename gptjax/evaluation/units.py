"""Single units: those that a probe weighs most, and the best classifier that reads one alone.

Radford et al. (2017) found a single unit that tells sentiment. The best of hundreds of units is
high by chance, too, above all on few rows. So it stands beside what the same search finds in a
model that was never trained, and with labels that were permuted.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gptjax.evaluation.probe import Probe, X, Y
from gptjax.runs.probe_results import ClassCounts, UnitHistogram

PERMUTATIONS = 100
BINS = 30
# Numbers that the search holds at once: some hundred megabytes.
AT_ONCE = 1 << 23


class Threshold(NamedTuple):
    """A classifier that reads one unit: a class up to the threshold, and one above it."""

    unit: int
    threshold: float  # infinite where both answers are the same
    below: int
    above: int

    def accuracy(self, features: X, gold: Y) -> float:
        """The share that it answers rightly."""
        high = np.asarray(features[:, self.unit], np.float64) > self.threshold
        return float((np.where(high, self.above, self.below) == gold).mean())


def strongest(probe: Probe, count: int) -> tuple[list[int], list[float]]:
    """The units with the largest weights, the strongest first, and these weights.

    Of two classes the weight has its sign; of more it is the sum of the absolute weights over the
    classes.
    """
    weights = probe.weights[0] if len(probe.weights) == 1 else np.abs(probe.weights).sum(0)
    order = np.argsort(-np.abs(weights), kind="stable")[:count]
    return order.tolist(), weights[order].tolist()


class Search:
    """The search for the best threshold of the best unit, on some rows.

    It is exact: every cut between two different values of a unit is tried, and each side answers
    its commonest class. The units are sorted once, and every call has other labels for these rows.
    """

    def __init__(self, features: X) -> None:
        self._features = features
        count, width = features.shape
        step = max(1, AT_ONCE // count)
        self._blocks: list[tuple[int, np.ndarray, np.ndarray]] = []
        for begin in range(0, width, step):
            block = np.asarray(features[:, begin : begin + step]).T
            order = np.argsort(block, axis=1, kind="stable").astype(np.int32)
            ordered = np.take_along_axis(block, order, axis=1)
            # The same values are on one side. The last cut has all rows below it.
            cuts = np.ones(block.shape, bool)
            cuts[:, :-1] = ordered[:, :-1] < ordered[:, 1:]
            self._blocks.append((begin, order, cuts))

    def best(self, gold: Y) -> Threshold:
        """The classifier that is right most often, of equals that of the first unit and cut."""
        return self._at(*self._best_cut(gold), gold)

    def _best_cut(self, gold: Y) -> tuple[int, int]:
        """The unit, and how many rows are up to its threshold."""
        best, found = -1, (0, 0)
        for begin, order, cuts in self._blocks:
            right = np.where(cuts, _right(gold[order]), -1)
            unit, cut = np.unravel_index(int(right.argmax()), right.shape)
            if right[unit, cut] > best:
                best, found = int(right[unit, cut]), (begin + int(unit), int(cut) + 1)
        return found

    def _at(self, unit: int, below: int, gold: Y) -> Threshold:
        values = np.asarray(self._features[:, unit], np.float64)
        order = np.argsort(values, kind="stable")
        first, rest = gold[order[:below]], gold[order[below:]]
        low = int(np.bincount(first).argmax())
        if not len(rest):
            return Threshold(unit, np.inf, low, low)
        # In float64 the middle lies between two float32 that differ.
        middle = float(values[order[below - 1 : below + 1]].mean())
        return Threshold(unit, middle, low, int(np.bincount(rest).argmax()))


def _right(gold: Int[np.ndarray, "E N"]) -> Int[np.ndarray, "E N"]:
    """How many rows are answered rightly with a cut after each, of rows in the order of a unit."""
    count = gold.shape[1]
    numbers = np.arange(1, count + 1, dtype=np.int32)
    below, above = (np.zeros(gold.shape, np.int32) for _ in range(2))
    rest = np.broadcast_to(numbers, gold.shape).copy()  # rows that no class has counted so far
    classes = np.unique(gold[:1])
    for one in classes:
        if one == classes[-1]:
            seen = rest
        else:
            seen = np.cumsum(gold == one, axis=1, dtype=np.int32)
            rest -= seen
        np.maximum(below, seen, out=below)
        np.maximum(above, seen[:, -1:] - seen, out=above)
    return below + above


def permuted(
    search: Search, gold: Y, seed: int, count: int = PERMUTATIONS
) -> Iterator[tuple[Threshold, Y]]:
    """The best classifier for labels in a random order, and these labels; ``count`` times."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        labels = rng.permutation(gold)
        yield search.best(labels), labels


def histogram(
    unit: int, values: Float[np.ndarray, " _"], gold: Y, labels: Sequence[str]
) -> UnitHistogram:
    """How often a unit has which value, by class."""
    edges = np.histogram_bin_edges(np.asarray(values, np.float64), BINS)
    counts = tuple(
        ClassCounts(label, tuple(np.histogram(values[gold == number], edges)[0].tolist()))
        for number, label in enumerate(labels)
        if (gold == number).any()
    )
    return UnitHistogram(unit, tuple(edges.tolist()), counts)
