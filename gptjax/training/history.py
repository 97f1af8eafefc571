"""What a run remembers of its evaluations, and which of them was the best."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, NamedTuple

from gptjax import finite


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
    halvings: int = 0
    """How many evaluations have halved the learning rate."""

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON has them: null for a number that is not finite."""
        return dict(finite.or_null(asdict(self)))

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "History":
        """What `to_json` made, with NaN for null."""
        history = cls(**fields)

        def numbers(metrics: Mapping[str, float | None]) -> dict[str, float]:
            return {name: math.nan if x is None else x for name, x in metrics.items()}

        metrics, best = numbers(history.metrics), numbers(history.best_metrics)
        return replace(history, metrics=metrics, best_metrics=best)

    def after(self, step: int, metrics: Mapping[str, float], best: Best) -> "History":
        """The history with one more evaluation."""
        metrics = {name: float(value) for name, value in metrics.items()}
        now = replace(self, evaluated=step, metrics=metrics, stale=self.stale + 1)
        if best.improves(metrics[best.metric], self.best_metrics.get(best.metric)):
            return replace(now, best_step=step, best_metrics=metrics, stale=0)
        return now

    def is_worse(self, best: Best) -> bool:
        """Whether the last evaluation is worse than the best one; NaN is, the same value is not."""
        now, most = self.metrics[best.metric], self.best_metrics.get(best.metric)
        return most is not None and (now != now or best.improves(most, now))
