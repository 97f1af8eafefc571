"""What a command says at its end: which command comes next, ready to be pasted."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gptjax.data.tables.containers import is_file
from gptjax.runs.train import say

# Variables that make is given, and the options that they become.
THROUGH_MAKE = {
    "CONFIG": "--config",
    "TASK": "--task",
    "DATA": "--data",
    "INIT": "--init",
    "OUT": "--out",
}

# Options that another command needs as well: how a trained model is opened, how a task's files are
# read, and how the files of a text are.
OPENING = "checkpoint heads vocabulary.mode"
ROWS = "columns delimiter header quoting sheet unlabelled encoding encoding_errors"
TEXT = "text_column encoding encoding_errors sheet suffixes unescape_html"


def suggest(what: str, *words: object) -> None:
    """Tell what one may want next, and the command for it, on standard error."""
    say(command_line(what, *words))


def command_line(what: str, *words: object) -> str:
    """A line with what one may want, and the words of the command for it."""
    return f"  {what + ':':12} gptjax {shlex.join(map(str, words))}"


def again(config: Any, names: str) -> list[str]:
    """Of these settings the ones that are not at their defaults, as the words of options."""
    words = []
    for name in names.split():
        *sections, key = name.split(".")
        owner = config
        for section in sections:
            owner = getattr(owner, section)
        (found,) = (field for field in fields(owner) if field.name == key)
        value = getattr(owner, key)
        assert found.default is not MISSING, name
        if value != found.default:
            if value is True:  # of a switch, which has no value
                value = ()
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


def evaluation_data(data: Sequence[str], sample: bool) -> tuple[str, str]:
    """What --data and --split of `gptjax evaluate` are for the validation data of a run.

    ``data`` are the words of the run's own --data; ``sample``: the offline sample took their place.
    """
    if sample:
        return "sample", "valid"
    named = dict(word.partition("=")[::2] for word in data if "=" in word)
    for split in ("valid", "train"):
        if split in named:
            return named[split], split
    if not data:
        return "hub", "valid"
    return data[0], "train" if is_file(Path(data[0])) else "valid"


def resuming(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The command that goes on with an interrupted one, through make where it came from there.

    ``words`` are those of the interrupted command, after ``gptjax``.
    """
    if words[0] == "sweep":  # which goes on by itself
        return f"gptjax {shlex.join(words)}"
    if environment.get("GPTJAX_MAKE") == words[0]:
        named = []
        for name, option in THROUGH_MAKE.items():
            if environment.get(name) and option in words:
                named.append(f"{name}={shlex.quote(_for_make(environment[name]))}")
        more = shlex.split(environment.get("ARGS", ""))
        named.append(f"ARGS={shlex.quote(_for_make(shlex.join(_going_on(more))))}")
        return f"make {words[0]} {' '.join(named)}"
    return f"gptjax {shlex.join(_going_on(words))}"


def _going_on(words: Sequence[str]) -> list[str]:
    """The words with `--resume auto` in place of how the run was started."""
    left, skipped = [], False
    for word in words:
        replaced = word in ("--resume", "--overwrite", "--no-overwrite")
        if not (skipped or replaced or word.startswith("--resume=")):
            left.append(word)
        skipped = word == "--resume"
    return [*left, "--resume", "auto"]


def _for_make(text: str) -> str:
    """A value as make reads it."""
    return text.replace("$", "$$")
