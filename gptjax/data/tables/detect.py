"""How a delimited file is cut into cells, where that is not said: its whole content tells.

Nothing is told that is open to doubt: then an error says what to set.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gptjax.data.tables.columns import listed
from gptjax.data.tables.delimited import TSV, Cut, Layout, cells_of
from gptjax.data.tables.format import TableFormat, Telling
from gptjax.data.tables.lines import FileReading, read_lines
from gptjax.errors import UserError

USUAL = (",", ";", "|", "\t")
NONE = "no delimiter cuts all lines alike"


class Shape(NamedTuple):
    """What a file looks like when it is cut in one way."""

    names: tuple[str, ...] = ()  # the cells of the first row,
    line: int = 0  # and its line
    least: int = 0  # columns of the narrowest row, and of the widest
    most: int = 0
    uneven: int = 0  # the line of the first row that is not as wide as the first one
    quoted: bool = False  # whether quotes enclose cells, as a sign that they do says
    fault: bool = False  # whether it cannot be cut so

    @property
    def even(self) -> bool:
        """Whether all rows have the same number of columns."""
        return not self.fault and self.least == self.most > 0


def settle(file: Path, usual: Cut, format: TableFormat) -> Layout:
    """The layout of a file, of which its first line says that it is ``usual`` CSV or TSV.

    What `FileReading` says holds. Where the format allows it (`TableFormat.telling`), the rest is
    told from the content, if it is beyond doubt; else it is as usual.

    Raises:
        UserError: the wanted columns are not found as usual, and nothing else is beyond doubt.
    """
    said, telling = format.reading, format.telling
    if said.delimiter:
        usual = _as_said(said.delimiter)
    if said.quoting is not None:
        usual = usual._replace(quoting=said.quoting)
    if telling is None or format.column is not None:
        return Layout(usual, said.header)
    told: list[str] = []
    if len(usual.delimiters) > 1 or usual.once or usual.delimiters[0] not in USUAL:
        cut = _other(file, usual, said, telling)
    elif said.delimiter:
        cut = usual if said.quoting is not None else _quotes(file, usual, said, telling, told)
    else:
        cut = _usual(file, usual, said, telling, told)
    header = said.header
    if header is None:
        header = _header(file, _first_row(file, cut, said), telling, told)
    return Layout(cut, header, _note(file, told))


def settle_header(
    file: Path, cells: Sequence[str], format: TableFormat
) -> tuple[bool | None, str | None]:
    """Whether the first row of a sheet, with these cells, is its header, and a line for people.

    None: `TableFormat.known` tells.
    """
    if format.reading.header is not None or format.telling is None or format.column is not None:
        return format.reading.header, None
    told: list[str] = []
    header = _header(file, [cell.strip() for cell in cells], format.telling, told)
    return header, _note(file, told)


def _note(file: Path, told: Sequence[str]) -> str | None:
    return f"{file}: read {', '.join(told)}, as its content tells" if told else None


def _as_said(delimiters: tuple[str, ...]) -> Cut:
    quoting = delimiters in ((",",), (";",), ("|",))
    return Cut(delimiters, quoting, "first" if delimiters == (" ",) else None)


def _other(file: Path, cut: Cut, reading: FileReading, telling: Telling) -> Cut:
    """With another delimiter than the usual ones.

    It may stand in texts as well. If so, and two columns are needed, a line is cut in two.
    """
    if len(cut.delimiters) > 1 or telling.needed > 2:
        return cut
    if cut.once is None and _shape(file, cut, reading).even:
        return cut
    return cut._replace(once="last" if telling.label_last else "first", quoting=False)


def _usual(file: Path, usual: Cut, reading: FileReading, telling: Telling, told: list[str]) -> Cut:
    """One of the usual delimiters, where none was said."""
    names = _first_row(file, usual, reading)
    found = telling.finds(names)
    if found and telling.names_any(names):
        if usual == TSV and reading.quoting is None:
            return _quotes(file, usual, reading, telling, told)
        return usual
    shapes = {mark: _fitting(file, mark, reading) for mark in USUAL}
    fitting = [mark for mark, shape in shapes.items() if shape.even and shape.most > 1]
    if len(fitting) == 1:
        (mark,) = fitting
        if mark != usual.delimiters[0]:
            told.append(f"with the delimiter {_typed(mark)}")
        cut = Cut((mark,), mark != "\t" if reading.quoting is None else reading.quoting)
        return cut if reading.quoting is not None else _quotes(file, cut, reading, telling, told)
    if once := _labels_say(file, shapes, reading, telling):
        told.append(f"each line cut once at {_typed(once.delimiters[0])}")
        return once
    one = _shape(file, TSV, reading)  # a text a line
    if not fitting and telling.needed == 1 and one.even and one.most == 1 and telling.finds(("",)):
        return TSV
    if (
        fitting
        or found
        or telling.needed == 1
        or any(telling.finds(shape.names) for shape in shapes.values())
    ):
        raise _undecided(file, fitting, shapes, telling)
    return usual  # whose columns are not the wanted ones, which is said elsewhere


def _labels_say(
    file: Path, shapes: Mapping[str, Shape], reading: FileReading, telling: Telling
) -> Cut | None:
    """Texts with the delimiter inside, each before or after a label: one cut leaves all labels."""
    if telling.needed > 2 or reading.quoting:
        return None
    for mark, shape in shapes.items():
        if shape.even or shape.least < 2:
            continue
        cut = Cut((mark,), quoting=False, once="last" if telling.label_last else "first")
        if all(telling.labelled(cells) for _, cells in cells_of(file, cut, reading)):
            return cut
    return None


def _fitting(file: Path, mark: str, reading: FileReading) -> Shape:
    """With quotes around cells; if rows then are not equally long, with quotes as characters."""
    quoted = _shape(file, Cut((mark,), reading.quoting is not False), reading)
    if quoted.even or reading.quoting is not None:
        return quoted
    plain = _shape(file, Cut((mark,), quoting=False), reading)
    return plain if plain.even or quoted.fault else quoted


def _quotes(file: Path, cut: Cut, reading: FileReading, telling: Telling, told: list[str]) -> Cut:
    """Whether quotes enclose cells, where nobody said it.

    They do where all quoted cells end before a delimiter and rows then are equally long; of a TSV
    there must be a sign of it as well, since the quotes of most are characters.
    """
    enclosing, plain = cut._replace(quoting=True), cut._replace(quoting=False)
    quoted = _shape(file, enclosing, reading)
    as_usual = enclosing if cut.quoting else plain
    if quoted.even and not cut.quoting and not quoted.quoted:
        bare = _shape(file, plain, reading)
        names_say = telling.finds(quoted.names) and not telling.finds(bare.names)
        label_says = telling.labelled(quoted.names) and not telling.labelled(bare.names)
        found = enclosing if names_say or label_says or not bare.even else plain
    elif quoted.even:
        found = enclosing
    elif cut.quoting and _shape(file, plain, reading).even:
        found = plain
    else:
        found = as_usual
    if found != as_usual:
        told.append(f"with quotes {'around cells' if found.quoting else 'as characters'}")
    return found


def _header(file: Path, cells: Sequence[str], telling: Telling, told: list[str]) -> bool:
    """Whether line 1 names the columns."""
    if not cells or telling.names_any(cells):
        return True
    labelled = telling.labelled(cells)
    if labelled:
        told.append("without a header")
        return False
    if labelled is not None:
        told.append(f"with a header ({listed(cells)})")
    elif telling.finds(cells):
        raise UserError(
            f"{file}: nothing tells whether line 1 has the names of the columns or is a row (it "
            f"has {listed(cells)}): set `header=True` or `header=False`"
        )
    elif like := telling.like_labels(cells):
        raise UserError(
            f"{file}: line 1 has no column {' or '.join(map(repr, telling.names))} (it has "
            f"{listed(cells)}), and column {like[0]} is like a label. A file without a header? Set "
            "`header=False`, and name columns by number from 1, such as "
            f"`columns=label={like[0]}`"
        )
    return True


def _undecided(
    file: Path, fitting: list[str], shapes: Mapping[str, Shape], telling: Telling
) -> UserError:
    """What each delimiter makes of the file, and that one has to be said."""
    seen = []
    for mark in fitting or USUAL:
        shape = shapes[mark]
        if shape.fault or (shape.most < 2 and not fitting):
            continue
        if shape.even:
            seen.append(f"{_typed(mark)} cuts it into {shape.least} columns")
        else:
            seen.append(
                f"{_typed(mark)} cuts it into {shape.least} to {shape.most} columns (line "
                f"{shape.uneven} is the first that is unlike line {shape.line})"
            )
    names = " or ".join(map(repr, telling.names))
    absent = f"line 1 has no column {names}; " if names else ""
    if telling.needed == 1:
        return UserError(
            f"{file}: {absent}{'; '.join(seen) or NONE}. "
            "If each line is one text: set `delimiter=none` "
            f"`header=False` `columns={telling.part}=1`; else name the delimiter"
        )
    likely = [mark for mark, shape in shapes.items() if telling.finds(shape.names)]
    mark = (likely or fitting or [","])[0]
    return UserError(
        f"{file}: {'; '.join(seen) or NONE}: set `delimiter={_typed(mark)}`, or another; if quotes "
        "are characters like others, set `quoting=False` as well"
    )


def _typed(mark: str) -> str:
    return {"\t": "tab"}.get(mark, f'"{mark}"')


def _first_row(file: Path, cut: Cut, reading: FileReading) -> tuple[str, ...]:
    """The cells of the first row; none if it cannot be cut so."""
    try:
        _, cells, _ = next(_records(file, cut, reading), (0, [], ""))
    except csv.Error:  # it may be another kind
        return ()
    return tuple(cell.strip() for cell in cells)


def _shape(file: Path, cut: Cut, reading: FileReading) -> Shape:
    """One pass over a file."""
    shape = Shape()
    sign = re.compile(rf'(?:^|{re.escape(cut.delimiters[0])})"[^"]*""')
    try:
        for number, cells, raw in _records(file, cut, reading):
            width = len(cells)
            if not shape.names:
                shape = Shape(tuple(cell.strip() for cell in cells), number, width, width)
            elif not shape.least == shape.most == width:
                uneven = shape.uneven or number
                least, most = min(shape.least, width), max(shape.most, width)
                shape = shape._replace(least=least, most=most, uneven=uneven)
            if not shape.quoted and '"' in raw:
                spans = "\n" in raw.rstrip("\r\n")
                shape = shape._replace(quoted=spans or sign.search(raw) is not None)
    except csv.Error:
        return shape._replace(fault=True)
    return shape


def _records(file: Path, cut: Cut, reading: FileReading) -> Iterator[tuple[int, list[str], str]]:
    """Rows as `cells_of` gives them, each with its lines; quotes enclose cells."""
    if not cut.quoting:
        for number, cells in cells_of(file, cut, reading):
            yield number, cells, ""
        return
    lines: list[str] = []

    def tee() -> Iterator[str]:
        for line in read_lines(file, reading):
            lines.append(line)
            yield line

    reader, last = csv.reader(tee(), delimiter=cut.delimiters[0], strict=True), 0
    for cells in reader:
        first, last = last + 1, reader.line_num
        if cells:
            yield first, cells, "".join(lines)
        lines.clear()
