"""What a task is: its parts, labels, columns, files and metrics.

The published ones are in `gptjax.data.tasks.table`; one's own come from a TOML file
(`gptjax.data.tasks.task_file`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gptjax.data.tables.lines import READING, FileReading
from gptjax.errors import UserError

Format = Literal["classification", "entailment", "similarity", "choice"]
Metric = Literal[
    "accuracy",
    "matthews",
    "f1",
    "macro_f1",
    "weighted_f1",
    "balanced_accuracy",
    "pearson",
    "spearman",
]
ClassWeights = tuple[float, ...] | Literal["balanced"]
"""A number for each class, in the order of the labels, or from how often each occurs."""
Number = int | float
Column = str | tuple[str, ...]
"""A column's name, or several whose texts belong together, in order."""
Wanted = str | int | tuple[str | int, ...]
"""A column that is asked for: a name, a number from 1, or several of them."""


class Typed(str):
    """A column as it was typed: a name, or several names and numbers with commas between.

    Which of them it means depends on the names that a file has (`gptjax.data.tasks.match`).
    """

    @property
    def several(self) -> tuple[str, ...]:
        """What stands between its commas."""
        return tuple(self.split(","))


PARTS: dict[Format, tuple[str, ...]] = {
    "classification": ("text",),
    "entailment": ("premise", "hypothesis"),
    "similarity": ("first", "second"),
    "choice": ("context", "question", "options"),
}
OPTIONAL = ("question",)
LABEL = "label"
CATEGORY = "category"


def names_of(column: Wanted) -> tuple[str, ...]:
    """The names that stand in it."""
    if isinstance(column, Typed):
        return tuple(dict.fromkeys((str(column), *column.several)))
    if isinstance(column, str | int):
        column = (column,)
    return tuple(name for name in column if isinstance(name, str))


@dataclass(frozen=True)
class Hub:
    """Where a task lies on the dataset hub: a dataset, and its configuration."""

    id: str
    config: str
    splits: Mapping[str, str] = field(  # our name of a split -> theirs
        default_factory=lambda: {"train": "train", "valid": "validation", "test": "test"}
    )


@dataclass(frozen=True)
class Holdout:
    """How a validation split is taken from the training split where there is none."""

    fraction: float = 0.1  # the share of the examples that is held back
    seed: int = 0  # of scikit-learn's shuffle; not the run's, so that all runs are measured alike
    grouped: bool = True  # examples with the same first part (a premise, a passage) stay together


@dataclass(frozen=True)
class Submission:
    """What the GLUE server expects of a task."""

    files: Mapping[str, str]  # split -> name of the file in the archive
    labels: tuple[str, ...] = ()  # of the classes, in the order of `Task.labels`; not of scores


@dataclass(frozen=True)
class Task:
    """One task: how its rows are read, become sequences and are measured."""

    name: str
    format: Format  # the transformation of section 3.3 and figure 1
    metrics: tuple[Metric, ...]  # the first decides which checkpoint is the best
    labels: tuple[str, ...] = ()  # of classes, or of a choice's options, in the order of numbers
    scores: tuple[Number, Number] | None = None  # instead, a scale: lowest, highest
    aliases: Mapping[str, str] = field(default_factory=dict)  # other spellings of labels in files
    unusable: tuple[str, ...] = ("-", "-1", "")  # labels that nobody agreed on, or hidden ones
    # Part (see PARTS) or "label" -> published names, the first present is taken; so is "category",
    # by which metrics are reported too, where it is named here.
    columns: Mapping[str, tuple[Wanted, ...]] = field(default_factory=dict)
    headerless: tuple[str, ...] = ()  # parts by column of a file without header ("" is not read)
    # By how many columns a row may differ from its header at the end, where the annotators'
    # labels stand; a label column that is last stays last.
    ragged: int = 0
    # Split -> patterns of published file names, the first present is taken.
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hub: Hub | None = None
    holdout: Holdout = Holdout()
    paper: float | None = None  # the paper's figure, in per cent of the first metric
    paper_split: str = "test"  # where the paper measured it
    submission: Submission | None = None
    own_files: frozenset[str] = frozenset()  # splits whose file a task file names: it has to exist
    # Parts, "label" and "category" whose columns were named by hand: no other column is taken.
    named: frozenset[str] = frozenset()
    # Whether a column may serve several parts, as it could in runs from before it was refused.
    share_columns: bool = False
    # Whether a row of a choice may have fewer options than there are labels; empty ones at its end
    # are none then.
    fewer_options: bool = False
    class_weights: ClassWeights | None = None  # of a training example's loss; None: all alike
    reading: FileReading = READING  # how its files are read, where that is not said otherwise
    detect: bool = False  # whether the content tells how they are read, where nobody said it
    trained_as: str | None = None  # of a test set without training data, whose models answer it
    file_text: str = field(default="", compare=False, repr=False)  # of its task file, if it has one

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the texts of an example."""
        return PARTS[self.format]

    @property
    def has_classes(self) -> bool:
        """Whether an answer is a class, and neither a score nor the place of an option."""
        return self.scores is None and self.format != "choice"

    @property
    def num_classes(self) -> int:
        """C: the classes, the options of a choice, or the points of the scale."""
        return len(self.labels) if self.scores is None else len(self.points)

    @property
    def points(self) -> tuple[Number, ...]:
        """The C points of the scale: its ends, and between them points about 1 apart."""
        if self.scores is None:
            return ()
        low, high = self.scores
        steps = max(round(high - low), 1)
        between = (round(low + (high - low) * step / steps, 10) for step in range(1, steps))
        return (low, *(int(one) if one.is_integer() else one for one in between), high)


def named_columns(task: Task) -> list[str]:
    """The columns that were named by hand, of all parts."""
    return [name for part in sorted(task.named) for name in names_of(task.columns[part][0])]


TABLES = ("tsv", "jsonl", "csv", "parquet", "json", "txt")
SPREADSHEETS = ("xlsx", "ods")


def usual_files() -> dict[str, tuple[str, ...]]:
    """Patterns of the usual names of each split's file."""
    return {
        "train": (*usual_names("train"), "train_subset.*", "train_sample.*"),
        "valid": usual_names("dev", "valid", "validation"),
        "test": usual_names("test"),
    }


def usual_names(*names: str) -> tuple[str, ...]:
    """Patterns of a split's file with any of these stems, in any format of a table."""
    patterns = [f"{name}{part}.{kind}" for part in ("", "-*") for name in names for kind in TABLES]
    return (*patterns, *(f"{name}.{kind}" for name in names for kind in SPREADSHEETS))


def with_columns(task: Task, given: Sequence[str], unlabelled: Sequence[str] = ()) -> Task:
    """The task with columns named by hand, ``part=COLUMN`` each (see `Typed`), and with further
    labels that are none.

    A column that is named has to be in the file; see `Task.named`.
    """
    columns, parts = dict(task.columns), (*task.parts, LABEL, CATEGORY)
    for word in given:
        part, _, column = word.partition("=")
        if not column or part not in parts:
            raise UserError(
                f"`columns={word}`: write PART=COLUMN; the parts of {task.name} are "
                f"{', '.join(parts)}"
            )
        columns[part] = (Typed(column),)
    named = task.named | {word.partition("=")[0] for word in given}
    unusable = (*task.unusable, *unlabelled)
    detect = task.detect or bool(given)
    return replace(task, columns=columns, named=named, unusable=unusable, detect=detect)


def with_new_columns(task: Task, given: Sequence[str], unlabelled: Sequence[str] = ()) -> Task:
    """The same for new rows, which may have no labels: a column that is given for a text is not
    that of the label as well, though the task says so of its own files."""
    new = with_columns(task, given, unlabelled)
    typed = {word.partition("=")[0] for word in given}
    taken = {name for part in typed for name in _spellings(new.columns[part][0])}
    gone = {
        part
        for part in new.named - typed
        if part in (LABEL, CATEGORY) and taken & _spellings(new.columns[part][0])
    }
    columns = {part: names for part, names in new.columns.items() if part not in gone}
    return replace(new, columns=columns, named=new.named - gone)


def _spellings(column: Wanted) -> set[str]:
    """Names and numbers in it, as text."""
    several = column if isinstance(column, tuple) else (column,)
    return {*names_of(column), *map(str, several)}


def as_settled(task: Task, *, exact_columns: bool, detect: bool) -> Task:
    """The task as a run reads it, which may be older than these settings.

    Without ``exact_columns`` it is as in `as_before`; without ``detect`` no file's content tells
    how it is read.
    """
    if not exact_columns:
        return as_before(task)
    return task if detect else replace(task, detect=False)


def as_before(task: Task) -> Task:
    """The task as runs read it from before columns were exact.

    A column that is named and absent is replaced by a column with the part's own name, and a column
    may serve several parts.
    """
    columns = {
        part: tuple(plain_column(column) for column in columns)
        for part, columns in task.columns.items()
    }
    return replace(task, columns=columns, named=frozenset(), share_columns=True, detect=False)


def plain_column(column: Wanted) -> Wanted:
    """A typed column as it was once understood: a name, or names."""
    if not isinstance(column, Typed):
        return column
    return column.several if len(column.several) > 1 else str(column)
