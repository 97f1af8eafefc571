"""predictions.tsv: what was written is read, and what is damaged is named."""

import numpy as np
import pytest

from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.runs.predictions import Predictions, read_predictions, write_predictions

TASK = Task("colours", "classification", ("accuracy",), labels=("red", "green", "blue"))
SCALE = Task("likeness", "similarity", ("pearson",), scores=(0, 2))
PROBABILITIES = np.array(
    [[0.5, 0.25, 0.25], [0.125, 0.75, 0.125], [0.25, 0.25, 0.5], [0.75, 0.25, 0]], np.float32
)


def answers(**changes) -> Predictions:
    values = {
        "labels": TASK.labels,
        "columns": TASK.labels,
        "index": np.array([0, 1, 3, 7]),
        "gold": np.array([0.0, 2, 2, 1]),
        "predicted": np.array([0, 1, 2, 0]),
        "scores": PROBABILITIES,
        "tokens": np.array([5, 9, 12, 4]),
    }
    return Predictions(**{**values, **changes})


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, answers())
    assert path.read_text().splitlines()[:2] == [
        "index\tgold\tprediction\tred\tgreen\tblue\ttokens",
        "0\tred\tred\t0.500000\t0.250000\t0.250000\t5",
    ]
    found = read_predictions(path, TASK)
    assert found.index.tolist() == [0, 1, 3, 7]
    assert found.gold.tolist() == [0, 2, 2, 1]
    assert found.predicted.tolist() == [0, 1, 2, 0]
    np.testing.assert_array_equal(found.scores, PROBABILITIES)
    assert found.tokens is not None
    assert found.tokens.tolist() == [5, 9, 12, 4]


def test_scores_of_a_scale_are_read(tmp_path):
    path = tmp_path / "predictions.tsv"
    predicted, gold = np.array([0.75, 1.0, 1.25, 0.25]), np.array([0.5, 1.0, 2.0, 0.0])
    write_predictions(
        path, answers(labels=(), columns=("0", "1", "2"), predicted=predicted, gold=gold)
    )
    assert path.read_text().splitlines()[1].startswith("0\t0.5000\t0.7500\t0.5")
    found = read_predictions(path, SCALE)
    assert found.predicted.tolist() == predicted.tolist()
    assert found.gold.tolist() == gold.tolist()


def test_files_from_before_lengths_were_recorded(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, answers(tokens=None))
    assert path.read_text().splitlines()[0].endswith("\tblue")
    found = read_predictions(path, TASK)
    assert found.tokens is None
    np.testing.assert_array_equal(found.scores, PROBABILITIES)


def test_examples_without_labels(tmp_path):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, answers(gold=np.array([0, np.nan, 2, 1])))
    assert path.read_text().splitlines()[2].startswith("1\t\tgreen\t0.125")
    with pytest.raises(UserError, match="no gold labels"):
        read_predictions(path, TASK)
    found = read_predictions(path, TASK, labelled=False)
    np.testing.assert_array_equal(found.gold, [0, np.nan, 2, 1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("\tred\tred", "\t\tred"), "no gold labels"),
        (lambda text: text.replace("blue\tblue", "blue\tmauve"), "not predictions of colours"),
        (lambda text: text.replace("blue\tblue", "blue\t"), "a row has no prediction"),
        (lambda text: text.replace("0.750000\t", ""), "its rows have 7 columns"),
        (lambda text: "", "not predictions of colours"),
        (lambda text: text.replace("0.750000", "x"), "not predictions of colours"),
    ],
)
def test_damaged_predictions_are_named(tmp_path, damage, message):
    path = tmp_path / "predictions.tsv"
    write_predictions(path, answers())
    path.write_text(damage(path.read_text()))
    with pytest.raises(UserError, match=message) as raised:
        read_predictions(path, TASK)
    assert str(path) in str(raised.value)
    with pytest.raises(UserError, match="no such predictions"):
        read_predictions(tmp_path / "other.tsv", TASK)
