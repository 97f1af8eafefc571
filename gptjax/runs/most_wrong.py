"""most_wrong.tsv: the labelled examples of a split that a model answers worst, with their texts.

Columns: index (the row's number, from 0), gold, prediction, how wrong that is, and a column for
each part of the task. It is the only file of a run that shows the data themselves, and a short one.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from gptjax.errors import UserError
from gptjax.files import read_text
from gptjax.runs.predictions import FIRST, quoted

PROBABILITY = "probability_of_gold"
DISTANCE = "distance"  # of a score from the gold one
MOST_ROWS = 20
MOST_CHARACTERS = 1000  # of a text


@dataclass(frozen=True)
class MostWrong:
    """Examples as text, the worst one first."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def cut(text: str, most: int) -> str:
    """A text of at most so many characters; an ellipsis says that there were more."""
    return text if len(text) <= most else text[: most - 1] + "…"


def write_most_wrong(path: Path, found: MostWrong) -> None:
    """Write a TSV file with quotes where they are needed; it is replaced whole."""
    lines = ("\t".join(quoted(cell, "\t") for cell in row) for row in (found.columns, *found.rows))
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_most_wrong(path: Path) -> MostWrong:
    """Read what `write_most_wrong` wrote; a UserError names a file that is damaged."""
    text = read_text(path, "file of the most wrong examples")
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True))
        columns, *rows = (tuple(line) for line in lines)
        if columns[:3] != FIRST or columns[3:4] not in ((PROBABILITY,), (DISTANCE,)):
            raise ValueError("it has other columns")
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"a row has {len(row)} cells and not {len(columns)}")
            int(row[0]), float(row[3])
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: is damaged, no most wrong examples ({error})") from None
    return MostWrong(columns, tuple(rows))
