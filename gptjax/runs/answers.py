"""The file of `gptjax predict`: every row in order, answers first, and then the row's own columns.

The answers have the columns of `gptjax.runs.predictions`. A row that could not be used has none.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Bool

from gptjax import finite
from gptjax.data.tables.format import Row
from gptjax.errors import UserError
from gptjax.runs.predictions import FIRST, TOKENS, Predictions, header, lines_of, quoted

DELIMITERS: Mapping[str, str] = {".tsv": "\t", ".csv": ","}
JSON_LINES = ".jsonl"
# Names that promise what is not written.
OTHERS = (".json", ".parquet", ".xlsx", ".xls", ".gz", ".zst", ".bz2", ".xz", ".zip")


def check_name(path: Path) -> None:
    """Refuse a name that ends like a kind of file that is not written here."""
    if path.suffix.lower() in OTHERS:
        raise UserError(
            f"`out={path}`: a file that ends in {path.suffix} is not written; let the name end in "
            f"{', '.join(DELIMITERS)} or {JSON_LINES}"
        )


def below(found: Predictions, least: float) -> Bool[np.ndarray, " N"]:
    """Which answers have a probability below ``least``, as the file shows it."""
    return np.asarray(np.round(found.scores.max(-1).astype(np.float64), 6) < least)


def write_answers(path: Path, found: Predictions, rows: Sequence[Row], least: float = 0.0) -> None:
    """Write TSV, or CSV or JSON lines where the name ends so; the file is replaced whole.

    Args:
        path: the file. Cells with delimiters, line ends or quotes are quoted.
        found: the answers; ``index`` says to which of the rows.
        rows: of the input, all of them.
        least: the probability below which no prediction is written.
    """
    ending = path.suffix.lower()
    write = _write_json if ending == JSON_LINES else _write_delimited
    temporary = path.with_name(path.name + ".tmp")
    # Half of a surrogate pair, which JSON may have and UTF-8 has not, becomes JSON's way to say it.
    with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        write(file, found, rows, _answers(found, len(rows), least), DELIMITERS.get(ending, "\t"))
    temporary.replace(path)


def _answers(found: Predictions, count: int, least: float) -> Iterator[list[str]]:
    """The answer's cells of every row; those of a row without an answer are empty."""
    answers = zip(lines_of(found), below(found, least).tolist(), strict=True)
    lines = dict(zip(found.index.tolist(), answers, strict=True))
    for number in range(count):
        if number not in lines:
            yield [str(number), *[""] * (len(header(found)) - 1)]
            continue
        cells, unsure = lines[number]
        yield [*cells[:2], "", *cells[3:]] if unsure else cells


def _columns(found: Predictions, rows: Sequence[Row]) -> tuple[list[str], dict[str, str]]:
    """The names of the answer's columns, and of the input's ones by what the input calls them."""
    labels = _apart(found.columns, {*FIRST, TOKENS}, "probability.")
    names = [*FIRST, *labels.values(), *header(found)[len(FIRST) + len(labels) :]]
    given = dict.fromkeys(name for row in rows for name in row.cells)
    return names, _apart(given, {*names}, "input.")


def _apart(names: Collection[str], taken: set[str], prefix: str) -> dict[str, str]:
    """Each name as it is, or with the prefix if it is taken, by its own or another column."""
    found = {}
    for name in names:
        shown = str(name)
        while shown in taken or (shown != name and shown in names):
            shown = prefix + shown
        taken.add(shown)
        found[name] = shown
    return found


def _write_delimited(
    file: TextIO,
    found: Predictions,
    rows: Sequence[Row],
    answers: Iterator[list[str]],
    delimiter: str,
) -> None:
    names, given = _columns(found, rows)
    lines = ([*cells, *_given(row, given)] for cells, row in zip(answers, rows, strict=True))
    for line in ([*names, *given.values()], *lines):
        file.write(delimiter.join(quoted(cell, delimiter) for cell in line) + "\n")


def _given(row: Row, names: Mapping[str, str]) -> Iterator[str]:
    return (_as_text(row.cells.get(name)) for name in names)


def _as_text(value: Any) -> str:
    """A cell as text: nothing for a missing value, lists and objects as JSON."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(finite.or_null(value), ensure_ascii=False, default=str)
    return str(value)


def _write_json(
    file: TextIO, found: Predictions, rows: Sequence[Row], answers: Iterator[list[str]], _: str
) -> None:
    names, given = _columns(found, rows)
    for cells, row in zip(answers, rows, strict=True):
        values: dict[str, Any] = {}
        for place, (name, cell) in enumerate(zip(names, cells, strict=True)):
            label = found.labels and place in (1, 2)
            values[name] = (cell if label else json.loads(cell)) if cell else None
        values |= {given[name]: finite.or_null(value) for name, value in row.cells.items()}
        file.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")
