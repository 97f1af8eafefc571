"""What more training rows bring, computed from answers that were made up."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation import learning_curve as curves
from gptjax.evaluation.comparison import Group, compare
from gptjax.evaluation.learning_curve import (
    JSON,
    TSV,
    Gain,
    Measured,
    SizeResult,
    answer,
    commonest_label,
    learning_curve,
    report,
    write,
)
from gptjax.evaluation.task_scores import summarise
from gptjax.runs.records import from_plain, to_plain
from gptjax.runs.results import Data, SplitResult, TaskRun

RTE = TASKS["rte"]
ROWS = 400


def measured(right: dict[int, float], updates: int = 100, rows: int = ROWS) -> Measured:
    """Seeds that are right on such shares of the rows, on rows that chance draws."""
    gold, predicted, runs = np.arange(rows) % 2, [], []
    for seed, share in right.items():
        wrong = np.random.default_rng(seed).permutation(rows)[round(share * rows) :]
        answers = gold.copy()
        answers[wrong] = 1 - answers[wrong]
        predicted.append(answers)
        metrics = {"accuracy": float(np.mean(answers == gold)), "loss": 1.0}
        runs.append(
            TaskRun(
                task="rte",
                split="valid",
                examples=rows,
                metrics=metrics,
                data=Data(sample=False),
                checkpoint="best/1",
                seed=seed,
                majority_class_only=False,
                splits=(SplitResult("valid", rows, 0, metrics),),
            )
        )
    return Measured(updates, summarise(runs), Group(RTE, np.arange(rows), gold, predicted))


SMALL, MIDDLE, LARGE = (
    measured({1: 0.50, 2: 0.56, 3: 0.53}),
    measured({1: 0.60, 2: 0.66, 3: 0.66}),
    measured({1: 0.80, 2: 0.87, 3: 0.85}, updates=300),
)


@pytest.fixture(scope="module")
def curve():
    return learning_curve(RTE, {1000: LARGE, 30: SMALL, 100: MIDDLE}, 0.5)


def test_sizes_means_and_spread(curve):
    assert [(one.size, one.updates) for one in curve.sizes] == [(30, 100), (100, 100), (1000, 300)]
    first = curve.sizes[0]
    assert first.mean == pytest.approx(0.53)
    assert first.std == pytest.approx(np.std([0.50, 0.56, 0.53], ddof=1))
    assert [(v.seed, v.value) for v in first.values_by_seed] == [(1, 0.5), (2, 0.56), (3, 0.53)]
    assert (curve.metric, curve.split, curve.examples) == ("accuracy", "valid", ROWS)
    assert from_plain(type(curve), json.loads(json.dumps(to_plain(curve)))) == curve


def test_the_interval_is_of_the_seeds_and_of_the_rows(curve):
    """Student's interval over the differences by seed, and the bootstrap's over the rows."""
    first, second, _ = curve.sizes
    assert first.gain is None
    differences = [0.10, 0.10, 0.13]
    assert second.gain.difference == pytest.approx(0.11)
    t = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    of_rows = compare(SMALL.answers, MIDDLE.answers, resamples=1000, seed=0, draw_seeds=False)
    half = math.hypot((t.high - t.low) / 2, (of_rows.interval[1] - of_rows.interval[0]) / 2)
    assert second.gain.high - second.gain.difference == pytest.approx(half, rel=1e-6)
    assert second.gain.difference - second.gain.low == pytest.approx(half, rel=1e-6)
    # The bootstrap's part is that of a mean over the rows.
    gold = SMALL.answers.gold
    by_row = np.mean([a == gold for a in MIDDLE.answers.predicted], 0)
    by_row = by_row - np.mean([a == gold for a in SMALL.answers.predicted], 0)
    expected = 1.96 * by_row.std() / math.sqrt(ROWS)
    assert (of_rows.interval[1] - of_rows.interval[0]) / 2 == pytest.approx(expected, rel=0.1)


def test_fewer_rows_to_measure_on_say_less(monkeypatch):
    monkeypatch.setattr(curves, "RESAMPLES", 100)
    few = [measured({1: 0.60, 2: 0.62}, rows=50), measured({1: 0.66, 2: 0.68}, rows=50)]
    many = [measured({1: 0.60, 2: 0.62}, rows=5000), measured({1: 0.66, 2: 0.68}, rows=5000)]
    widths = []
    for small, large in (few, many):
        gain = learning_curve(RTE, {30: small, 100: large}, None).sizes[1].gain
        widths.append(gain.high - gain.low)
    assert widths[0] > 5 * widths[1]


def test_the_answer_in_words(curve):
    said = answer(curve)
    assert said.startswith("from 100 to 1,000 rows (100 to 300 updates) accuracy rises by 20.0 ± ")
    same = replace(curve, sizes=tuple(replace(one, updates=100) for one in curve.sizes))
    assert answer(same).startswith("from 100 to 1,000 rows accuracy rises by 20.0 ± ")
    assert f"({20 / math.log2(10):.1f} for each doubling)" in said
    assert "no size is better" not in said

    def ending(gain, commonest=0.5):
        last = replace(curve.sizes[-1], gain=gain)
        return answer(replace(curve, sizes=(*curve.sizes[:2], last), commonest=commonest))

    unclear = ending(Gain(0.004, -0.008, 0.016))
    assert "accuracy changes by +0.4 ± 1.2 points: no gain is shown" in unclear
    assert "changes by -0.4 ± 1.2 points: no gain" in ending(Gain(-0.004, -0.016, 0.008))
    assert "falls by 2.0 ± 1.0 points: more rows did not help" in ending(Gain(-0.02, -0.03, -0.01))
    assert "+4.1 points with one seed, which may be chance" in ending(Gain(0.041, None, None))
    assert "no size is better than the commonest label alone (84.0)" in ending(
        Gain(0.004, -0.008, 0.016), 0.84
    )
    assert "one size alone" in answer(replace(curve, sizes=curve.sizes[:1]))


def test_one_seed_has_no_spread():
    small, large = measured({4: 0.6}), measured({4: 0.7})
    found = learning_curve(RTE, {30: small, 100: large}, 0.5)
    assert [one.std for one in found.sizes] == [None, None]
    gain = found.sizes[1].gain
    assert (gain.difference, gain.low, gain.high) == (pytest.approx(0.1), None, None)
    assert "one seed" in answer(found)
    assert report(found)[3].split() == ["100", "100", "70.00", "–", "+10.00"]


def test_the_commonest_label_of_training_is_what_is_compared_with():
    def examples(*targets):
        return [Example(("a", "b"), target, "row", n) for n, target in enumerate(targets)]

    train, valid = examples(1, 1, 0, 1), examples(0, 0, 1, 0, 0)
    assert commonest_label(RTE, train, valid) == pytest.approx(0.2)
    assert commonest_label(TASKS["stsb"], train, valid) is None
    assert commonest_label(TASKS["cola"], train, valid) == 0


def test_the_files(curve, tmp_path):
    write(tmp_path, curve)
    found = json.loads((tmp_path / JSON).read_text())
    assert (found["kind"], found["answer"]) == ("learning-curve", answer(curve))
    assert found["sizes"]["30"]["values_by_seed"] == {"1": 0.5, "2": 0.56, "3": 0.53}
    assert found["sizes"]["100"]["gain"]["difference"] == pytest.approx(0.11)
    with (tmp_path / TSV).open(newline="") as file:
        head, *rows = csv.reader(file, delimiter="\t")
    assert head[:8] == ["size", "updates", "seeds", "mean", "std", "gain", "low", "high"]
    assert head[8:] == ["seed-1", "seed-2", "seed-3"]
    assert rows[0][5:8] == ["", "", ""]
    for row, one in zip(rows, curve.sizes, strict=True):
        assert [float(value) for value in row[:5]] == [one.size, one.updates, 3, one.mean, one.std]
        assert [float(value) for value in row[8:]] == [v.value for v in one.values_by_seed]
    assert [float(value) for value in rows[2][5:8]] == list(vars(curve.sizes[2].gain).values())
    assert isinstance(curve.sizes[0], SizeResult)


def test_the_table(curve):
    lines = report(curve)
    assert lines[0] == "rte, accuracy on valid (400 examples), 3 seeds (1, 2, 3)"
    assert lines[2].split() == ["30", "100", "53.00", "3.00", "–"]
    assert lines[3].split()[:5] == ["100", "100", "64.00", "3.46", "+11.00"]
    assert lines[-1].split() == ["commonest", "label", "50.00"]
