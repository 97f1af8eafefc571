"""The bootstrap interval against closed formulas, and against a plain loop."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from gptjax.data.tasks.metrics import measure
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.evaluation.comparison import Group, compare

RESAMPLES = 4000
# The 2.5th percentile of so many normal draws has a standard error of
# sqrt(0.025 × 0.975 / RESAMPLES) / density = 0.042 standard deviations. Four of them:
PERCENTILE = 0.17


def group(correct, metric="accuracy"):
    """Seeds (rows of ``correct``) that are right where it says so, on a task of two classes."""
    correct = np.atleast_2d(correct)
    task = dataclasses.replace(TASKS["mrpc"], metrics=(metric,))
    gold = np.arange(correct.shape[1]) % 2.0
    predicted = [np.where(right, gold, 1 - gold) for right in correct]
    return Group(task, np.arange(len(gold)), gold, predicted)


def bernoulli(count, share):
    """So many answers, of which exactly this share is right."""
    return np.random.default_rng(1).permutation(count) < share * count


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_one_seed_the_interval_is_that_of_a_binomial(share):
    """A is always wrong, so the difference is the share of drawn rows where B is right."""
    count = 500
    found = compare(
        group(np.zeros(count, bool)),
        group(bernoulli(count, share)),
        resamples=RESAMPLES,
        seed=0,
    )
    assert (found.a, found.b, found.difference) == (0, share, share)
    exact = stats.binom(count, share)
    ends = np.array([exact.ppf(0.025), exact.ppf(0.975)]) / count
    assert found.interval == pytest.approx(ends, abs=PERCENTILE * exact.std() / count)


def test_rows_are_drawn_in_pairs():
    """The variance is the paired difference's, var(b - a) / N, and not var(a) / N + var(b) / N."""
    count = 600
    a = bernoulli(count, 0.5)
    b = a | bernoulli(count, 0.05)  # better on a few rows, never worse
    found = compare(group(a), group(b), resamples=RESAMPLES, seed=0)
    paired = np.std(b.astype(float) - a) / np.sqrt(count)
    apart = np.sqrt((np.var(a) + np.var(b)) / count)
    assert apart > 4 * paired
    ends = found.difference + stats.norm.ppf([0.025, 0.975]) * paired
    # A binomial of few events is skew, so that its ends lie a little off the normal's.
    assert found.interval == pytest.approx(ends, abs=0.3 * paired)


@pytest.mark.parametrize("side", ["a", "b"])
def test_the_seeds_of_both_runs_are_drawn(side):
    """Of six seeds half are right on every row and half on none, so the rows add no variance."""
    varied, constant = group(np.repeat([[True], [False]] * 3, 40, 1)), group(np.zeros(40, bool))
    pair = (varied, constant) if side == "a" else (constant, varied)
    found = compare(*pair, resamples=RESAMPLES, seed=0)
    ends = stats.binom(6, 0.5).ppf([0.025, 0.975]) / 6  # 1/6 and 5/6, exactly
    assert found.interval == pytest.approx(ends if side == "b" else -ends[::-1], abs=1e-12)


def test_the_variance_has_the_part_of_rows_and_that_of_seeds():
    """Two ways of chance, crossed: σ² of rows / N + σ² of seeds / S + σ² of the rest / (N S)."""
    seeds, count = 10, 300
    rng = np.random.default_rng(3)
    easy, good = rng.uniform(-0.3, 0.3, count), rng.uniform(-0.15, 0.15, (seeds, 1))
    right = (rng.random((seeds, count)) < 0.5 + easy + good).astype(float)
    by_row, by_seed = right.mean(0), right.mean(1, keepdims=True)
    rest = right - by_row - by_seed + right.mean()
    parts = [np.var(by_row) / count, np.var(by_seed) / seeds, np.var(rest) / (count * seeds)]
    assert min(parts[:2]) > 0.15 * sum(parts)  # either would be missed
    found = compare(group(np.zeros(count, bool)), group(right > 0), resamples=RESAMPLES, seed=0)
    std = np.sqrt(sum(parts))
    ends = found.difference + stats.norm.ppf([0.025, 0.975]) * std
    assert found.interval == pytest.approx(ends, abs=PERCENTILE * std)


def test_the_better_run_as_b_gives_a_positive_difference():
    worse, better = group(bernoulli(400, 0.5)), group(bernoulli(400, 0.7))
    up = compare(worse, better, resamples=500, seed=0)
    down = compare(better, worse, resamples=500, seed=0)
    assert (up.a, up.b) == (down.b, down.a) == (0.5, 0.7)
    assert up.difference == pytest.approx(0.2)
    assert 0 < up.interval[0] < 0.2 < up.interval[1]
    assert down.interval == pytest.approx((-up.interval[1], -up.interval[0]))


def plainly(a, b, resamples, seed):
    """The same draws, measured by scikit-learn and SciPy."""
    (metric, *_), rng, found = a.task.metrics, np.random.default_rng(seed), []
    for _ in range(resamples):
        rows = rng.integers(0, len(a.gold), len(a.gold))
        means = []
        for one in (a, b):
            seeds = rng.integers(0, len(one.predicted), len(one.predicted))
            values = [
                measure([metric], one.gold[rows], one.predicted[i][rows])[metric] for i in seeds
            ]
            means.append(np.mean(values))
        found.append(means[1] - means[0])
    return tuple(np.percentile(found, [2.5, 97.5]))


@pytest.mark.filterwarnings("ignore")  # a draw of a single class, which scikit-learn mentions
@pytest.mark.parametrize("count", [1, 3, 60])
@pytest.mark.parametrize(
    ("metric", "classes"),
    [
        *(("accuracy", 3), ("matthews", 2), ("matthews", 3), ("f1", 2)),
        *(("macro_f1", 4), ("weighted_f1", 4), ("balanced_accuracy", 4)),
        *(("pearson", 0), ("spearman", 0)),
    ],
)
def test_the_same_draws_have_the_same_metrics(metric, classes, count):
    rng = np.random.default_rng(count)
    task = dataclasses.replace(TASKS["mrpc" if classes else "stsb"], metrics=(metric,))
    if classes:
        gold = rng.integers(0, classes, count).astype(float)
        draws = [np.where(rng.random(count) < 0.6, gold, 0.0) for _ in range(5)]
    else:  # both have ties
        gold = rng.integers(0, 6, count).astype(float)
        draws = [np.round(gold + rng.normal(size=count), 1) for _ in range(5)]
    a, b = (Group(task, np.arange(count), gold, some) for some in (draws[:3], draws[3:]))
    found = compare(a, b, resamples=40, seed=7)
    for one, total in ((a, found.a), (b, found.b)):
        values = [measure([metric], gold, predicted)[metric] for predicted in one.predicted]
        assert total == pytest.approx(np.mean(values), abs=1e-12)
    assert found.interval == pytest.approx(plainly(a, b, 40, 7), abs=1e-12)


def test_other_examples_or_another_task_are_refused():
    one, other = group(np.ones(4, bool)), group(np.ones(5, bool))
    with pytest.raises(UserError, match="predicted other examples"):
        compare(one, other, resamples=1, seed=0)
    renamed = dataclasses.replace(one, task=TASKS["rte"])
    with pytest.raises(UserError, match="of mrpc, and the second run of rte"):
        compare(one, renamed, resamples=1, seed=0)
