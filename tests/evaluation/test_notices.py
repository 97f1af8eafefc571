"""What should make people doubt a fine-tuned model."""

import re

import numpy as np
import pytest

from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.errors import as_options
from gptjax.evaluation.notices import of_training, one_answer
from gptjax.evaluation.task_scores import score
from gptjax.training.length import TrainConfig


def answers(task, numbers, golds):
    """Scores of examples that get these classes."""
    log_p = np.full((len(numbers), TASKS[task].num_classes), -5.0, np.float32)
    log_p[np.arange(len(numbers)), numbers] = -0.1
    texts = ("a",) * len(TASKS[task].parts)
    examples = [Example(texts, gold, "", row) for row, gold in enumerate(golds)]
    return score(log_p, examples, TASKS[task])


def told(task, steps, train, scores):
    return [as_options(one) for one in of_training(TASKS[task], steps, train, "valid", scores)]


@pytest.mark.parametrize(
    ("steps", "train", "said"),
    [
        (20, TrainConfig(epochs=3), None),
        (19, TrainConfig(epochs=3), "only 19 updates were made, .*: try .*--train.epochs 16"),
        (1, TrainConfig(steps=1), "only 1 update was made, .*: try .*--train.steps 100"),
        (0, TrainConfig(epochs=3), None),  # nothing is known of one that goes on at its end
    ],
)
def test_few_updates(steps, train, said):
    found = told("sst2", steps, train, answers("sst2", [0, 1], [0, 1]))
    if said is None:
        assert found == []
    else:
        (one,) = found
        assert re.match(said, one)


def test_one_class_is_named_with_what_to_try():
    (found,) = told("sst2", 50, TrainConfig(epochs=3), answers("sst2", [1, 1, 1], [0, 1, 0]))
    assert found.startswith("every answer on valid is 'positive', which 1 of 3 labels are: try")
    for option in ("--train.epochs", "--optimizer.learning-rate", "--task.class-weights balanced"):
        assert option in found


def test_where_the_answer_is_right_or_not_known():
    sst2, race, scale = (TASKS[name] for name in ("sst2", "race", "stsb"))
    right = one_answer(sst2, "valid", answers("sst2", [1, 1], [1, 1]))
    assert right == (
        "every answer on valid is 'positive', and so is every label: use other examples"
    )
    unlabelled = one_answer(sst2, "x", answers("sst2", [0, 0], [None, None]))
    assert unlabelled is not None
    assert unlabelled.startswith("every answer on x is 'negative': try")
    choice = one_answer(race, "valid", answers("race", [2, 2], [0, 1]))
    assert choice is not None
    assert "'C', which 0 of 2 labels are" in choice
    assert "class_weights" not in choice
    points = one_answer(scale, "valid", answers("stsb", [3, 3], [1.0, 2.0]))
    assert points is not None
    assert points.startswith("every answer on valid is the score 2.8")
    assert one_answer(sst2, "valid", answers("sst2", [0, 1], [0, 0])) is None
    assert one_answer(sst2, "valid", answers("sst2", [0], [1])) is None
