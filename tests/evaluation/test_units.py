"""The search for the best unit is exact, finds what was planted, and is compared with chance."""

from dataclasses import replace

import numpy as np
import pytest

from gptjax.data.tasks.table import TASKS
from gptjax.evaluation import units
from gptjax.evaluation.probe import ProbeSettings, fit
from gptjax.evaluation.units import Search, Threshold, histogram, permuted, strongest

TASK = TASKS["sst2"]


def planted(rows=200, width=40, unit=17, seed=0):
    """Features without meaning but for one unit, which says the class of two."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 2, rows)
    x = rng.normal(size=(rows, width)).astype(np.float32)
    x[:, unit] = np.where(gold == 1, -1, 1) * 3 + rng.normal(size=rows)
    return x, gold


def brute_force(x, gold):
    """The best accuracy of all units, thresholds, and pairs of answers."""
    classes, best = np.unique(gold), 0.0
    for unit in range(x.shape[1]):
        for cut in [*np.unique(x[:, unit]), -np.inf]:
            high = x[:, unit] > cut
            for below in classes:
                for above in classes:
                    best = max(best, (np.where(high, above, below) == gold).mean())
    return best


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("values", ["floats", "few values", "constants"])
def test_the_search_is_exact(classes, values, monkeypatch):
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(37, 9)).astype(np.float32)
    x = {"floats": x, "few values": np.round(x), "constants": np.ones_like(x)}[values]
    gold = rng.integers(0, classes, 37)
    gold[:classes] = np.arange(classes)
    expected = brute_force(x, gold)
    found = Search(x).best(gold)
    assert found.accuracy(x, gold) == pytest.approx(expected, abs=1e-12)
    monkeypatch.setattr(units, "AT_ONCE", 80)  # two units at a time
    assert Search(x).best(gold) == found


def test_neighbouring_floats_are_told_apart():
    x = np.array([[1.0], [np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    found = Search(x).best(np.array([1, 0]))
    assert found.accuracy(x, np.array([1, 0])) == 1
    assert (found.below, found.above) == (1, 0)


def test_a_planted_unit_is_found_by_the_threshold_and_by_the_weights():
    x, gold = planted()
    found = Search(x).best(gold)
    assert (found.unit, found.below, found.above) == (17, 1, 0)
    assert abs(found.threshold) < 1.5
    new_x, new_gold = planted(seed=1)
    assert found.accuracy(new_x, new_gold) > 0.95
    probe = fit(x, gold, 0.1, TASK, ProbeSettings("l1"))
    order, weights = strongest(probe, 3)
    assert order[0] == 17
    assert weights[0] < 0
    assert np.abs(weights).tolist() == sorted(np.abs(probe.weights[0]))[::-1][:3]


def test_of_more_classes_a_unit_counts_for_all():
    probe = fit(*planted(), 0.1, TASK, ProbeSettings())
    several = np.array([[1.0, -2.0, 0.0], [1.0, 1.0, -1.5]])
    found = strongest(replace(probe, weights=several, intercept=np.zeros(2)), 2)
    assert found == ([1, 0], [3.0, 2.0])


def test_the_search_with_other_labels_is_a_new_search():
    x, gold = planted()
    search = Search(x)
    for found, labels in permuted(search, gold, seed=3, count=5):
        assert sorted(labels) == sorted(gold)
        assert found == Search(x).best(labels)
    again = [found for found, _ in permuted(search, gold, seed=3, count=5)]
    assert again == [found for found, _ in permuted(search, gold, seed=3, count=5)]


def test_the_best_of_many_units_is_high_by_chance():
    """Which is why it is shown: of few rows and many units the labels say nothing, and yet."""
    rng = np.random.default_rng(0)
    x, gold = rng.normal(size=(60, 300)).astype(np.float32), np.arange(60) % 2
    search = Search(x)
    by_chance = [best.accuracy(x, labels) for best, labels in permuted(search, gold, 0, 20)]
    assert np.mean(by_chance) > 0.65
    assert search.best(gold).accuracy(x, gold) < max(by_chance) + 0.05


def test_a_unit_that_says_nothing_answers_the_commonest_class():
    x, gold = np.zeros((5, 2), np.float32), np.array([0, 1, 1, 1, 0])
    assert Search(x).best(gold) == Threshold(0, np.inf, 1, 1)


def test_a_histogram_has_every_row_once():
    x, gold = planted()
    found = histogram(17, x[:, 17], gold, TASK.labels)
    assert [one.name for one in found.classes] == list(TASK.labels)
    assert len(found.edges) == len(found.classes[0].counts) + 1
    assert [sum(one.counts) for one in found.classes] == np.bincount(gold).tolist()
