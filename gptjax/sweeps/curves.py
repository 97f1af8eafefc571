"""What the first seeds of a search's points were worth while they trained, and who is given up."""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder
from gptjax.sweeps.plan import Plan, PlannedPoint

WATCH_SECONDS = 2.0  # between two looks at a run that is going on
FALLBACK = "loss"  # is measured while every run trains

Evaluations = Mapping[int, Mapping[str, float]]
"""Step -> the metrics of the validation data after it; NaN where one was not finite."""


class GivenUp(NamedTuple):
    """Where a point is given up."""

    step: int
    value: float | None  # of the sweep's metric, where that is measured during training


def first_seed(point: PlannedPoint) -> RunFolder:
    """The run of the first seed of a point."""
    return RunFolder(point.folder / f"seed-{point.seeds[0]}" if point.seeds else point.folder)


def read_evaluations(run: RunFolder) -> dict[int, dict[str, float]]:
    """The evaluations of a run so far; a line that is being written is left for the next time."""
    path, found = run.path / "metrics.jsonl", dict[int, dict[str, float]]()
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        try:
            record = json.loads(line)
            step, split = int(record.pop("step")), record.pop("split")
            numbers = {k: math.nan if x is None else float(x) for k, x in record.items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the report of the run says what is wrong with its file
        if split == "valid":
            found[step] = numbers
    return found


@dataclass
class Watch:
    """Looks at runs that are going on, and says which of them are given up."""

    clock: Callable[[], float] = time.monotonic
    _looked: dict[str, float] = field(default_factory=dict)
    _ended: dict[str, Evaluations] = field(default_factory=dict)

    def gives_up(self, plan: Plan, point: PlannedPoint) -> GivenUp | None:
        """Where a point of a search is given up; None while it goes on.

        It is compared with the plan's other points whose first seed has come to its end, at the
        last step that it was measured at.
        """
        rule = plan.search.prune if plan.search else None
        now = self.clock()
        if rule is None or now - self._looked.get(point.name, -math.inf) < WATCH_SECONDS:
            return None
        self._looked[point.name] = now
        own = read_evaluations(first_seed(point))
        if not own or (step := max(own)) < rule.step:
            return None
        measured = plan.metric in own[step]
        name = plan.metric if measured else FALLBACK
        there = [other.get(step, {}) for other in self._others(plan, point)]
        others = [metrics[name] for metrics in there if name in metrics]
        value = own[step].get(name, math.nan)
        if not rule.gives_up(value, others, plan.lower_is_better or not measured):
            return None
        return GivenUp(step, value if measured and value == value else None)

    def _others(self, plan: Plan, own: PlannedPoint) -> list[Evaluations]:
        for point in plan.points:
            if point.name not in self._ended and _has_ended(point):
                self._ended[point.name] = read_evaluations(first_seed(point))
        return [found for name, found in self._ended.items() if name != own.name]


def _has_ended(point: PlannedPoint) -> bool:
    try:
        return first_seed(point).read_meta().get("status") == "finished"
    except UserError:  # damaged: nothing is compared with it
        return False
