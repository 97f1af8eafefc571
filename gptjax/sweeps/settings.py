"""Settings by name: which ones a command has, and the table of a config file that sets them."""

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptjax import config as configs
from gptjax.config import nearest
from gptjax.errors import UserError

OWN = {
    "out": "the sweep names the folders of its runs; give out above [settings]",
    "resume": "a sweep goes on by itself with what it finds",
    "overwrite": "a sweep never removes a run; remove its folder, or give another out",
    "train_sizes": "a run of a sweep has one size; give max_train under [grid]",
    "least_updates": "it is for train_sizes, which a sweep does not have; give train.steps",
    "distributed": "the runs of a sweep are processes of one machine",
}

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Runnable:
    """A command that a sweep can run."""

    config: type[Any]  # the class of its options
    # The config that --config gives for a file with this table; the text names it in errors.
    from_table: Callable[[Settings, str], Any]
    # Refuses a config that could not run; gives the metrics of its results, the main one first.
    check: Callable[[Any], tuple[str, ...]]


@dataclass(frozen=True)
class Option:
    """A field of a config: its path, such as `task.lm_coefficient`, and whether it is a tuple."""

    path: str
    several: bool

    def plain(self, value: Any) -> Any:
        """A value as TOML has it: one value of several needs no list, None is the word None."""
        if self.several and not isinstance(value, list | tuple):
            value = [value]
        return "None" if value is None else list(value) if isinstance(value, tuple) else value


Given = Mapping[Option, tuple[str, Any]]
"""Option -> the name that it was given by, and its value."""


def options_of(config: type[Any], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """Every name of an option, by path and by alias, and the option."""
    hints = typing.get_type_hints(config, include_extras=True)
    for one in dataclasses.fields(config):
        hint, path = hints[one.name], f"{prefix}{one.name}"
        annotated = typing.get_origin(hint) is typing.Annotated
        hint, *extras = typing.get_args(hint) if annotated else (hint,)
        if dataclasses.is_dataclass(hint):
            # A section of several kinds has the options of all of them.
            kinds = hint.kinds().values() if hasattr(hint, "kinds") else (hint,)
            for kind in kinds:
                yield from options_of(typing.cast(type[Any], kind), f"{path}.")
        else:
            aliases = [name for extra in extras for name in getattr(extra, "aliases", None) or ()]
            for name in (path, *map(_canonical, aliases)):
                yield name, Option(path, typing.get_origin(hint) is tuple)


def _canonical(name: str) -> str:
    """A name as it is in a config: without leading dashes, and with underscores."""
    return name.lstrip("-").replace("-", "_")


def flatten(table: Settings, prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with names such as `train.epochs`, each given once; order is kept."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = _canonical(f"{prefix}{key}")
        inner = flatten(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
        if twice := flat.keys() & inner.keys():
            raise UserError(f"{min(twice)} is given twice")
        flat |= inner
    return flat


def resolve(table: Settings, command: str, config: type[Any]) -> Given:
    """The settings of a section of the file, where every name is one of the command, and once."""
    known = dict(options_of(config))
    found: dict[Option, tuple[str, Any]] = {}
    for name, value in flatten(table).items():
        if (section := name.partition(".")[0]) in OWN:
            raise UserError(f"{name}: {OWN[section]}")
        if name not in known:
            close = nearest(name, list(known))
            raise UserError(f"gptjax {command} has no option {name!r}; {close}")
        option = known[name]
        if option in found:
            raise UserError(f"{found[option][0]} and {name} are the same option")
        found[option] = (name, value)
    return found


@dataclass(frozen=True)
class _Words:
    """The settings of a run that are no keys of its config file."""

    config: str | None = None
    seeds: tuple[int, ...] = ()


def configured(command: Runnable, given: Given) -> tuple[Settings, tuple[int, ...], Any]:
    """The table of a run's config file, its seeds, and its whole config."""
    flat = {option.path: option.plain(value) for option, (_, value) in given.items()}
    own = {name: flat.pop(name) for name in list(flat) if name in ("config", "seeds")}
    words = configs.from_table(_Words, own, where="settings")
    if words.config is not None:
        file = configs.config_file(words.config)
        configs.read(command.config, file)  # its errors name the file
        below = flatten(configs.read_table(file, "config file"))
        if {"train.steps", "train.epochs"} & flat.keys():  # one replaces the other
            below = {n: v for n, v in below.items() if n not in ("train.steps", "train.epochs")}
        if flat.get("init") == "none" and below.get("init", "none") != "none":
            below.setdefault("like", below["init"])
        flat = below | flat
    config = command.from_table(_nested(flat), "settings")
    # The newest run, if none is named, is the same for all runs, whenever they start.
    flat |= {n: v for n in ("init", "like") if (v := getattr(config, n, None)) is not None}
    if words.seeds:
        config = dataclasses.replace(config, seeds=words.seeds)
    return _nested(flat), words.seeds, config


def _nested(flat: Settings) -> dict[str, Any]:
    """What `flatten` made flat."""
    table: dict[str, Any] = {}
    for path, value in flat.items():
        *sections, key = path.split(".")
        inner = table
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[key] = value
    return table
