"""Figures for the page of a report: SVG in the colours of the page, values under the pointer.

Words that may be long (titles, names of lines) are HTML around the drawing, where they wrap.
`gptjax.report.drawing` makes the pictures that lie in folders.
"""

import html
from collections.abc import Iterator, Sequence

from gptjax.report.axis import Axis, around, number
from gptjax.report.bars import apart, bars
from gptjax.report.figures import Figure, Number, Series
from gptjax.report.heatmap import heatmap
from gptjax.report.marks import (
    LEVELS,
    WIDTH,
    colour_of,
    level,
    named,
    px,
    text_at,
    tip,
    values_of,
    width_of,
    word,
)

HEIGHT = 215  # of lines
DENSE = 40  # of more points than these a line's markers would hide it
# Circle, square, triangle, diamond, triangle, plus and cross, from the middle.
MARKERS = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.6l3.4 6h-6.8z",
    "m0-3.8l3.8 3.8l-3.8 3.8l-3.8-3.8z",
    "m0 3.6l3.4-6h-6.8z",
    "m-1.2-3.4h2.4v2.2h2.2v2.4h-2.2v2.2h-2.4v-2.2h-2.2v-2.4h2.2z",
    "m-2.5-3.5l2.5 2.5l2.5-2.5l1 1l-2.5 2.5l2.5 2.5l-1 1l-2.5-2.5l-2.5 2.5l-1-1l2.5-2.5l-2.5-2.5z",
)


def svg(figure: Figure, words: str) -> str:
    """The drawing as an `svg` element; ``words`` are what a reader hears who does not see it."""
    draw = {"lines": _lines, "points": _lines, "bars": bars, "heatmap": heatmap}[figure.kind]
    height, parts = draw(figure)
    label = html.escape(words, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {px(height)}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def legend(figure: Figure) -> list[tuple[str, str]]:
    """A swatch and a text for each series and level; none where they would say nothing."""
    if figure.kind == "heatmap":
        return []
    found = []
    for place, series in enumerate(figure.series):
        if apart(figure):
            break
        inside = f'<path class="p" d="M15 6{_marker(place)}"/>'
        if figure.kind == "lines":
            inside = f'<path class="line" d="M0 6h30"/>{inside}'
        if figure.kind == "bars":
            inside = '<rect class="bar" x="9" width="12" height="12"/>'
        found.append((_swatch(colour_of(place), inside), series.label))
    if figure.diagonal:
        found.append((_swatch("level", '<path class="line" d="M0 6h30"/>'), figure.diagonal))
    for place, (label, _) in enumerate(figure.levels):
        inside = '<path class="line" d="M0 6h30"/>'
        found.append((_swatch(f"level l{place % LEVELS + 1}", inside), label))
    return [] if [text for _, text in found] == [""] else found


def _swatch(name: str, inside: str) -> str:
    return f'<svg class="{name}" viewBox="0 0 30 12" aria-hidden="true">{inside}</svg>'


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def _lines(figure: Figure) -> tuple[Number, list[str]]:
    """Lines, or points that nothing joins, which may be over names."""
    log_x, log_y = figure.logarithmic
    given = [x for series in figure.series for x in series.x]
    names = list(dict.fromkeys(map(word, given))) if any(isinstance(x, str) for x in given) else []
    xs = list(range(len(names))) if names else [float(x) for x in given]
    ys = [float(y) for one in figure.series for y in (*one.y, *(one.low or ()), *(one.high or ()))]
    if figure.diagonal:
        xs = ys = xs + ys
    ys = [*ys, *(float(value) for _, value in figure.levels)]
    vertical = around(ys, HEIGHT - 20, 6, log=log_y)
    numbers = vertical.ticks(5, ys if len(set(ys)) <= 5 else ())
    left = 8 + max(width_of(number(tick)) for tick in numbers)
    horizontal = around(xs, left, WIDTH - 8, log=log_x)
    below = [(float(at), name) for at, name in enumerate(names)]
    below = below or [(tick, number(tick)) for tick in horizontal.ticks(5, xs)]
    parts = list(_grid(horizontal, vertical, numbers, below))
    if figure.diagonal:
        ends = [(horizontal.place(v), vertical.place(v)) for v in (min(xs), max(xs))]
        parts.append(f'<g class="level"><path class="line" d="{_path(ends)}"/></g>')
    for place, (label, value) in enumerate(figure.levels):
        y = px(vertical.place(float(value)))
        parts.append(level(place, label, value, f"M{px(left)} {y}H{WIDTH - 8}"))
    for place, series in enumerate(figure.series):
        own = [names.index(word(x)) if names else float(x) for x in series.x]
        parts.append(_line(figure, series, place, list(map(horizontal.place, own)), vertical))
    return HEIGHT, parts


def _grid(
    horizontal: Axis,
    vertical: Axis,
    numbers: Sequence[Number],
    below: Sequence[tuple[Number, str]],
) -> Iterator[str]:
    """Lines at the numbers, and the numbers; below are words too."""
    top, bottom, left = vertical.end, vertical.start, horizontal.start
    rows = [f"M{px(left)} {px(vertical.place(tick))}H{px(horizontal.end)}" for tick in numbers]
    columns = [f"M{px(horizontal.place(tick))} {px(top)}V{px(bottom)}" for tick, _ in below]
    yield f'<path class="grid" d="{"".join(rows + columns)}"/>'
    for tick in numbers:
        yield text_at(left - 5, vertical.place(tick) + 3.7, number(tick), "end")
    for tick, text in below:
        # A number at an end must not reach over the drawing's border.
        half = width_of(text) / 2
        x = min(max(horizontal.place(tick), half), WIDTH - half)
        yield text_at(x, bottom + 14, text, "mid")


def _path(points: Sequence[tuple[Number, Number]]) -> str:
    return "M" + "L".join(f"{px(x)} {px(y)}" for x, y in points)


def _line(figure: Figure, series: Series, place: int, xs: Sequence[Number], vertical: Axis) -> str:
    """A line with its band, and a title at each point; ``xs`` are pixels."""
    points = list(zip(xs, (vertical.place(float(y)) for y in series.y), strict=True))
    parts = []
    if series.low is not None and series.high is not None:
        above, below = (
            list(zip(xs, (vertical.place(float(y)) for y in ends), strict=True))
            for ends in (series.high, series.low)
        )
        parts.append(f'<path class="band" d="{_path([*above, *reversed(below)])}z"/>')
    joined = figure.kind == "lines"
    if joined:
        parts.append(f'<path class="line" d="{_path(points)}"/>')
    kind = "p dense" if joined and len(points) > DENSE else "p"
    for (x, y), given, value in zip(points, series.x, values_of(series), strict=True):
        told = tip(
            series.label,
            named(figure.x_label, word(given)),
            named(figure.y_label, value),
        )
        parts.append(f'<path class="{kind}" d="M{px(x)} {px(y)}{_marker(place)}">{told}</path>')
    return f'<g class="{colour_of(place)}">{"".join(parts)}</g>'
