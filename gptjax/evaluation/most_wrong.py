"""Which labelled examples a model answers worst: what to look at first."""

from collections.abc import Iterator, Sequence

import numpy as np

from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import Task
from gptjax.errors import one_line
from gptjax.evaluation.task_scores import SplitScores
from gptjax.runs.most_wrong import (
    DISTANCE,
    MOST_CHARACTERS,
    MOST_ROWS,
    PROBABILITY,
    MostWrong,
    cut,
)
from gptjax.runs.predictions import FIRST, name_of

SHOWN, WIDTH = 10, 100  # rows on the terminal, and characters of their texts


def most_wrong(
    task: Task, scores: SplitScores, examples: Sequence[Example], most: int = MOST_ROWS
) -> MostWrong:
    """The wrong answers whose gold label has the least probability, of a scale the farthest ones.

    ``examples`` are those that were scored; the ones without a label are passed over. Of equally
    wrong ones the earlier comes first.
    """
    measure = DISTANCE if task.scores is not None else PROBABILITY
    rows = []
    for number, value in _worst(task, scores)[:most]:
        example = examples[number]
        assert example.target is not None
        answers = (float(example.target), float(scores.predicted[number]))
        names = (name_of(task.labels, answer) for answer in answers)
        texts = (cut(text, MOST_CHARACTERS) for text in _texts(task, example))
        rows.append((str(example.row), *names, f"{value:.6f}", *texts))
    return MostWrong((*FIRST, measure, *task.parts), tuple(rows))


def _worst(task: Task, scores: SplitScores) -> list[tuple[int, float]]:
    """Every wrong example and how wrong it is, the worst first."""
    gold = np.array([np.nan if one is None else one for one in scores.gold], np.float64)
    known = np.flatnonzero(~np.isnan(gold))
    if task.scores is not None:
        distance = np.abs(scores.predicted - gold)
        order = known[np.argsort(-distance[known], kind="stable")]
        return [(int(n), float(distance[n])) for n in order if distance[n] > 0]
    wrong = known[scores.predicted[known] != gold[known]]
    probability = scores.probabilities[wrong, gold[wrong].astype(int)]
    order = np.argsort(probability, kind="stable")
    return [(int(wrong[n]), float(probability[n])) for n in order]


def _texts(task: Task, example: Example) -> Iterator[str]:
    """A text for each part; the options of a choice are one."""
    single = [part for part in task.parts if part != "options"]
    yield from example.texts[: len(single)]
    if len(single) < len(task.parts):
        yield " | ".join(example.texts[len(single) :])


def shown(
    task: Task, scores: SplitScores, examples: Sequence[Example], source: str
) -> Iterator[str]:
    """A line for each of the worst, with its place in the ``source``; nothing if none is wrong."""
    found = most_wrong(task, scores, examples, SHOWN)
    if not found.rows:
        return
    measure = found.columns[3].replace("_", " ")
    yield f"most wrong, with the {measure}:"
    places = {str(example.row): example.where for example in examples}
    for index, gold, prediction, value, *texts in found.rows:
        where = places[index].removeprefix(source).lstrip(":/ ")
        text = one_line(cut(" | ".join(text for text in texts if text), WIDTH))
        yield f"  {where}: {gold}, not {prediction} ({float(value):.3f}): {text}"
