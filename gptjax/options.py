"""A command's options over the defaults of its config."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar, cast

import tyro

from gptjax import help
from gptjax.config import finite
from gptjax.variant import Variant

T = TypeVar("T")
OPTIONS = tyro.constructors.ConstructorRegistry()
WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "none": None}


@OPTIONS.primitive_rule
def _yes_no_or_unsaid(
    type_info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """`bool | None`, whose words may be typed in any case: people know `false` from TOML."""
    if set(typing.get_args(type_info.type)) != {bool, types.NoneType}:
        return None

    def value(words: list[str]) -> bool | None:
        if words[0].lower() not in WORDS:
            raise ValueError(f"{words[0]!r} is none of True, False and None")
        return WORDS[words[0].lower()]

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None,True,False}",
        instance_from_str=value,
        is_instance=lambda found: found is None or isinstance(found, bool),
        str_from_instance=lambda found: [str(found)],
    )


def parse(
    cls: type[T],
    arguments: Sequence[str],
    *,
    prog: str,
    defaults: Callable[[Any], T] | None = None,
    short: help.Short | None = None,
) -> T:
    """Command-line options of the command ``prog`` over the defaults of its root config.

    ``defaults`` gives the config below the options (a TOML file, the config of a run); without it,
    it is the dataclass's own. Its parameter's type is a dataclass of the options that it wants to
    see. A section that is a `Variant` becomes one of the kind that is typed, and has its options.
    ``short`` is what ``--help`` shows (`gptjax.help`).

    Raises:
        SystemExit: 0 after ``--help``, 2 for an unknown or malformed option (tyro's box).
    """
    how: Any = {"prog": prog, "config": (tyro.conf.AvoidSubcommands,), "registry": OPTIONS}
    wants_help = help.wanted(arguments)
    if defaults is None:
        if wants_help:
            _show_help(prog, cls, None, short, wants_help)
        return finite(cast(T, tyro.cli(cls, args=list(arguments), **how)))
    # Only the choosing options are read here: the others may be wrong above the defaults of the
    # dataclass and right above those that are chosen.
    (wanted,) = (hint for name, hint in typing.get_type_hints(defaults).items() if name != "return")
    known = help.without(arguments)
    given, _ = tyro.cli(wanted, args=known, return_unknown_args=True, **how)
    base, words = _of_typed_kinds(defaults(given), known)
    if wants_help:
        _show_help(prog, cls, base, short, wants_help)
    return finite(cast(T, tyro.cli(cls, args=words, default=base, **how)))


def _show_help(
    prog: str, cls: type[Any], base: Any, short: help.Short | None, which: str
) -> NoReturn:
    print(help.page(prog, cls, base, short, everything=which == "all"))
    raise SystemExit(0)


def _of_typed_kinds(base: T, arguments: list[str]) -> tuple[T, list[str]]:
    """Every `Variant` becomes one of the kind that is typed.

    Options of other kinds are refused, but for those that change nothing, which are left out.
    """
    for field in dataclasses.fields(base):  # type: ignore[arg-type]
        section = getattr(base, field.name)
        if isinstance(section, Variant):
            typed = _typed(arguments, f"--{field.name}.")
            section = section.as_kind(typed.get("kind", section.kind))
            for name, value in typed.items():
                option = f"--{field.name}.{name.replace('_', '-')}"
                if section.is_idle(name, value):
                    arguments = _without(arguments, option)
                else:
                    section.refuse_other(name, option)
            base = dataclasses.replace(base, **{field.name: section})  # type: ignore[type-var]
    return base, arguments


def _without(arguments: list[str], option: str) -> list[str]:
    """The words without an option and its value."""
    left, skipped = [], False
    for word in arguments:
        if word.startswith("--"):
            skipped = word.partition("=")[0].replace("_", "-") == option
        if not skipped:
            left.append(word)
    return left


def _typed(arguments: Sequence[str], prefix: str) -> dict[str, str]:
    """The options with this prefix, each with its value or, of a flag, the next word."""
    found = {}
    for word, after in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = word.removeprefix(prefix).partition("=")
        if word.startswith(prefix):
            found[name.replace("-", "_").removeprefix("no_")] = value if equals else after
    return found
