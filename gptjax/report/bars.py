"""Bars for the page: lying, each below its name, since names are long and may be many."""

from collections.abc import Iterator

from gptjax.report.axis import Axis, number
from gptjax.report.figures import Figure, Number, Series
from gptjax.report.marks import (
    WIDTH,
    colour_of,
    level,
    named,
    px,
    rounded,
    text_at,
    tip,
    values_of,
    width_of,
    word,
)

MOST_BARS = 4  # of a name below each other, in colours; of more each has a name of its own


def bars(figure: Figure) -> tuple[Number, list[str]]:
    """The height of the drawing, and its elements."""
    values = [float(y) for one in figure.series for y in (*one.y, *(one.low or ()))]
    values += [float(y) for one in figure.series for y in one.high or ()]
    values += [float(value) for _, value in figure.levels]
    room = 10 + max(width_of(rounded(y)) for one in figure.series for y in one.y)
    low, high = min(0.0, *values), max(0.0, *values)
    axis = Axis(low, high if high > low else low + 1, 2.0, WIDTH - room)
    thick = 9 if len(figure.series) == 1 or apart(figure) else 8
    rows: list[str] = []
    y: Number = 0
    for above, own in _groups(figure):
        for piece in _pieces(above):
            y += 12
            rows.append(text_at(2, y, piece, "name"))
        y += 3
        for place, number_of in own:
            colour = colour_of(0 if apart(figure) else place)
            rows.append(_bar(figure, figure.series[place], number_of, colour, axis, (y, thick)))
            y += thick + 3
        y += 5
    ticks = axis.ticks(5)
    lines = "".join(f"M{px(axis.place(tick))} 0V{px(y)}" for tick in ticks)
    parts = [f'<path class="grid" d="{lines}"/>', *rows]
    for place, (label, value) in enumerate(figure.levels):
        parts.append(level(place, label, value, f"M{px(axis.place(float(value)))} 0V{px(y)}"))
    for tick in ticks:
        x = max(axis.place(tick), width_of(number(tick)) / 2)
        parts.append(text_at(x, y + 12, number(tick), "mid"))
    return y + 18, parts


def apart(figure: Figure) -> bool:
    """Whether each bar has a name of its own: so many colours cannot be told from each other."""
    return figure.kind == "bars" and len(figure.series) > MOST_BARS


def _groups(figure: Figure) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """What stands above bars, and the bars below it: series, and the place of the value in it."""
    names = list(dict.fromkeys(word(x) for series in figure.series for x in series.x))
    for name in names:
        bars = [
            (place, words.index(name))
            for place, series in enumerate(figure.series)
            if name in (words := [word(x) for x in series.x])
        ]
        if not apart(figure):
            yield name, bars
            continue
        for place, number_of in bars:
            label = figure.series[place].label
            yield (f"{name}: {label}" if len(names) > 1 else label), [(place, number_of)]


def _pieces(name: str, most: int = 54) -> list[str]:
    """A name in lines of so many letters."""
    return [name[i : i + most] for i in range(0, len(name), most)] or [""]


def _bar(
    figure: Figure,
    series: Series,
    number_of: int,
    colour: str,
    axis: Axis,
    rows: tuple[Number, int],
) -> str:
    """One bar at a height (its upper end and its thickness) with its spread and its value."""
    (top, thick), value = rows, float(series.y[number_of])
    zero, end = axis.place(0.0), axis.place(value)
    told = tip(
        series.label,
        named(figure.x_label, word(series.x[number_of])),
        named(figure.y_label, list(values_of(series))[number_of]),
    )
    shape = f'x="{px(min(zero, end))}" y="{px(top)}" width="{px(max(abs(end - zero), 0.8))}"'
    parts = [f'<rect class="bar" {shape} height="{thick}">{told}</rect>']
    if series.low is not None and series.high is not None:
        ends = [axis.place(float(side[number_of])) for side in (series.low, series.high)]
        if ends[0] < ends[1]:
            caps = "".join(f"M{px(x)} {px(top + 1)}v{thick - 2}" for x in ends)
            middle = f"M{px(ends[0])} {px(top + thick / 2)}H{px(ends[1])}"
            parts.append(f'<path class="spread" d="{middle}{caps}"/>')
    parts.append(text_at(axis.end + 6, top + thick - 0.5, rounded(value)))
    return f'<g class="{colour}">{"".join(parts)}</g>'
