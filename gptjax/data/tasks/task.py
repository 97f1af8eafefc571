"""What a task is: its parts, labels, columns, files and metrics.

The published ones are in `gptjax.data.tasks.table`; one's own come from a TOML file
(`gptjax.data.tasks.task_file`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from gptjax.errors import UserError

Format = Literal["classification", "entailment", "similarity", "choice"]
Metric = Literal["accuracy", "matthews", "f1", "pearson", "spearman"]
Column = str | tuple[str, ...]
"""A column's name, or several whose texts belong together, in order."""

PARTS: dict[Format, tuple[str, ...]] = {
    "classification": ("text",),
    "entailment": ("premise", "hypothesis"),
    "similarity": ("first", "second"),
    "choice": ("context", "question", "options"),
}
OPTIONAL = ("question",)
LABEL = "label"
CATEGORY = "category"


@dataclass(frozen=True)
class Hub:
    """Where a task lies on the dataset hub.

    Attributes:
        id: the dataset.
        config: its configuration.
        splits: our name of a split -> theirs.
    """

    id: str
    config: str
    splits: Mapping[str, str] = field(
        default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"}
    )


@dataclass(frozen=True)
class Holdout:
    """How a validation split is taken from the training split where there is none.

    Attributes:
        fraction: the share of the examples that is held back.
        seed: of scikit-learn's shuffle; not the run's, so that all runs are measured alike.
        grouped: examples with the same first part (a premise, a passage) stay together.
    """

    fraction: float = 0.1
    seed: int = 0
    grouped: bool = True


@dataclass(frozen=True)
class Submission:
    """What the GLUE server expects of a task.

    Attributes:
        files: split -> name of the file in the archive.
        labels: the strings of the classes, in the order of `Task.labels`; empty for scores.
    """

    files: Mapping[str, str]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One task: how its rows are read, become sequences and are measured.

    Attributes:
        name: as in ``task = "NAME"``.
        format: the transformation of section 3.3 and figure 1.
        metrics: the first decides which checkpoint is the best.
        labels: the names of the classes, or of the options of a choice, in the order of their
            numbers; empty for a score.
        scores: the lowest and the highest of a whole-numbered scale, for a score.
        aliases: other spellings of labels in published files.
        unusable: labels of rows that nobody agreed on or that are hidden.
        columns: part (see ``PARTS``) or "label" -> published names, the first present is taken;
            so is "category", by which metrics are reported too, where it is named here.
        headerless: the parts by column of a published file without a header ("" is not read).
        ragged: by how many columns a row may differ from its header at the end, where the
            annotators' labels stand; a label column that is last stays last.
        files: split -> patterns of published file names, the first present is taken.
        hub: the dataset on the hub, or None.
        holdout: see `Holdout`.
        paper: the paper's figure, in per cent of the first metric, and where it was measured.
        own_files: splits whose file a task file names: it has to be there.
        submission: file name and label strings of the GLUE server, or None.
        trained_as: of a test set without training data the task whose models answer it.
    """

    name: str
    format: Format
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...] = ()
    scores: tuple[int, int] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    unusable: tuple[str, ...] = ("-", "-1", "")
    columns: Mapping[str, tuple[Column, ...]] = field(default_factory=dict)
    headerless: tuple[str, ...] = ()
    ragged: int = 0
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hub: Hub | None = None
    holdout: Holdout = Holdout()
    paper: float | None = None
    paper_split: str = "test"
    submission: Submission | None = None
    own_files: frozenset[str] = frozenset()
    trained_as: str | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the texts of an example."""
        return PARTS[self.format]

    @property
    def num_classes(self) -> int:
        """C: the classes, the options of a choice, or the points of the scale."""
        if self.scores is not None:
            return self.scores[1] - self.scores[0] + 1
        return len(self.labels)


TABLES = ("tsv", "jsonl", "csv", "parquet", "json", "txt")


def usual_files(train: str = "", valid: str = "", test: str = "") -> dict[str, tuple[str, ...]]:
    """Published patterns (separated by spaces) of each split, and then the usual names."""
    return {
        "train": (*train.split(), *usual_names("train"), "train_subset.*", "train_sample.*"),
        "valid": (*valid.split(), *usual_names("dev", "valid", "validation")),
        "test": (*test.split(), *usual_names("test")),
    }


def usual_names(*names: str) -> tuple[str, ...]:
    """Patterns of a split's file with any of these stems, in any format of a table."""
    return tuple(f"{name}{part}.{kind}" for part in ("", "-*") for name in names for kind in TABLES)


def with_columns(task: Task, given: tuple[str, ...]) -> Task:
    """The task with columns named by hand, ``part=COLUMN`` each (commas between several).

    Raises:
        UserError: not of this form, or an unknown part.
    """
    columns = dict(task.columns)
    for word in given:
        part, equals, column = word.partition("=")
        if not equals or not column or part not in (*task.parts, LABEL, CATEGORY):
            raise UserError(
                f"`columns={word}`: write PART=COLUMN; the parts of {task.name} are "
                f"{', '.join((*task.parts, LABEL, CATEGORY))}"
            )
        several = tuple(column.split(","))
        columns[part] = (several if len(several) > 1 else column,)
    return replace(task, columns=columns)
