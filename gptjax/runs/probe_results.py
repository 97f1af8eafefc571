"""What a probe comes to, as it stands in its results.json (`gptjax.runs.results`)."""

from dataclasses import dataclass

from gptjax.runs.records import keyed
from gptjax.runs.sweep_results import SeedValue


@dataclass(frozen=True)
class ProbeSplit:
    """The metrics of a probe on one split; of a cross-validation their means over the folds."""

    name: str
    examples: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class ProbeLayer:
    """The probe of one layer; of a cross-validation one for each fold."""

    layer: int  # 0 the embeddings, L the last
    c: tuple[float, ...]  # inverse strengths of the penalty
    nonzero: tuple[int, ...]  # weights that are not 0
    weights: int  # all of them
    splits: tuple[ProbeSplit, ...] = keyed("name")
    by_fold: tuple[float, ...] = ()  # the task's first metric
    mix: tuple[float, ...] = ()  # the weight of each depth in a mix; of folds the means


@dataclass(frozen=True)
class UnitSplit:
    """The accuracy on one split of a classifier that reads one unit; all were chosen on train.

    ``untrained`` is that of a model of the same shape that was never trained; the others are of
    the same search with permuted training labels: what the best of so many units has by chance.
    """

    name: str
    accuracy: float
    untrained: float
    permuted_mean: float
    permuted_95: float  # the 95 % quantile
    permuted_max: float


@dataclass(frozen=True)
class ClassCounts:
    """How many examples of a class each bin of a histogram has."""

    name: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class UnitHistogram:
    """A unit's values on the training rows, by class."""

    unit: int
    edges: tuple[float, ...]  # of the bins, one more than there are of these
    classes: tuple[ClassCounts, ...] = keyed("name")


@dataclass(frozen=True, kw_only=True)
class ProbeUnits:
    """The strongest units of a probe, and the best classifier that reads one unit."""

    strongest: tuple[int, ...]  # by the weights of the probe, the strongest first
    weights: tuple[float, ...]  # of each; of more than two classes the sums of the absolute ones
    alone_c: float  # of a probe of these units alone
    alone: tuple[ProbeSplit, ...] = keyed("name")
    unit: int  # the best one alone
    threshold: float | None  # between its two answers; None: it always answers the same
    below: str  # the label up to the threshold
    above: str
    untrained_unit: int  # the best of the untrained model
    permutations: int
    splits: tuple[UnitSplit, ...] = keyed("name")
    histograms: tuple[UnitHistogram, ...] = keyed("unit", ())


@dataclass(frozen=True)
class ProbeSize:
    """The task's first metric with so many training rows, on one split, over the seeds."""

    size: int
    split: str
    mean: float
    std: float | None  # sample standard deviation; None of one seed
    values_by_seed: tuple[SeedValue, ...] = keyed("seed")
