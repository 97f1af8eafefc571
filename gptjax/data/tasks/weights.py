"""How much each example of a training split counts, by its class."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gptjax.data.tasks.labels import FIRST, known_labels
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.task import ClassWeights, Task
from gptjax.errors import UserError
from gptjax.finite import is_finite

SETTING = "`task.class_weights`"


def check_class_weights(weights: ClassWeights, task: Task, where: str = SETTING) -> None:
    """Refuse class weights that a task cannot have; errors begin with ``where``."""
    if task.scores is not None:
        raise UserError(f"{where}: weights are of classes, and {task.name} has scores")
    if task.format == "choice":
        raise UserError(f"{where}: weights are of classes, and the labels of a choice are places")
    if weights == "balanced":
        return
    if len(weights) != len(task.labels):
        raise UserError(
            f"{where}: {len(weights)} numbers for {len(task.labels)} labels; give one for each, "
            f"in the order of {known_labels(task.labels)}, or 'balanced'"
        )
    for number in weights:
        if isinstance(number, str) or not is_finite(number) or number < 0:
            raise UserError(f"{where}: {number} is no weight; it must be finite and at least 0")
    if not any(weights):
        raise UserError(f"{where}: all are 0, so that nothing would be trained")


def class_weights(examples: Sequence[Example], task: Task) -> Float[np.ndarray, " C"]:
    """The weight of each class, of which the largest is 1; 0 for a class without an example.

    "balanced" is N / (C × the number of the class's examples), as scikit-learn has it. Only the
    ratios matter, since the loss is divided by the sum of the weights of a batch.

    Raises:
        UserError: the weights do not fit the task, or every class in ``examples`` has weight 0.
    """
    assert task.class_weights is not None
    check_class_weights(task.class_weights, task)
    targets = np.array([int(example.target or 0) for example in examples])
    present = np.unique(targets)
    weights = np.zeros(task.num_classes)
    if task.class_weights == "balanced":
        from sklearn.utils.class_weight import compute_class_weight  # slow to import

        weights[present] = compute_class_weight("balanced", classes=present, y=targets)
    else:
        weights[present] = np.array(task.class_weights)[present]
    if not weights.any():
        raise UserError(f"{SETTING}: all classes with training examples have the weight 0")
    return np.asarray(weights / weights.max())


def example_weights(
    examples: Sequence[Example], weights: Float[np.ndarray, " C"]
) -> Float[np.ndarray, " N"]:
    """The weight of each example: that of its class."""
    return weights[[int(example.target or 0) for example in examples]].astype(np.float32)


def describe(weights: Float[np.ndarray, " C"], examples: Sequence[Example], task: Task) -> str:
    """One line for people: each label, its weight and how many examples it has."""
    counts = Counter(int(example.target or 0) for example in examples)
    found = [
        f"{label} {weight:.4g} ({counts[number]:,})"
        for number, (label, weight) in enumerate(zip(task.labels, weights.tolist(), strict=True))
    ]
    more = f" and {len(found) - FIRST:,} more" if len(found) > FIRST else ""
    return f"class weights (and examples): {', '.join(found[:FIRST])}{more}"
