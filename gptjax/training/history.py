"""What a run remembers of its evaluations, and which of them was the best."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple


class Best(NamedTuple):
    """Which of two evaluations is the better one: by which metric, and which way."""

    metric: str
    mode: Literal["min", "max"]

    def improves(self, value: float, best: float | None) -> bool:
        """Whether ``value`` is better than the best so far (NaN never is)."""
        if best is None:
            return value == value
        return value < best if self.mode == "min" else value > best


@dataclass(frozen=True)
class History:
    """What a run remembers beside its arrays; it lies in each checkpoint."""

    evaluated: int = 0
    """The step of the last evaluation, 0 if there was none."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What the last evaluation returned."""
    best_step: int | None = None
    """The step of the best evaluation."""
    best_metrics: Mapping[str, float] = field(default_factory=dict)
    """What the best evaluation returned."""
    stale: int = 0
    """Evaluations since the best one."""

    def after(self, step: int, metrics: Mapping[str, float], best: Best) -> "History":
        """The history with one more evaluation."""
        metrics = {name: float(value) for name, value in metrics.items()}
        now = replace(self, evaluated=step, metrics=metrics, stale=self.stale + 1)
        if best.improves(metrics[best.metric], self.best_metrics.get(best.metric)):
            return replace(now, best_step=step, best_metrics=metrics, stale=0)
        return now
