"""What a run remembers of its evaluations, and which of them was the best."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple


class Best(NamedTuple):
    """Which of two evaluations is the better one.

    Attributes:
        metric: a key of what ``evaluate`` returns.
        mode: whether less or more of it is better.
    """

    metric: str
    mode: Literal["min", "max"]

    def improves(self, value: float, best: float | None) -> bool:
        """Whether ``value`` is better than the best so far (NaN never is)."""
        if best is None:
            return value == value
        return value < best if self.mode == "min" else value > best


@dataclass(frozen=True)
class History:
    """What a run remembers beside its arrays; it lies in each checkpoint.

    Attributes:
        evaluated: the step of the last evaluation, 0 if there was none.
        metrics: what that evaluation returned.
        best_step: the step of the best evaluation.
        best_metrics: what that one returned.
        stale: evaluations since the best one.
    """

    evaluated: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    stale: int = 0

    def after(self, step: int, metrics: Mapping[str, float], best: Best) -> "History":
        """The history with one more evaluation."""
        metrics = {name: float(value) for name, value in metrics.items()}
        now = replace(self, evaluated=step, metrics=metrics, stale=self.stale + 1)
        if best.improves(metrics[best.metric], self.best_metrics.get(best.metric)):
            return replace(now, best_step=step, best_metrics=metrics, stale=0)
        return now
