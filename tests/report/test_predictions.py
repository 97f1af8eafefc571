"""Predictions: written and read back, and what is computed from them."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.evaluation.task_scores import SplitScores, write_predictions
from gptjax.report.predictions import (
    by_length,
    confusion,
    length_edges,
    read_predictions,
    reliability,
)

TASK = Task("colours", "classification", ("accuracy",), labels=("red", "green", "blue"))
SCALE = Task("likeness", "similarity", ("pearson",), scores=(0, 2))
PROBABILITIES = np.array(
    [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.25, 0.5], [0.75, 0.25, 0]], np.float32
)


def scores(**changes) -> SplitScores:
    values = {
        "probabilities": PROBABILITIES,
        "predicted": np.array([0, 1, 2, 0]),
        "gold": [0, 2, 2, 1],
        "index": [0, 1, 3, 7],
        "metrics": {},
        "tokens": [5, 9, 12, 4],
    }
    return SplitScores(**{**values, **changes})


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, scores(), TASK)
    assert path.read_text().splitlines()[:2] == [
        "index\tgold\tprediction\tred\tgreen\tblue\ttokens",
        "0\tred\tred\t0.500000\t0.250000\t0.250000\t5",
    ]
    found = read_predictions(path, TASK)
    assert found.index.tolist() == [0, 1, 3, 7]
    assert found.gold.tolist() == [0, 2, 2, 1]
    assert found.predicted.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found.probabilities, PROBABILITIES)
    assert found.tokens is not None
    assert found.tokens.tolist() == [5, 9, 12, 4]


def test_scores_of_a_scale_are_read(tmp_path):
    path = tmp_path / "predictions.tsv"
    predicted, gold = np.array([0.75, 1.0, 1.25, 0.25]), [0.5, 1.0, 2.0, 0.0]
    write_predictions(path, scores(predicted=predicted, gold=gold), SCALE)
    found = read_predictions(path, SCALE)
    assert found.predicted.tolist() == predicted.tolist()
    assert found.gold.tolist() == gold


def test_files_from_before_lengths_were_recorded(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, scores(tokens=()), TASK)
    assert path.read_text().splitlines()[0].endswith("\tblue")
    found = read_predictions(path, TASK)
    assert found.tokens is None
    np.testing.assert_array_equal(found.probabilities, PROBABILITIES)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("\tred\tred", "\t\tred"), "no gold labels"),
        (lambda text: text.replace("blue\tblue", "blue\tmauve"), "not predictions of colours"),
        (lambda text: text.replace("0.750000\t", ""), "its rows have 7 columns"),
        (lambda text: "", "not predictions of colours"),
        (lambda text: text.replace("0.750000", "x"), "not predictions of colours"),
    ],
)
def test_damaged_predictions_are_named(tmp_path, damage, message):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, scores(), TASK)
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=message) as raised:
        read_predictions(path, TASK)
    assert str(path) in str(raised.value)
    with pytest.raises(UserError, match="no predictions can be read"):
        read_predictions(tmp_path / "other.tsv", TASK)


def test_confusion_counts_gold_in_rows(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, scores(), TASK)
    counts = confusion(read_predictions(path, TASK))
    assert counts.tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]


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
