"""The relations of words that a run was given, in a folder of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gptjax.data.knowledge.table import LEMMAS, PAIRS, Knowledge, digest_of, read_knowledge
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.files import read_bytes
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import HeadShape
from gptjax.runs import identity
from gptjax.runs.folder import RunFolder


def check_texts(task: Task, model: ModelConfig, shape: HeadShape) -> None:
    """Refuse to compare texts, or to look at their words, of a task or model that has none.

    Raises:
        UserError: not two texts; texts in both orders, which one table of positions cannot tell; or
            a model in which relations have no place.
    """
    name = "task.knowledge" if shape.knowledge else f"`task.model={shape.model}`"
    if not (shape.knowledge or shape.separate):
        return
    if task.format not in ("entailment", "similarity"):
        raise UserError(
            f"{name}: is for tasks of two texts, and {task.name} has the format {task.format}; "
            "leave it out"
        )
    if shape.separate:
        return
    if task.format == "similarity":
        raise UserError(
            f"{name}: {task.name} is read in both orders, and it is for one; set "
            "`task.model=co-attention` too, or leave it out"
        )
    model.relation_arrays()  # refuses a model without them


class Given(NamedTuple):
    """The relations of words that a run is given."""

    knowledge: Knowledge
    digest: str
    files: Mapping[str, bytes]  # as they were read, for the run's own copy

    def keep(self, folder: RunFolder) -> None:
        """Write a run's own copy."""
        folder.knowledge.mkdir(exist_ok=True)
        for name, content in self.files.items():
            path = folder.knowledge / name
            if not (path.exists() and path.read_bytes() == content):
                path.write_bytes(content)


def read_given(folder: RunFolder, given: str | None, resume: str) -> Given | None:
    """What a run begins with, or, where it goes on, what it kept; None where it has none.

    Raises:
        UserError: a table is not there, or is damaged.
    """
    if given is None:
        return None
    source = folder.knowledge if resume != "never" else Path(given).expanduser()
    what = "table of knowledge; name a folder that `gptjax knowledge` wrote"
    files = {name: read_bytes(source / name, what) for name in (PAIRS, LEMMAS)}
    return Given(read_knowledge(source), digest_of(source), files)


def own_knowledge(folder: RunFolder) -> Knowledge:
    """What a run keeps of its words, compared with what it recorded.

    Raises:
        UserError: it is not there, or is another one.
    """
    identity.check(folder, "knowledge", (digest_of(folder.knowledge),))
    return read_knowledge(folder.knowledge)


def beside_head(path: Path, digest: str | None) -> Knowledge | None:
    """The knowledge of a task head, which lies beside its file; None of a head without.

    Raises:
        UserError: it is not there, or is another than the head was trained with.
    """
    if digest is None:
        return None
    folder = RunFolder(path.parent).knowledge
    if digest_of(folder) != digest:
        raise UserError(
            f"{folder}: is not what the task head {path.name} was trained with; put the folder of "
            "its run there"
        )
    return read_knowledge(folder)
