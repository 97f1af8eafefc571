"""Settings by name: which ones a command has, and the words of a command line that set them."""

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptjax import config as configs
from gptjax.commands import finetune_config, pretrain
from gptjax.errors import UserError

# What the runs of a sweep are runs of.
COMMANDS: Mapping[str, tuple[type[Any], Callable[[Any], Any]]] = {
    "pretrain": (pretrain.PretrainConfig, pretrain.defaults),
    "finetune": (finetune_config.FinetuneConfig, finetune_config.defaults),
}
RULE = re.compile(r"[\s─-]+")  # a line across tyro's box of an error


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: its path through the sections, such as `task.lm_coefficient`.
        is_flag: whether it is on or off (`--name`, `--no-name`) instead of taking words.
    """

    name: str
    is_flag: bool

    def words(self, value: Any) -> list[str]:
        """The words that set it; ``None`` is the word None, a sequence several words.

        Raises:
            UserError: a table where a value is wanted, or a word that would be an option itself.
        """
        section, dot, last = self.name.replace("_", "-").rpartition(".")
        prefix = f"--{section}{dot}"
        if self.is_flag:
            if not isinstance(value, bool):
                raise UserError(f"{self.name} = {value!r}: it is true or false")
            return [f"{prefix}{'' if value else 'no-'}{last}"]
        words = [_word(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if any(word.startswith("--") for word in words):
            raise UserError(f"{self.name} = {value!r}: a value cannot begin with two dashes")
        return [f"{prefix}{last}", *words]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    return repr(value) if isinstance(value, float) else str(value)


def options_of(command: str) -> dict[str, Option]:
    """Every name under which a command knows an option, by path and by alias -> the option."""
    return {name: option for option, names in _walk(COMMANDS[command][0], "") for name in names}


def _walk(config: type[Any], prefix: str) -> Iterator[tuple[Option, list[str]]]:
    hints = typing.get_type_hints(config, include_extras=True)
    for field in dataclasses.fields(config):
        hint, extras = hints[field.name], []
        if typing.get_origin(hint) is typing.Annotated:
            hint, *extras = typing.get_args(hint)
        path = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hint):
            yield from _walk(typing.cast(type[Any], hint), f"{path}.")
        else:
            # tyro.conf.arg(aliases=…)
            aliases = [name for extra in extras for name in getattr(extra, "aliases", None) or ()]
            yield Option(path, hint is bool), [path, *map(canonical, aliases)]


def canonical(name: str) -> str:
    """A name as it is in a config: without leading dashes, and with underscores."""
    return name.lstrip("-").replace("-", "_")


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with names such as `train.epochs`; keys keep their order.

    Raises:
        UserError: one name twice, as in ``"train.epochs" = 3`` beside ``[train]``.
    """
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = canonical(f"{prefix}{key}")
        inner = flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
        if twice := flat.keys() & inner.keys():
            raise UserError(f"{min(twice)} is given twice")
        flat |= inner
    return flat


def parse(command: str, words: Sequence[str]) -> Any:
    """The config of a command line, read by what reads it in the run itself.

    Raises:
        UserError: whatever is wrong with it, in one line.
    """
    config, defaults = COMMANDS[command]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return configs.parse(config, words, prog=f"gptjax {command}", defaults=defaults)
    except SystemExit:
        raise UserError(_in_one_line(printed.getvalue())) from None


def _in_one_line(box: str) -> str:
    """What tyro's box of an error says, without its title and its advice."""
    parts: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip(" │╭╮╰╯")
        if RULE.fullmatch(text):
            parts.append([])
        elif line.startswith("╭"):  # the title is in the rule
            parts = [[text], []]
        elif text:
            parts[-1].append(text)
    filled = [" ".join(part) for part in parts if part]
    return filled[1] if len(filled) > 1 else " ".join(filled)
