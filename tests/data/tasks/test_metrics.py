"""Metrics against their definitions, on numbers worked out by hand."""

import numpy as np
import pytest
from sklearn import metrics

from gptjax.data.tasks.metrics import LABELS, METRICS, measure, per_class


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


OF_CLASSES = ["macro_f1", "weighted_f1", "balanced_accuracy"]


def test_metrics_over_classes_by_hand():
    """Class 2 is predicted once and is never gold; class 3 of the task occurs in neither."""
    gold = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 0, 0, 1, 1, 2])
    found = measure(OF_CLASSES, gold, predicted)
    f1 = [2 * 3 / (4 + 3), 2 * 1 / (2 + 2), 0.0]
    assert found["macro_f1"] == pytest.approx(sum(f1) / 3)
    assert found["weighted_f1"] == pytest.approx((4 * f1[0] + 2 * f1[1]) / 6)
    assert found["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    of_each = per_class(gold, predicted, 4)
    assert of_each.precision.tolist() == pytest.approx([1, 1 / 2, 0, 0])
    assert of_each.recall.tolist() == pytest.approx([3 / 4, 1 / 2, 0, 0])
    assert of_each.f1.tolist() == pytest.approx([*f1, 0])
    assert of_each.examples.tolist() == [4, 2, 0, 0]


@pytest.mark.parametrize("classes", [2, 3, 50])
def test_metrics_over_classes_are_scikit_learns(classes, recwarn):
    """With classes that are absent from gold, from the predictions, or from both."""
    rng = np.random.default_rng(classes)
    gold = rng.integers(0, classes, 40).astype(float)
    predicted = np.where(rng.random(40) < 0.6, gold, rng.integers(0, classes, 40))
    found = measure(OF_CLASSES, gold, predicted)
    of_each = per_class(gold, predicted, classes)
    assert not recwarn.list
    by_name = {
        "macro_f1": metrics.f1_score(gold, predicted, average="macro"),
        "weighted_f1": metrics.f1_score(gold, predicted, average="weighted"),
        "balanced_accuracy": metrics.balanced_accuracy_score(gold, predicted),
    }
    assert found == pytest.approx(by_name)
    report = metrics.classification_report(
        gold, predicted, labels=range(classes), output_dict=True, zero_division=0.0
    )
    for number, values in enumerate(zip(*of_each, strict=True)):
        expected = report[str(number)]
        names = ("precision", "recall", "f1-score", "support")
        assert values == pytest.approx(tuple(expected[name] for name in names))
