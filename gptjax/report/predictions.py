"""The predictions of a fine-tuned run, read back from predictions.tsv, and what they show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn import metrics

from gptjax.data.tasks.task import Task
from gptjax.errors import UserError

TOKENS = "tokens"
"""The last column of predictions.tsv, which runs from before there was one do not have."""


@dataclass(frozen=True)
class Predictions:
    """A model's answers to labelled examples, in file order.

    Attributes:
        task: what was predicted.
        index: [N], the row of each example.
        gold: [N], the number of the class, or the score.
        predicted: [N], the same of the model.
        probabilities: [N, C], of the classes, the choices, or the points of the scale.
        tokens: [N], the length of each example's longest sequence; None: not recorded.
    """

    task: Task
    index: Int[np.ndarray, " N"]
    gold: Float[np.ndarray, " N"]
    predicted: Float[np.ndarray, " N"]
    probabilities: Float[np.ndarray, "N C"]
    tokens: Int[np.ndarray, " N"] | None


def read_predictions(path: Path, task: Task) -> Predictions:
    """A file that `task_scores.write_predictions` wrote.

    Raises:
        UserError: none there, unreadable, without labels, or of another task.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: no predictions can be read ({error.strerror})") from error
    head, rows = lines[0].split("\t") if lines else [], [line.split("\t") for line in lines[1:]]
    recorded = head[3 + task.num_classes :] == [TOKENS]
    width = 3 + task.num_classes + recorded
    if not rows or any(len(row) != width for row in rows):
        raise UserError(f"{path}: not predictions of {task.name} (its rows have {width} columns)")
    if any(not row[1] for row in rows):
        raise UserError(f"{path}: has no gold labels, without which nothing can be said of it")
    values = {label: float(number) for number, label in enumerate(task.labels)}
    try:
        gold, predicted = (
            np.array([float(row[i]) if task.scores else values[row[i]] for row in rows])
            for i in (1, 2)
        )
        index = np.array([int(row[0]) for row in rows])
        probabilities = np.array([row[3 : 3 + task.num_classes] for row in rows], np.float64)
        tokens = np.array([int(row[-1]) for row in rows]) if recorded else None
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not predictions of {task.name} ({error})") from error
    return Predictions(task, index, gold, predicted, probabilities, tokens)


def confusion(found: Predictions) -> Int[np.ndarray, "C C"]:
    """How many examples of each class (rows) were given each class (columns)."""
    classes = np.arange(found.task.num_classes)
    return np.asarray(metrics.confusion_matrix(found.gold, found.predicted, labels=classes))


@dataclass(frozen=True)
class Reliability:
    """How often predictions are right, by the probability that the model gave them.

    Attributes:
        count: [bins], predictions with a probability in the bin.
        confidence: [bins], their mean probability (0 where there are none).
        accuracy: [bins], the share of them that is right (0 where there are none).
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

    Args:
        confidence: the probability of the predicted class.
        right: whether it is the gold class.
        bins: how many.
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
