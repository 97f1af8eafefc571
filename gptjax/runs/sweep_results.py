"""What a sweep comes to, as it stands in its results.json (`gptjax.runs.results`)."""

from dataclasses import dataclass
from typing import Literal

from gptjax.runs.records import keyed

Value = str | int | float | bool | None | tuple[str | int | float | bool, ...]
"""An option's value, as a TOML file may have it."""
Status = Literal["waiting", "running", "finished", "failed", "interrupted", "pruned"]


@dataclass(frozen=True)
class Setting:
    """An option and its value."""

    option: str
    value: Value


@dataclass(frozen=True)
class SeedValue:
    """The metric of one seed."""

    seed: int
    value: float


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """A run of a sweep, and what it came to."""

    variant: str  # its name, "" where the sweep has none
    values: tuple[Setting, ...] = keyed("option")  # of the options of the grid or the search
    folder: str  # the name of its folder in the sweep's
    status: Status
    exit_code: int | None  # of its last process; None where none has ended
    error: str  # the last line that a failed process wrote, otherwise ""
    mean: float | None  # of the metric over seeds; None before it is finished
    std: float | None  # likewise; None also of a single seed
    values_by_seed: tuple[SeedValue, ...] = keyed("seed")
    examples: int | None  # that it was measured on
    split: str | None
    sample: bool  # whether its data were the offline sample
    seconds: float  # that its processes took in all
    step: int | None = None  # at which it was pruned


@dataclass(frozen=True)
class SweepResults:
    """All runs of a sweep in the order of the grid or the search, and the name of the best one."""

    command: str
    metric: str
    points: tuple[SweepPoint, ...]
    best: str | None
