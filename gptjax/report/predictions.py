"""What the predictions of fine-tuned runs show: confusion, reliability, and means by length."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from sklearn import metrics

from gptjax.runs.predictions import Predictions


def confusion(found: Predictions) -> Int[np.ndarray, "C C"]:
    """How many examples of each class (rows) were given each class (columns)."""
    classes = np.arange(len(found.labels))
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
