"""A task's metrics, over all and by category."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, classification_report, f1_score, log_loss

from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.splits import Example, targets_of
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.task_scores import class_names, report, score, summarise
from gptjax.runs.results import Data, Paper, SplitResult, TaskRun


def test_metrics_of_every_category_are_scikit_learns():
    rng = np.random.default_rng(0)
    kinds = rng.choice(["small", "large", "large", "large"], 40)
    gold = rng.integers(0, 2, 40)
    examples = [
        Example(("a", "b"), int(target), "", row, str(kind))
        for row, (target, kind) in enumerate(zip(gold, kinds, strict=True))
    ]
    log_p = np.log(rng.dirichlet([1, 1], 40)).astype(np.float32)
    scores = score(log_p, examples, TASKS["mrpc"])
    assert [found.name for found in scores.categories] == ["large", "small"]
    for found in scores.categories:
        mine = kinds == found.name
        chosen, predicted = gold[mine], log_p.argmax(-1)[mine]
        assert found.examples == len(chosen)
        assert found.metrics == {
            "f1": pytest.approx(f1_score(chosen, predicted)),
            "accuracy": pytest.approx(accuracy_score(chosen, predicted)),
        }
    lines = report(TASKS["mrpc"], {"test": scores}, False)
    heads = next(line for line in lines if "category" in line)
    assert heads.split() == ["category", "examples", "F1", "accuracy"]
    large = next(line for line in lines if line.strip().startswith("large"))
    assert len(large) == len(heads)
    assert large.split()[1] == str((kinds == "large").sum())


def draw_answers(gold, classes):
    """Examples of these classes, and log-probabilities that are often right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(gold), classes))
    logits[np.arange(len(gold)), gold] += 1
    examples = [Example(("a",), int(target), "", row) for row, target in enumerate(gold)]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True)), examples


def test_every_class_has_precision_recall_and_f1():
    gold = np.arange(60) % 7 % 3  # 26, 17 and 17
    task = dataclasses.replace(TASKS["snli"], format="classification")
    log_p, examples = draw_answers(gold, 3)
    scores = score(log_p, examples, task)
    expected = classification_report(
        gold, log_p.argmax(-1), target_names=task.labels, output_dict=True
    )
    assert [one.name for one in scores.classes] == list(task.labels)
    for one in scores.classes:
        wanted = expected[one.name]
        assert (one.precision, one.recall, one.f1, one.examples) == pytest.approx(
            tuple(wanted[name] for name in ("precision", "recall", "f1-score", "support"))
        )
    lines = report(task, {"valid": scores}, False)
    heads = next(line for line in lines if "precision" in line)
    (neutral,) = (line for line in lines if line.startswith("  neutral"))
    assert heads.split() == ["class", "examples", "precision", "recall", "F1"]
    numbers = (100 * expected["neutral"][name] for name in ("precision", "recall", "f1-score"))
    assert neutral.split() == ["neutral", "17", *(f"{number:.2f}" for number in numbers)]
    assert len(neutral) == len(heads)


def test_of_many_classes_those_with_the_lowest_f1_are_shown():
    names = tuple(f"class {number} {'x' * 60}" for number in range(50))
    task = dataclasses.replace(TASKS["sst2"], labels=names, aliases={})
    log_p, examples = draw_answers(np.arange(400) % 48, 50)  # two have no example
    scores = score(log_p, examples, task)
    assert len(scores.classes) == 50
    lines = report(task, {"valid": scores}, False)
    assert "  of 50 classes the 10 with the lowest F1" in lines
    shown = [line for line in lines if line.startswith("  class ") and "examples" not in line]
    assert max(map(len, shown)) < 80
    values = sorted(one.f1 for one in scores.classes if one.examples)[:10]
    assert [line.split()[-1] for line in shown] == [f"{100 * value:.2f}" for value in values]


@pytest.mark.parametrize(("name", "classes"), [("race", 4), ("stsb", 6)])
def test_scores_and_choices_have_no_classes(name, classes):
    log_p, examples = draw_answers(np.arange(8) % 4, classes)
    scores = score(log_p, examples, TASKS[name])
    assert scores.metrics
    assert scores.classes is None
    assert not any("precision" in line for line in report(TASKS[name], {"x": scores}, False))


def test_without_labels_or_categories_there_is_no_table():
    log_p = np.log(np.full((2, 3), 1 / 3, np.float32))
    hidden = [Example(("a", "b"), None, "", row, "kind") for row in range(2)]
    plain = [Example(("a", "b"), 0, "", row) for row in range(2)]
    for examples in (hidden, plain):
        scores = score(log_p, examples, TASKS["breaking_nli"])
        assert scores.categories == ()
        assert (scores.classes is None) == (examples is hidden)
        assert not any("category" in line for line in report(TASKS["snli"], {"x": scores}, False))


def test_breaking_nli_has_categories_and_other_tasks_have_them_on_request(tmp_path):
    file = tmp_path / "dataset.jsonl"
    row = (
        '{"sentence1": "A b.", "sentence2": "A c.", "gold_label": "neutral", "category": "%s"}\r\n'
    )
    file.write_text("".join(row % kind for kind in ("colors", " rooms ", "colors")))
    split = read_split(file, TASKS["breaking_nli"], "test")
    assert [example.category for example in split.examples] == ["colors", "rooms", "colors"]
    split = read_split(file, TASKS["snli"], "test")
    assert [example.category for example in split.examples] == [""] * 3


@pytest.mark.parametrize("scale", [(0, 5), (1, 5), (-2, 2)])
def test_a_score_is_on_its_own_scale(scale):
    """All of the probability on a point of the scale is that point, and a target comes back."""
    low, high = scale
    task = dataclasses.replace(TASKS["stsb"], scores=scale)
    wanted = np.array([*range(low, high + 1), low + 0.25, high - 0.6])
    examples = [Example(("a", "b"), float(target), "", i) for i, target in enumerate(wanted)]
    targets = targets_of(examples, task)
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(targets[: high - low + 1], np.eye(high - low + 1))
    scores = score(np.log(np.maximum(targets, 1e-30)), examples, task)
    np.testing.assert_allclose(scores.predicted, wanted, atol=1e-6)
    assert scores.metrics["pearson"] == pytest.approx(1)
    assert list(class_names(task)) == [str(point) for point in range(low, high + 1)]


@pytest.mark.parametrize(("name", "classes"), [("mrpc", 2), ("snli", 3), ("race", 4)])
def test_the_loss_is_the_mean_of_the_examples_in_nats(name, classes):
    rng = np.random.default_rng(classes)
    gold = np.arange(40) % classes
    task = TASKS[name]
    examples = [Example(("a", "b"), int(target), "", row) for row, target in enumerate(gold)]
    p = rng.dirichlet(np.ones(classes), 40)
    found = score(np.log(p), examples, task).metrics["loss"]
    assert found == pytest.approx(log_loss(gold, p))
    uniform = np.full((40, classes), -np.log(classes))
    assert score(uniform, examples, task).metrics["loss"] == pytest.approx(np.log(classes))


def test_the_loss_of_a_score_is_shared_between_its_neighbours():
    log_p = np.log(np.array([[0.1, 0.2, 0.3, 0.25, 0.1, 0.05]]))
    (loss,) = (
        score(log_p, [Example(("a", "b"), 3.4, "", 0)], TASKS["stsb"]).metrics[name]
        for name in ("loss",)
    )
    assert loss == pytest.approx(-(0.6 * np.log(0.25) + 0.4 * np.log(0.1)), rel=1e-6)


def test_where_no_answer_is_right_counts_are_whole_numbers():
    """scikit-learn has floats there, which results.json would not be read with."""
    examples = [Example(("a",), 1, "", row) for row in range(3)]
    log_p = np.log(np.full((3, 2), [0.9, 0.1], np.float32))
    found = score(log_p, examples, TASKS["sst2"]).classes
    assert found is not None
    assert [type(one.examples) for one in found] == [int, int]
    assert [one.examples for one in found] == [0, 3]


def run_of(seed, accuracy, loss, collapsed):
    splits = (
        SplitResult("valid", 50, 0, {"loss": loss, "accuracy": accuracy}),
        SplitResult("test", 10, 1, {"loss": 1.0, "accuracy": 0.5}),
    )
    return TaskRun(
        task="sst2",
        split="valid",
        examples=50,
        metrics=splits[0].metrics,
        data=Data(sample=True),
        checkpoint="best/1",
        seed=seed,
        majority_class_only=collapsed,
        paper=Paper("accuracy", 91.3),
        splits=splits,
    )


def test_several_seeds_have_a_spread():
    runs = [run_of(3, 0.5, 0.9, True), run_of(1, 0.9, 0.3, False), run_of(2, 0.7, 0.9, False)]
    summary = summarise(runs)
    assert summary.seeds == (3, 1, 2)
    assert summary.majority_class_only == (3,)
    assert summary.data.sample is True
    assert summary.metrics == pytest.approx({"loss": 0.7, "accuracy": 0.7})
    valid, test = summary.splits
    loss, accuracy = valid.metrics
    # The sample standard deviation of 0.5, 0.7 and 0.9; of a loss the best is the lowest.
    assert (accuracy.std, accuracy.median, accuracy.best) == pytest.approx((0.2, 0.7, 0.9))
    assert (loss.std, loss.median, loss.best) == pytest.approx((0.12**0.5, 0.9, 0.3))
    assert accuracy.values == (0.5, 0.9, 0.7)
    assert (test.examples, test.metrics[1].std) == (10, 0.0)
    assert summarise(runs[:1]).splits[0].metrics[1].std == 0.0
