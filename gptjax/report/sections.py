"""What a report consists of: sections of text, tables, figures and listings."""

import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gptjax.report.entries import Found, Origin
from gptjax.report.figures import Figure, Series, Table

MOST_LINES = 4  # in a figure of several runs, so that each can be followed
R = TypeVar("R", bound=Found)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        level: 2, or 3 for a part of the section before it.
        text: paragraphs.
        warnings: what a reader has to know before the numbers.
        tables, figures: in this order.
        listings: at its end; titles, and texts with their line breaks, folded away.
    """

    name: str
    title: str
    level: int = 2
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    listings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole page: its sections, the list of runs at its end, and what is not in it, and why."""

    sections: tuple[Section, ...]
    origins: tuple[Origin, ...]
    left_out: tuple[str, ...]

    @property
    def figures(self) -> list[Figure]:
        """All of them, in order."""
        return [figure for section in self.sections for figure in section.figures]


def slug(text: str) -> str:
    """A name for an anchor or a file: small letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def with_labels(runs: Sequence[R]) -> list[tuple[R, str]]:
    """Each run with its path, as short as these runs can be told apart."""
    paths = [run.origin.path for run in runs]
    if len(paths) == 1:
        labels = [paths[0].rpartition("/")[2]]
    else:
        common = os.path.commonpath(paths)
        labels = [os.path.relpath(path, common) if common else path for path in paths]
    return list(zip(runs, labels, strict=True))


def line_figures(
    lines: Sequence[Series],
    *,
    name: str,
    title: str,
    caption: str,
    axes: tuple[str, str],
    diagonal: str = "",
) -> Iterator[Figure]:
    """A figure of the lines, of many lines several figures; none where there are no lines."""
    count = -(-len(lines) // MOST_LINES)
    for number in range(1, count + 1):
        each = -(-len(lines) // count)
        few = tuple(lines[(number - 1) * each : number * each])
        end, part = (f"-{number}", f" ({number} of {count})") if count > 1 else ("", "")
        x_label, y_label = axes
        yield Figure(
            name=name + end,
            title=title + part,
            caption=caption,
            x_label=x_label,
            y_label=y_label,
            series=few,
            diagonal=diagonal,
        )
