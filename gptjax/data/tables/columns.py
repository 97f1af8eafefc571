"""Columns by name, also inside of nested ones, and what to say of one that is not there."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

SHOWN = 20  # columns that a message lists


def with_nested(cells: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    """The same cells, and those of the names that lead into a cell: ``meta.text`` is the key
    ``text`` of the cell ``meta``, ``answers[0].text`` that of the first element of a list, and
    ``choices[].text`` the list of those of all elements. A column of exactly that name comes
    first."""
    found = {}
    for name in names:
        if name not in cells:
            value = _inside(cells, _steps(name))
            if value is not _ABSENT:
                found[name] = value
    return {**cells, **found} if found else cells


def is_nested(name: str) -> bool:
    """Whether a name may lead into a cell."""
    return "." in name or "[" in name


def outermost(name: str) -> str:
    """The column that a name begins with."""
    return re.split(r"[.\[]", name, maxsplit=1)[0]


_ABSENT = object()
_EVERY = object()  # step to all elements of a list


def _steps(name: str) -> list[Any]:
    """The keys, and numbers of elements, that a name is made of."""
    steps: list[Any] = []
    for key in name.split("."):
        plain, *elements = re.split(r"\[(-?\d{0,9})\](?=\[|$)", key)
        steps.append(plain)
        steps += [int(one) if one.lstrip("-") else _EVERY for one in elements[::2]]
    return steps


def _inside(value: Any, steps: Sequence[Any]) -> Any:
    for place, step in enumerate(steps):
        if isinstance(step, str):
            value = value.get(step, _ABSENT) if isinstance(value, Mapping) else _ABSENT
        elif not isinstance(value, list):
            return _ABSENT
        elif step is _EVERY:
            found = [_inside(one, steps[place + 1 :]) for one in value]
            return _ABSENT if any(one is _ABSENT for one in found) else found
        else:
            value = value[step] if -len(value) <= step < len(value) else _ABSENT
    return value


def absent(name: str, cells: Mapping[str, Any] | Iterable[str], role: str = "") -> str:
    """That there is no such column (``role``: for what), which there are, and the nearest."""
    there = list(dict.fromkeys(_names(cells) if isinstance(cells, Mapping) else cells))
    wanted = f"no column {name!r} {role}".rstrip()
    return f"{wanted}; it has {listed(there)}{_nearest(name, there)}{_rows_inside(cells)}"


def listed(names: Iterable[str]) -> str:
    """Names for a message; of very many the first ones."""
    names = [repr(name if len(name) <= 60 else name[:60] + "…") for name in map(str, names)]
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more


def _rows_inside(cells: Mapping[str, Any] | Iterable[str]) -> str:
    for name, value in cells.items() if isinstance(cells, Mapping) else ():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            return f"; {name!r} is a list of {len(value):,} objects: write these as the file's rows"
    return ""


def _nearest(name: str, there: list[str]) -> str:
    folded = {other.lower().strip(): other for other in there}
    # A part of the name counts too: of `gold_label` the nearest is `gold`.
    close = difflib.get_close_matches(name.lower().strip(), list(folded), n=1, cutoff=0.5)
    return f" (nearest: {folded[close[0]]!r})" if close else ""


def _names(cells: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Every column, those inside of nested ones and of lists with their path."""
    for key, value in cells.items():
        if isinstance(value, Mapping) and value:
            yield from _names(value, f"{before}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield from _names(value[0], f"{before}{key}[].")
        else:
            yield f"{before}{key}"
