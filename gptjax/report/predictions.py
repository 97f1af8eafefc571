"""What the predictions of fine-tuned runs show: by length, how sure, what is mistaken for what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn import metrics

from gptjax.data.tasks.task import Number, Task
from gptjax.report.figures import Figure, Series, over_seeds
from gptjax.report.sections import line_figures, slug
from gptjax.runs.predictions import Predictions, class_names

FEW = 10  # predictions of a bin, below which its share says nothing

Predicted = Sequence[tuple[str, str, list[Predictions]]]
"""Runs of a task: path, what each is called, and the predictions of its seeds."""


def of_predictions(task: Task, predicted: Predicted) -> Iterator[list[Figure]]:
    """What the runs' predictions show together, each in one figure or, of many runs, several.

    Of a scale agreement stands in the place of calibration.
    """
    yield list(_lengths(task, predicted))
    if task.scores is None:
        yield list(_calibration(task, predicted))
    else:
        yield list(_agreement(task, *task.scores, predicted))


def _lengths(task: Task, predicted: Predicted) -> Iterator[Figure]:
    """Accuracy (of a scale the mean distance) by the length of the input."""
    known = [
        (path, label, seeds, tokens)
        for path, label, seeds in predicted
        if len(tokens := [one.tokens for one in seeds if one.tokens is not None]) == len(seeds)
    ]
    if not known:
        return
    edges = length_edges(np.concatenate([one for *_, tokens in known for one in tokens]))
    series = []
    for path, label, seeds, tokens in known:
        x = by_length(tokens[0], tokens[0], edges)
        pairs = zip(tokens, seeds, strict=True)
        y = np.array([by_length(length, _goodness(task, one), edges) for length, one in pairs])
        kept = ~np.isnan(x)
        values = dict(zip(x[kept].tolist(), y[:, kept].T.tolist(), strict=True))
        series.append(over_seeds(label, values, path))
    what, meaning, y_label = "accuracy", "Accuracy", "accuracy, %"
    if task.scores is not None:
        what, meaning = "distance", "The mean distance of prediction and gold"
        y_label = "mean |prediction - gold|"
    counts = " or ".join(f"{n:,}" for n in sorted({len(seeds[0].gold) for _, _, seeds, _ in known}))
    yield from line_figures(
        series,
        name=f"{slug(task.name)}-length",
        title=f"{task.name}: {what} by length of the input",
        caption=f"{meaning} on {counts} examples in bins of about equally many, by the tokens of "
        "the longest sequence of an example, special ones included; those cut to fit the context "
        "are as long as it is. The band is the sample standard deviation over seeds.",
        axes=("tokens (mean of the bin)", y_label),
    )


def _goodness(task: Task, found: Predictions) -> np.ndarray:
    if task.scores is None:
        return np.where(found.gold == found.predicted, 100.0, 0.0)
    return np.asarray(np.abs(found.gold - found.predicted))


def _calibration(task: Task, predicted: Predicted) -> Iterator[Figure]:
    series = []
    for path, label, seeds in predicted:
        confidence = np.concatenate([found.scores.max(-1) for found in seeds])
        right = np.concatenate([found.gold == found.predicted for found in seeds])
        found = reliability(confidence, right)
        kept = found.count >= FEW
        if kept.any():
            x, y = (100 * part[kept] for part in (found.confidence, found.accuracy))
            label = f"{label}: error {100 * found.error:.1f} %"
            series.append(Series(label, tuple(x.tolist()), tuple(y.tolist()), source=path))
    yield from line_figures(
        series,
        name=f"{slug(task.name)}-calibration",
        title=f"{task.name}: calibration",
        caption="How often predictions are right by the probability of the predicted class, in 10 "
        f"bins, the seeds together; bins of fewer than {FEW} predictions are not drawn. In the "
        "legend the expected calibration error, over all bins.",
        axes=("probability of the predicted class, %", "accuracy, %"),
        diagonal="as often right as sure",
    )


def confusions(task: Task, predicted: Predicted) -> Iterator[Figure]:
    """Gold class by predicted class, a figure for each run; none of a scale."""
    if task.scores is not None:
        return
    names = class_names(task)
    for path, label, seeds in predicted:
        counts = np.sum([confusion(found) for found in seeds], axis=0).astype(float).tolist()
        several = f", summed over {len(seeds)} seeds" if len(seeds) > 1 else ""
        rows = zip(names, counts, strict=True)
        yield Figure(
            name=f"{slug(task.name)}-confusion-{slug(label)}",
            title=f"{task.name}: confusion of {label}",
            caption=f"Examples by gold class and predicted class{several}. The colour is the share "
            "of the gold class, on one scale for all runs and tasks.",
            x_label="predicted",
            y_label="gold",
            series=tuple(Series(name, names, tuple(row), source=path) for name, row in rows),
            kind="heatmap",
            shares=True,
        )


def _agreement(task: Task, low: Number, high: Number, predicted: Predicted) -> Iterator[Figure]:
    """Predicted by gold score, for a scale."""
    series = []
    for path, label, seeds in predicted:
        gold = np.concatenate([found.gold for found in seeds])
        answers = np.concatenate([found.predicted for found in seeds])
        half = (task.points[1] - low) / 2
        place = np.rint((gold - low) / half).astype(int)
        bins = {
            low + number * half: found
            for number in range(round((high - low) / half) + 1)
            if len(found := answers[place == number]) >= FEW
        }
        if bins:
            means = tuple(float(found.mean()) for found in bins.values())
            tenth, ninetieth = (
                tuple(float(np.percentile(found, share)) for found in bins.values())
                for share in (10, 90)
            )
            series.append(Series(label, tuple(bins), means, tenth, ninetieth, source=path))
    yield from line_figures(
        series,
        name=f"{slug(task.name)}-agreement",
        title=f"{task.name}: predicted by gold score",
        caption="Mean prediction for the examples of a gold score (rounded to half a point, of "
        f"{FEW} predictions and more), the seeds together; the band holds 80 % of the predictions.",
        axes=("gold score", "predicted score"),
        diagonal="prediction = gold",
    )


def confusion(found: Predictions) -> Int[np.ndarray, "C C"]:
    """How many examples of each class (rows) were given each class (columns)."""
    classes = np.arange(len(found.labels))
    return np.asarray(metrics.confusion_matrix(found.gold, found.predicted, labels=classes))


@dataclass(frozen=True)
class Reliability:
    """How often predictions are right, by the probability that the model gave them.

    Of each bin: how many there are, their mean probability, and the share of them that is right
    (0 where there are none).
    """

    count: Int[np.ndarray, " _"]
    confidence: Float[np.ndarray, " _"]
    accuracy: Float[np.ndarray, " _"]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of accuracy and confidence, each bin
        weighed by its predictions (Guo et al., 2017, equation 3)."""
        distance = np.abs(self.accuracy - self.confidence)
        return float((distance * self.count).sum() / max(self.count.sum(), 1))


def reliability(
    confidence: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"], bins: int = 10
) -> Reliability:
    """Predictions in ``bins`` of equal width, (0, 1/bins], …, (1 - 1/bins, 1].

    ``confidence`` is the probability of the predicted class, ``right`` whether it is the gold one.
    """
    place = np.digitize(confidence, np.arange(1, bins) / bins, right=True)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, values, minlength=bins) for values in (confidence, right)]
    means = [total / np.maximum(count, 1) for total in sums]
    return Reliability(count, means[0], means[1])


def length_edges(tokens: Int[np.ndarray, " N"], most: int = 6) -> Int[np.ndarray, " edges"]:
    """Borders between bins of about equally many examples, at most ``most`` of them.

    Bin i has the lengths from edge i up to, and without, edge i + 1.
    """
    inner = np.quantile(tokens, np.arange(1, most) / most, method="higher")
    return np.unique(np.concatenate([[tokens.min()], inner, [tokens.max() + 1]])).astype(int)


def by_length(
    tokens: Int[np.ndarray, " N"],
    values: Shaped[np.ndarray, " N"],
    edges: Int[np.ndarray, " edges"],
) -> Float[np.ndarray, " bins"]:
    """The mean of ``values`` in each bin of lengths (see `length_edges`); NaN of an empty one."""
    place = np.digitize(tokens, edges) - 1
    bins = len(edges) - 1
    count = np.bincount(place, minlength=bins)
    total = np.bincount(place, values.astype(np.float64), minlength=bins)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
