"""Gold and predictions to numbers, over a whole split (scikit-learn and SciPy compute them)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num, Shaped
from scipy import stats
from sklearn import metrics

Values = Num[np.ndarray, " N"]


def _correlation(function: Callable[..., Any], gold: Values, predicted: Values) -> float:
    # Of a constant there is no correlation; it explains nothing, so it counts as none.
    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(function(gold, predicted).statistic)


def _balanced_accuracy(gold: Values, predicted: Values) -> float:
    # scikit-learn's own function warns of a class that was predicted and is not in gold.
    present = np.unique(gold)
    return float(metrics.recall_score(gold, predicted, labels=present, average="macro"))


METRICS: Mapping[str, Callable[[Values, Values], float]] = {
    "accuracy": metrics.accuracy_score,
    "matthews": metrics.matthews_corrcoef,
    "f1": partial(metrics.f1_score, pos_label=1, zero_division=0.0),
    "macro_f1": partial(metrics.f1_score, average="macro", zero_division=0.0),
    "weighted_f1": partial(metrics.f1_score, average="weighted", zero_division=0.0),
    "balanced_accuracy": _balanced_accuracy,
    "pearson": partial(_correlation, stats.pearsonr),
    "spearman": partial(_correlation, stats.spearmanr),
}
LABELS = {
    "accuracy": "accuracy",
    "matthews": "Matthews correlation",
    "f1": "F1",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


def measure(
    names: Sequence[str], gold: Shaped[np.ndarray, " N"], predicted: Shaped[np.ndarray, " N"]
) -> dict[str, float]:
    """Metrics by name, each from -1 or 0 to 1, of class numbers or scores; F1 is of class 1.

    Macro F1 is the mean over the classes that occur in ``gold`` or in ``predicted``: a class that
    was predicted only has 0, and a class of the task that occurs in neither does not count.
    Weighted F1 and balanced accuracy are over the classes in ``gold``. These are scikit-learn's
    defaults.
    """
    return {name: float(METRICS[name](np.asarray(gold), np.asarray(predicted))) for name in names}


class PerClass(NamedTuple):
    """What is measured of each class. What has nothing under its fraction is 0."""

    precision: Float[np.ndarray, " C"]  # the share of its predictions that are right
    recall: Float[np.ndarray, " C"]  # the share of its examples that were found
    f1: Float[np.ndarray, " C"]  # the harmonic mean of both
    examples: Int[np.ndarray, " C"]  # how many there are in gold


def per_class(
    gold: Shaped[np.ndarray, " N"], predicted: Shaped[np.ndarray, " N"], num_classes: int
) -> PerClass:
    """Precision, recall and F1 of each class, from class numbers."""
    classes = np.arange(num_classes)
    return PerClass(
        *metrics.precision_recall_fscore_support(gold, predicted, labels=classes, zero_division=0.0)
    )
