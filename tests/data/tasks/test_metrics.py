"""Metrics against their definitions, on numbers worked out by hand."""

import numpy as np
import pytest

from gptjax.data.tasks.metrics import LABELS, METRICS, measure


def test_classes_by_hand():
    gold = np.array([1, 1, 1, 0, 0, 0, 0, 1])
    predicted = np.array([1, 1, 0, 0, 0, 1, 0, 1])
    # 3 true positives, 1 false positive, 1 false negative, 3 true negatives
    found = measure(["accuracy", "f1", "matthews"], gold, predicted)
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["matthews"] == pytest.approx((3 * 3 - 1 * 1) / np.sqrt(4.0 * 4 * 4 * 4))


def test_f1_is_that_of_class_1():
    assert measure(["f1"], np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0])) == {"f1": 0.0}


def test_correlations():
    gold, predicted = np.array([0.0, 1, 2, 5]), np.array([0.1, 0.2, 0.9, 1.0])
    found = measure(["pearson", "spearman"], gold, predicted)
    assert found["pearson"] == pytest.approx(np.corrcoef(gold, predicted)[0, 1])
    assert found["spearman"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["pearson", "spearman", "matthews", "f1"])
def test_a_constant_prediction_explains_nothing(name):
    assert measure([name], np.array([0, 1, 1, 0]), np.zeros(4)) == {name: 0.0}


def test_every_metric_has_a_label():
    assert METRICS.keys() == LABELS.keys()
