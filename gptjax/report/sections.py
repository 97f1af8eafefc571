"""What a report consists of: sections of text, tables, figures and listings."""

import os.path
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gptjax.report.entries import Origin
from gptjax.report.figures import Figure, Table

MOST_LINES = 4  # in a figure of several runs, so that each can be followed


@dataclass(frozen=True)
class Listing:
    """Text as it is, folded away.

    Attributes:
        title: what it is.
        text: with its line breaks.
    """

    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor.
        title: its heading.
        level: 2, or 3 for a part of the section before it.
        text: paragraphs.
        warnings: what a reader has to know before the numbers.
        tables, figures, listings: in this order.
    """

    name: str
    title: str
    level: int = 2
    text: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    listings: tuple[Listing, ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole page.

    Attributes:
        sections: in order.
        origins: the list of runs at its end.
        left_out: what was found and is not in it, and why.
    """

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


def labels_of(paths: Sequence[str]) -> list[str]:
    """Paths as short as they can be told apart."""
    if len(paths) == 1:
        return [paths[0].rpartition("/")[2]]
    common = os.path.commonpath(paths)
    return [os.path.relpath(path, common) if common else path for path in paths]


def in_parts(figure: Figure) -> Iterator[Figure]:
    """A figure of many lines as several of a few."""
    count = -(-len(figure.series) // MOST_LINES)
    each = -(-len(figure.series) // count)
    for number in range(1, count + 1):
        several = count > 1
        yield replace(
            figure,
            name=f"{figure.name}-{number}" if several else figure.name,
            title=f"{figure.title} ({number} of {count})" if several else figure.title,
            series=figure.series[(number - 1) * each : number * each],
        )
