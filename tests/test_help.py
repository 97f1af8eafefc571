"""What --help shows: what matters, or everything, with the defaults that hold."""

import dataclasses
import importlib
import re
import typing

import pytest

from gptjax import help, options
from gptjax.cli import COMMANDS, main
from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.pretrain import defaults as pretrain_defaults
from gptjax.commands.short_help import HELP

OWN = sorted(set(COMMANDS) - {"lm-eval"})  # which has another program's options


def config_of(command):
    name = {"import": "import_"}.get(command, command.replace("-", "_"))
    module = importlib.import_module(f"gptjax.commands.{name}")
    return typing.get_type_hints(module.run)["config"]


def shown(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert not ended.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("command", OWN)
def test_every_command_has_help(command, capsys):
    text = shown(capsys, command, "--help")
    assert re.match(rf"usage: gptjax {command} ([A-Z_]+ )*\[OPTIONS\]\n", text)
    assert all(len(line) <= 100 for line in text.splitlines())
    if command in HELP:
        assert "examples:" in text
        assert len(HELP[command].options) <= 10


@pytest.mark.parametrize("command", OWN)
def test_all_shows_every_field_with_a_text(command, capsys):
    text = shown(capsys, command, "--help", "all")

    def fields(cls, prefix=""):
        for field, hint in typing.get_type_hints(cls).items():
            if dataclasses.is_dataclass(hint):
                yield from fields(hint, f"{prefix}{field}.")
            elif typing.get_origin(hint) is not typing.ClassVar:
                yield f"{prefix}{field}"

    for name in fields(config_of(command)):
        section, dot, last = name.replace("_", "-").rpartition(".")
        option = rf"--{re.escape(section + dot)}(no-)?{last}\b"
        assert re.search(rf"{option}|  {name.upper()}|  FILE", text), name
    for section in help._sections(config_of(command), None, ""):
        for option in section[1]:
            assert option.text, option.names


@pytest.mark.parametrize("command", sorted(HELP))
def test_the_options_and_examples_are_the_commands(command, capsys):
    everything = shown(capsys, command, "--help", "all")
    for name in HELP[command].options:
        assert re.search(rf"{re.escape(name)}\b", everything), name
    for line in HELP[command].examples:
        assert re.match(rf"([A-Z_]+=\w+ )?gptjax {command}\b", line)
        for option in re.findall(r"--[a-z.-]+", line):
            assert re.search(rf"{re.escape(option)}\b", everything), option


def test_the_defaults_are_those_of_the_preset(capsys):
    text = shown(capsys, "pretrain", "--config", "small", "--help")
    assert re.search(r"--train\.batch-size N\s+[^-]*\(default: 8\)", text)
    assert "--train.accumulate" not in text
    assert "--train.accumulate N" in shown(capsys, "pretrain", "--help", "all")


def test_a_flag_that_is_on_is_shown_as_what_turns_it_off(capsys):
    text = shown(capsys, "pretrain", "--help", "all")
    assert "--tracking.no-tensorboard" in text
    assert "--tracking.wandb " in text


@pytest.mark.parametrize(
    ("words", "which", "rest"),
    [
        (["--help"], "short", []),
        (["-h", "--data", "all"], "short", ["--data", "all"]),
        (["--a", "1", "--help", "all", "--b"], "all", ["--a", "1", "--b"]),
        (["all"], None, ["all"]),
        ([], None, []),
    ],
)
def test_which_help_is_wanted(words, which, rest):
    assert help.wanted(words) == which
    assert help.without(words) == rest


def test_the_learning_rate_has_a_short_name():
    words = ["--config", "tiny", "--lr", "0.5"]
    found = options.parse(PretrainConfig, words, prog="x", defaults=pretrain_defaults)
    assert found.optimizer.learning_rate == 0.5
