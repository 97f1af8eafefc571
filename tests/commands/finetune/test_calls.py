"""The commands as functions: the names, the defaults and the errors of the command line."""

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest

import gptjax as package
from gptjax import calls
from gptjax.commands.finetune import defaults as finetune_defaults
from gptjax.commands.finetune_config import FinetuneConfig
from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.pretrain import defaults as pretrain_defaults
from gptjax.data.tables.given import as_path, records
from gptjax.errors import UserError
from gptjax.options import parse

TEXTS = [f"The {a} {b} walked along the river.\nIt was {a}." for a in "abcdef" for b in "uvwxyz"]
MODEL = {"vocabulary_size": 330, "context_length": 16, "num_layers": 1, "num_heads": 2, "width": 16}
SMALL = {
    "model": MODEL,
    "train": {"steps": 2, "batch_size": 8},
    "optimizer.warmup": 0.1,
    "tracking.tensorboard": False,
    "vocabulary.character_coverage": 1.0,
}
ROWS = [{"sentence": f"a {'good' if n % 2 else 'bad'} film {n}", "label": n % 2} for n in range(24)]
QUICK = {"train": {"epochs": 1, "batch_size": 8}, "tracking.tensorboard": False}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.slow
def test_texts_are_trained_on_and_measured(tmp_path):
    run = package.pretrain(data=TEXTS, out=tmp_path / "run", **SMALL)
    assert isinstance(run, package.Model)
    assert run.step == 2
    assert run.model.width == 16
    assert run.source == str(tmp_path / "run")
    found = package.evaluate(run, TEXTS[:5])
    written = tmp_path / "five.jsonl"
    written.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:5]))
    again = package.evaluate(tmp_path / "run", written, stride=8)
    assert 1 < found["perplexity"] < 400
    assert again["tokens"] == found["tokens"]
    assert again["perplexity"] != found["perplexity"]
    with pytest.raises(UserError, match="is not empty"):
        package.pretrain(data=TEXTS, out=tmp_path / "run", **SMALL)
    gone_on = package.pretrain(
        data=TEXTS, out=tmp_path / "run", resume="auto", **{**SMALL, "train": {"steps": 3}}
    )
    assert json.loads((tmp_path / "run/results.json").read_text())["checkpoint"]
    assert max(int(path.name) for path in (tmp_path / "run/checkpoints/last").iterdir()) == 3
    assert gone_on.model == run.model


@pytest.mark.parametrize("kind", ["rows", "frame", "dataset", "splits"])
def test_a_task_in_memory(pretrained, tmp_path, kind):
    """Each kind of rows makes the same splits."""
    data = {
        "rows": lambda: ROWS,
        "frame": lambda: pd.DataFrame(ROWS),
        "dataset": lambda: datasets.Dataset.from_list(ROWS),
        "splits": lambda: {"train": ROWS[:16], "validation": pd.DataFrame(ROWS[16:])},
    }[kind]()
    task = {
        "format": "classification",
        "labels": [0, 1],
        "columns": {"text": "sentence", "label": "label"},
    }
    run = package.load(pretrained)
    tuned = package.finetune(run, task, data, out=tmp_path / "tuned", max_train=16, **QUICK)
    assert tuned.task.labels == ("0", "1")
    assert tuned.predict(ROWS[0]["sentence"])["prediction"] in ("0", "1")
    found = package.evaluate(tuned, ROWS)
    assert set(found) == {"accuracy", "loss"}


def test_seeds_are_a_list_of_runs(pretrained, data, tmp_path):
    found = package.finetune(
        str(pretrained), "sst2", data, out=tmp_path / "two", seeds=[3, 5], max_train=8, **QUICK
    )
    assert [one.folder.path.name for one in found] == ["seed-3", "seed-5"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer.learning_rate": 1e-3}, ["--optimizer.learning-rate", "1e-3"]),
        ({"train": {"steps": 7}}, ["--train.steps", "7"]),
        (
            {"model.kind": "lstm", "model.units": 32},
            ["--model.kind", "lstm", "--model.units", "32"],
        ),
        ({"data": "x.txt"}, ["--data", "x.txt"]),
        ({"tokenizer": "bytes"}, ["--tokenizer", "bytes"]),
        ({"resume": "auto", "overwrite": True}, ["--resume", "auto", "--overwrite"]),
    ],
)
def test_settings_mean_what_the_options_mean(settings, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from gptjax.commands import pretrain

    found = calls._config("pretrain", pretrain, "tiny", settings)
    words = ["--config", "tiny", *words]
    expected = parse(PretrainConfig, words, prog="gptjax pretrain", defaults=pretrain_defaults)
    assert found == expected


def test_short_options_and_lists_of_fine_tuning(pretrained):
    from gptjax.commands import finetune

    settings = {
        "init": str(pretrained),
        "task": "sst2",
        "lm_coefficient": 0.25,
        "train_sizes": ("8", "all"),
        "seeds": [1, 2],
        "train.steps": 9,
    }
    found = calls._config("finetune", finetune, None, settings)
    words = ["--init", str(pretrained), "--task", "sst2", "--lm-coefficient", "0.25"]
    words += ["--train-sizes", "8", "all", "--seeds", "1", "2", "--train.steps", "9"]
    expected = parse(FinetuneConfig, words, prog="gptjax finetune", defaults=finetune_defaults)
    assert found == expected


def test_a_table_stands_below_the_settings():
    from gptjax.commands import pretrain

    table = {"train": {"epochs": 4, "seed": 5}, "corpus.data": "embedded"}
    found = calls._config("pretrain", pretrain, table, {"train.steps": 3})
    assert (found.train.steps, found.train.epochs, found.train.seed) == (3, None, 5)
    assert found.corpus.data == "embedded"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: package.pretrain("tiny", **{"optimizer.learnig_rate": 1}),
            r"gptjax\.pretrain: unknown key 'optimizer\.learnig_rate'; did you mean 'learning_r",
        ),
        (lambda: package.pretrain("tiny", **{"train.steps": "many"}), "train.steps = 'many'"),
        (lambda: package.pretrain("tniy"), "no such preset"),
        (lambda: package.pretrain("tiny", **{"optimizer.learning_rate": float("nan")}), "finite"),
        (lambda: package.finetune("none", "sst2", {"tain": []}), "has no split 'tain'"),
        (lambda: package.finetune("none", "sst2", []), "`data`: has no rows"),
        (lambda: package.finetune("none", "sst2", [3]), "row 0 is a int"),
        (lambda: package.finetune("none", "sst2", [{"a": object()}]), "cannot be written as JSON"),
        (lambda: package.evaluate("nowhere", "x.txt"), "nowhere: no run folder"),
        (lambda: package.evaluate("nowhere", "x.txt", strde=3), "did you mean 'stride'"),
        (lambda: package.sweep({"command": "pretrain"}), "give `out`"),
    ],
)
def test_errors_are_those_of_the_command_line(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        call()


def test_class_labels_of_a_dataset_have_their_names():
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["neg", "pos"]),
        }
    )
    data = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1]}, features)
    assert [row["label"] for row in records(data)] == ["pos", "neg", -1]


def test_the_same_rows_are_the_same_file():
    path = as_path(ROWS)
    assert as_path(pd.DataFrame(ROWS)) == as_path([dict(row) for row in ROWS]) == path
    assert as_path(ROWS[1:]) != path
    assert as_path(Path("some/where")) == "some/where"
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert lines == ROWS
    odd = as_path([{"n": np.int64(3), "x": np.array([1.5, 2.5]), "none": None}])
    assert json.loads(Path(odd).read_text()) == {"n": 3, "x": [1.5, 2.5], "none": None}


@pytest.mark.slow
def test_a_sweep_of_a_table(tmp_path):
    table = {
        "command": "pretrain",
        "settings": {
            "corpus": {"data": as_path(TEXTS)},
            "model": MODEL,
            "train": {"steps": 1, "batch_size": 8},
            "optimizer": {"warmup": 0.1},
            "vocabulary": {"character_coverage": 1.0},
        },
        "grid": {"train": {"seed": [1]}},
    }
    found = package.sweep(table, out=tmp_path / "sweep")
    (point,) = found.points
    assert point.status == "finished"


def test_all_public_names_are_there():
    assert set(dir(package)) >= {"pretrain", "finetune", "evaluate", "sweep", "load", "Model"}
    for name in dir(package):
        assert getattr(package, name) is not None
        assert name == "__version__" or getattr(package, name).__doc__
