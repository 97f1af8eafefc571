"""What a report consists of: sections of text, tables, figures and listings."""

import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gptjax.report.entries import Found, Origin
from gptjax.report.figures import Figure, Series, Table

FOLD = 4  # the level of a section that folds
MOST_LINES = 4  # in a figure of several runs, so that each can be followed
R = TypeVar("R", bound=Found)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        level: 2, or 3 for a part of the section before it; 4, of a part's part, folds.
        text: paragraphs.
        warnings: what a reader has to know before the numbers.
        tables, figures: in this order.
        listings: at its end; titles, and texts with their line breaks, folded away.
        folded: whether a section of level 4 is folded away until a reader opens it.
    """

    name: str
    title: str
    level: int = 2
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    listings: tuple[tuple[str, str], ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Sentence:
    """A sentence of the summary.

    Attributes:
        text: its words.
        items: what it lists at its end.
        section: the name of the section that has more of it, or "".
    """

    text: str
    items: tuple[str, ...] = ()
    section: str = ""


@dataclass(frozen=True)
class Report:
    """The whole page: its sections, the list of runs at its end, and what is not in it, and why.

    ``summary`` says in a few sentences what came out.
    """

    sections: tuple[Section, ...]
    origins: tuple[Origin, ...]
    left_out: tuple[str, ...]
    summary: tuple[Sentence, ...] = ()

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


def with_numbers(
    columns: Sequence[str], rows: Sequence[tuple[str, ...]], optional: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Columns and rows without the optional columns in which nothing but dashes stands."""
    kept = [
        place
        for place, name in enumerate(columns)
        if name not in optional or any(row[place] not in ("–", "") for row in rows)
    ]
    return tuple(columns[i] for i in kept), tuple(tuple(row[i] for i in kept) for row in rows)


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
