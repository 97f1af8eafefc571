"""The table of a task's classes in a report: how well each of them is found."""

from collections.abc import Iterator

import numpy as np

from gptjax.data.tasks.metrics import per_class
from gptjax.data.tasks.task import Task
from gptjax.report.figures import Table, mean_text
from gptjax.report.predictions import Predicted
from gptjax.report.sections import slug


def class_table(task: Task, predicted: Predicted) -> Iterator[Table]:
    """Precision, recall and F1 of each class and run; none of scores and choices."""
    if not task.has_classes or not predicted:
        return
    several = len(predicted) > 1
    rows, sources = [], []
    measured = [
        [per_class(one.gold, one.predicted, task.num_classes) for one in seeds]
        for _, _, seeds in predicted
    ]
    for number, name in enumerate(task.labels):
        for (path, label, _), seeds in zip(predicted, measured, strict=True):
            examples = sorted({int(one.examples[number]) for one in seeds})
            columns = np.array([[part[number] for part in one[:3]] for one in seeds]).T
            values = [mean_text((100 * column).tolist(), 2) for column in columns]
            run = (label,) if several else ()
            rows.append((name, *run, " or ".join(f"{n:,}" for n in examples), *values))
            sources.append(path)
    yield Table(
        name=f"{slug(task.name)}-classes",
        title=f"{task.name}: by class",
        caption="Times 100, on the examples whose predictions the run keeps: mean ± sample "
        "standard deviation over the seeds. Precision is the share of a class's predictions that "
        "are right, recall the share of its examples that are found, and F1 the harmonic mean of "
        "both; 0 where there are none.",
        columns=("class", *(("run",) if several else ()), "examples", "precision", "recall", "F1"),
        rows=tuple(rows),
        sources=tuple(sources),
    )
