"""Figures as pictures by matplotlib, readable on a phone, in grey and for the colour-blind."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator, NullFormatter

from gptjax.errors import UserError
from gptjax.report.figures import FILE, Figure, Number, Series, Table, markdown
from gptjax.runs.folder import write_json
from gptjax.runs.records import to_plain

# Okabe and Ito's palette without its yellow, which is too pale for a line on white. Colour-blind
# readers can tell it apart, and a marker and a dash go with each colour for those who print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)))
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
DARK, GREY, LEVEL_DASHES = "#222222", "#666666", ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 1.5, 1, 1.5)))

# A phone shows 360 px: at this width a point of type is about a pixel there.
WIDTH, HEIGHT = 4.8, 3.3  # inches
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # of one width, in a browser too
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.4,
    "figure.facecolor": "white",
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text, for readers and for search
    "svg.hashsalt": "gptjax",  # the same figure is the same file
    "text.parse_math": False,  # a dollar in a label is a dollar
    "path.simplify_threshold": 0.3,
}
LEAST_GAP = 0.12  # between the numbers below a logarithmic axis, as a share of it
MARKED = 40  # of more points than these a line's markers would hide it


def save_pictures(folder: Path, figure: Figure) -> None:
    """Write NAME.png and NAME.svg; the same figure gives the same bytes."""
    with _styled():
        drawing = draw(figure)
        drawing.savefig(folder / f"{figure.name}.png", metadata={"Software": None})
        drawing.savefig(folder / f"{figure.name}.svg", metadata={"Date": None, "Creator": None})


def save(folder: Path, figures: Sequence[Figure], tables: Sequence[Table] = ()) -> None:
    """Write figures.json (all of them, as data), NAME.png and NAME.svg of every figure, and NAME.md
    of every table; the folder is made if it is not there.

    Raises:
        UserError: two figures or tables of one name.
    """
    names = [*(figure.name for figure in figures), *(table.name for table in tables)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{folder}: two figures or tables would be named {twice[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    for figure in figures:
        save_pictures(folder, figure)
    for table in tables:
        (folder / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")
    plain = {"figures": list(map(to_plain, figures)), "tables": list(map(to_plain, tables))}
    write_json(folder / FILE, plain)


@contextmanager
def _styled() -> Iterator[None]:
    """Our style over matplotlib's own, whatever the user's."""
    own: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    del own["backend"]  # it draws nothing here, and would not be put back
    with matplotlib.rc_context({**own, **STYLE}):
        yield


def draw(figure: Figure) -> Drawing:
    """The picture, as matplotlib's figure (no window and no state of pyplot is involved)."""
    labels, columns = _legend(figure)
    title = textwrap.wrap(figure.title, 52)
    # Room for the rows of a heatmap or of the legend below the axes, and for a wrapped title.
    height = HEIGHT + 0.18 * -(-len(labels) // columns)
    if figure.kind == "heatmap":
        height = max(HEIGHT - 0.9, 1.4 + 0.36 * len(figure.series))
    elif figure.kind == "bars" and _angle(_names(figure)) == 90:
        height += 0.06 * max(len(_short(name)) for name in _names(figure))
    size = (WIDTH, height + 0.18 * (len(title) - 1))
    with _styled():
        drawing = Drawing(figsize=size, layout="constrained")
        axes = drawing.add_subplot()
        draw_kind = {"lines": _lines, "bars": _bars, "heatmap": _heatmap, "points": _points}
        drawn = draw_kind[figure.kind](axes, figure)
        axes.set_title("\n".join(title))
        axes.set_xlabel("\n".join(textwrap.wrap(figure.x_label, 52)))
        axes.set_ylabel("\n".join(textwrap.wrap(figure.y_label, 36)))
        if figure.kind != "heatmap":
            axes.grid(visible=True, axis="y" if figure.kind == "bars" else "both")
            if figure.diagonal:  # y = x as far as the series reach
                values = [float(x) for series in figure.series for x in (*series.x, *series.y)]
                ends = (min(values), max(values))
                drawn += axes.plot(ends, ends, color=GREY, linewidth=1.1, zorder=1)
            for (_, value), dash in zip(figure.levels, cycle(LEVEL_DASHES), strict=False):
                drawn.append(axes.axhline(value, color=GREY, linestyle=dash, linewidth=1.1))
        if labels:
            drawing.legend(drawn, labels, loc="outside lower center", ncols=columns)
    return drawing


def _legend(figure: Figure) -> tuple[list[str], int]:
    """The labels of the legend, and how many stand beside each other.

    A heatmap has no labels, nor has a single series whose label says nothing.
    """
    labels = [series.label for series in figure.series]
    labels += [figure.diagonal] if figure.diagonal else []
    labels += [label for label, _ in figure.levels]
    if figure.kind == "heatmap" or labels == [""]:
        return [], 1
    columns = 56 // (max(map(len, labels)) + 8)  # a line has room for about 56 letters
    # matplotlib leaves out what begins with an underscore.
    shown = [f" {label}" if label.startswith("_") else label for label in labels]
    return shown, max(1, min(3, columns, len(labels)))


def _lines(axes: Axes, figure: Figure) -> list[Any]:
    """Draw them; what stands for each series in the legend."""
    drawn = []
    styles = zip(cycle(COLOURS), cycle(MARKERS), cycle(DASHES), strict=False)
    for series, (colour, marker, dash) in zip(figure.series, styles, strict=False):
        width, mark = (1.0, "") if len(series.x) > MARKED else (1.4, marker)
        style = {"color": colour, "linestyle": dash, "linewidth": width, "marker": mark}
        drawn += axes.plot(series.x, series.y, markersize=4.5, **style)
        if series.low is not None and series.high is not None:
            axes.fill_between(series.x, series.low, series.high, color=colour, alpha=0.18, lw=0)
    _scale(axes, figure)
    return drawn


def _points(axes: Axes, figure: Figure) -> list[Any]:
    """Draw them; what stands for each series in the legend."""
    drawn = []
    names = _names(figure) if any(isinstance(x, str) for s in figure.series for x in s.x) else []
    styles = zip(cycle(COLOURS), cycle(MARKERS), strict=False)
    for series, (colour, marker) in zip(figure.series, styles, strict=False):
        places = [names.index(_word(x)) for x in series.x] if names else series.x
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "", "alpha": 0.7}
        drawn += axes.plot(places, series.y, markersize=4.5, **style)
    _scale(axes, figure)
    if names:
        _name_ticks(axes, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    return drawn


def _scale(axes: Axes, figure: Figure) -> None:
    """Make axes logarithmic, with numbers that people read and that have room beside each other."""
    log_x, log_y = figure.logarithmic
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(_log_ticks({float(x) for series in figure.series for x in series.x}))
    elif all(isinstance(x, int) for series in figure.series for x in series.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks(_log_ticks({float(y) for series in figure.series for y in series.y}))


def _log_ticks(places: set[float]) -> list[float]:
    """Where a logarithmic axis has numbers: at all places, if there is room, or at round ones."""
    if len(places) == 1:
        return sorted(places)
    low, high = min(places), max(places)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    powers = [10.0**n for n in decades]
    halves = [digit * power for power in powers for digit in (1, 2, 5)]
    singles = [digit * power for power in powers for digit in range(1, 10)]
    # A range without round numbers has those at its ends.
    for ticks in (sorted(places), halves, powers, singles, [low, high]):
        within = [float(f"{x:.12g}") for x in ticks if low <= x <= high]
        if len(within) > 1 and _have_room(within, low, high):
            return within
    return [low, high]


def _have_room(ticks: Sequence[float], low: float, high: float) -> bool:
    """Whether numbers at these places of a logarithmic axis do not touch."""
    need = max(LEAST_GAP, 0.02 * (1 + max(len(f"{x:,g}") for x in ticks)))
    gaps = np.diff(np.log(ticks)) / math.log(high / low)
    return bool((gaps >= need).all())


def _names(figure: Figure) -> list[str]:
    """What stands below the bars or columns, in the order of the series."""
    return list(dict.fromkeys(_word(x) for series in figure.series for x in series.x))


def _word(x: Number | str) -> str:
    return x if isinstance(x, str) else f"{x:g}"


def _bars(axes: Axes, figure: Figure) -> list[Any]:
    """Draw them, those of one name beside each other; what stands for each series."""
    drawn: list[Any] = []
    names, width = _names(figure), 0.8 / len(figure.series)
    spread = {"linewidth": 1.1, "capsize": 2.5, "ecolor": DARK}
    styles = zip(cycle(COLOURS), cycle(HATCHES), strict=False)
    for number, (series, (colour, hatch)) in enumerate(zip(figure.series, styles, strict=False)):
        left = (number - (len(figure.series) - 1) / 2) * width
        places = [names.index(_word(x)) + left for x in series.x]
        face: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "white"}
        errors: dict[str, Any] = {"yerr": _errors(series), "error_kw": spread}
        drawn.append(axes.bar(places, series.y, width, linewidth=0.6, **face, **errors))
    axes.axhline(0, color=DARK, linewidth=0.8)
    axes.tick_params(axis="x", length=0)
    _name_ticks(axes, names)
    return drawn


def _errors(series: Series) -> list[list[float]] | None:
    """Lengths below and above; NaN, which draws nothing, where there is no spread."""
    if series.low is None or series.high is None:
        return None
    below = [y - low for y, low in zip(series.y, series.low, strict=True)]
    above = [high - y for y, high in zip(series.y, series.high, strict=True)]
    return [[size if size > 0 else math.nan for size in sizes] for sizes in (below, above)]


def _short(name: str) -> str:
    """Beginning and end of a name that is too long to stand beside a tick."""
    return name if len(name) <= 28 else f"{name[:13]}…{name[-14:]}"


def _angle(names: Sequence[str]) -> int:
    """At which names stand below an axis so that they do not touch; aslant a dozen have room."""
    if sum(len(name) + 2 for name in names) <= 48:
        return 0
    return 35 if len(names) <= 12 else 90


def _name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names below the axis; of more than two dozen that stand upright the letters are smaller."""
    axes.set_xticks(range(len(names)), [_short(name) for name in names])
    if angle := _angle(names):
        size = 10.0 if angle == 35 else min(10.0, 240 / len(names))
        axes.tick_params(axis="x", labelrotation=angle, labelsize=size)
        for label in axes.get_xticklabels():
            label.set(ha="right", va="top" if angle == 35 else "center", rotation_mode="anchor")


def _heatmap(axes: Axes, figure: Figure) -> list[Any]:
    """Draw it, a series a row; it has no legend."""
    values = np.array([series.y for series in figure.series], float)
    colour = values
    if figure.shares:
        colour = values / np.maximum(values.sum(1, keepdims=True), 1e-9)
    low, high, colours = min(colour.min(), 0.0), max(colour.max(), 0.0), "Blues"
    if low < 0 < high:  # colours on both sides of a white zero
        high = max(-low, high)
        low, colours = -high, "PuOr_r"
    elif low == high or figure.shares:
        high = 1.0
    image = axes.imshow(colour, cmap=colours, vmin=low, vmax=high, aspect="auto")
    _name_ticks(axes, _names(figure))
    axes.set_yticks(range(len(values)), [_short(series.label) for series in figure.series])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    whole = bool((values == values.round()).all())
    size = min(10.0, max(4.0, 27.5 / values.shape[1]))
    for (i, j), value in np.ndenumerate(values):
        red, green, blue, _ = image.to_rgba(np.array(colour[i, j]))
        ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "black"
        shown = f"{int(value):,}" if whole else f"{value:.3g}"
        axes.text(j, i, shown, ha="center", va="center", fontsize=size, color=ink)
    return []
