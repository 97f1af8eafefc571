"""Columns by name, also inside of nested ones, and what to say of one that is not there."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

SHOWN = 20  # columns that a message lists


def with_nested(cells: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    """The same cells, and those of the names that lead into a cell: ``meta.text`` is the key
    ``text`` of the cell ``meta``. A column of exactly that name comes first."""
    found = {}
    for name in names:
        if name not in cells:
            value: Any = cells
            for key in name.split("."):
                value = value.get(key, _ABSENT) if isinstance(value, Mapping) else _ABSENT
            if value is not _ABSENT:
                found[name] = value
    return {**cells, **found} if found else cells


_ABSENT = object()


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
    """Every column, those inside of nested ones with their path."""
    for key, value in cells.items():
        if isinstance(value, Mapping) and value:
            yield from _names(value, f"{before}{key}.")
        else:
            yield f"{before}{key}"
