"""Gold and predictions to numbers, over a whole split (scikit-learn and SciPy compute them)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Num, Shaped
from scipy import stats
from sklearn import metrics

Values = Num[np.ndarray, " N"]


def _correlation(function: Callable[..., Any], gold: Values, predicted: Values) -> float:
    # Of a constant there is no correlation; it explains nothing, so it counts as none.
    if len(gold) < 2 or np.ptp(gold) == 0 or np.ptp(predicted) == 0:
        return 0.0
    return float(function(gold, predicted).statistic)


METRICS: Mapping[str, Callable[[Values, Values], float]] = {
    "accuracy": metrics.accuracy_score,
    "matthews": metrics.matthews_corrcoef,
    "f1": partial(metrics.f1_score, pos_label=1, zero_division=0.0),
    "pearson": partial(_correlation, stats.pearsonr),
    "spearman": partial(_correlation, stats.spearmanr),
}
LABELS = {
    "accuracy": "accuracy",
    "matthews": "Matthews correlation",
    "f1": "F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


def measure(
    names: Sequence[str], gold: Shaped[np.ndarray, " N"], predicted: Shaped[np.ndarray, " N"]
) -> dict[str, float]:
    """Metrics by name, each from -1 or 0 to 1, of class numbers or scores; F1 is of class 1."""
    return {name: float(METRICS[name](np.asarray(gold), np.asarray(predicted))) for name in names}
