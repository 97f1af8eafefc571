"""The table of tasks: one declarative entry each.

An entry says which columns hold the parts of a task, what its labels are called, how its parts
become sequences (`gptjax.data.tasks.formats`), what is measured, where it is published, and what
the paper got.
"""

from collections.abc import Mapping
from pathlib import Path

from gptjax.config import nearest
from gptjax.data.tasks.task import Column, Holdout, Hub, Submission, Task, usual_files, usual_names
from gptjax.data.tasks.task_file import read_task_file
from gptjax.errors import UserError

GLUE = "nyu-mll/glue"


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
        files=usual_files(f"train{folder}", f"dev{folder}", f"test{folder}"),
        hub=Hub("ehovy/race", config),
        paper=paper,
    )


_ALL = (
    Task(
        "snli",
        "entailment",
        ("accuracy",),
        labels=NLI,
        aliases=_numbered(NLI),
        columns=PAIR,
        ragged=4,
        files=usual_files(
            "snli_1.0_train.jsonl snli_1.0_train.txt s1.train",
            "snli_1.0_dev.jsonl snli_1.0_dev.txt snli_1.0_dev*.jsonl s1.dev parallel/s1.dev",
            "snli_1.0_test.jsonl snli_1.0_test.txt s1.test parallel/s1.test",
        ),
        hub=Hub("stanfordnlp/snli", "plain_text"),
        paper=89.9,
    ),
    Task(
        "mnli",
        "entailment",
        ("accuracy",),
        labels=NLI,
        aliases=_numbered(NLI),
        columns=PAIR,
        ragged=4,
        files={
            **usual_files(
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
            GLUE,
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
        aliases=_numbered(RTE),
        columns={
            "premise": ("question", "text_a"),
            "hypothesis": ("sentence", "text_b"),
            "label": ("label",),
        },
        files=usual_files(),
        hub=Hub(GLUE, "qnli"),
        paper=88.1,
        paper_split="test of version 1, not comparable",
        submission=Submission({"test": "QNLI.tsv"}, RTE),
    ),
    Task(
        "rte",
        "entailment",
        ("accuracy",),
        labels=RTE,
        aliases=_numbered(RTE),
        columns=PAIR,
        files=usual_files(),
        hub=Hub(GLUE, "rte"),
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
        files=usual_files(
            "scitail_1.0_train.tsv scitail_1.0_train.txt tsv_format/scitail_1.0_train.tsv "
            "snli_format/scitail_1.0_train.txt",
            "scitail_1.0_dev.tsv scitail_1.0_dev.txt tsv_format/scitail_1.0_dev.tsv "
            "snli_format/scitail_1.0_dev.txt",
            "scitail_1.0_test.tsv scitail_1.0_test.txt tsv_format/scitail_1.0_test.tsv "
            "snli_format/scitail_1.0_test.txt",
        ),
        hub=Hub("allenai/scitail", "tsv_format"),
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
                *usual_names("train"),
            ),
            "valid": usual_names("dev", "valid", "validation"),
            "test": (
                "cloze_test_test__*.csv",
                "cloze_test_test__*.tsv",
                "cloze_test_ALL_test.*",
                *usual_names("test"),
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
        files=usual_files(
            "raw/in_domain_train.tsv in_domain_train.tsv cola_public/raw/in_domain_train.tsv",
            "raw/in_domain_dev.tsv in_domain_dev.tsv cola_public/raw/in_domain_dev.tsv",
            "glue/test.tsv",
        ),
        hub=Hub(GLUE, "cola"),
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
        files=usual_files(),
        hub=Hub(GLUE, "sst2"),
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
            **usual_files("", "", "msr_paraphrase_test.txt"),
            "train": (*usual_files()["train"], "msr_paraphrase_train.txt"),
        },
        hub=Hub(GLUE, "mrpc"),
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
        files=usual_files(),
        hub=Hub(GLUE, "qqp"),
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
        files=usual_files(
            "sts-train.csv glue/train.tsv",
            "sts-dev.csv glue/dev.tsv",
            "sts-test.csv glue/test.tsv",
        ),
        hub=Hub(GLUE, "stsb"),
        paper=82.0,
        submission=Submission({"test": "STS-B.tsv"}),
    ),
    Task(
        "breaking_nli",
        "entailment",
        ("accuracy",),
        labels=NLI,
        aliases=_numbered(NLI),
        columns={**PAIR, "category": ("category",)},
        files={"test": ("dataset.jsonl", "data/dataset.jsonl", *usual_names("test", "full"))},
        hub=Hub("pietrolesci/breaking_nli", "default", {"test": "full"}),
        paper=83.75,
        paper_split="all pairs, in its authors' post",
    ),
    Task(
        "wnli",
        "entailment",
        ("accuracy",),
        labels=_WNLI,
        aliases=_numbered(_WNLI),
        columns=PAIR,
        files=usual_files(),
        hub=Hub(GLUE, "wnli"),
        submission=Submission({"test": "WNLI.tsv"}, ("0", "1")),
    ),
    Task(
        "ax",
        "entailment",
        ("matthews", "accuracy"),
        labels=NLI,
        aliases=_numbered(NLI),
        columns=PAIR,
        files={"test": ("diagnostic.tsv", "diagnostic-full.tsv", *usual_names("test"))},
        hub=Hub(GLUE, "ax", {"test": "test"}),
        submission=Submission({"test": "AX.tsv"}, NLI),
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ALL}
# A test set without training data is answered by a model of this task.
TRAINED_AS = {"breaking_nli": "snli", "ax": "mnli"}


def find_task(name: str) -> Task:
    """A task of the table, or of a TOML file.

    Raises:
        UserError: no such task or file, an unknown key, or a task that contradicts itself.
    """
    if name.endswith(".toml"):
        return read_task_file(Path(name))
    if name not in TASKS:
        raise UserError(f"task {name}: {nearest(name, list(TASKS))} A task file ends in .toml")
    return TASKS[name]
