"""Precision, recall and F1 of each class, and a short table of them."""

from collections.abc import Sequence

import numpy as np

from gptjax.data.tasks.metrics import per_class
from gptjax.data.tasks.task import Task
from gptjax.runs.results import ClassScores

MOST = 20  # classes that the table has all of
LOWEST = 10  # classes that it has of more


def by_class(gold: np.ndarray, predicted: np.ndarray, task: Task) -> tuple[ClassScores, ...] | None:
    """What is measured of each class, in the order of the labels; None of a task without classes.

    Args:
        gold: [N], numbers of classes.
        predicted: the same of the answers.
        task: says what the classes are.
    """
    if not task.has_classes:
        return None
    found = per_class(gold, predicted, task.num_classes)
    numbers = (column.tolist() for column in (found.examples.astype(int), *found[:3]))
    rows = zip(task.labels, *numbers, strict=True)
    return tuple(ClassScores(*row) for row in rows)


def class_table(classes: Sequence[ClassScores] | None) -> list[str]:
    """A line for each class; of more than `MOST` those with the lowest F1 that have examples."""
    if not classes:
        return []
    shown, title = list(classes), ""
    if len(classes) > MOST:
        present = sorted((one for one in classes if one.examples), key=lambda one: one.f1)
        shown = present[:LOWEST]
        title = f"of {len(classes):,} classes the {len(shown)} with the lowest F1"
    names = [one.name if len(one.name) <= 40 else one.name[:39] + "…" for one in shown]
    width = max(map(len, ("class", *names)))
    lines = ["", *([f"  {title}"] if title else [])]
    lines.append(f"  {'class':{width}}  examples  precision  recall      F1")
    for name, one in zip(names, shown, strict=True):
        precision, recall, f1 = (100 * value for value in (one.precision, one.recall, one.f1))
        numbers = f"{one.examples:8,}  {precision:9.2f}  {recall:6.2f}  {f1:6.2f}"
        lines.append(f"  {name:{width}}  {numbers}")
    return [*lines, ""]
