"""Figures and tables as data, in figures.json.

What computes a figure writes its numbers and where they come from. How it looks is decided in
`gptjax.report.drawing` for pictures in a folder, and in `gptjax.report.svg` for the page of
`gptjax report`.
"""

import dataclasses
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from gptjax import config
from gptjax.errors import UserError
from gptjax.files import read_json

FILE = "figures.json"
Kind = Literal["lines", "bars", "heatmap", "points"]
Number = int | float

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class Series:
    """One line, one colour of bars, or one row of a heatmap.

    Attributes:
        label: its name in the legend, or of the row.
        x: [N], numbers, or names (of bars, of points, of a heatmap's columns).
        y: [N], finite numbers.
        low, high: [N] each, the ends of the spread around ``y``; None draws none.
        source: the run or runs that it came from, as the user named them.
    """

    label: str
    x: tuple[Number | str, ...]
    y: tuple[Number, ...]
    low: tuple[Number, ...] | None = None
    high: tuple[Number, ...] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise UserError(f"series {self.label!r}: low and high come together")
        for name in ("y", "low", "high"):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != len(self.x):
                raise UserError(
                    f"series {self.label!r}: {len(values)} numbers in {name} for {len(self.x)} in x"
                )
            if not all(map(math.isfinite, values)):
                raise UserError(f"series {self.label!r}: {name} has a number that is not finite")


def over_decades(values: Sequence[float]) -> bool:
    """Whether a linear axis would press most of these numbers together at its lower end.

    They are positive and span two decades, and half of them are below a tenth of the largest.
    Numbers at equal distances, as those of a schedule, span decades, too, but lie well.
    """
    if not values or min(values) <= 0 or max(values) < 100 * min(values):
        return False
    return 10 * statistics.median(values) <= max(values) * (1 + 1e-9)


def over_seeds(label: str, values: Mapping[Any, Sequence[Number]], source: str = "") -> Series:
    """Means over seeds and their sample standard deviation; one seed alone has no spread.

    ``values`` has the values of the seeds for each x.
    """
    groups = values.values()
    means = [statistics.fmean(group) for group in groups]
    if all(len(group) == 1 for group in groups):
        return Series(label, tuple(values), tuple(means), source=source)
    spreads = [statistics.stdev(group) if len(group) > 1 else 0.0 for group in groups]
    ends = list(zip(means, spreads, strict=True))
    low, high = (tuple(mean + sign * std for mean, std in ends) for sign in (-1, 1))
    return Series(label, tuple(values), tuple(means), low, high, source)


def mean_text(values: Sequence[Number], places: int) -> str:
    """Mean ± sample standard deviation over seeds for people; of one seed its value."""
    mean = f"{statistics.fmean(values):.{places}f}"
    return f"{mean} ± {statistics.stdev(values):.{places}f}" if len(values) > 1 else mean


@dataclass(frozen=True)
class Figure:
    """What a picture shows, with its words.

    Attributes:
        name: the stem of its files: small letters, digits, dots, dashes and underscores.
        title: above it.
        caption: a sentence or two: what is seen, on how much data, what the spread is.
        x_label, y_label: of the axes, with units.
        series: what is drawn; of a heatmap its rows, from the top, all with the same ``x``.
        kind: lines over numbers, bars over names, a heatmap with its numbers in the cells, or
            points over numbers or names, which nothing joins.
        log_x, log_y: a logarithmic axis, of lines and points.
        shares: the colours of a heatmap are the shares of its rows' sums, and so mean the same in
            every figure; else the largest number has the whole colour.
        levels: horizontal lines for reference, each with its label ("paper", "guessing").
        diagonal: label of the line y = x, of lines over numbers that should be equal; "" has none.
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    kind: Kind = "lines"
    log_x: bool = False
    log_y: bool = False
    levels: tuple[tuple[str, Number], ...] = ()
    diagonal: str = ""
    shares: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.series or not any(series.x for series in self.series):
            raise UserError(f"figure {self.name}: has nothing to draw")
        named = any(isinstance(x, str) for series in self.series for x in series.x)
        if self.kind == "lines" and named:
            raise UserError(f"figure {self.name}: lines are over numbers, not over names")
        if self.kind not in ("lines", "points") and (self.log_x or self.log_y):
            raise UserError(f"figure {self.name}: log_x and log_y are of lines and points")
        if self.kind != "lines" and self.diagonal:
            raise UserError(f"figure {self.name}: diagonal is of lines")
        on_logs = [x for one in self.series for x in one.x] if self.log_x else []
        on_logs += [y for one in self.series for y in one.y] if self.log_y else []
        if any(isinstance(x, str) or x <= 0 for x in on_logs):
            raise UserError(f"figure {self.name}: a logarithmic axis is of positive numbers")
        if self.kind == "heatmap" and len({series.x for series in self.series}) > 1:
            raise UserError(f"figure {self.name}: the rows of a heatmap have the same columns")
        if self.shares and (
            self.kind != "heatmap" or any(y < 0 for series in self.series for y in series.y)
        ):
            raise UserError(f"figure {self.name}: shares are of a heatmap of counts")

    @property
    def logarithmic(self) -> tuple[bool, bool]:
        """Whether the axes are, x and y: as is said, or where values span decades."""
        if self.kind not in ("lines", "points") or self.diagonal:
            return self.log_x, self.log_y
        xs = [x for series in self.series for x in series.x if not isinstance(x, str)]
        ys = [float(y) for one in self.series for y in (*one.y, *(one.low or ()))]
        ys += [float(value) for _, value in self.levels]
        return self.log_x or over_decades(list(map(float, xs))), self.log_y or over_decades(ys)


@dataclass(frozen=True)
class Table:
    """Rows of text.

    Attributes:
        name: as of a figure.
        title, caption: as of a figure.
        columns: their heads.
        rows: of one cell per column, formatted.
        sources: the run or runs that each row came from; "" where there is none.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_name(self.name)
        if any(len(row) != len(self.columns) for row in self.rows):
            raise UserError(f"table {self.name}: a row has not {len(self.columns)} cells")
        if len(self.sources) != len(self.rows):
            counts = f"{len(self.sources)} sources for {len(self.rows)} rows"
            raise UserError(f"table {self.name}: {counts}")


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r}: is no name of a figure; use small letters, digits, dots and dashes"
        )


def markdown(table: Table) -> str:
    """A table for a report in Markdown, with its title and caption."""

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"

    lines = [line(table.columns), line(["---"] * len(table.columns)), *map(line, table.rows)]
    return "\n".join([f"**{table.title}.** {table.caption}", "", *lines, ""])


def load(folder: Path) -> tuple[list[Figure], list[Table]]:
    """What `save` wrote in a folder.

    Raises:
        UserError: no figures.json there, or a damaged one.
    """
    path = folder / FILE
    content = read_json(path)
    try:
        figures = [_figure(table, str(path)) for table in content["figures"]]
        tables = [config.from_table(Table, table, where=str(path)) for table in content["tables"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: is damaged, or no file of figures ({what})") from None
    return figures, tables


def _figure(table: Mapping[str, Any], where: str) -> Figure:
    """A figure from its table in figures.json; of what is not there the defaults."""
    if unknown := table.keys() - {field.name for field in dataclasses.fields(Figure)}:
        raise UserError(f"{where}: unknown key {min(unknown)!r} of a figure")
    if table["kind"] not in get_args(Kind):
        raise UserError(f"{where}: unknown kind of figure {table['kind']!r}")
    series = tuple(config.from_table(Series, one, where=where) for one in table["series"])
    levels = tuple((str(label), float(value)) for label, value in table["levels"])
    try:
        return Figure(**{**table, "series": series, "levels": levels})
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
