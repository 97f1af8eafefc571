"""What all drawings of the page are made of: words, their widths, and titles for the pointer."""

import html
from collections.abc import Iterator

from gptjax.report.axis import number
from gptjax.report.figures import Number, Series

WIDTH = 360  # pixels of a phone
SMALL, CAPITAL = 6.5, 7.8  # the widths of letters at the size that words have here, at most
COLOURS = 7  # for series; the style sheet has them, a marker and a dash each
LEVELS = 3  # dashes of levels


def colour_of(place: int) -> str:
    """The class of a series, by its place in the figure."""
    return f"s{place % COLOURS + 1}"


def px(value: Number) -> str:
    """A pixel, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def width_of(text: str) -> Number:
    """About how many pixels a word takes."""
    return sum(CAPITAL if letter.isupper() else SMALL for letter in text)


def rounded(value: Number) -> str:
    """A value in four digits, where it stands beside a bar."""
    return number(float(f"{value:.4g}"))


def text_at(x: Number, y: Number, text: str, name: str = "", more: str = "") -> str:
    """A word at a place, of the class ``name``; ``more`` are further attributes."""
    kind = f' class="{name}"' if name else ""
    return f'<text{kind} x="{px(x)}" y="{px(y)}"{more}>{html.escape(text)}</text>'


def tip(*lines: str) -> str:
    """What the pointer shows over the element that this is in."""
    return f"<title>{html.escape(chr(10).join(line for line in lines if line))}</title>"


def named(label: str, value: str) -> str:
    """A value after what it is, where that is said."""
    return f"{label}: {value}" if label else value


def values_of(series: Series) -> Iterator[str]:
    """What stands under the pointer for each value: itself, and its spread in brackets."""
    ends = zip(series.low or (), series.high or (), strict=True)
    for y in series.y:
        low, high = next(ends, (y, y))
        yield f"{number(y)} ({number(low)} to {number(high)})" if low < high else number(y)


def word(x: Number | str) -> str:
    """A place on an axis for people."""
    return x if isinstance(x, str) else number(x)


def level(place: int, label: str, value: Number, path: str) -> str:
    """The line of a level of a figure, along a path."""
    told = tip(named(label, number(value)))
    return f'<g class="level l{place % LEVELS + 1}"><path class="line" d="{path}">{told}</path></g>'
