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
    size = (WIDTH, height + 0.18 * (len(title) - 1))
    with _styled():
        drawing = Drawing(figsize=size, layout="constrained")
        axes = drawing.add_subplot()
        drawn = {"lines": _lines, "bars": _bars, "heatmap": _heatmap}[figure.kind](axes, figure)
        axes.set_title("\n".join(title))
        axes.set_xlabel("\n".join(textwrap.wrap(figure.x_label, 52)))
        axes.set_ylabel("\n".join(textwrap.wrap(figure.y_label, 36)))
        if figure.kind != "heatmap":
            axes.grid(visible=True, axis="both" if figure.kind == "lines" else "y")
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
    log_x, log_y = figure.logarithmic
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        if ticks := _spread_out({float(x) for series in figure.series for x in series.x}):
            axes.set_xticks(ticks)
    elif all(isinstance(x, int) for series in figure.series for x in series.x):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def _spread_out(places: set[float]) -> list[float]:
    """The places if a logarithmic axis has room for a number at each of them, or nothing."""
    logs = np.log(sorted(places))
    room = np.diff(logs) >= LEAST_GAP * np.ptp(logs)
    return sorted(places) if room.all() else []


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


def _name_ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names below the axis, aslant where they would not fit beside each other."""
    axes.set_xticks(range(len(names)), [_short(name) for name in names])
    if sum(len(name) + 2 for name in names) > 48:
        axes.tick_params(axis="x", labelrotation=35)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


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
