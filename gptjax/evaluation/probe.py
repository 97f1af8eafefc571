"""Probes: logistic regression on the features of a model that stays as it is.

Radford et al. (2017, "Learning to generate reviews and discovering sentiment", section 4) choose C
from powers of two by the accuracy on validation examples, and penalise the sum of the absolute
weights (L1). scikit-learn fits, as theirs did: L1 by liblinear, whose penalty has the intercept
too, of more than two classes one against the rest; L2 by L-BFGS, of more classes jointly.
"""

import dataclasses
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier

from gptjax.data.tasks.splits import nested_order
from gptjax.data.tasks.task import Task
from gptjax.errors import LARGEST, UserError, shown
from gptjax.evaluation.mixed_probe import fit_mixed

Penalty = Literal["l1", "l2"]
X = Float[np.ndarray, "_ E"]  # features of rows
Y = Int[np.ndarray, " _"]  # the number of the class of each

GRID = tuple(2.0**power for power in range(-8, 1))
"""The values of C of Radford et al. 2017."""
INNER_SHARE = 0.1
"""The share of a fold's training rows on which its C is chosen."""
IMPOSSIBLE = 1e-12
"""The probability of a class that the probe has never seen."""


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe is fitted."""

    penalty: Penalty = "l2"
    grid: tuple[float, ...] = GRID  # inverse strengths of the penalty, of which one is chosen
    standardise: bool = False  # to mean 0 and standard deviation 1 of the training features
    seed: int = 0  # of liblinear's order, of the folds, and of what is drawn inside of them
    iterations: int = 1000  # the most that a fit takes
    depths: int = 1  # of which the features are those side by side; several are mixed


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        c: the inverse strength of the penalty.
        classes: the classes that it has seen, in the order of the weights.
        weights, intercept: of the features as they are, whether or not they were standardised; of
            two classes those of the second one alone.
        num_classes: C, all classes of the task.
        one_vs_rest: whether the classes were fitted one against the rest.
        tried: the validation accuracy of each C.
        notices: what people should know.
        mix: the weight of each depth, of a mix; its ``weights`` are multiplied with it already.
    """

    c: float
    classes: Y
    weights: Float[np.ndarray, "K E"]
    intercept: Float[np.ndarray, " K"]
    num_classes: int
    one_vs_rest: bool
    tried: dict[float, float] = dataclasses.field(default_factory=dict)
    notices: tuple[str, ...] = ()
    mix: tuple[float, ...] = ()

    @property
    def nonzero(self) -> int:
        """How many weights are not 0, the intercepts not counted."""
        return int(np.count_nonzero(self.weights))

    def log_probabilities(self, features: X) -> Float[np.ndarray, "_ C"]:
        """Of all classes of the task, nats; of those that it never saw `IMPOSSIBLE`."""
        logits = np.asarray(features, np.float64) @ self.weights.T + self.intercept
        if len(self.classes) == 2:
            own = -np.logaddexp(0, np.concatenate([logits, -logits], axis=1))
        elif self.one_vs_rest:  # each its own, scaled to a sum of 1
            each = -np.logaddexp(0, -logits)
            own = each - np.logaddexp.reduce(each, axis=1, keepdims=True)
        else:
            own = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
        found = np.full((len(features), self.num_classes), np.log(IMPOSSIBLE))
        found[:, self.classes] = own
        return found

    def accuracy(self, features: X, gold: Y) -> float:
        """The share that it answers rightly."""
        return float((self.log_probabilities(features).argmax(1) == gold).mean())


def check_grid(grid: Sequence[float]) -> None:
    """Refuse values of C that cannot be tried."""
    if not grid or any(not 0 < c < np.inf for c in grid) or len(set(grid)) < len(grid):
        typed = " ".join(f"{c:g}" for c in grid)
        raise UserError(f"`grid={typed}`: give different numbers above 0, such as 0.01 0.1 1")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that cannot be drawn with, and two that are the same."""
    if not seeds or len(set(seeds)) < len(seeds) or not all(0 <= one <= LARGEST for one in seeds):
        typed = " ".join(map(shown, seeds))
        raise UserError(f"`seeds={typed}`: give different numbers from 0 to {LARGEST:,}")


def choose(
    train: tuple[X, Y], valid: tuple[X, Y], task: Task, settings: ProbeSettings, name: str = "train"
) -> Probe:
    """The probe of the C with the best validation accuracy, fitted on train only.

    Of several that are as good, that of the smallest C. Notices say what C is at an end of the
    grid, which classes have no example in ``name``, and which fit did not converge.

    Raises:
        UserError: all training rows have the same label.
    """
    check_grid(settings.grid)
    notices = _missing_classes(train[1], task, name)
    tried, best = {}, None
    for c in sorted(settings.grid):
        probe = fit(*train, c, task, settings)
        tried[c] = probe.accuracy(*valid)
        if best is None or tried[c] > tried[best.c]:
            best = probe
    assert best is not None
    notices += best.notices
    ends = (min(tried), max(tried))
    if len(tried) > 1 and best.c in ends:
        which, other = ("smallest", "smaller") if best.c == ends[0] else ("largest", "larger")
        notices += (f"C={best.c:g} is the {which} of `grid`, and a {other} one may be better",)
    return dataclasses.replace(best, tried=tried, notices=notices)


def fit(features: X, gold: Y, c: float, task: Task, settings: ProbeSettings) -> Probe:
    """A probe with this C.

    Raises:
        UserError: all rows have the same label.
    """
    _missing_classes(gold, task, "train")
    x = np.asarray(features, np.float64)
    mean, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if settings.standardise:
        scale = x.std(0)
        scale[scale == 0] = 1.0  # of a constant, which says nothing
    if settings.standardise or settings.penalty == "l2":
        # L2 leaves the intercept free, so that centred features have the same solution, found in
        # a fraction of the iterations.
        mean = x.mean(0)
    x = (x - mean) / scale
    if settings.depths > 1:
        return _fit_mix(x, (mean, scale), gold, c, task, settings)
    ovr = settings.penalty == "l1" and len(np.unique(gold)) > 2
    model: Any = LogisticRegression(
        C=c,
        l1_ratio=1.0 if settings.penalty == "l1" else 0.0,
        solver="liblinear" if settings.penalty == "l1" else "lbfgs",
        max_iter=settings.iterations,
        random_state=settings.seed,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = (OneVsRestClassifier(model) if ovr else model).fit(x, gold)
    notices: tuple[str, ...] = ()
    for one in caught:
        if issubclass(one.category, ConvergenceWarning):
            notices = (_not_converged(c, settings),)
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    parts = model.estimators_ if ovr else [model]
    weights = np.concatenate([part.coef_ for part in parts]) / scale
    intercept = np.concatenate([part.intercept_ for part in parts]) - weights @ mean
    return Probe(c, model.classes_, weights, intercept, len(task.labels), ovr, {}, notices)


def _fit_mix(
    x: X, moved: tuple[Any, Any], gold: Y, c: float, task: Task, settings: ProbeSettings
) -> Probe:
    """A probe of a mix of depths, as one of all depths side by side; x = (features - mean) / scale,
    and ``moved`` is mean and scale."""
    mean, scale = moved
    classes, numbers = np.unique(gold, return_inverse=True)
    found = fit_mixed(x.reshape(len(x), settings.depths, -1), numbers, c, settings.iterations)
    weights = (found.mix[:, None] * found.weights[:, None]).reshape(len(found.weights), -1) / scale
    notices = () if found.converged else (_not_converged(c, settings),)
    return Probe(
        c=c,
        classes=classes,
        weights=weights,
        intercept=found.intercept - weights @ mean,
        num_classes=len(task.labels),
        one_vs_rest=False,
        notices=notices,
        mix=tuple(found.mix.tolist()),
    )


def _not_converged(c: float, settings: ProbeSettings) -> str:
    return (
        f"the fit with C={c:g} did not converge in {settings.iterations:,} iterations; "
        "try `standardise`, or more `iterations`"
    )


def _missing_classes(gold: Y, task: Task, name: str) -> tuple[str, ...]:
    """Notices of classes without an example; a UserError where there is but one class."""
    there = set(gold.tolist())
    if len(there) < 2:
        raise UserError(
            f"{name}: all {len(gold):,} rows have the label {task.labels[int(gold[0])]}, from "
            "which nothing can be learnt; give rows of two labels or more"
        )
    missing = [label for number, label in enumerate(task.labels) if number not in there]
    if not missing:
        return ()
    return (f"{name} has no row of {', '.join(missing)}, which the probe will never answer",)


@dataclass(frozen=True)
class Folds:
    """A cross-validation: N rows, each answered by the probe that was fitted without it."""

    log_probabilities: Float[np.ndarray, "N C"]
    probes: Sequence[Probe]
    rows: Sequence[Int[np.ndarray, " _"]]  # the rows of each fold
    notices: tuple[str, ...]


def cross_validate(features: X, gold: Y, folds: int, task: Task, settings: ProbeSettings) -> Folds:
    """Fit a probe for each fold, on all other folds.

    The folds are stratified, and drawn with the settings' seed. The C of a fold is chosen on a
    tenth of its training rows that is drawn by label; then its probe is fitted on all of them.

    Raises:
        UserError: fewer than two folds, or fewer rows of every label than folds.
    """
    counts = np.bincount(gold, minlength=len(task.labels))
    most = int(counts.max())
    if not 2 <= folds <= most:
        raise UserError(f"`folds={folds}`: it must be from 2 to {most:,}, the rows of a label")
    notices = [
        f"{label} has {count} rows, so that some of the {folds} folds have none"
        for label, count in zip(task.labels, counts.tolist(), strict=True)
        if 0 < count < folds
    ]
    splitter = StratifiedKFold(folds, shuffle=True, random_state=settings.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of what was just said
        parts = list(splitter.split(np.zeros(len(gold)), gold))
    found = np.zeros((len(gold), len(task.labels)))
    probes, said = [], Counter[str]()
    for own, held in parts:
        x, y = np.asarray(features[own], np.float64), gold[own]
        # Every beginning of this order has each label, and what is left at its end as well.
        order = nested_order(y.tolist(), settings.seed)
        cut = len(order) - max(round(INNER_SHARE * len(order)), 1)
        inner, rest = order[:cut], order[cut:]
        chosen = choose((x[inner], y[inner]), (x[rest], y[rest]), task, settings, "its train part")
        whole = fit(x, y, chosen.c, task, settings)
        said.update({*chosen.notices, *whole.notices})
        found[held] = whole.log_probabilities(features[held])
        probes.append(dataclasses.replace(whole, tried=chosen.tried))
    notices += [f"in {count} of {folds} folds: {text}" for text, count in said.items()]
    return Folds(found, probes, [held for _, held in parts], tuple(notices))
