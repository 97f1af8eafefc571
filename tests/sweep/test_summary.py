"""The tables and the figure of a sweep, against results that were written by hand."""

import math
from pathlib import Path

import pytest

from gptjax.commands.sweep import COMMANDS
from gptjax.report import figures
from gptjax.runs.sweep_results import SeedValue, SweepResults
from gptjax.sweeps import summary
from gptjax.sweeps.plan import Plan, Sweep, make_plan
from gptjax.sweeps.summary import Note
from tests.sweep.conftest import finish_pretraining, finish_seeds, read


def tuned(
    folder: Path, pretrained: str, grid: dict, accuracies: list, **variants
) -> tuple[Plan, SweepResults]:
    """A sweep of fine-tuning, and each run's accuracies by seed (None: it has not finished)."""
    settings = {"task": "sst2", "data": "sample", "init": pretrained, "seeds": [1, 2]}
    plan = make_plan(Sweep("finetune", folder / "out", settings, grid, variants), COMMANDS)
    for point, values in zip(plan.points, accuracies, strict=True):
        if values is not None:
            finish_seeds(point.folder, dict(zip((1, 2), values, strict=True)), sample=True)
    return plan, summary.collect(plan)


def pretraining(
    folder: Path, grid: dict, perplexities: list, **variants
) -> tuple[Plan, SweepResults]:
    plan = make_plan(
        Sweep("pretrain", folder / "out", {"train.steps": 3}, grid, variants), COMMANDS
    )
    for point, value in zip(plan.points, perplexities, strict=True):
        finish_pretraining(point.folder, value, seed=7)
    return plan, summary.collect(plan)


GRID = {"optimizer.learning_rate": [1e-4, 1e-3], "lm_coefficient": [0.0, 0.5]}


@pytest.fixture
def grid(tmp_path, pretrained):
    values = [(0.5, 0.6), (0.7, 0.9), (0.8, 0.8), None]
    plan, _ = tuned(tmp_path, pretrained, GRID, values)
    Note(plan.points[3].settings, "failed", 4, "gptjax: no", 61.04).write(plan.points[3])
    return plan, summary.collect(plan)


def test_results_as_json(grid):
    plan, results = grid
    summary.write(plan, results)
    content = read(plan.sweep.out / "results.json")
    assert content.keys() == {"kind", "command", "metric", "points", "best"}
    assert content["kind"] == "sweep"
    assert (content["command"], content["metric"]) == ("finetune", "accuracy")
    assert content["best"] == "learning_rate=0.0001,lm_coefficient=0.5"  # the first of equal ones
    first, _, third, last = content["points"]
    assert first == {
        "variant": "",
        "values": {"optimizer.learning_rate": 1e-4, "lm_coefficient": 0.0},
        "folder": "learning_rate=0.0001,lm_coefficient=0.0",
        "status": "finished",
        "exit_code": None,
        "error": "",
        "mean": pytest.approx(0.55),
        "std": pytest.approx(0.1 / math.sqrt(2)),
        "values_by_seed": {"1": 0.5, "2": 0.6},
        "examples": 50,
        "split": "valid",
        "sample": True,
        "seconds": 0.0,
    }
    assert third["std"] == 0.0
    assert (last["status"], last["exit_code"], last["mean"]) == ("failed", 4, None)
    assert (last["error"], last["seconds"]) == ("gptjax: no", 61.0)


def test_results_as_a_sheet(grid):
    plan, results = grid
    summary.write(plan, results)
    lines = (plan.sweep.out / "summary.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    heads = "learning_rate lm_coefficient status accuracy std seeds examples split seconds folder"
    assert rows[0] == heads.split()
    assert rows[3][:8] == ["0.001", "0.0", "finished", "0.8", "0.0", "2", "50", "valid"]
    folder = "learning_rate=0.001,lm_coefficient=0.5"
    assert rows[4] == ["0.001", "0.5", "failed", *[""] * 5, "61.0", folder]
    assert {len(row) for row in rows} == {10}


def test_the_table_for_people(grid):
    plan, results = grid
    text = summary.table(plan, results)
    assert text.splitlines() == [
        "   learning_rate  lm_coefficient     accuracy  seeds  seconds",
        "   0.0001         0.0              55.0 ± 7.1      2        0",
        "*  0.0001         0.5             80.0 ± 14.1      2        0",
        "   0.001          0.0              80.0 ± 0.0      2        0",
        "   0.001          0.5                  failed              61",
    ]
    (warning,) = summary.warnings(plan, results)
    assert "THE OFFLINE SAMPLE" in warning
    assert warning.endswith("say nothing about sst2")


def test_the_lowest_perplexity_is_the_best(tmp_path):
    plan, results = pretraining(tmp_path, {"train.seed": [1, 2, 3]}, [30.0, 20.0, math.inf])
    assert results.best == "seed=2"
    assert "*  2         20.000" in summary.table(plan, results)
    assert results.points[0].values_by_seed == (SeedValue(7, 30.0),)
    assert results.points[0].std is None
    assert summary.warnings(plan, results) == []
    assert summary.figure(plan, results).series[0].x == (1, 2)  # infinity cannot be drawn


def test_lines_over_the_first_option(grid):
    plan, results = grid
    figure = summary.figure(plan, results)
    assert (figure.kind, figure.log_x, figure.name) == ("lines", True, "accuracy")
    assert [series.label for series in figure.series] == [
        "lm_coefficient 0.0",
        "lm_coefficient 0.5",
    ]
    whole, part = figure.series
    assert whole.x == (1e-4, 1e-3)
    assert whole.y == pytest.approx((55, 80))
    assert whole.low == pytest.approx((55 - 7.0710678, 80))
    assert whole.high == pytest.approx((55 + 7.0710678, 80))
    assert str(plan.points[0].folder) in whole.source
    assert part.x == (1e-4,)
    assert "valid (50 examples)" in figure.caption
    assert "1 of 4 runs are missing" in figure.caption
    assert "THE OFFLINE SAMPLE" in figure.caption


@pytest.mark.parametrize(
    ("values", "kind", "log"),
    [
        ([1, 4], "lines", False),
        ([1, 5], "lines", True),
        ([3, 1, 2], "lines", False),
        ([0, 9], "lines", False),
        (["None", 9], "bars", False),
    ],
)
def test_the_axis_fits_its_values(tmp_path, values, kind, log):
    key = "train.patience" if "None" in values else "train.seed"
    numbers = [float(i) for i in range(len(values))]
    plan, results = pretraining(tmp_path, {key: values}, numbers)
    figure = summary.figure(plan, results)
    assert (figure.kind, figure.log_x) == (kind, log)
    (series,) = figure.series
    pairs = dict(zip(series.x, series.y, strict=True))
    if kind == "lines":
        assert list(series.x) == sorted(values)
        assert pairs == dict(zip(values, numbers, strict=True))
    else:
        assert series.x == ("None", "9")
    assert (series.low, series.high) == (None, None)


def test_bars_of_flags_and_of_variants(tmp_path):
    grid = {"tracking.tensorboard": [True, False], "train.seed": [1, 2]}
    plan, results = pretraining(tmp_path / "a", grid, [1.0, 2.0, 3.0, 4.0])
    figure = summary.figure(plan, results)
    assert figure.kind == "bars"
    found = {series.label: (series.x, series.y) for series in figure.series}
    assert found == {
        "seed 1": (("true", "false"), (1.0, 3.0)),
        "seed 2": (("true", "false"), (2.0, 4.0)),
    }
    plan, results = pretraining(tmp_path / "b", {}, [5.0, 6.0], deep={}, wide={"train.seed": 1})
    figure = summary.figure(plan, results)
    assert (figure.kind, figure.x_label) == ("bars", "variant")
    assert [(series.x, series.y) for series in figure.series] == [(("deep", "wide"), (5.0, 6.0))]
    plan, results = pretraining(tmp_path / "c", {"train.seed": [1, 2]}, [1.0] * 4, a={}, b={})
    assert [series.label for series in summary.figure(plan, results).series] == ["a", "b"]


def test_figures_are_saved(grid):
    plan, results = grid
    summary.save_figures(plan, results)
    for name in ("accuracy.png", "accuracy.svg"):
        assert (plan.sweep.out / name).stat().st_size > 1000
    ((drawn,), (table,)) = figures.load(plan.sweep.out)
    assert drawn == summary.figure(plan, results)
    assert table.columns == ("learning_rate", "lm_coefficient", "accuracy", "seeds", "seconds")
    assert table.rows[1] == ("0.0001", "0.5", "80.0 ± 14.1 (best)", "2", "0")
    assert table.rows[3] == ("0.001", "0.5", "failed", "", "61")
    assert table.sources == tuple(str(point.folder) for point in plan.points)


def test_nothing_finished(tmp_path, pretrained):
    plan, results = tuned(tmp_path, pretrained, GRID, [None] * 4)
    plan.sweep.out.mkdir()
    assert results.best is None
    summary.write(plan, results)
    assert read(plan.sweep.out / "results.json")["best"] is None
    summary.save_figures(plan, results)
    assert figures.load(plan.sweep.out)[0] == []
