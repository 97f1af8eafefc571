"""The table of tasks: one declarative entry each, and the same from a TOML file of one's own.

A task says which columns hold its parts, what its labels are called, how its parts become
sequences (`gptjax.data.formats`), what is measured, where it is published, and what the paper got.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gptjax.config import from_table, nearest
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
    splits: Mapping[str, str]


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
class Task:
    """One task.

    Attributes:
        name: as in `--task NAME`.
        format: the transformation of section 3.3 and figure 1.
        metrics: the first decides which checkpoint is the best.
        labels: the names of the classes, or of the options of a choice, in the order of their
            numbers; empty for a score.
        scores: the lowest and the highest of a whole-numbered scale, for a score.
        aliases: other spellings of labels in published files.
        unusable: labels of rows that nobody agreed on or that are hidden.
        columns: part (see ``PARTS``) or "label" -> published names, the first present is taken.
        headerless: the parts by column of a published file without a header ("" is not read).
        ragged: by how many columns a row may differ from its header at the end, where the
            annotators' labels stand; a label column that is last stays last.
        files: split -> patterns of published file names, the first present is taken.
        hub: the dataset on the hub, or None.
        holdout: see `Holdout`.
        paper: the paper's figure, in per cent of the first metric, and where it was measured.
        submission: file name and label strings of the GLUE server, or None.
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
    submission: "Submission | None" = None

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


@dataclass(frozen=True)
class Submission:
    """What the GLUE server expects of a task.

    Attributes:
        files: split -> name of the file in the archive.
        labels: the strings of the classes, in the order of `Task.labels`; empty for scores.
    """

    files: Mapping[str, str]
    labels: tuple[str, ...] = ()


TABLES = ("tsv", "jsonl", "csv", "parquet", "json", "txt")


def _files(train: str = "", valid: str = "", test: str = "") -> dict[str, tuple[str, ...]]:
    """Published patterns (separated by spaces) of each split, and then the usual names."""
    return {
        "train": (*train.split(), *_usual("train"), "train_subset.*", "train_sample.*"),
        "valid": (*valid.split(), *_usual("dev", "valid", "validation")),
        "test": (*test.split(), *_usual("test")),
    }


def _usual(*names: str) -> tuple[str, ...]:
    return tuple(f"{name}{part}.{kind}" for part in ("", "-*") for name in names for kind in TABLES)


def _glue(config: str, **splits: str) -> Hub:
    usual = {"train": "train", "valid": "validation", "test": "test"}
    return Hub("nyu-mll/glue", config, splits or usual)


def _numbered(labels: tuple[str, ...]) -> dict[str, str]:
    return {str(number): label for number, label in enumerate(labels)}


NLI = ("entailment", "neutral", "contradiction")
RTE = ("entailment", "not_entailment")
PAIR: dict[str, tuple[Column, ...]] = {
    "premise": ("premise", "sentence1", "text_a"),
    "hypothesis": ("hypothesis", "sentence2", "text_b"),
    "label": ("gold_label", "label"),
}
SENTENCE: dict[str, tuple[Column, ...]] = {
    "text": ("sentence", "text", "text_a"),
    "label": ("label",),
}
SIMILAR: dict[str, tuple[Column, ...]] = {
    "first": ("sentence1", "#1 String", "question1", "text_a"),
    "second": ("sentence2", "#2 String", "question2", "text_b"),
    "label": ("label", "Quality", "is_duplicate"),
}
RACE: dict[str, tuple[Column, ...]] = {
    "context": ("article",),
    "question": ("question",),
    "options": ("options",),
    "label": ("answer",),
}
_SENTIMENT = ("negative", "positive")
_ACCEPTABLE = ("unacceptable", "acceptable")
_EQUIVALENT = ("not_equivalent", "equivalent")
_DUPLICATE = ("not_duplicate", "duplicate")
_WNLI = ("not_entailment", "entailment")


def _race(name: str, config: str, folder: str, paper: float) -> Task:
    return Task(
        name,
        "choice",
        ("accuracy",),
        labels=("A", "B", "C", "D"),
        columns=RACE,
        files=_files(f"train{folder}", f"dev{folder}", f"test{folder}"),
        hub=Hub("ehovy/race", config, {"train": "train", "valid": "validation", "test": "test"}),
        paper=paper,
    )


_ALL = (
    Task(
        "snli",
        "entailment",
        ("accuracy",),
        labels=NLI,
        columns=PAIR,
        ragged=4,
        files=_files(
            "snli_1.0_train.jsonl snli_1.0_train.txt s1.train",
            "snli_1.0_dev.jsonl snli_1.0_dev.txt snli_1.0_dev*.jsonl s1.dev parallel/s1.dev",
            "snli_1.0_test.jsonl snli_1.0_test.txt s1.test parallel/s1.test",
        ),
        hub=Hub(
            "stanfordnlp/snli",
            "plain_text",
            {"train": "train", "valid": "validation", "test": "test"},
        ),
        paper=89.9,
    ),
    Task(
        "mnli",
        "entailment",
        ("accuracy",),
        labels=NLI,
        columns=PAIR,
        ragged=4,
        files={
            **_files(
                "multinli_1.0_train.jsonl multinli_1.0_train.txt",
                "dev_matched.tsv multinli_1.0_dev_matched.jsonl multinli_1.0_dev_matched.txt",
                "test_matched.tsv",
            ),
            "valid-mismatched": (
                "dev_mismatched.tsv",
                "multinli_1.0_dev_mismatched.jsonl",
                "multinli_1.0_dev_mismatched.txt",
            ),
            "test-mismatched": ("test_mismatched.tsv",),
        },
        hub=Hub(
            "nyu-mll/glue",
            "mnli",
            {
                "train": "train",
                "valid": "validation_matched",
                "valid-mismatched": "validation_mismatched",
                "test": "test_matched",
                "test-mismatched": "test_mismatched",
            },
        ),
        paper=82.1,
        paper_split="matched test",
        submission=Submission({"test": "MNLI-m.tsv", "test-mismatched": "MNLI-mm.tsv"}, NLI),
    ),
    Task(
        "qnli",
        "entailment",
        ("accuracy",),
        labels=RTE,
        columns={
            "premise": ("question", "text_a"),
            "hypothesis": ("sentence", "text_b"),
            "label": ("label",),
        },
        files=_files(),
        hub=_glue("qnli"),
        paper=88.1,
        paper_split="test of version 1, not comparable",
        submission=Submission({"test": "QNLI.tsv"}, RTE),
    ),
    Task(
        "rte",
        "entailment",
        ("accuracy",),
        labels=RTE,
        columns=PAIR,
        files=_files(),
        hub=_glue("rte"),
        paper=56.0,
        submission=Submission({"test": "RTE.tsv"}, RTE),
    ),
    Task(
        "scitail",
        "entailment",
        ("accuracy",),
        labels=("entails", "neutral"),
        aliases={"entailment": "entails"},
        columns=PAIR,
        headerless=("premise", "hypothesis", "label"),
        files=_files(
            "scitail_1.0_train.tsv scitail_1.0_train.txt tsv_format/scitail_1.0_train.tsv "
            "snli_format/scitail_1.0_train.txt",
            "scitail_1.0_dev.tsv scitail_1.0_dev.txt tsv_format/scitail_1.0_dev.tsv "
            "snli_format/scitail_1.0_dev.txt",
            "scitail_1.0_test.tsv scitail_1.0_test.txt tsv_format/scitail_1.0_test.tsv "
            "snli_format/scitail_1.0_test.txt",
        ),
        hub=Hub(
            "allenai/scitail",
            "tsv_format",
            {"train": "train", "valid": "validation", "test": "test"},
        ),
        paper=88.3,
    ),
    Task(
        "rocstories",
        "choice",
        ("accuracy",),
        labels=("1", "2"),
        columns={
            "context": (("InputSentence1", "InputSentence2", "InputSentence3", "InputSentence4"),),
            "options": (("RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"),),
            "label": ("AnswerRightEnding",),
        },
        # The validation stories are what there is to train on.
        files={
            "train": (
                "cloze_test_val__*.csv",
                "cloze_test_val__*.tsv",
                "cloze_test_ALL_val.*",
                *_usual("train"),
            ),
            "valid": _usual("dev", "valid", "validation"),
            "test": (
                "cloze_test_test__*.csv",
                "cloze_test_test__*.tsv",
                "cloze_test_ALL_test.*",
                *_usual("test"),
            ),
        },
        # As in the released code: of 1,871 stories, 374.
        holdout=Holdout(fraction=374 / 1871, seed=3535999445, grouped=False),
        paper=86.5,
    ),
    _race("race", "all", "", 59.0),
    _race("race-middle", "middle", "/middle", 62.9),
    _race("race-high", "high", "/high", 57.4),
    Task(
        "cola",
        "classification",
        ("matthews", "accuracy"),
        labels=_ACCEPTABLE,
        aliases=_numbered(_ACCEPTABLE),
        columns=SENTENCE,
        headerless=("", "label", "", "text"),
        files=_files(
            "raw/in_domain_train.tsv in_domain_train.tsv cola_public/raw/in_domain_train.tsv",
            "raw/in_domain_dev.tsv in_domain_dev.tsv cola_public/raw/in_domain_dev.tsv",
            "glue/test.tsv",
        ),
        hub=_glue("cola"),
        paper=45.4,
        submission=Submission({"test": "CoLA.tsv"}, ("0", "1")),
    ),
    Task(
        "sst2",
        "classification",
        ("accuracy",),
        labels=_SENTIMENT,
        aliases=_numbered(_SENTIMENT),
        columns=SENTENCE,
        files=_files(),
        hub=_glue("sst2"),
        paper=91.3,
        submission=Submission({"test": "SST-2.tsv"}, ("0", "1")),
    ),
    Task(
        "mrpc",
        "similarity",
        ("f1", "accuracy"),
        labels=_EQUIVALENT,
        aliases=_numbered(_EQUIVALENT),
        columns=SIMILAR,
        files={
            # The original release has no validation split, and GLUE's training split is a part
            # of its training file: only where that is missing.
            **_files("", "", "msr_paraphrase_test.txt"),
            "train": (*_files()["train"], "msr_paraphrase_train.txt"),
        },
        hub=_glue("mrpc"),
        paper=82.3,
        submission=Submission({"test": "MRPC.tsv"}, ("0", "1")),
    ),
    Task(
        "qqp",
        "similarity",
        ("f1", "accuracy"),
        labels=_DUPLICATE,
        aliases=_numbered(_DUPLICATE),
        columns=SIMILAR,
        headerless=("label", "first", "second", ""),
        files=_files(),
        hub=_glue("qqp"),
        paper=70.3,
        submission=Submission({"test": "QQP.tsv"}, ("0", "1")),
    ),
    Task(
        "stsb",
        "similarity",
        ("pearson", "spearman"),
        scores=(0, 5),
        columns={
            "first": ("sentence1", "text_a"),
            "second": ("sentence2", "text_b"),
            "label": ("score", "label"),
        },
        headerless=("", "", "", "", "label", "first", "second"),
        ragged=2,
        files=_files(
            "sts-train.csv glue/train.tsv",
            "sts-dev.csv glue/dev.tsv",
            "sts-test.csv glue/test.tsv",
        ),
        hub=_glue("stsb"),
        paper=82.0,
        submission=Submission({"test": "STS-B.tsv"}),
    ),
    Task(
        "breaking_nli",
        "entailment",
        ("accuracy",),
        labels=NLI,
        columns=PAIR,
        files={"test": ("dataset.jsonl", "data/dataset.jsonl", *_usual("test", "full"))},
        hub=Hub("pietrolesci/breaking_nli", "default", {"test": "full"}),
        paper=83.75,
        paper_split="all pairs, figure of the data's authors",
    ),
    Task(
        "wnli",
        "entailment",
        ("accuracy",),
        labels=_WNLI,
        aliases=_numbered(_WNLI),
        columns=PAIR,
        files=_files(),
        hub=_glue("wnli"),
        submission=Submission({"test": "WNLI.tsv"}, ("0", "1")),
    ),
    Task(
        "ax",
        "entailment",
        ("matthews", "accuracy"),
        labels=NLI,
        columns=PAIR,
        files={"test": ("diagnostic.tsv", "diagnostic-full.tsv", *_usual("test"))},
        hub=_glue("ax", test="test"),
        submission=Submission({"test": "AX.tsv"}, NLI),
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ALL}
# A test set without training data is answered by a model of this task.
TRAINED_AS = {"breaking_nli": "snli", "ax": "mnli"}


@dataclass(frozen=True)
class _Columns:
    """Section `columns` of a task file: the column of each part."""

    text: str | None = None
    premise: str | None = None
    hypothesis: str | None = None
    first: str | None = None
    second: str | None = None
    context: str | tuple[str, ...] | None = None
    question: str | None = None
    options: str | tuple[str, ...] | None = None
    label: str | None = None


@dataclass(frozen=True)
class _Files:
    """Section `files` of a task file: the file of each split, relative to the task file."""

    train: str | None = None
    valid: str | None = None
    test: str | None = None


@dataclass(frozen=True)
class _TaskFile:
    """A task of one's own, as TOML."""

    format: Format
    metrics: tuple[Metric, ...] = ("accuracy",)
    labels: tuple[str, ...] = ()
    scores: tuple[int, ...] = ()
    holdout: float = Holdout.fraction
    columns: _Columns = field(default_factory=_Columns)
    files: _Files = field(default_factory=_Files)


def find_task(name: str) -> Task:
    """A task of the table, or of a TOML file.

    Raises:
        UserError: no such task or file, an unknown key, or a task that contradicts itself.
    """
    if name.endswith(".toml"):
        return _read_task(Path(name))
    if name not in TASKS:
        raise UserError(f"--task {name}: {nearest(name, list(TASKS))} A task file ends in .toml")
    return TASKS[name]


def _read_task(path: Path) -> Task:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"--task {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--task {path}: cannot be read: {error}") from None
    return parse_task(text, path.stem, str(path))


def parse_task(text: str, name: str, where: str) -> Task:
    """A task from the text of a TOML file; errors name ``where``.

    Raises:
        UserError: not TOML, an unknown key, or a task that contradicts itself.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where}: cannot be read as TOML: {error}") from None
    if "format" not in table:
        raise UserError(f"{where}: says no format; one of {', '.join(PARTS)}")
    given = from_table(_TaskFile, table, where=where)
    columns = {
        part: (column,) for part, column in vars(given.columns).items() if column is not None
    }
    scores = None
    if given.scores:
        if len(given.scores) != 2 or given.scores[0] >= given.scores[1]:
            raise UserError(f"{where}: scores are [lowest, highest]; they are {list(given.scores)}")
        scores = (given.scores[0], given.scores[1])
    task = Task(
        name,
        given.format,
        given.metrics,
        labels=given.labels,
        scores=scores,
        columns=columns,
        files={
            split: (file, *usual) if (file := getattr(given.files, split)) is not None else usual
            for split, usual in _files().items()
        },
        holdout=Holdout(fraction=given.holdout),
    )
    _check(task, where)
    return task


def _check(task: Task, where: str) -> None:
    if (task.scores is None) == (not task.labels):
        raise UserError(f"{where}: give either labels (names of classes) or scores = [low, high]")
    if task.scores is None and (len(task.labels) < 2 or len(set(task.labels)) < len(task.labels)):
        raise UserError(
            f"{where}: labels are {list(task.labels)}; there must be two or more, all different"
        )
    if not task.metrics:
        raise UserError(f"{where}: metrics is empty; give one or more, the deciding one first")
    if not 0 < task.holdout.fraction < 1:
        raise UserError(f"{where}: holdout is {task.holdout.fraction}; it must be between 0 and 1")
    scored = {"pearson", "spearman"}
    for metric in task.metrics:
        if (metric in scored) != (task.scores is not None):
            kind = "scores" if task.scores is not None else "labels"
            raise UserError(f"{where}: the metric {metric} does not fit a task with {kind}")
    if "f1" in task.metrics and len(task.labels) != 2:
        raise UserError(f"{where}: f1 is of two classes (the second one's); take accuracy")
    if task.scores is not None and task.format == "choice":
        raise UserError(f"{where}: a choice has labels (the names of its options), not scores")
    for part in task.columns:
        if part != LABEL and part not in task.parts:
            raise UserError(
                f"{where}: columns.{part} is no part of the format {task.format}, which has "
                f"{', '.join(task.parts)} and label"
            )


def with_columns(task: Task, given: tuple[str, ...]) -> Task:
    """The task with columns named by hand, ``part=COLUMN`` each (commas between several).

    Raises:
        UserError: not of this form, or an unknown part.
    """
    columns = dict(task.columns)
    for word in given:
        part, equals, column = word.partition("=")
        if not equals or not column or part not in (*task.parts, LABEL):
            raise UserError(
                f"--columns {word}: write PART=COLUMN; the parts of {task.name} are "
                f"{', '.join((*task.parts, LABEL))}"
            )
        several = tuple(column.split(","))
        columns[part] = (several if len(several) > 1 else column,)
    return replace(task, columns=columns)
