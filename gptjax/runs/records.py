"""Frozen dataclasses to and from the plain values of a JSON file.

A field whose default is None is left out of the file where it is None. A field with a default may
be absent. A number that is not finite is null in the file, and NaN when it is read. What a file has
besides the fields is ignored, so that it may be of a later version.
"""

import dataclasses
import math
import types
import typing
from dataclasses import MISSING
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def keyed(name: str, default: Any = MISSING) -> Any:
    """A field with a tuple of dataclasses that is a mapping in the file, by this field of theirs.

    Where the dataclass has only one other field, this one stands alone as the mapping's value.
    """
    return dataclasses.field(default=default, metadata={"keyed": name})


def to_plain(record: Any) -> dict[str, Any]:
    """The fields of a dataclass as dictionaries, lists, and values."""
    table: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if value is None and field.default is None:
            continue
        key = field.metadata.get("keyed")
        table[field.name] = _by_key(value, key) if key and value is not None else _plain(value)
    return table


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_plain(value)
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _by_key(items: tuple[Any, ...], key: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for item in items:
        rest = to_plain(item)
        name = str(rest.pop(key))
        alone = len(dataclasses.fields(item)) == 2
        table[name] = next(iter(rest.values())) if alone else rest
    return table


def from_plain(cls: type[T], table: Any, where: str = "") -> T:
    """A dataclass from the values of a JSON file; a ValueError names a field that is wrong."""
    if not isinstance(table, dict):
        raise ValueError(f"{where or 'its content'} is no table")
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        name = f"{where}.{field.name}".lstrip(".")
        if field.name in table:
            key = field.metadata.get("keyed")
            values[field.name] = _convert(table[field.name], hints[field.name], name, key)
        elif field.default is MISSING:
            raise ValueError(f"{name} is missing")
    return cls(**values)


def _convert(value: Any, hint: Any, where: str, key: str | None = None) -> Any:
    """The value if it fits the field's type; an integer also fits a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        errors = []
        for option in arguments:
            try:
                return _convert(value, option, where, key)
            except ValueError as error:
                errors.append(error)
        raise errors[0]
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type[Any], hint), value, where)
    if origin is tuple and key is not None and isinstance(value, dict):
        return tuple(_item(arguments[0], key, *pair, where) for pair in value.items())
    if origin is tuple and key is None and isinstance(value, list):
        return tuple(_convert(item, arguments[0], where) for item in value)
    if origin is dict and isinstance(value, dict):
        return {name: _convert(v, arguments[1], f"{where}.{name}") for name, v in value.items()}
    if origin is Literal and value in arguments:
        return value
    if hint is float and type(value) is int and abs(value) < 2**1023:
        return float(value)
    if hint is float and value is None:  # JSON has no NaN
        return math.nan
    if type(value) is hint:
        return value
    raise ValueError(f"{where} is {value!r}, no {getattr(hint, '__name__', hint)}")


def _item(cls: Any, key: str, name: str, rest: Any, where: str) -> Any:
    """An item of a mapping, whose key is a number where the field is one."""
    others = [field.name for field in dataclasses.fields(cls) if field.name != key]
    number = typing.get_type_hints(cls)[key] is int
    table = {others[0]: rest} if len(others) == 1 else rest
    if not isinstance(table, dict):
        raise ValueError(f"{where}.{name} is no table")
    return from_plain(cls, {**table, key: int(name) if number else name}, f"{where}.{name}")
