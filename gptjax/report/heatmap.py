"""Heatmaps for the page: a series a row, with the numbers in the cells where there is room."""

import math
from collections.abc import Sequence
from itertools import chain

from gptjax.report.axis import number
from gptjax.report.figures import Figure, Number, Series
from gptjax.report.marks import (
    WIDTH,
    named,
    px,
    text_at,
    tip,
    width_of,
    word,
)

NUMBERED = 16  # columns of a heatmap above which its cells have no room for numbers
LEAST_COLUMN = 11  # pixels that a name below a column needs
DEEP = 0.775  # the share of the whole colour from which numbers have the other ink


def heatmap(figure: Figure) -> tuple[Number, list[str]]:
    """The height of the drawing, and its elements."""
    names = [word(x) for x in figure.series[0].x]
    labels = [_short(series.label) for series in figure.series]
    left = 6 + max(map(width_of, labels))
    width = (WIDTH - left - 4) / len(names)
    height = max(11.0, min(34.0, width))
    shown = [_short(name) for name in names]
    aslant = max(map(width_of, shown)) > width - 4
    parts = []
    for row, (series, label) in enumerate(zip(figure.series, labels, strict=True)):
        y = row * height
        parts.append(text_at(left - 5, y + height / 2 + 3.7, label, "end"))
        for column in range(len(names)):
            box = (left + column * width, y, width, height)
            parts.append(_cell(figure, series, names[column], column, box))
    bottom = len(labels) * height
    each = math.ceil(LEAST_COLUMN / width)  # of narrow columns so many share a name
    for column, name in list(enumerate(shown))[::each]:
        x = left + (column + 0.5) * width
        if aslant:
            turn = f' transform="rotate(-40 {px(x + 3)} {px(bottom + 11)})"'
            parts.append(text_at(x + 3, bottom + 11, name, "end", turn))
        else:
            parts.append(text_at(x, bottom + 13, name, "mid"))
    below = 20 + 0.65 * max(map(width_of, shown)) if aslant else 18
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
    told = tip(
        named(figure.y_label, series.label),
        named(figure.x_label, name),
        f"{number(value)}{of_row}",
    )
    (x, y, width, height), sign = box, " below" if share < 0 else ""
    place = f'x="{px(x)}" y="{px(y)}" width="{px(width)}" height="{px(height)}"'
    shade = f'fill-opacity="{abs(share):.3f}"'
    cell = f'<rect class="cell{sign}" {place} {shade}>{told}</rect>'
    if len(series.x) > NUMBERED:
        return cell
    ink = "mid on" if abs(share) >= DEEP else "mid"
    size = min(10.5, (width - 2) / (0.62 * len(_in_cell(value))))
    return cell + text_at(
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
