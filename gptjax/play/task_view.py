"""What is shown of a fine-tuned run and a row: the answers, the sequences, and what mattered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.data.tasks.task import OPTIONAL, Task
from gptjax.errors import UserError
from gptjax.evaluation.model import Model
from gptjax.evaluation.saliency import gradient_times_input, leave_one_out, read_row
from gptjax.play import drawing
from gptjax.play.drawing import Bar, Coloured, running, signed, visible
from gptjax.play.views import Asked

OPTIONS = "options"
FEWEST = 2  # of a choice


def boxes(task: Task) -> list[str]:
    """The names of the texts that a row of a task has, one for each box to type into."""
    found = []
    for part in task.parts:
        found += (
            [f"option {n}" for n in range(1, task.num_classes + 1)] if part == OPTIONS else [part]
        )
    return found


def row_of(task: Task, typed: Mapping[str, str]) -> dict[str, Any] | None:
    """The row that the boxes make; None while one of them is empty that has to have a text."""
    row: dict[str, Any] = {part: typed.get(part, "") for part in task.parts if part != OPTIONS}
    if any(not row[part].strip() for part in row if part not in OPTIONAL):
        return None
    if OPTIONS in task.parts:
        given = [typed.get(name, "") for name in boxes(task) if name.startswith("option ")]
        filled = [bool(text.strip()) for text in given]
        # Some tasks have rows with fewer options; the last ones are empty then.
        if not all(filled[:FEWEST] if task.fewer_options else filled):
            return None
        row[OPTIONS] = given
    return row


def task_view(run: Model, asked: Asked, side: int) -> str:
    """Probabilities of the labels, and each sequence with its tokens by what the answer owes."""
    del side
    if run.task is None:
        raise UserError(f"{run.source}: has no task; it was not fine-tuned")
    row = row_of(run.task, asked.row)
    if row is None:
        return '<p class="quiet">Fill in the row above.</p>'
    reading = read_row(run, row)
    label = asked.label if asked.label in reading.probabilities else reading.answer
    rows = [Bar(name, share, share) for name, share in reading.probabilities.items()]
    parts = [drawing.bars(rows, 1.0, clickable=False)]
    measure = leave_one_out if asked.measure == "leave one out" else gradient_times_input
    scores = measure(run, reading, label)
    largest = max((float(np.nanmax(np.abs(one))) for one in scores if one.size), default=0.0) or 1.0
    several = len([one for one in reading.pieces if one]) > 1
    for number, found in enumerate(zip(reading.pieces, reading.kinds, scores, strict=True)):
        if not found[0]:
            continue
        title = f"Sequence {number + 1}" if several else "What the model reads"
        parts.append(f"<h4>{title}</h4>")
        parts.append(drawing.coloured(_tokens(*found, largest), title))
    parts.append(_legend(asked.measure, label, largest))
    return "".join(parts)


def _tokens(
    pieces: Sequence[str], kinds: Sequence[str], scores: np.ndarray, largest: float
) -> list[Coloured]:
    found = []
    for piece, kind, score in zip(pieces, kinds, scores.tolist(), strict=True):
        share = 0.0 if math.isnan(score) else score / largest
        special = kind != "text"
        name = kind if special else visible(piece)
        text = kind if special else running(piece)
        found.append(Coloured(text, share, f"{name}\n{signed(score)} nats", special))
    return found


def _legend(measure: str, label: str, largest: float) -> str:
    what = {
        "gradient × input": f"How much log p({label}) grows as the embedding of a token is scaled "
        "up: the gradient times the input, in nats.",
        "leave one out": f"What log p({label}) loses if a token is taken out, in nats.",
    }[measure]
    return drawing.scale(signed(-largest), signed(largest), what, both=True)
