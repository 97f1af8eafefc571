"""`gptjax tasks`: the tasks that are known by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import Task

HEADS = ("name", "format", "labels", "metric", "hub", "published")

FOOT = """published: per cent of the metric, GPT-1's on the test set where nothing else is said
to fine-tune on one: gptjax finetune --task NAME --data FOLDER"""


@dataclass(frozen=True)
class TasksConfig:
    """The tasks that are known by name: what they are, how they are measured, where they are.

    A task of your own is a TOML file, or a file of rows with --columns.
    """


def run(config: TasksConfig) -> None:
    """Print the table."""
    del config
    rows = [_row(task) for task in TASKS.values()]
    widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    for row in (HEADS, *rows):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(f"\n{FOOT}")


def _row(task: Task) -> Sequence[str]:
    labels = "a score" if task.scores is not None else str(len(task.labels))
    hub = "" if task.hub is None else f"{task.hub.id} {task.hub.config}".removesuffix(" default")
    paper = "" if task.paper is None else f"{task.paper:.1f}"
    if paper and task.paper_split != "test":
        paper += f" ({task.paper_split})"
    if task.trained_as is not None:
        hub += f" (answered by models of {task.trained_as})"
    return (task.name, task.format, labels, task.metrics[0], hub.strip(), paper)
