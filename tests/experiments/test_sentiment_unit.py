"""What experiments/sentiment_unit.py measures again, what it shows, and beside what."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sentiment_tables as tables
import sentiment_unit as script

from gptjax.data.tasks.splits import Example, Split
from gptjax.errors import UserError
from gptjax.evaluation.features import CELL, Features
from gptjax.evaluation.probing import Rows
from gptjax.evaluation.unit_values import Unit
from gptjax.runs.folder import RunFolder
from gptjax.runs.probe_results import (
    ClassCounts,
    ProbeLayer,
    ProbeSize,
    ProbeSplit,
    ProbeUnits,
    UnitHistogram,
    UnitSplit,
)
from gptjax.runs.results import Data, ProbeResults, write_results
from gptjax.runs.sweep_results import SeedValue

UNIT = Unit(CELL, 1, 2)
WHERE = tables.Place("runs/x", Path("out"))
FOLDED = ProbeResults(
    task="mr",
    split="train",
    examples=40,
    metrics={"accuracy": 0.8},
    data=Data(source="mr", sample=False),
    checkpoint="last/1",
    run="runs/x",
    features="cell",
    penalty="l1",
    standardised=False,
    one_vs_rest=False,
    seed=0,
    cut=0,
    layer=1,
    layers=(
        ProbeLayer(
            layer=1,
            c=(0.5, 1.0),
            nonzero=(3, 5),
            weights=9,
            splits=(ProbeSplit("train", 40, {"accuracy": 0.8}),),
            by_fold=(0.7, 0.9),
        ),
    ),
    folds=10,
)
SPLITS = tuple(
    ProbeSplit(name, 20, {"accuracy": value})
    for name, value in {"train": 0.9, "valid": 0.8, "test": 0.7}.items()
)
UNITS = ProbeUnits(
    strongest=(2, 5),
    weights=(0.3, 0.1),
    alone_c=1.0,
    alone=SPLITS,
    unit=5,
    threshold=0.1,
    below="negative",
    above="positive",
    untrained_unit=7,
    permutations=100,
    splits=(
        UnitSplit("train", 0.85, 0.65, 0.6, 0.66, 0.68),
        UnitSplit("test", 0.84, 0.55, 0.5, 0.56, 0.58),
    ),
    histograms=(UnitHistogram(2, (0.0, 1.0, 2.0), (ClassCounts("negative", (3, 1)),)),),
)
WHOLE = replace(
    FOLDED,
    task="sst2_raw",
    folds=None,
    layers=(replace(FOLDED.layers[0], splits=SPLITS, by_fold=(), c=(0.5,), nonzero=(3,)),),
    units=UNITS,
    sizes=(ProbeSize(10, "test", 0.6, None, (SeedValue(1, 0.6),)),),
)


def planted(shift=0.0):
    """Rows of which unit 2 says the class, but for one row."""
    gold = np.arange(20) % 2
    values = np.zeros((20, 4), np.float32)
    values[:, 2] = 2.0 * gold - 1 + shift
    values[0, 2] = 1 + shift
    examples = [Example(("x",), int(one), "", row) for row, one in enumerate(gold)]
    return Rows(Split("s", "s", examples), Features({1: values}, np.ones(20, int), None, False))


def test_a_unit_alone_has_the_threshold_of_train():
    rows = {"train": planted(), "test": planted(shift=5.0)}
    assert script.accuracies(rows, UNIT) == {"train": 0.95, "test": 0.5}
    means = script.class_means(rows["train"], UNIT, ("negative", "positive"))
    assert means == {"negative": pytest.approx(-0.8), "positive": pytest.approx(1.0)}


def test_a_probe_is_shown_by_its_test_rows_or_its_folds():
    assert tables.score_of(FOLDED) == ("10 folds", pytest.approx(80), "80.00 ± 14.14")
    assert tables.score_of(WHOLE) == ("test", pytest.approx(70), "70.00")
    without = (replace(WHOLE.layers[0], splits=SPLITS[:2]),)
    assert tables.score_of(replace(WHOLE, layers=without))[0] == "valid"
    table = tables.accuracy_table(WHERE, {"sst2_raw": WHOLE, "mr": FOLDED})
    assert [row[-1] for row in table.rows] == ["91.80", "86.90 *"]
    assert table.rows[0][1] == "20 / 20 / 20"
    assert "with a * are from memory" in table.caption
    figure = tables.accuracy_figure(WHERE, {"sst2_raw": WHOLE, "mr": FOLDED})
    assert "Of mr the published figure is from memory" in figure.caption
    (ours, published) = figure.series
    assert ours.high[0] == ours.y[0]
    assert ours.high[1] == pytest.approx(94.14, abs=0.01)
    assert published.y == (91.8, 86.9)


def test_a_unit_stands_beside_its_controls():
    found = {"sst2_raw": WHOLE, "mr": FOLDED, "imdb": replace(WHOLE, task="imdb")}
    alone = {"sst2_raw": {"train": 0.8, "valid": 0.7, "test": 0.75}, "imdb": {"test": 0.6}}
    table = tables.unit_table(WHERE, found, alone)
    assert table.columns[2:5] == ("train", "valid", "test")
    by_what = {row[:2]: row[2:] for row in table.rows}
    strongest = "unit 2, the strongest on sst2_raw"
    assert by_what["sst2_raw", strongest] == ("80.00", "70.00", "75.00", "")
    assert by_what["imdb", strongest] == ("", "", "60.00", "92.30 *")
    assert by_what["imdb", "unit 7 of an untrained model"] == ("65.00", "", "55.00", "")
    assert by_what["sst2_raw", "the best for permuted labels, 100 times: maximum"][2] == "58.00"


def test_the_figures_of_the_unit_are_those_of_its_probe():
    by_class, curve = tables.unit_figures(WHERE, WHOLE)
    assert "unit 2" in by_class.title
    assert curve.log_x
    assert "from memory" in curve.caption
    assert len(tables.unit_figures(WHERE, replace(WHOLE, sizes=()))) == 1


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Options, a model, and the probes that the script asks for; none is computed."""
    config = script.UnitConfig(run="runs/x", data=tmp_path / "data", out=tmp_path / "out")
    model = SimpleNamespace(backbone={"a": np.zeros(3)})
    asked = []

    def probe(settings):
        asked.append(settings)
        Path(settings.out).mkdir(parents=True, exist_ok=True)
        write_results(RunFolder(Path(settings.out)).results, WHOLE)

    monkeypatch.setattr(script.probe, "run", probe)
    return config, model, asked


def test_every_probe_is_the_published_one(made):
    config, model, asked = made
    for task in tables.PUBLISHED:
        script.probed(config, model, task)
    assert {(one.features, one.penalty) for one in asked} == {("cell", "l1")}
    folds = {Path(one.data[0]).name: one.folds for one in asked}
    assert [task for task, number in folds.items() if number == 10] == ["mr", "cr", "subj", "mpqa"]
    assert asked[0].train_sizes == config.sizes
    assert asked[0].task.endswith("sst2_raw.toml")
    assert [one.units for one in asked if one.folds is None] == [10, 10]


def test_what_is_there_is_measured_again_only_if_it_is_of_something_else(made, tmp_path):
    config, model, asked = made
    for _ in range(2):
        script.probed(config, model, "sst2_raw")
    assert len(asked) == 1
    script.probed(config, SimpleNamespace(backbone={"a": np.ones(3)}), "sst2_raw")
    script.probed(replace(config, seeds=(1,)), model, "sst2_raw")
    script.probed(replace(config, data=tmp_path / "other"), model, "sst2_raw")
    assert len(asked) == 4


def test_samples_are_written_once_at_each_value(made):
    config, model, _ = made
    config.folder.mkdir()
    held, means = [], {"negative": -1.5, "positive": 1.0}

    def generate(prompt, *, set_unit, **_):
        held.append(set_unit)
        return [f"{prompt} a\x00b\nc"]

    model.generate = generate
    written = script.samples(config, model, UNIT, means)
    assert held == [{(1, 2): -1.5}, {(1, 2): 1.0}, None]
    assert script.samples(config, model, UNIT, means) == written
    assert len(held) == 3
    table = tables.sample_table(WHERE, 2, written, means)
    assert [row[0] for row in table.rows] == [
        *("-1.500 (mean of negative)", "+1.000 (mean of positive)", tables.FREE)
    ]
    assert table.rows[0][1] == r"a\x00b c"


@pytest.mark.parametrize(
    ("tasks", "message"),
    [(("imbd",), "--tasks imbd: .*imdb"), (("cr",), "--data .*: has no sst2_raw")],
)
def test_what_is_asked_for_has_to_be_there(made, tasks, message):
    with pytest.raises(UserError, match=message):
        script.main(replace(made[0], tasks=tasks))
