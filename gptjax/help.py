"""What `--help` shows: the options that matter with examples, or, with `--help all`, every option.

The texts are the docstrings of the fields of a command's config, below which they stand.
"""

import ast
import dataclasses
import inspect
import shutil
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import tyro

WIDEST = 100  # columns
NOTHING = ("", "None")  # defaults that say nothing beside the text
COLUMN = 28  # where the texts begin
METAVARS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT"}


@dataclass(frozen=True)
class Short:
    """What a command's help begins with."""

    options: tuple[str, ...]
    """The names of the options that matter, such as --train.steps; none: all of them."""
    examples: tuple[str, ...]
    """Command lines that work."""


@dataclass(frozen=True)
class Option:
    """An option of a command, as its help shows it."""

    names: tuple[str, ...]
    """Its short name first, if it has one."""
    metavar: str
    text: str
    default: str


def page(prog: str, cls: type[Any], base: Any, short: Short | None, *, everything: bool) -> str:
    """The help of a command.

    Args:
        prog: its name, such as "gptjax pretrain".
        cls: its config.
        base: what the options override, such as the config of a preset, or None.
        short: what matters; without it every option is shown.
        everything: whether every option is shown all the same.
    """
    sections = list(_sections(cls, base, ""))
    places = [one.metavar for _, options in sections for one in options if not one.names]
    lines = [
        " ".join(["usage:", prog, *places, "[OPTIONS]"]),
        "",
        *_paragraphs(inspect.getdoc(cls) or ""),
    ]
    if short is not None:
        lines += ["", "examples:", *(f"  {line}" for line in short.examples)]
    if short is None or everything or not short.options:
        for title, options in sections:
            lines += ["", f"{title}:", *(line for one in options for line in _shown(one))]
        return "\n".join(lines)
    known = {name: one for _, options in sections for one in options for name in one.names}
    lines += ["", "the options that matter:"]
    lines += [line for name in short.options for line in _shown(known[name], brief=True)]
    count = sum(len(options) for _, options in sections)
    return "\n".join([*lines, "", f"{prog} --help all shows all {count} options"])


def option_names(cls: type[Any]) -> list[str]:
    """All options of a config, short names too."""
    found = (one for _, options in _sections(cls, None, "") for one in options)
    return [name for one in found for name in one.names]


def short_names(hint: Any) -> tuple[str, ...]:
    """The further names of an option, which `gptjax.config.alias` gave its field."""
    marks = getattr(hint, "__metadata__", ())
    return tuple(name for mark in marks for name in getattr(mark, "aliases", None) or ())


def field_texts(cls: type[Any]) -> Mapping[str, str]:
    """The docstrings of a dataclass's fields; of one without the docstring of its base."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[field.target.id] = inspect.cleandoc(str(after.value.value))
    return found


def _sections(cls: type[Any], base: Any, prefix: str) -> Iterator[tuple[str, list[Option]]]:
    """The options of a config by section; those without a section first."""
    hints = typing.get_type_hints(cls, include_extras=True)
    own, inner = [], []
    for field in dataclasses.fields(cls):
        hint, value = hints[field.name], _value(field, base)
        if dataclasses.is_dataclass(value):
            inner.append((type(value), value, f"{prefix}{field.name}."))
        else:
            own.append(_option(field.name, hint, value, field_texts(cls), prefix))
    title = (inspect.getdoc(cls) or "").partition("\n\n")[0] if prefix else "options"
    if own:
        yield " ".join(title.split()).rstrip("."), own
    for one in inner:
        yield from _sections(*one)


def _value(field: dataclasses.Field[Any], base: Any) -> Any:
    """What the option overrides."""
    if base is not None:
        return getattr(base, field.name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _option(name: str, hint: Any, value: Any, texts: Mapping[str, str], prefix: str) -> Option:
    names = (*short_names(hint), f"--{prefix}{name}".replace("_", "-"))
    marks = getattr(hint, "__metadata__", ())
    if tyro.conf.Positional in marks or any(getattr(x, "metavar", None) for x in marks):
        metavar = next((x.metavar for x in marks if getattr(x, "metavar", None)), name.upper())
        return Option((), metavar, texts.get(name, ""), "required")
    default = "required" if value is dataclasses.MISSING else _default(value)
    return Option(names, _metavar(hint), texts.get(name, ""), default)


def _default(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _metavar(hint: Any) -> str:
    """What stands after the name: nothing for a flag."""
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is bool:
        return ""
    if origin is Literal:
        return "{" + ",".join(map(str, arguments)) + "}"
    if origin is tuple:
        return f"{_metavar(arguments[0])} …"
    if origin in (typing.Union, types.UnionType):
        inner = [one for one in arguments if one is not types.NoneType]
        return " | ".join(_metavar(one) or "True,False" for one in inner)
    return METAVARS.get(hint, "TEXT")


def _shown(option: Option, *, brief: bool = False) -> list[str]:
    """The lines of an option: names, and the text in its column beside them.

    ``brief`` has the short name alone.
    """
    flag = not option.metavar
    names = ", ".join(option.names[:1] if brief else option.names)
    head = f"  {names} {option.metavar}".rstrip() if names else f"  {option.metavar}"
    if flag and option.default == "True":  # what can be done is to turn it off
        section, _, last = option.names[-1].rpartition(".")
        head = f"  {section}.no-{last}" if section else f"  --no-{last.lstrip('-')}"
    default = "" if flag or option.default in NOTHING else f" (default: {option.default})"
    default = " (required)" if option.default == "required" else default
    text = " ".join(option.text.split()) + default
    body = textwrap.wrap(text, max(_width() - COLUMN, 30))
    if len(head) < COLUMN - 1 and body:
        head, body = f"{head:{COLUMN}}{body[0]}", body[1:]
    return [head, *(" " * COLUMN + line for line in body)]


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), _width()), ""]
    return lines[:-1]


def _width() -> int:
    return min(shutil.get_terminal_size((80, 24)).columns, WIDEST)


def without(arguments: Sequence[str]) -> list[str]:
    """The words that ask for no help."""
    kept: list[str] = []
    asked = False
    for word in arguments:
        if word in ("-h", "--help") or (word == "all" and asked):
            asked = word != "all"
            continue
        asked = False
        kept.append(word)
    return kept


def wanted(arguments: Sequence[str]) -> Literal["short", "all"] | None:
    """Which help the words of a command line ask for, if any."""
    for word, after in zip(arguments, [*arguments[1:], ""], strict=False):
        if word in ("-h", "--help"):
            return "all" if after == "all" else "short"
    return None
