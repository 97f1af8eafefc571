"""What should make people doubt a fine-tuned model, in a sentence each."""

import math
from collections.abc import Iterator

import numpy as np

from gptjax.data.tasks.task import Task
from gptjax.evaluation.task_scores import SplitScores
from gptjax.training.length import TrainConfig

FEW_UPDATES = 20  # below which a model has hardly learnt anything
ENOUGH_UPDATES = 100


def of_training(
    task: Task, steps: int, train: TrainConfig, split: str, scores: SplitScores
) -> Iterator[str]:
    """Of a run that made ``steps`` updates, and of its answers to a split."""
    if 0 < steps < FEW_UPDATES:
        length = f"train.steps={ENOUGH_UPDATES}"
        if train.epochs is not None:
            length = f"train.epochs={math.ceil(train.epochs * ENOUGH_UPDATES / steps)}"
        made = f"{steps} update{' was' if steps == 1 else 's were'} made"
        yield (
            f"only {made}, after which a model has hardly learnt anything: try more, such as "
            f"`{length}`, or a smaller `train.batch_size`"
        )
    if (found := one_answer(task, split, scores)) is not None:
        yield found


def one_answer(task: Task, split: str, scores: SplitScores) -> str | None:
    """That every example of a split got the same answer, and what to try; None if it is not so."""
    if not scores.collapsed:
        return None
    tried = "try more epochs (`train.epochs`), another learning rate (`optimizer.learning_rate`)"
    if task.scores is not None:
        return f"every answer on {split} is the score {scores.predicted[0]:.2f}: {tried}"
    label = task.labels[int(scores.predicted[0])]
    gold = np.array([np.nan if one is None else one for one in scores.gold], np.float64)
    right, known = int((gold == scores.predicted).sum()), int((~np.isnan(gold)).sum())
    if right == known > 0:
        return f"every answer on {split} is {label!r}, and so is every label: use other examples"
    weights = (
        "" if task.format == "choice" else ", or class weights (`task.class_weights=balanced`)"
    )
    of = f", which {right:,} of {known:,} labels are" if known else ""
    return f"every answer on {split} is {label!r}{of}: {tried}{weights}"
