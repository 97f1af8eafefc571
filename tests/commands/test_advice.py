"""What people are told to type next can be pasted."""

import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from gptjax.cli import main
from gptjax.commands.advice import OPENING, ROWS, TEXT, again, evaluation_data, resuming, suggest
from gptjax.commands.evaluate import EvaluateConfig
from gptjax.commands.finetune_config import TaskConfig
from gptjax.commands.predict import PredictConfig
from gptjax.commands.tokenizer import TokenizerConfig
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.tokenizers.tokenizer import ModeConfig

RECORDED = Path(__file__).parents[1] / "recorded"


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["pretrain", "--config", "tiny"], {}, "gptjax pretrain --config tiny --resume auto"),
        (
            ["pretrain", "--data", "my books", "--overwrite", "--train.steps", "5"],
            {},
            "gptjax pretrain --data 'my books' --train.steps 5 --resume auto",
        ),
        (
            ["finetune", "--resume", "7", "--task", "sst2"],
            {},
            "gptjax finetune --task sst2 --resume auto",
        ),
        (["pretrain", "--resume=3", "--out", "a"], {}, "gptjax pretrain --out a --resume auto"),
        (["sweep", "s.toml"], {"GPTJAX_MAKE": "pretrain"}, "gptjax sweep s.toml"),
        (
            ["pretrain", "--config", "tiny"],
            {"GPTJAX_MAKE": "pretrain", "CONFIG": "tiny"},
            "make pretrain CONFIG=tiny ARGS='--resume auto'",
        ),
        (
            ["finetune", "--task", "sst2", "--out", "$x y", "--overwrite", "--train.steps", "5"],
            {
                "GPTJAX_MAKE": "finetune",
                "CONFIG": "tiny",  # the Makefile's own, which it does not give to finetune
                "TASK": "sst2",
                "OUT": "$x y",
                "ARGS": "--overwrite --train.steps 5",
            },
            "make finetune TASK=sst2 OUT='$$x y' ARGS='--train.steps 5 --resume auto'",
        ),
    ],
)
def test_going_on(words, environment, told):
    assert resuming(words, environment) == told
    shlex.split(told)


@pytest.mark.parametrize(
    ("data", "sample", "expected"),
    [
        ((), True, ("sample", "valid")),
        ((), False, ("hub", "valid")),
        (("train=a.csv", "valid=b.csv"), False, ("b.csv", "valid")),
        (("train=a.csv",), False, ("a.csv", "train")),
        (("folder",), False, ("folder", "valid")),
        ((__file__,), False, (__file__, "train")),
    ],
)
def test_the_data_of_a_runs_metrics(data, sample, expected):
    assert evaluation_data(data, sample) == expected


def test_a_suggestion_is_a_line_on_standard_error(capsys):
    suggest("metrics", "evaluate", "--run", "my run", "--data", "a.csv")
    shown = capsys.readouterr()
    assert shown.err == "  metrics:     gptjax evaluate --run 'my run' --data a.csv\n"
    assert shown.out == ""


def test_options_that_the_next_command_needs_are_repeated():
    given = EvaluateConfig(
        run="r",
        data="d",
        checkpoint="last/3",
        columns=("text=a b", "label=c"),
        encoding="cp1252",
        vocabulary=ModeConfig("fast"),
    )
    assert again(given, f"{OPENING} {ROWS}") == [
        *("--checkpoint", "last/3", "--vocabulary.mode", "fast"),
        *("--columns", "text=a b", "label=c", "--encoding", "cp1252"),
    ]
    assert again(given, TEXT) == ["--encoding", "cp1252"]
    assert again(EvaluateConfig(run="r", data="d"), f"{OPENING} {ROWS} {TEXT}") == []


@pytest.mark.parametrize(
    ("names", "configs"),
    [
        (OPENING, (EvaluateConfig, PredictConfig)),
        (ROWS, (EvaluateConfig, PredictConfig, TaskConfig)),
        (TEXT, (EvaluateConfig, TokenizerConfig, CorpusConfig)),
    ],
)
def test_they_are_options_of_both(names, configs):
    for config in configs:
        known = {field.name for field in fields(config)}
        assert {name.partition(".")[0] for name in names.split()} <= known


def test_each_line_leads_to_the_next(tmp_path, monkeypatch, capsys):
    """On a file that is read with options only; each command's line is typed as it stands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my rows.csv").write_text("a,b\ngood,1\nbad,0\n", "utf-16")
    words = ["--run", str(RECORDED / "seeds/seed-2"), "--data", "my rows.csv", "--out", "o.tsv"]
    words += ["--columns", "text=a", "label=b", "--encoding", "utf-16", "--checkpoint", "best"]
    line = shlex.join(["gptjax", "predict", *words])
    for following in ("evaluate", "predict", "evaluate"):
        assert main(shlex.split(line)[1:]) == 0
        what, _, line = capsys.readouterr().err.strip().splitlines()[-1].partition(": ")
        assert line.split()[:2] == ["gptjax", following], what
