"""Pieces of a page: bars, coloured text, grids. All that a model or a person wrote is escaped."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

TEMPLATE = "views.html.jinja"
SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # ends of the axis of bars


class Bar(NamedTuple):
    """A bar, with what stands beside it.

    Attributes:
        word: its name.
        share: its length, from 0 to 1.
        probability: that the model gives, from 0 to 1.
        token: what a click on it gives; None of one that nobody clicks.
        own: where a mark stands on it, or None.
        ends: whether it cannot be clicked, since it ends the text.
        title: more of it, for the pointer.
    """

    word: str
    share: float
    probability: float
    token: int | None = None
    own: float | None = None
    ends: bool = False
    title: str = ""


class Coloured(NamedTuple):
    """A token with a colour: from 0 to 1 the depth of one colour, from 0 to -1 of the other.

    ``tip`` is what is said of it when one points at it, in lines.
    """

    text: str
    share: float
    tip: str
    special: bool = False


class Grid(NamedTuple):
    """A table of coloured cells; ``kind`` is words, or squares without text."""

    kind: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Coloured | None]]]


def bars(rows: Sequence[Bar], top: float, side: int = 0, *, clickable: bool) -> str:
    """Lying bars, which begin at 0 and end at ``top`` at the most."""
    return _call("bars", rows, top, side, clickable)


def coloured(tokens: Sequence[Coloured], name: str) -> str:
    """A text whose tokens are coloured; ``name`` says what it is to those who do not see it."""
    return _call("coloured", tokens, name)


def scale(low: str, high: str, caption: str, *, both: bool = False) -> str:
    """The legend of the colours; with ``both`` there is one for either side of 0."""
    return _call("scale", low, high, both, caption)


def grid(table: Grid, name: str) -> str:
    """A table of coloured cells, in a window of its own if it is wide."""
    return _call("grid", table, name)


def top_of(shares: Sequence[float]) -> float:
    """Where the axis of bars ends, so that the longest has room."""
    longest = max(shares, default=1.0)
    return next((end for end in SCALES if end >= longest), 1.0)


def visible(text: str) -> str:
    """A token as a word to read by itself: blanks and line ends are seen."""
    for blank, mark in ((" ", "␣"), ("\n", "⏎"), ("\t", "⇥")):
        text = text.replace(blank, mark)
    return "".join(c if c.isprintable() else "�" for c in text) or "∅"


def running(text: str) -> str:
    """A token as a part of a running text: line ends are seen, and end the line."""
    return text.replace("\n", "⏎\n") if text else "·"


def percent(share: float) -> str:
    """Two digits behind the point, or more of what is very small."""
    if share <= 0:
        return "0 %"
    return f"{100 * share:.2f} %" if share >= 1e-4 else f"{100 * share:.1e} %"


def signed(value: float) -> str:
    """With its sign, three digits behind the point."""
    return "–" if math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _call(macro: str, *arguments: Any) -> str:
    return str(getattr(_templates(), macro)(*arguments)).strip()


@functools.cache
def _templates() -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).module
