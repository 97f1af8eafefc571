"""A task's metrics, over all and by category."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.task_scores import report, score


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


def test_without_labels_or_categories_there_is_no_table():
    log_p = np.log(np.full((2, 3), 1 / 3, np.float32))
    hidden = [Example(("a", "b"), None, "", row, "kind") for row in range(2)]
    plain = [Example(("a", "b"), 0, "", row) for row in range(2)]
    for examples in (hidden, plain):
        scores = score(log_p, examples, TASKS["breaking_nli"])
        assert scores.categories == ()
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
