"""What is computed from predictions."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from gptjax.report.predictions import by_length, confusion, length_edges, reliability
from gptjax.runs.predictions import Predictions


def test_confusion_counts_gold_in_rows():
    labels, index = ("red", "green", "blue"), np.arange(4)
    gold, predicted = np.array([0.0, 2, 2, 1]), np.array([0, 1, 2, 0])
    found = Predictions(labels, labels, index, gold, predicted, np.zeros((4, 3)))
    assert confusion(found).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]


def test_reliability_is_scikit_learns():
    draw = np.random.default_rng(0)
    confidence = draw.uniform(0.001, 1, 500)
    right = draw.uniform(size=500) < confidence**2
    found = reliability(confidence, right)
    accuracy, mean = calibration_curve(right, confidence, n_bins=10)
    np.testing.assert_allclose(found.accuracy, accuracy)
    np.testing.assert_allclose(found.confidence, mean)
    assert found.count.sum() == 500


def test_the_expected_calibration_error_by_hand():
    confidence = np.array([0.3, 0.25, 0.7, 0.95, 1.0])
    right = np.array([True, False, True, True, False])
    found = reliability(confidence, right)
    assert found.count.tolist() == [0, 0, 2, 0, 0, 0, 1, 0, 0, 2]  # 0.3 and 0.7 end their bins
    # |0.5 - 0.275| × 2 + |1 - 0.7| + |0.5 - 0.975| × 2, of five
    assert found.error == pytest.approx((0.45 + 0.3 + 0.95) / 5)


def test_lengths_are_in_bins_of_about_equally_many():
    tokens = np.array([4, 4, 4, 4, 5, 6, 7, 8, 20, 30])
    edges = length_edges(tokens, 3)
    assert edges.tolist() == [4, 7, 31]  # a third would begin with 4 again
    right = np.array([1, 0, 1, 1, 0, 0, 1, 1, 0, 1], bool)
    assert by_length(tokens, right, edges).tolist() == pytest.approx([3 / 6, 3 / 4])
    assert by_length(tokens, tokens, edges).tolist() == pytest.approx([27 / 6, 65 / 4])
    assert np.isnan(by_length(np.array([4]), np.array([1]), edges)).tolist() == [False, True]
    assert length_edges(np.arange(60)).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert length_edges(np.array([7, 7])).tolist() == [7, 8]
