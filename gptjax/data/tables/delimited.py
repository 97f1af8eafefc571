"""Delimited text to rows: CSV, TSV and what is cut at other characters."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

from gptjax.data.tables.columns import listed
from gptjax.data.tables.format import Row, TableFormat, missing_column
from gptjax.data.tables.lines import FileReading, read_lines
from gptjax.errors import UserError

Cells = Iterator[tuple[int, list[str]]]
"""The line on which each row begins, from 1, and its cells."""
Numbered = Iterable[tuple[int, list[str]]]


class Cut(NamedTuple):
    """How a line becomes cells."""

    # One: a line is cut wherever it stands. Several: at the first place of each, in turn.
    delimiters: tuple[str, ...]
    quoting: bool  # whether quotes enclose cells, as in CSV, or are characters like others
    once: Literal["first", "last"] | None = None  # a line is cut in two, at this place


class Layout(NamedTuple):
    """How a file is read, and a line for people where its content told it."""

    cut: Cut
    header: bool | None = None  # whether line 1 names the columns; None: `TableFormat.known` tells
    note: str | None = None


CSV = Cut((",",), quoting=True)
TSV = Cut(("\t",), quoting=False)


def delimited_rows(file: Path, layout: Layout, format: TableFormat) -> Iterator[Row]:
    """The rows of a delimited file."""
    rows = cells_of(file, layout.cut, format.reading, to_the_letter=format.column is not None)
    return numbered_rows(file, rows, layout.header, format)


def numbered_rows(
    file: Path, rows: Numbered, header: bool | None, format: TableFormat, unit: str = "line"
) -> Iterator[Row]:
    """Rows with their columns, of cells and the number of the line (or other ``unit``) of each."""
    if format.column is not None:
        return _one_column(file, rows, format, unit)
    return _named_rows(file, rows, header, format, unit)


def cells_of(file: Path, cut: Cut, reading: FileReading, *, to_the_letter: bool = False) -> Cells:
    """Each line, or quoted row of several lines, as cells.

    ``to_the_letter``, as a corpus is read, a line of white space is a document without text, and a
    carriage return inside of a line is refused. Published files of tasks have both by accident.
    """
    if cut.quoting:
        return _quoted(file, cut, reading)
    return _plain(file, cut, reading, to_the_letter)


def _plain(file: Path, cut: Cut, reading: FileReading, to_the_letter: bool) -> Cells:
    for number, line in enumerate(read_lines(file, reading), start=1):
        line = line.rstrip("\r\n")
        if to_the_letter and "\r" in line:
            raise UserError(f"{file}: line {number} has a carriage return inside; correct it")
        if line if to_the_letter else line.strip():
            yield number, _split(line, cut)


def _split(line: str, cut: Cut) -> list[str]:
    first, *others = cut.delimiters
    if others:
        cells = []
        for delimiter in cut.delimiters:
            cell, found, rest = line.partition(delimiter)
            if not found:
                break
            cells.append(cell)
            line = rest
        return [*cells, line]
    if cut.once is None:
        return line.split(first)
    return line.split(first, 1) if cut.once == "first" else line.rsplit(first, 1)


def _quoted(file: Path, cut: Cut, reading: FileReading) -> Cells:
    csv.field_size_limit(1 << 31)
    (delimiter,) = cut.delimiters
    reader = csv.reader(read_lines(file, reading), delimiter=delimiter, strict=True)
    last = 0  # the line on which the row before ends
    try:
        for cells in reader:
            first, last = last + 1, reader.line_num
            if cells:
                yield first, cells
    except csv.Error as error:
        raise UserError(
            f"{file}: line {last + 1} is not CSV ({error}); correct it, or, if quotes are "
            "characters like others: set `quoting=False`"
        ) from error


def _one_column(file: Path, rows: Numbered, format: TableFormat, unit: str) -> Iterator[Row]:
    column, rows = format.column, iter(rows)
    assert column is not None
    for _, names in rows:  # The first one only: the header.
        if column not in names:
            raise missing_column(str(file), format, names)
        place = names.index(column)
        for number, cells in rows:
            where = f"{file}: {unit} {number}"
            if place < len(cells):
                yield Row(where, {column: cells[place]})
            else:
                fault = f"{len(cells)} columns, and {column!r} is column {place + 1}"
                yield Row(where, {}, fault)


def _named_rows(
    file: Path, rows: Numbered, header: bool | None, format: TableFormat, unit: str
) -> Iterator[Row]:
    """Rows with the names of the header, or with those of a file without one."""
    rows = iter(rows)
    for number, first in rows:  # The first one only.
        names = tuple(name.strip() for name in first)
        fewer, last = format.ragged, names[-1] if names[-1].lower() in format.last else None
        if header is None:
            header = bool(format.header) or any(name.lower() in format.known for name in names)
            if not header and not 0 <= len(first) - len(format.headerless) <= (
                format.ragged if format.headerless else -1
            ):
                raise UserError(
                    f"{file}: {unit} {number} names none of the columns that are known "
                    f"({', '.join(sorted(format.known))}); {format.hint} (it has {listed(names)})"
                )
        if header:
            names = _unique(f"{file}: {unit} {number}", names, format)
        else:
            names, fewer, last = format.headerless, 0, None
            names = names or tuple(_numbered(place) for place in range(1, len(first) + 1))
            rows = chain([(number, first)], rows)
        if last is not None:
            fewer = 0
        for number, cells in rows:
            where, excess = f"{file}: {unit} {number}", len(cells) - len(names)
            if not -fewer <= excess <= format.ragged:
                yield Row(where, {}, f"{len(cells)} columns instead of {len(names)}")
                continue
            named = {name: cell for name, cell in zip(names, cells, strict=False) if name}
            if last is not None:
                named[last] = cells[-1]
            yield Row(where, named)


def _numbered(place: int) -> str:
    return f"column {place}"


def _unique(where: str, names: Sequence[str], format: TableFormat) -> tuple[str, ...]:
    """Names of which no two are alike: of several that are, the last one is the name itself."""
    left = Counter(names)
    found = []
    for place, name in enumerate(names, start=1):
        left[name] -= 1
        if left[name] and name in format.exact:
            raise UserError(
                f"{where} names the column {name!r} twice; take one of them by its "
                "number, from 1: set `columns=PART=NUMBER`"
            )
        if not name:
            name = _numbered(place)
        elif left[name]:
            name = f"{name} ({_numbered(place)})"
        found.append(name)
    return tuple(found)
