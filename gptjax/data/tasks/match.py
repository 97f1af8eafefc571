"""Which column of a row is which part of a task."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from gptjax.data.tables.columns import absent, listed
from gptjax.data.tables.format import Row
from gptjax.data.tasks.task import CATEGORY, LABEL, OPTIONAL, Column, Task, Typed, Wanted, names_of
from gptjax.errors import UserError

ANNOTATIONS = (LABEL, CATEGORY)  # what a row may have beside its texts


def annotations_of(split: str) -> tuple[str, ...]:
    """Those whose columns a split of this name must have if they are named by hand: a test split
    may hide its labels."""
    return () if split.startswith("test") else ANNOTATIONS


class Advice(NamedTuple):
    """What to do about a row that cannot be used; it depends on where the rows are from."""

    column: str  # about a part without a column, {part}
    row: str  # about a row, where the first one stops
    character: str  # about a character that is no text


FILES = Advice(
    column="set `columns={part}=COLUMN`",
    row="correct or remove the row, or leave out `strict`",
    character="or put U+FFFD in its place: set `encoding_errors=replace`",
)


class Missing(NamedTuple):
    """A column that is not there: its name, or its number."""

    column: str | int


def resolve(wanted: Wanted, names: Sequence[str], *, numbered: bool = True) -> Column | Missing:
    """The names of the columns that are wanted, of those that there are, in order.

    A number counts them from 1, where they are ``numbered``.
    """
    if isinstance(wanted, Typed):
        if wanted in names:
            return str(wanted)
        pieces: tuple[str | int, ...] = tuple(
            int(piece) if piece not in names and piece.isdecimal() and numbered else piece
            for piece in wanted.several
        )
        wanted = pieces[0] if len(pieces) == 1 else pieces
    found = []
    for one in wanted if isinstance(wanted, tuple) else (wanted,):
        if isinstance(one, int):
            if not (numbered and 1 <= one <= len(names)):
                return Missing(one)
            one = names[one - 1]
        elif one not in names:
            return Missing(one)
        found.append(one)
    return tuple(found) if isinstance(wanted, tuple) else found[0]


def _said(missing: Missing, row: Row, part: str) -> str:
    if isinstance(missing.column, str):
        return absent(missing.column, row.cells, f"for the {part}")
    if not row.ordered:
        return f"column {missing.column} for the {part}: a JSON object's columns have names alone"
    return f"no column {missing.column} for the {part}; it has {listed(row.cells)}, counted from 1"


class Matcher:
    """Finds the columns of a task's parts, once per layout.

    The columns that were named by hand are chosen first and have to be there. A column serves one
    part, but for the category, which may be any column.
    """

    def __init__(self, task: Task, advice: Advice = FILES) -> None:
        self._task, self._advice = task, advice
        self._parts = sorted((*task.parts, *ANNOTATIONS), key=lambda part: part not in task.named)
        self._layouts: dict[Collection[str], dict[str, Column | None]] = {}
        self._seen: set[str] = set()  # parts whose named column some row has
        self._missing: dict[str, UserError] = {}  # of parts that some rows may lack
        if not task.share_columns:
            _refuse_shared(task)

    def columns(self, row: Row) -> Mapping[str, Column | None]:
        """The column of each part.

        Raises:
            UserError: a text that every row must have is missing.
        """
        layout = tuple(row.cells) if row.ordered else frozenset(row.cells)
        if layout not in self._layouts:
            self._layouts[layout] = self._match(row)
        return self._layouts[layout]

    def check(self, required: Collection[str]) -> None:
        """Refuse a column that was named by hand, is ``required`` and was in none of the rows."""
        for part in (*OPTIONAL, *required):
            if part in self._missing and part not in self._seen:
                raise self._missing[part]

    def _match(self, row: Row) -> dict[str, Column | None]:
        found: dict[str, Column | None] = {}
        taken: set[str] = set()
        for part in self._parts:
            choose = self._named if part in self._task.named else self._published
            column = found[part] = choose(part, row, taken)
            names = names_of(column or ())
            if self._task.share_columns or part == CATEGORY:
                continue
            if part in self._task.named and (twice := taken & set(names) or _repeated(names)):
                raise UserError(
                    f"{row.where}: the column {min(twice)!r} serves the {part} and another part, "
                    f"or it twice; a column serves one part: "
                    f"{self._advice.column.format(part=part)}"
                )
            taken.update(names)
        return found

    def _named(self, part: str, row: Row, _: Collection[str]) -> Column | None:
        (wanted,) = self._task.columns[part]
        found = resolve(wanted, tuple(row.cells), numbered=row.ordered)
        if not isinstance(found, Missing):
            self._seen.add(part)
            return found
        error = UserError(
            f"{row.where}: {_said(found, row, part)}: {self._advice.column.format(part=part)}"
            f"{' (`gptjax predict` needs no labels)' if part == LABEL else ''}"
        )
        if part not in (*OPTIONAL, *ANNOTATIONS):
            raise error
        self._missing.setdefault(part, error)
        return None

    def _published(self, part: str, row: Row, taken: Collection[str]) -> Column | None:
        folded = {name.lower().strip(): name for name in row.cells}
        # A column that only happens to be called category is none, unless the task says so.
        own = (part,) if part != CATEGORY else ()
        columns = (*self._task.columns.get(part, ()), *own)
        for column in columns:
            names = tuple(folded.get(name.lower(), name) for name in names_of(column))
            if all(name in row.cells and name not in taken for name in names):
                return names[0] if isinstance(column, str) else names
        if part in (*OPTIONAL, *ANNOTATIONS):
            return None
        known = ", ".join(dict.fromkeys(" + ".join(names_of(one)) for one in columns))
        raise UserError(
            f"{row.where}: no column for the {part} ({known}); it has {listed(row.cells)}: "
            f"{self._advice.column.format(part=part)}"
        )


def _repeated(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}


def _refuse_shared(task: Task) -> None:
    serves: dict[str | int, str] = {}
    for part in (*task.parts, LABEL):
        wanted = task.columns[part][0] if part in task.named else ()
        if isinstance(wanted, Typed):
            wanted = wanted.several
        for name in wanted if isinstance(wanted, tuple) else (wanted,):
            if name in serves:
                again = (
                    f"twice for the {part}"
                    if serves[name] == part
                    else (f"for the {serves[name]} and for the {part}")
                )
                raise UserError(
                    f"{task.name}: the column {name!r} is named {again}; a column serves one part: "
                    f"set `columns={part}=COLUMN`"
                )
            serves[name] = part
