"""What is said of a table, and what it is read as: rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from gptjax.data.tables.columns import absent
from gptjax.data.tables.lines import READING, FileReading
from gptjax.errors import UserError

Kind = Literal["json", "csv", "tsv", "parquet", "sheet"]


class Row(NamedTuple):
    """One row."""

    where: str  # file and line on which it begins (or row), for messages
    cells: Mapping[str, Any]  # by column; empty if the row cannot be split into its columns
    fault: str | None = None  # why it cannot
    ordered: bool = True  # whether its columns have numbers: those of a JSON object have none


@dataclass(frozen=True)
class Telling:
    """What the columns of a table must be, so that its content tells what is not said of it."""

    # Of the first row: whether it has all columns that are wanted, as the names of columns.
    finds: Callable[[Sequence[str]], bool]
    # Whether it has the name of any column that is wanted.
    names_any: Callable[[Sequence[str]], bool]
    # Whether its label is one of the task's labels; None: it is not known which column that is,
    # or the file may have no labels.
    labelled: Callable[[Sequence[str]], bool | None]
    # The numbers of the columns, from 1, with one of the task's labels.
    like_labels: Callable[[Sequence[str]], Sequence[int]]
    needed: int  # how many columns there must be
    part: str  # what its first text is called, for advice
    names: Sequence[str]  # those of the columns that are wanted by name
    label_last: bool = False  # whether the label's column has a higher number than all others


@dataclass(frozen=True)
class TableFormat:
    """How a file is read as rows."""

    # None: the content tells. JSON is an object a line, or one list or one object of rows.
    kind: Kind | None = None
    reading: FileReading = READING
    column: str | None = None  # the only one to read, which must be there; None reads all
    header: bool | None = None  # whether the first row names the columns; None: `known` tells
    known: frozenset[str] = frozenset()  # a first row with one of them (lower case) is a header
    headerless: tuple[str, ...] = ()  # without a header, the names by column ("" is not read)
    ragged: int = 0  # by how many columns a row may differ from the header
    # Names in lower case of a column that, where it is the last one, is also the last one of rows
    # with more columns.
    last: frozenset[str] = frozenset()
    exact: frozenset[str] = frozenset()  # names that a header must not have twice
    telling: Telling | None = None  # None: nothing is told from the content but the kind
    hint: str = "correct the file"  # what to do if the columns are not found


def missing_column(
    where: str, format: TableFormat, columns: Mapping[str, Any] | Sequence[str]
) -> UserError:
    """The refusal of a table or row without its one column."""
    return UserError(f"{where}: {absent(str(format.column), columns)}: {format.hint}")
