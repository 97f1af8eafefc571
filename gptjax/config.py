"""Frozen dataclasses to and from TOML, with strict keys, and to command-line options.

A config is a dataclass of sections (dataclasses) and plain fields. Field docstrings are the
help texts; a field whose metadata says ``toml=False`` belongs to one invocation (where to
write, whether to resume) and never enters a file. ``None`` is an absent key; where the default is
another value, a file says "None", as the command line does.
"""

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import tomli_w
import tyro

from gptjax.errors import UserError
from gptjax.files import read_toml
from gptjax.finite import is_finite
from gptjax.variant import Variant

T = TypeVar("T")
NOT_FINITE = "it must be a finite number, as float32 has it"
PRESETS = Path(__file__).parent / "configs"


def alias(*names: str) -> Any:
    """Further names of an option: ``data: Annotated[str, alias("--data")]``."""
    return tyro.conf.arg(aliases=names)


repeated: Any = tyro.conf.UseAppendAction
"""Marks an option that is given once for each of several values."""


def invocation(default: Any) -> Any:
    """A field that is an option of the command but no key of the TOML file."""
    return dataclasses.field(default=default, metadata={"toml": False})


def since(before: Any, now: Any = None) -> Any:
    """A field that came later: ``before`` in the config of a run that is older than the field.

    Its default is None, which a new run settles before its config is written (see `settled`): as
    ``now``, or in a way of its own.
    """
    return dataclasses.field(default=None, metadata={"before": before, "now": now})


def cache_folder() -> Path:
    """Where encoded corpora and compiled programs are kept: $GPTJAX_CACHE or ~/.cache/gptjax."""
    return Path(os.environ.get("GPTJAX_CACHE") or "~/.cache/gptjax").expanduser()


def config_file(value: str) -> Path:
    """The file that ``config`` names: a path has a / or ends in .toml, a preset's name neither."""
    if Path(value).name != value or value.endswith(".toml"):
        return Path(value)
    names = sorted(path.stem for path in PRESETS.glob("*.toml"))
    if value not in names:
        close = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(
            f"`config={value}`: no such preset; {hint}presets: {', '.join(names)}; "
            "a file's name ends in .toml or has a /"
        )
    return PRESETS / f"{value}.toml"


def nearest(name: str, known: Sequence[str]) -> str:
    """``; did you mean 'x'?`` with the nearest known name, or the list of known names."""
    within = [one for one in known if one.rpartition(".")[2] == name]  # in a section
    close = within or difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"


def finite(config: T, prefix: str = "") -> T:
    """The config, where every number in it is finite; a UserError names one that is not."""
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value, name = getattr(config, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            finite(value, f"{name}.")
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, float) and not is_finite(item):
                raise UserError(f"`{name}={item}`: {NOT_FINITE}")
    return config


def read(cls: type[T], path: str | Path, base: T | None = None) -> T:
    """A config from a TOML file, over ``base`` (the defaults of ``cls`` if None)."""
    path = Path(path)
    where = f"preset {path.stem}" if path.parent == PRESETS else str(path)
    return from_table(cls, read_table(path, "config file"), where=where, base=base)


def read_table(path: str | Path, what: str) -> dict[str, Any]:
    """The content of a TOML file; ``what`` it should be is said where there is none."""
    return read_toml(Path(path), what)


def read_resolved(cls: type[T], path: str | Path) -> T:
    """A run's config from the file that `write` wrote, in which an absent key is None.

    A key that is absent because the file is older than its field is what `since` says.
    """
    config = from_resolved(cls, read_table(path, "config file"), where=str(path))
    return _filled(config, lambda field, _: field.metadata["before"])


def settled(config: T, recorded: Any = None) -> T:
    """The config with a value for the fields of `since` that are None.

    They are those of ``recorded``, the config of a run that goes on, else what `since` has for now.
    """
    return _filled(
        config, lambda field, kept: field.metadata["now"] if kept is None else kept, recorded
    )


def _filled(config: T, value: Callable[[dataclasses.Field[Any], Any], Any], other: Any = None) -> T:
    """With ``value(field, what other has there)`` for each field of `since` that is None."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        mine, kept = getattr(config, field.name), getattr(other, field.name, None)
        if dataclasses.is_dataclass(mine):
            changed[field.name] = _filled(mine, value, kept)
        elif mine is None and "before" in field.metadata:
            changed[field.name] = value(field, kept)
    return dataclasses.replace(config, **changed)  # type: ignore[type-var]


def from_resolved(cls: type[T], table: Mapping[str, Any], *, where: str) -> T:
    """A config from the table of `to_table`, in which an absent key is None."""
    try:
        none: T = _all_none(cls(), table)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return from_table(cls, table, where=where, base=none)


def _all_none(config: Any, table: Mapping[str, Any]) -> Any:
    """The defaults of the kinds that the table has, with None for every field that may be None."""
    hints = typing.get_type_hints(type(config))
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, inner = getattr(config, field.name), table.get(field.name)
        if dataclasses.is_dataclass(value):
            inner = inner if isinstance(inner, Mapping) else {}
            if isinstance(value, Variant):
                value = value.of_kind(inner.get("kind", value.kind))()
            changed[field.name] = _all_none(value, inner)
        elif type(None) in typing.get_args(hints[field.name]):
            changed[field.name] = None
    return dataclasses.replace(config, **changed)


def write(config: Any, path: str | Path) -> None:
    """Write a config as TOML: every field of every section that is not None."""
    write_table(to_table(config), path)


def write_table(table: Mapping[str, Any], path: str | Path) -> None:
    """Write a TOML file by replacing it, so that a reader or a crash never sees half of it."""
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(tomli_w.dumps(table), encoding="utf-8")
    os.replace(temporary, path)


def to_table(config: Any) -> dict[str, Any]:
    """The TOML table of a config: plain values by key, None left out, tuples as lists."""
    table: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value is None or not field.metadata.get("toml", True):
            continue
        if dataclasses.is_dataclass(value):
            value = to_table(value)
        table[field.name] = list(value) if isinstance(value, tuple) else value
    return table


def from_table(
    cls: type[T], table: Mapping[str, Any], *, where: str, base: T | None = None, prefix: str = ""
) -> T:
    """A dataclass from a table of plain values; errors name ``where`` and ``prefix`` with the key.

    What the table lacks is that of ``base``, or the default if it is None.
    """
    if issubclass(cls, Variant):
        try:
            kind = table.get("kind", getattr(base, "kind", cls.kind))
            if isinstance(base, Variant):
                base = cast(T, base.as_kind(kind))
            found = cls.of_kind(kind)
            table, cls = found.without_others(table), cast(type[T], found)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    hints = typing.get_type_hints(cls)
    fields = [f.name for f in dataclasses.fields(cls) if f.metadata.get("toml", True)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if key not in fields:
            raise UserError(f"{where}: unknown key {name!r}; {nearest(key, fields)}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise UserError(f"{where}: {name!r} is a section; write [{name}]")
            section, inner = cast(type[Any], hint), getattr(base, key, None)
            values[key] = from_table(section, value, where=where, base=inner, prefix=f"{name}.")
        else:
            values[key] = _convert(value, hint, where, name)
    try:
        return cls(**values) if base is None else dataclasses.replace(base, **values)  # type: ignore[type-var]
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _convert(value: Any, hint: Any, where: str, name: str) -> Any:
    """The value if it fits the field's type; an integer also fits a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        if value == "None" and len(inner) < len(arguments):
            return None
        # The last one says what is wrong; of a list it is the one that may be a list.
        inner.sort(
            key=lambda one: isinstance(value, list) and getattr(one, "__origin__", 0) is tuple
        )
        for option in inner:
            try:
                return _convert(value, option, where, name)
            except UserError:
                if option is inner[-1]:
                    raise
    if origin is Literal:
        if value in arguments:
            return value
        raise UserError(f"{where}: {name} = {value!r}; one of {', '.join(map(repr, arguments))}")
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_convert(item, arguments[0], where, name) for item in value)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not is_finite(value):
            raise UserError(f"{where}: {name} = {str(value)[:40]}: {NOT_FINITE}")
        return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    expected = getattr(hint, "__name__", str(hint))
    raise UserError(f"{where}: {name} = {value!r} is no {expected}")
