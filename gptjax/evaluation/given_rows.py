"""Rows that a script gives: mappings, strings or a DataFrame."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gptjax.data.tables.format import Row
from gptjax.data.tables.given import records
from gptjax.data.tasks.match import Advice, Missing, resolve
from gptjax.data.tasks.task import OPTIONAL, Task
from gptjax.errors import UserError

ADVICE = Advice(
    column="rename the column, or give the rows under the names of the parts",
    row="correct it or leave it out",
    character="or leave the row out",
)


def rows_of(given: Any, task: Task) -> tuple[list[Row], Task]:
    """Rows, and the task with the names that they have.

    Raises:
        UserError: a single text or row, or something that is no row; names its place.
    """
    if isinstance(given, str | bytes | Mapping):
        kind = "a row" if isinstance(given, Mapping) else "a text"
        raise UserError(f"rows: {kind} alone; give a list of them, as in predict([row])")
    values = records(given)
    rows = [
        Row(f"row {n}", _cells(value, n, task), ordered=not isinstance(value, Mapping))
        for n, value in enumerate(values)
    ]
    if rows and all(_has_parts_alone(row, task) for row in rows):
        parts = {part: (part,) for part in task.parts}
        return rows, replace(task, columns={**task.columns, **parts}, named=frozenset())
    return rows, task


def _cells(value: Any, number: int, task: Task) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return {str(name): cell for name, cell in value.items()}
    needed = [part for part in task.parts if part not in OPTIONAL]
    if not isinstance(value, str):
        wanted = "a text, or " if len(needed) == 1 else ""
        raise UserError(
            f"row {number}: a {type(value).__name__}; give {wanted}a mapping with "
            f"{', '.join(needed)}"
        )
    if len(needed) > 1:
        raise UserError(
            f"row {number}: one text, and {task.name} has {', '.join(needed)}; give a mapping "
            "with them"
        )
    return {needed[0]: value}


def _has_parts_alone(row: Row, task: Task) -> bool:
    """Whether the row means parts by their own names, and lacks a column that was named for one."""
    wanted = (task.columns[part][0] for part in task.parts if part in task.named)
    # A mapping has names alone: numbers are of columns that it lacks.
    names = tuple(row.cells)
    lacks = any(isinstance(resolve(one, names, numbered=False), Missing) for one in wanted)
    return lacks and set(row.cells) <= set(task.parts)
