"""Figures for the page of a report: SVG in the colours of the page, values under the pointer.

Words that may be long (titles, names of lines) are HTML around the drawing, where they wrap.
`gptjax.report.drawing` makes the pictures that lie in folders.
"""

import html
from collections.abc import Iterator, Sequence
from itertools import chain

from gptjax.report.axis import Axis, around, number
from gptjax.report.figures import Figure, Number, Series

WIDTH = 360  # pixels of a phone
HEIGHT = 215  # of lines
LETTER = 6.2  # the mean width of a letter at the size that numbers have here
NUMBERED = 16  # columns of a heatmap above which its cells have no room for numbers
DEEP = 0.78  # the share of a heatmap's colour from which numbers on it are light
COLOURS = 7  # for series; the style sheet has them, a marker and a dash each
LEVELS = 3  # dashes of levels
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
    draw = {"lines": _lines, "bars": _bars, "heatmap": _heatmap}[figure.kind]
    height, parts = draw(figure)
    label = html.escape(words, quote=True)
    return (
        f'<svg viewBox="0 0 {WIDTH} {_n(height)}" role="img" aria-label="{label}">'
        f"{''.join(parts)}</svg>"
    )


def legend(figure: Figure) -> list[tuple[str, str]]:
    """A swatch and a text for each series and level; none where they would say nothing."""
    if figure.kind == "heatmap":
        return []
    found = []
    for place, series in enumerate(figure.series):
        inside = f'<path class="line" d="M0 6h30"/><path class="p" d="M15 6{_marker(place)}"/>'
        if figure.kind == "bars":
            inside = '<rect class="bar" x="9" width="12" height="12"/>'
        found.append((_swatch(_colour(place), inside), series.label))
    if figure.diagonal:
        found.append((_swatch("level", '<path class="line" d="M0 6h30"/>'), figure.diagonal))
    for place, (label, _) in enumerate(figure.levels):
        inside = '<path class="line" d="M0 6h30"/>'
        found.append((_swatch(f"level l{place % LEVELS + 1}", inside), label))
    return [] if [text for _, text in found] == [""] else found


def _swatch(name: str, inside: str) -> str:
    return f'<svg class="{name}" viewBox="0 0 30 12" aria-hidden="true">{inside}</svg>'


def _colour(place: int) -> str:
    return f"s{place % COLOURS + 1}"


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def _n(value: Number) -> str:
    """A pixel, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def _text(x: Number, y: Number, text: str, name: str = "", more: str = "") -> str:
    kind = f' class="{name}"' if name else ""
    return f'<text{kind} x="{_n(x)}" y="{_n(y)}"{more}>{html.escape(text)}</text>'


def _title(*lines: str) -> str:
    return f"<title>{html.escape(chr(10).join(line for line in lines if line))}</title>"


def _named(label: str, value: str) -> str:
    return f"{label}: {value}" if label else value


def _values(series: Series) -> Iterator[str]:
    """What stands under the pointer for each value: itself, and its spread in brackets."""
    ends = zip(series.low or (), series.high or (), strict=True)
    for y in series.y:
        low, high = next(ends, (y, y))
        yield f"{number(y)} ({number(low)} to {number(high)})" if low < high else number(y)


def _lines(figure: Figure) -> tuple[Number, list[str]]:
    log_x, log_y = figure.logarithmic
    xs = [float(x) for series in figure.series for x in series.x]
    ys = [float(y) for one in figure.series for y in (*one.y, *(one.low or ()), *(one.high or ()))]
    if figure.diagonal:
        xs = ys = xs + ys
    ys = [*ys, *(float(value) for _, value in figure.levels)]
    vertical = around(ys, HEIGHT - 20, 6, log=log_y)
    numbers = vertical.ticks(5, ys if len(set(ys)) <= 5 else ())
    left = 8 + LETTER * max(len(number(tick)) for tick in numbers)
    horizontal = around(xs, left, WIDTH - 8, log=log_x)
    parts = list(_grid(horizontal, vertical, numbers, horizontal.ticks(5, xs)))
    if figure.diagonal:
        ends = [(horizontal.place(v), vertical.place(v)) for v in (min(xs), max(xs))]
        parts.append(f'<g class="level"><path class="line" d="{_path(ends)}"/></g>')
    for place, (label, value) in enumerate(figure.levels):
        y = _n(vertical.place(float(value)))
        path = f'<path class="line" d="M{_n(left)} {y}H{WIDTH - 8}">'
        told = _title(_named(label, number(value)))
        parts.append(f'<g class="level l{place % LEVELS + 1}">{path}{told}</path></g>')
    for place, series in enumerate(figure.series):
        parts.append(_line(figure, series, place, horizontal, vertical))
    return HEIGHT, parts


def _grid(
    horizontal: Axis, vertical: Axis, numbers: Sequence[Number], below: Sequence[Number]
) -> Iterator[str]:
    """Lines at the numbers, and the numbers."""
    top, bottom, left = vertical.end, vertical.start, horizontal.start
    rows = [f"M{_n(left)} {_n(vertical.place(tick))}H{_n(horizontal.end)}" for tick in numbers]
    columns = [f"M{_n(horizontal.place(tick))} {_n(top)}V{_n(bottom)}" for tick in below]
    yield f'<path class="grid" d="{"".join(rows + columns)}"/>'
    for tick in numbers:
        yield _text(left - 5, vertical.place(tick) + 3.7, number(tick), "end")
    for tick in below:
        # A number at an end must not reach over the drawing's border.
        half = LETTER * len(number(tick)) / 2
        x = min(max(horizontal.place(tick), half), WIDTH - half)
        yield _text(x, bottom + 14, number(tick), "mid")


def _path(points: Sequence[tuple[Number, Number]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _line(figure: Figure, series: Series, place: int, horizontal: Axis, vertical: Axis) -> str:
    """A line with its band, and a title at each point."""
    xs = [horizontal.place(float(x)) for x in series.x]
    points = list(zip(xs, (vertical.place(float(y)) for y in series.y), strict=True))
    parts = []
    if series.low is not None and series.high is not None:
        above, below = (
            list(zip(xs, (vertical.place(float(y)) for y in ends), strict=True))
            for ends in (series.high, series.low)
        )
        parts.append(f'<path class="band" d="{_path([*above, *reversed(below)])}z"/>')
    parts.append(f'<path class="line" d="{_path(points)}"/>')
    kind = "p dense" if len(points) > DENSE else "p"
    for (x, y), given, value in zip(points, series.x, _values(series), strict=True):
        told = _title(
            series.label,
            _named(figure.x_label, _word(given)),
            _named(figure.y_label, value),
        )
        parts.append(f'<path class="{kind}" d="M{_n(x)} {_n(y)}{_marker(place)}">{told}</path>')
    return f'<g class="{_colour(place)}">{"".join(parts)}</g>'


def _word(x: Number | str) -> str:
    return x if isinstance(x, str) else number(x)


def _bars(figure: Figure) -> tuple[Number, list[str]]:
    """Lying bars, each below its name: names are long, and there may be many of them."""
    names = list(dict.fromkeys(_word(x) for series in figure.series for x in series.x))
    values = [float(y) for one in figure.series for y in (*one.y, *(one.low or ()))]
    values += [float(y) for one in figure.series for y in one.high or ()]
    values += [float(value) for _, value in figure.levels]
    room = 10 + LETTER * max(len(number(float(f"{y:.4g}"))) for one in figure.series for y in one.y)
    low, high = min(0.0, *values), max(0.0, *values)
    axis = Axis(low, high if high > low else low + 1, 2.0, WIDTH - room)
    thick = 9 if len(figure.series) == 1 else 7
    rows: list[str] = []
    y: Number = 0
    for name in names:
        pieces = _pieces(name)
        for piece in pieces:
            y += 12
            rows.append(_text(2, y, piece, "name"))
        y += 3
        for place, series in enumerate(figure.series):
            words = [_word(x) for x in series.x]
            if name in words:
                rows.append(_bar(figure, series, words.index(name), place, axis, (y, thick)))
                y += thick + 2
        y += 5
    ticks = axis.ticks(5)
    lines = "".join(f"M{_n(axis.place(tick))} 0V{_n(y)}" for tick in ticks)
    parts = [f'<path class="grid" d="{lines}"/>', *rows]
    for place, (label, value) in enumerate(figure.levels):
        path = f'<path class="line" d="M{_n(axis.place(float(value)))} 0V{_n(y)}">'
        told = _title(_named(label, number(value)))
        parts.append(f'<g class="level l{place % LEVELS + 1}">{path}{told}</path></g>')
    for tick in ticks:
        x = max(axis.place(tick), LETTER * len(number(tick)) / 2)
        parts.append(_text(x, y + 12, number(tick), "mid"))
    return y + 18, parts


def _pieces(name: str, most: int = 54) -> list[str]:
    """A name in lines of so many letters."""
    return [name[i : i + most] for i in range(0, len(name), most)] or [""]


def _bar(
    figure: Figure, series: Series, number_of: int, place: int, axis: Axis, rows: tuple[Number, int]
) -> str:
    """One bar at a height (its upper end and its thickness) with its spread and its value."""
    (top, thick), value = rows, float(series.y[number_of])
    zero, end = axis.place(0.0), axis.place(value)
    told = _title(
        series.label,
        _named(figure.x_label, _word(series.x[number_of])),
        _named(figure.y_label, list(_values(series))[number_of]),
    )
    shape = f'x="{_n(min(zero, end))}" y="{_n(top)}" width="{_n(max(abs(end - zero), 0.8))}"'
    parts = [f'<rect class="bar" {shape} height="{thick}">{told}</rect>']
    if series.low is not None and series.high is not None:
        ends = [axis.place(float(side[number_of])) for side in (series.low, series.high)]
        if ends[0] < ends[1]:
            caps = "".join(f"M{_n(x)} {_n(top + 1)}v{thick - 2}" for x in ends)
            middle = f"M{_n(ends[0])} {_n(top + thick / 2)}H{_n(ends[1])}"
            parts.append(f'<path class="spread" d="{middle}{caps}"/>')
    parts.append(_text(axis.end + 6, top + thick - 0.5, number(float(f"{value:.4g}"))))
    return f'<g class="{_colour(place)}">{"".join(parts)}</g>'


def _heatmap(figure: Figure) -> tuple[Number, list[str]]:
    """A series a row; the numbers in the cells where there is room."""
    names = [_word(x) for x in figure.series[0].x]
    labels = [_short(series.label) for series in figure.series]
    left = 6 + LETTER * max(map(len, labels))
    width = (WIDTH - left - 4) / len(names)
    height = max(10.0, min(26.0, width))
    shown = [_short(name) for name in names]
    aslant = max(map(len, shown)) * LETTER > width - 4
    parts = []
    for row, (series, label) in enumerate(zip(figure.series, labels, strict=True)):
        y = row * height
        parts.append(_text(left - 5, y + height / 2 + 3.7, label, "end"))
        for column in range(len(names)):
            box = (left + column * width, y, width, height)
            parts.append(_cell(figure, series, names[column], column, box))
    bottom = len(labels) * height
    for column, name in enumerate(shown):
        x = left + (column + 0.5) * width
        if aslant:
            turn = f' transform="rotate(-40 {_n(x + 3)} {_n(bottom + 11)})"'
            parts.append(_text(x + 3, bottom + 11, name, "end", turn))
        else:
            parts.append(_text(x, bottom + 13, name, "mid"))
    below = 12 + 0.65 * LETTER * max(map(len, shown)) if aslant else 18
    return bottom + below, parts


def _cell(
    figure: Figure,
    series: Series,
    name: str,
    column: int,
    box: tuple[Number, Number, Number, Number],
) -> str:
    value, share = float(series.y[column]), heat(figure, series, column)
    of_row = f" ({abs(share):.1%} of its row)" if figure.shares else ""
    told = _title(
        _named(figure.y_label, series.label),
        _named(figure.x_label, name),
        f"{number(value)}{of_row}",
    )
    (x, y, width, height), sign = box, " below" if share < 0 else ""
    place = f'x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}"'
    shade = f'fill-opacity="{abs(share):.3f}"'
    cell = f'<rect class="cell{sign}" {place} {shade}>{told}</rect>'
    if len(series.x) > NUMBERED:
        return cell
    ink = "mid on" if abs(share) >= DEEP else "mid"
    size = min(10.5, (width - 2) / (0.62 * len(_in_cell(value))))
    return cell + _text(
        x + width / 2,
        y + height / 2 + size / 3,
        _in_cell(value),
        f"value {ink}",
        f' style="font-size:{size:.1f}px"',
    )


def _in_cell(value: Number) -> str:
    return f"{int(value):,}" if value == round(value) else f"{value:.3g}"


def heat(figure: Figure, series: Series, column: int) -> float:
    """How much of the whole colour a cell has, from 0 to 1, and below 0 of the other colour.

    Of ``shares`` it is the share of the row's sum; else that of the figure's largest number.
    """
    numbers: Sequence[Number] = series.y
    if figure.shares:
        return float(series.y[column]) / (float(sum(numbers)) or 1.0)
    numbers = list(chain.from_iterable(one.y for one in figure.series))
    return float(series.y[column]) / (max(abs(float(value)) for value in numbers) or 1.0)


def _short(name: str, most: int = 18) -> str:
    """Beginning and end of a name that is too long to stand beside cells."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-most // 2 :]}"
