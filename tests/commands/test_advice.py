"""What people are told to type next can be pasted."""

import shlex

import pytest

from gptjax.commands.advice import evaluation_data, resuming, suggest


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
