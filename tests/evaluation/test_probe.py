"""Probes: C is chosen on validation alone, what people should know is said, and folds are apart."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.evaluation.mixed_probe import fit_mixed
from gptjax.evaluation.probe import GRID, ProbeSettings, check_grid, choose, cross_validate, fit

TASK = TASKS["sst2"]
THREE = replace(TASK, labels=("a", "b", "c"))


def data(count, classes=2, width=12, seed=0, noise=1.0):
    """Features of which the first few say the class, with noise."""
    rng = np.random.default_rng(seed)
    gold = np.arange(count) % classes
    x = rng.normal(0, noise, (count, width)).astype(np.float32)
    x[np.arange(count), gold] += 2
    return x, gold


def test_the_grid_is_the_published_one():
    assert GRID[0] == 1 / 256
    assert GRID[-1] == 1
    assert len(GRID) == 9


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("standardise", [False, True])
@pytest.mark.parametrize("task", [TASK, THREE], ids=["two", "three"])
def test_probabilities_are_scikit_learns(penalty, standardise, task):
    classes = len(task.labels)
    x, gold = data(90, classes)
    x[:, 3] = 5  # a constant
    settings = ProbeSettings(penalty, standardise=standardise)
    found = fit(x, gold, 0.25, task, settings)
    own = x.astype(np.float64)
    if standardise:
        own = (own - own.mean(0)) / np.where(own.std(0) == 0, 1, own.std(0))
    l1 = penalty == "l1"
    solver = "liblinear" if l1 else "lbfgs"

    def theirs(target):
        model = LogisticRegression(
            C=0.25,
            l1_ratio=float(l1),
            solver=solver,
            max_iter=1000,
            random_state=0,
            tol=1e-4 if l1 else 1e-9,
        )
        return model.fit(own, target).predict_proba(own)

    if l1 and classes > 2:
        each = np.stack([theirs(gold == one)[:, 1] for one in range(classes)], axis=1)
        expected = each / each.sum(1, keepdims=True)
    else:
        expected = theirs(gold)
    assert found.one_vs_rest == (l1 and classes > 2)
    # L-BFGS stops somewhere near the solution.
    tolerance = 1e-9 if l1 else 1e-3
    np.testing.assert_allclose(np.exp(found.log_probabilities(x)), expected, atol=tolerance)
    assert found.nonzero == np.count_nonzero(found.weights)
    if l1:
        assert found.nonzero < found.weights.size


def test_c_is_chosen_on_validation_and_the_smallest_of_equals():
    x, gold = data(60, noise=2.0)
    valid = data(200, seed=1, noise=2.0)
    settings = ProbeSettings("l1", grid=(1.0, 0.01, 0.05, 4.0))
    found = choose((x, gold), valid, TASK, settings)
    scores = {c: fit(x, gold, c, TASK, settings).accuracy(*valid) for c in settings.grid}
    assert found.tried == pytest.approx(scores)
    assert found.c == min(c for c in scores if scores[c] == max(scores.values()))
    np.testing.assert_array_equal(found.weights, fit(x, gold, found.c, TASK, settings).weights)


# With the smallest of the second grid all weights are 0.
@pytest.mark.parametrize(("grid", "word"), [((0.5, 9.0), "smallest"), ((1e-5, 1.0), "largest")])
def test_a_c_at_an_end_of_the_grid_is_said(grid, word):
    x, gold = data(40, noise=0.3)
    found = choose((x, gold), (x, gold), TASK, ProbeSettings("l1", grid=grid))
    (notice,) = found.notices
    assert f"C={found.c:g} is the {word} of `grid`" in notice
    assert choose((x, gold), (x, gold), TASK, ProbeSettings(grid=(0.5,))).notices == ()


def test_a_fit_that_does_not_converge_is_said():
    x, gold = data(60)
    settings = ProbeSettings(grid=(1.0,), iterations=1)
    (notice,) = choose((x, gold), (x, gold), TASK, settings).notices
    assert "did not converge in 1 iterations" in notice


def test_missing_classes_are_said_and_one_class_is_refused():
    x, gold = data(60, 3)
    seen = gold != 1
    found = choose((x[seen], gold[seen]), (x, gold), THREE, ProbeSettings())
    assert any("train has no row of b" in one for one in found.notices)
    log_p = found.log_probabilities(x)
    assert set(log_p.argmax(1)) == {0, 2}
    assert np.isfinite(log_p).all()
    with pytest.raises(UserError, match="all 20 rows have the label b"):
        choose((x[~seen], gold[~seen]), (x, gold), THREE, ProbeSettings())


@pytest.mark.parametrize("grid", [(), (0.0,), (1.0, 1.0), (float("nan"),), (float("inf"),)])
def test_a_grid_that_cannot_be_tried_is_refused(grid):
    with pytest.raises(UserError, match="`grid="):
        check_grid(grid)


def test_every_row_is_answered_by_a_probe_that_has_not_seen_it():
    x, gold = data(60, noise=0.5)
    found = cross_validate(x, gold, 5, TASK, ProbeSettings())
    assert sorted(np.concatenate(found.rows)) == list(range(60))
    for rows, own in zip(found.rows, found.probes, strict=True):
        assert len(rows) == 12
        assert gold[rows].sum() == 6
        rest = np.setdiff1d(np.arange(60), rows)
        expected = fit(x[rest], gold[rest], own.c, TASK, ProbeSettings())
        np.testing.assert_allclose(
            found.log_probabilities[rows], expected.log_probabilities(x[rows])
        )
    assert (found.log_probabilities.argmax(1) == gold).mean() > 0.9
    # Labels by chance are not predicted, however many features there are.
    x, gold = np.random.default_rng(0).normal(size=(200, 150)), np.arange(200) % 2
    chance = cross_validate(x, gold, 5, TASK, ProbeSettings())
    assert 0.35 < (chance.log_probabilities.argmax(1) == gold).mean() < 0.65
    assert fit(x, gold, 1.0, TASK, ProbeSettings()).accuracy(x, gold) > 0.95


def test_folds_are_the_same_with_the_same_seed():
    x, gold = data(40)
    first, again, other = (
        cross_validate(x, gold, 4, TASK, ProbeSettings(seed=seed)).rows for seed in (1, 1, 2)
    )
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def test_what_folds_lack_is_said():
    x, gold = data(60, 2)
    gold[[7, 21]] = 2
    found = cross_validate(x, gold, 5, THREE, ProbeSettings())
    assert any("c has 2 rows, so that some of the 5 folds have none" in n for n in found.notices)
    for folds in (1, 40):
        with pytest.raises(UserError, match=f"`folds={folds}`: it must be from 2 to 30"):
            cross_validate(x, gold, folds, THREE, ProbeSettings())


def mixed(features, gold, c=1.0, **others):
    """The probe of a mix of features [N, D, E]."""
    settings = ProbeSettings(depths=features.shape[1], **others)
    task = THREE if gold.max() == 2 else TASK
    return fit(features.reshape(len(features), -1), gold, c, task, settings)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_mix_of_equal_depths_is_a_probe_of_one(classes):
    x, gold = data(90, classes)
    x = x.astype(np.float64)
    alone = LogisticRegression(C=0.25, tol=1e-9, max_iter=1000).fit(x, gold)
    found = mixed(np.stack([x, x, x], axis=1), gold, 0.25)
    assert found.mix == pytest.approx([1 / 3] * 3)
    answers = found.log_probabilities(np.concatenate([x, x, x], axis=1))
    np.testing.assert_allclose(answers, alone.predict_log_proba(x), atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_mix_finds_the_depth_that_says_the_class(classes):
    x, gold = data(300, classes, noise=0.5)
    noise = np.random.default_rng(1).normal(0, 2, (2, *x.shape)).astype(np.float32)
    found = mixed(np.stack([noise[0], x, noise[1]], axis=1), gold)
    assert sum(found.mix) == pytest.approx(1)
    assert found.mix[1] > 0.8


@pytest.mark.parametrize("classes", [2, 3])
def test_the_fit_of_a_mix_ends_where_the_gradient_is_nothing(classes):
    """By finite differences of the loss, written here once more."""
    x, gold = data(60, classes, width=4)
    features = np.stack([x, x**2, np.sin(x)], axis=1).astype(np.float64)
    found = fit_mixed(features, gold, 0.5, 1000)
    assert found.converged

    def loss(logits_of_mix, weights, intercept):
        mix = np.exp(logits_of_mix) / np.exp(logits_of_mix).sum()
        logits = np.einsum("nde,d,ke->nk", features, mix, weights) + intercept
        if classes == 2:
            logits = np.concatenate([0 * logits, logits], axis=1)
        own = logits[np.arange(len(gold)), gold] - np.log(np.exp(logits).sum(1))
        return -0.5 * own.sum() + 0.5 * (weights**2).sum()

    parts = [np.log(found.mix), found.weights, found.intercept]
    least = loss(*parts)
    for which, part in enumerate(parts):
        for place in np.ndindex(part.shape):
            moved = [one.copy() for one in parts]
            for step in (-1e-3, 1e-3):
                moved[which][place] = part[place] + step
                assert loss(*moved) > least - 1e-6


def test_a_mix_of_folds_and_with_standardised_features():
    x, gold = data(90, 3)
    features = np.stack([x, 5 * x[:, ::-1] + 3], axis=1)
    settings = ProbeSettings(depths=2, standardise=True, grid=(0.1, 1.0))
    found = cross_validate(features.reshape(90, -1), gold, 3, THREE, settings)
    assert all(sum(probe.mix) == pytest.approx(1) for probe in found.probes)
    assert (found.log_probabilities.argmax(1) == gold).mean() > 0.8
