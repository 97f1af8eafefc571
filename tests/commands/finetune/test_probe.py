"""gptjax probe: features of a run that stays as it is, of every layer, in folds, of one unit."""

import json
import re
import sys

import numpy as np
import pytest

import gptjax
from gptjax.cli import main
from gptjax.data.tasks.load import for_training, load_task_data
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.probing import measure_sizes
from gptjax.runs.results import ProbeResults, read_results
from tests.commands.finetune.common import results, reviews, table

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def probed(pretrained, data, tmp_path_factory, own_cache):
    """A probe of every layer, with units and fewer rows."""
    out = tmp_path_factory.mktemp("probes") / "sst2"
    words = [
        *("probe", "--run", str(pretrained), "--task", "sst2", "--data", str(data)),
        *("--features", "mean", "--layer", "all", "--units", "3", "--out", str(out)),
        *("--train-sizes", "8", "all", "--seeds", "1", "2", "--grid", "0.1", "10"),
    ]
    assert main(words) == 0
    return out


def test_a_probe_of_every_layer(probed):
    found = read_results(probed / "results.json")
    assert isinstance(found, ProbeResults)
    assert [one.layer for one in found.layers] == [0, 1]
    assert (found.task, found.split, found.examples, found.folds) == ("sst2", "valid", 21, None)
    for layer in found.layers:
        assert [(one.name, one.examples) for one in layer.splits] == [("train", 64), ("valid", 21)]
        assert layer.weights == 16
        assert layer.c[0] in (0.1, 10)
    valid = [layer.splits[1].metrics["accuracy"] for layer in found.layers]
    # The sentiment is one of two words; 13 of 21 rows have the commoner label.
    assert found.metrics["accuracy"] == max(valid) > 0.75
    # The rows without labels are answered as well.
    assert len(table(probed / "predictions.tsv")) == 22
    lines = table(probed / "predictions-test.tsv")
    assert len(lines) == 11
    assert not any(line[1] for line in lines[1:])
    right = [line[1] == line[2] for line in table(probed / "predictions.tsv")[1:]]
    assert np.mean(right) == found.metrics["accuracy"]


def test_units_stand_beside_chance(probed):
    units = results(probed)["units"]
    assert len(units["strongest"]) == 3
    assert units["permutations"] == 100
    assert set(units["splits"]) == {"train", "valid"}
    train = units["splits"]["train"]
    assert 0.5 <= train["permuted_mean"] <= train["permuted_95"] <= train["permuted_max"]
    assert train["accuracy"] > train["permuted_mean"]
    assert set(units["alone"]) == {"train", "valid"}
    for counts in units["histograms"].values():
        assert sum(map(sum, counts["classes"].values())) == 64


def test_what_people_should_know_of_every_fit_is_said(pretrained, data, tmp_path, capsys):
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", str(data)]
    words += ["--units", "2", "--train-sizes", "9", "all", "--iterations", "1", "--grid", "0.5"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().err
    for start in (
        "the fit",
        "the 2 strongest units alone: the fit",
        "in 4 of 4 fits of fewer rows",
    ):
        assert f"notice: {start}" in said
    notices = results(tmp_path)["notices"]
    assert len(notices) == 3
    assert all("did not converge in 1 iterations" in one for one in notices)


def test_fewer_rows_are_those_that_fine_tuning_draws(probed, data, monkeypatch):
    sizes = results(probed)["sizes"]
    assert [(one["size"], one["split"]) for one in sizes] == [(8, "valid"), (64, "valid")]
    assert set(sizes[0]["values_by_seed"]) == {"1", "2"}
    assert sizes[1]["std"] == 0
    assert sizes[1]["mean"] == pytest.approx(results(probed)["metrics"]["accuracy"])
    task = TASKS["sst2"]
    given = load_task_data((str(data),), task)
    drawn = for_training(given, task, {"train": 8}, by_label=2).splits["train"].examples
    seen = []

    class Seen(Exception):
        pass

    def choose(train, *_):
        seen.append(train[0][:, 0].astype(int).tolist())
        raise Seen

    module = sys.modules[measure_sizes.__module__]
    monkeypatch.setattr(module, "choose", choose)
    train = given.splits["train"]
    numbered = {0: np.array([[one.row] for one in train.examples], np.float32)}
    features = module.Features(numbered, np.ones(64, np.int64), 32, False)
    rows = {name: module.Rows(train, features) for name in ("train", "valid")}
    with pytest.raises(Seen):
        measure_sizes(rows, 0, task, module.ProbeSettings(), [8], [2])
    assert seen == [[example.row for example in drawn]]


def test_the_second_probe_reads_the_features(pretrained, data, probed, tmp_path, monkeypatch):
    from gptjax.evaluation import features

    monkeypatch.setattr(features, "_compute", None)
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", str(data)]
    again = [
        *words,
        "--features",
        "mean",
        "--layer",
        "1",
        "--out",
        str(tmp_path),
        "--penalty",
        "l1",
    ]
    assert main(again) == 0
    assert len(read_results(tmp_path / "results.json").layers) == 1
    # And what was written there is replaced.
    (tmp_path / "unit-5.png").write_text("")
    assert main(again) == 0
    assert not (tmp_path / "unit-5.png").exists()


def test_a_fine_tuned_run_is_probed_by_its_backbone(tuned, data, tmp_path):
    words = ["probe", "--run", str(tuned), "--task", "sst2", "--data", str(data)]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert list((tuned / "features").glob("*.npy"))
    assert gptjax.load(tuned).predict(["a red house"])  # which the features do not disturb


def test_folds(pretrained, data, tmp_path, capsys):
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", str(data)]
    words += ["--folds", "4", "--layer", "0", "1", "--penalty", "l1", "--out", str(tmp_path)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "4 folds" in printed.out
    assert "valid and test are not read" in printed.err
    found = read_results(tmp_path / "results.json")
    assert (found.folds, found.split, found.examples) == (4, "train", 64)
    for layer in found.layers:
        assert len(layer.by_fold) == len(layer.c) == len(layer.nonzero) == 4
        assert layer.splits[0].metrics["accuracy"] == pytest.approx(np.mean(layer.by_fold))
    assert len(table(tmp_path / "predictions.tsv")) == 65


def test_a_report_shows_the_probe(probed, tmp_path):
    page = tmp_path / "report.html"
    assert main(["report", "--runs", str(probed), "--out", str(page)]) == 0
    text = page.read_text()
    for words in ("of a probe by layer", "beside chance", "by class", "by training rows"):
        assert words in text
    assert "probed on sst2" in text
    (probed / "figures.json").rename(probed / "kept.json")
    assert main(["report", "--runs", str(probed), "--out", str(page)]) == 2
    (probed / "kept.json").rename(probed / "figures.json")


def test_the_sample_is_said(pretrained, tmp_path, capsys):
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", "sample"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert "OFFLINE SAMPLE" in capsys.readouterr().out
    assert results(tmp_path)["data"]["sample"] is True
    assert "OFFLINE SAMPLE" in (tmp_path / "layers-table.md").read_text()


def test_three_classes_are_fitted_one_against_the_rest(pretrained, tmp_path, capsys):
    (tmp_path / "t.toml").write_text(
        'format = "classification"\nlabels = ["x", "y", "z"]\nmetrics = ["macro_f1", "accuracy"]\n'
        '[columns]\ntext = "sentence"\n'
    )
    rows = reviews(3, 60).replace("\t0", "\tx").replace("\t1", "\ty").splitlines()
    rows[5:15] = [re.sub(r"\t.", "\tz", row.replace("red", "old")) for row in rows[5:15]]
    (tmp_path / "rows.tsv").write_text("\n".join(rows) + "\n")
    words = ["probe", "--run", str(pretrained), "--task", str(tmp_path / "t.toml")]
    words += ["--data", str(tmp_path / "rows.tsv"), "--penalty", "l1", "--units", "2"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    assert "one class against the rest" in capsys.readouterr().out
    found = results(tmp_path / "out")
    assert found["one_vs_rest"]
    assert found["layers"]["1"]["weights"] == 48
    assert (tmp_path / "out" / "task.toml").exists()


def test_a_text_is_coloured(pretrained, probed, tmp_path, capsys, monkeypatch):
    text = "a red <house> walked"
    words = ["probe", "--run", str(pretrained), "--show", text]
    assert main([*words, "--out", str(probed)]) == 0
    unit = results(probed)["units"]["strongest"][0]
    lines = capsys.readouterr().out.splitlines()
    model = gptjax.load(pretrained)
    (ids,) = model.tokenizer.encode([text])
    assert len(lines) == len(ids)
    assert "".join(eval(line.split(None, 1)[1]) for line in lines) == text
    page = (probed / f"unit-{unit}.html").read_text()
    assert "&lt;" in page
    assert "<house>" not in page
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main([*words, "--unit", "3", "--layer", "0"]) == 0
    coloured = capsys.readouterr().out
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured).rstrip("\n") == text
    assert coloured.count("\x1b[48;2;") == len(ids)
    assert main(words) == 2
    assert "--unit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--task is missing"),
        (["--task", "race"], "--task race: has choices"),
        (["--task", "stsb"], "--task stsb: has scores"),
        (["--task", "sst2", "--layer", "9"], "--layer 9: the layers are 0"),
        (["--task", "sst2", "--features", "cell"], "--features cell: a transformer has no memory"),
        (["--show", "x", "--features", "cell", "--unit", "1"], "a transformer has no memory cells"),
        (["--task", "sst2", "--folds", "3", "--units", "2"], "contradicts --units"),
        (["--task", "sst2", "--folds", "3", "--train-sizes", "9"], "contradicts --train-sizes"),
        (["--task", "sst2", "--folds", "60"], "--folds 60: it must be from 2 to"),
        (["--task", "sst2", "--train-sizes", "65"], "--train-sizes 65: there are 64 rows"),
        (["--task", "sst2", "--grid", "-1"], "--grid -1: give different numbers"),
        (["--task", "sst2", "--seeds", "1", "1"], "--seeds 1 1: give different numbers"),
        (["--task", "sst2", "--unit", "1"], "--unit: is for --show"),
        (["--show", "x", "--unit", "16"], "--unit 16: the units are 0 to 15"),
        (["--show", "", "--unit", "1"], "--show: the text has no token"),
        (["--task", "ax"], "a test set without training data"),
    ],
)
def test_what_cannot_be_probed_is_refused_in_one_line(
    pretrained, data, tmp_path, capsys, words, message
):
    out = ["--out", str(tmp_path / "out")] if "--show" not in words else []
    code = main(["probe", "--run", str(pretrained), "--data", str(data), *out, *words])
    assert code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("gptjax:")]
    assert message in line


def test_the_folder_of_a_run_is_kept(pretrained, data, capsys):
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", str(data)]
    assert main([*words, "--out", str(pretrained)]) == 2
    assert "has the results of a run" in capsys.readouterr().err
    assert json.loads((pretrained / "results.json").read_text())["kind"] == "language-modelling"


def test_a_mix_of_all_layers(pretrained, data, tmp_path, capsys):
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", str(data)]
    words += ["--features", "mix", "--grid", "0.1", "10", "--out", str(tmp_path / "mix")]
    assert main([*words, "--train-sizes", "8", "--seeds", "1"]) == 0
    found = read_results(tmp_path / "mix/results.json")
    assert isinstance(found, ProbeResults)
    (layer,) = found.layers
    assert len(layer.mix) == 2
    assert sum(layer.mix) == pytest.approx(1)
    assert layer.weights == 32
    assert found.metrics["accuracy"] > 0.75
    said = capsys.readouterr()
    assert "weights of layers 0 to 1: " in said.out
    assert "--units" not in said.err
    assert main([*words[:-1], str(tmp_path / "folds"), "--folds", "2"]) == 0
    assert len(results(tmp_path / "folds")["layers"]["1"]["mix"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--penalty", "l1"], "has the penalty l2"),
        (["--layer", "1"], "--layer: contradicts --features mix"),
        (["--units", "3"], "--units: contradicts --features mix"),
    ],
)
def test_what_a_mix_has_not_is_refused(words, said, capsys):
    asked = ["probe", "--run", "none", "--task", "sst2", "--features", "mix"]
    assert main([*asked, *words]) == 2
    assert said in capsys.readouterr().err
