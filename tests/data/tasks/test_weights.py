"""Class weights: their values, what a batch makes of them, and what is refused."""

import dataclasses

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import Sequences
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task_file import parse_task
from gptjax.data.tasks.weights import class_weights, describe, example_weights
from gptjax.errors import UserError

TARGETS = [0, 2, 0, 1, 0, 0, 2]


def examples(targets=TARGETS):
    return [Example(("a", "b"), target, "", row) for row, target in enumerate(targets)]


def weighed(weights, name="snli"):
    return dataclasses.replace(TASKS[name], class_weights=weights)


def test_balanced_is_scikit_learns_but_for_its_scale():
    found = class_weights(examples(), weighed("balanced"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=TARGETS)
    np.testing.assert_allclose(found, expected / expected.max())
    # Every class has the same sum.
    of_each = example_weights(examples(), found)
    np.testing.assert_allclose([of_each[np.array(TARGETS) == c].sum() for c in range(3)], 1)
    shown = (
        "class weights (and examples): entailment 0.25 (4), neutral 1 (1), contradiction 0.5 (2)"
    )
    assert describe(found, examples(), weighed("balanced")) == shown


def test_a_class_without_examples_changes_nothing():
    found = class_weights(examples([0, 2, 0]), weighed("balanced"))
    np.testing.assert_allclose(found, [0.5, 0, 1])


def test_numbers_are_in_the_order_of_the_labels():
    found = class_weights(examples(), weighed((1.0, 4.0, 0.0)))
    assert found.tolist() == [0.25, 1, 0]
    assert example_weights(examples(), found).tolist() == [0.25, 0, 0.25, 1, 0.25, 0.25, 0]
    huge = class_weights(examples(), weighed((3e38, 3e38, 3e-38)))
    assert huge.tolist() == pytest.approx([1, 1, 1e-76])


def batches(weights, batch_size=4):
    sequences = [Sequences((np.full(5 + row, row, np.int32),), False) for row in range(7)]
    shape = {"context_length": 16, "batch_size": batch_size, "seed": 3, "shuffle": True}
    return Bucketed(sequences, examples(), TASKS["snli"], **shape, weights=weights)


def test_a_batch_has_the_weight_of_each_example_and_0_for_padding():
    of_class = class_weights(examples(), weighed((3.0, 4.0, 1.0)))
    found = batches(example_weights(examples(), of_class))
    for epoch in range(2):
        rows = []
        for index in range(len(found)):
            batch, members = found.batch(epoch, index), found.members(epoch, index)
            expected = of_class[[TARGETS[i] for i in members]]
            np.testing.assert_array_equal(batch.weights[: len(members)], expected.astype("f4"))
            assert not batch.weights[len(members) :].any()
            assert batch.weights.dtype == np.float32
            part = found.batch(epoch, index, slice(1, 3)).weights
            np.testing.assert_array_equal(part, batch.weights[1:3])
            rows += members.tolist()
        assert sorted(rows) == list(range(7))


@pytest.mark.parametrize("equal", [(1.0, 1.0, 1.0), (0.3, 0.3, 0.3)])
def test_equal_weights_are_the_same_bits_as_none(equal):
    of_class = class_weights(examples(), weighed(equal))
    weights = example_weights(examples(), of_class)
    for index in range(2):
        weighed_batch, batch = batches(weights).batch(0, index), batches(None).batch(0, index)
        assert weighed_batch.fresh is batch.fresh is None
        for mine, plain in zip(weighed_batch[:5], batch[:5], strict=True):
            np.testing.assert_array_equal(mine, plain)
            assert mine.dtype == plain.dtype


FIT = 'format = "classification"\nlabels = ["a", "b"]\n'


SCORES = 'format = "similarity"\nscores = [0, 5]\nmetrics = ["pearson"]\n'
CHOICE = 'format = "choice"\nlabels = ["a", "b"]\n'


@pytest.mark.parametrize(
    ("task", "weights", "message"),
    [
        (FIT, "[1]", "class_weights: 1 numbers for 2 labels; give one for each, .* a, b, or"),
        (FIT, "[]", "class_weights: 0 numbers for 2 labels"),
        (FIT, "[1, -2]", "class_weights: -2.0 is no weight; it must be finite and at least 0"),
        (FIT, "[1, nan]", "class_weights = nan: it must be a finite number"),
        (FIT, "[1, 1e39]", r"class_weights = 1e\+39: it must be a finite number"),
        (FIT, "[0, 0.0]", "class_weights: all are 0"),
        (FIT, "['1', 2]", "class_weights = '1' is no float"),
        (FIT, "'equal'", "class_weights = 'equal'; one of 'balanced'"),
        (FIT, "1", "class_weights = 1; one of 'balanced'"),
        (SCORES, "'balanced'", "class_weights: weights are of classes, and mine has scores"),
        (CHOICE, "[1, 1]", "class_weights: .* the labels of a choice are places"),
    ],
)
def test_weights_that_do_not_fit_are_refused(task, weights, message):
    with pytest.raises(UserError, match=rf"^mine\.toml: .*{message}") as found:
        parse_task(f"{task}class_weights = {weights}", "mine", "mine.toml")
    assert "\n" not in str(found.value)


def test_a_task_file_has_weights():
    assert parse_task(f"{FIT}class_weights = [1, 2.5]", "m", "").class_weights == (1.0, 2.5)
    assert parse_task(f'{FIT}class_weights = "balanced"', "m", "").class_weights == "balanced"
    assert parse_task(FIT, "m", "").class_weights is None


def test_weights_of_absent_classes_alone_are_refused():
    with pytest.raises(UserError, match="all classes with training examples have the weight 0"):
        class_weights(examples([0, 0]), weighed((0.0, 1.0, 1.0)))
    with pytest.raises(UserError, match=r"`task\.class_weights`: nan is no weight"):
        class_weights(examples(), weighed((float("nan"), 1.0, 1.0)))
