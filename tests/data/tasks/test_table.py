"""The table of tasks, and tasks from TOML files."""

import pytest

from gptjax.data.tasks.metrics import METRICS
from gptjax.data.tasks.table import TASKS, find_task
from gptjax.data.tasks.task import with_columns
from gptjax.errors import UserError

PAPER = ["snli", "mnli", "qnli", "rte", "scitail", "rocstories", "race"]
PAPER += ["cola", "sst2", "mrpc", "qqp", "stsb"]


ANCESTORS = ["imdb", "ag_news", "trec", "mr", "sst5", "subj", "cr", "mpqa"]


def test_the_tasks_of_the_paper_and_of_its_ancestors_and_three_test_sets():
    others = ["race-middle", "race-high", "breaking_nli", "wnli", "ax"]
    assert {*PAPER, *ANCESTORS, *others} == TASKS.keys()
    assert all(TASKS[name].paper for name in [*PAPER, *ANCESTORS])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_entries_are_sound(task):
    assert set(task.metrics) <= METRICS.keys()
    assert set(task.columns) >= {part for part in task.parts if part != "question"} | {"label"}
    assert (task.scores is None) == bool(task.labels)
    assert set(task.aliases.values()) <= set(task.labels)
    assert task.trained_as or {"train", "valid", "test"} <= task.files.keys()
    if task.submission is not None:
        assert len(task.submission.labels) in (0, len(task.labels))
        assert task.hub is not None
        assert task.hub.id == "nyu-mll/glue"


def test_no_other_room_names_a_task():
    """A task is one declarative entry: no `if task ==` elsewhere."""
    import ast
    from pathlib import Path

    import gptjax

    package = Path(gptjax.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                constants = [c.value for c in ast.walk(node) if isinstance(c, ast.Constant)]
                assert not set(PAPER) & {c for c in constants if isinstance(c, str)}, path


def write(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def test_a_task_of_ones_own(tmp_path):
    task = find_task(
        write(
            tmp_path,
            'format = "similarity"\nscores = [1, 7]\nmetrics = ["spearman"]\n'
            '[columns]\nfirst = "left"\nsecond = "right"\nlabel = "how"\ncategory = "source"\n'
            '[files]\ntrain = "a.csv"\n',
        )
    )
    assert (task.name, task.num_classes, task.metrics) == ("mine", 7, ("spearman",))
    assert task.columns["first"] == ("left",)
    assert task.columns["category"] == ("source",)
    assert task.files["train"][0] == "a.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels = ['a']", "says no format"),
        ("format = 'classify'\nlabels = ['a', 'b']", "'classification'"),
        ("format = 'classification'\nlabel = ['a', 'b']", "did you mean 'labels'"),
        ("format = 'classification'", "either labels"),
        ("format = 'classification'\nlabels = ['a']", "two or more, all different"),
        ("format = 'classification'\nlabels = ['a', 'a']", "all different"),
        ("format = 'classification'\nlabels = ['a', 'b']\nmetrics = ['pearson']", "pearson"),
        ("format = 'classification'\nlabels = ['a', 'b', 'c']\nmetrics = ['f1']", "take macro_f1"),
        ("format = 'classification'\nscores = [3, 1]", "lowest, highest"),
        (
            "format = 'classification'\nlabels = ['a', 'b']\n[columns]\npremise = 'x'",
            "columns.premise is no part",
        ),
        ("format = 'choice'\nscores = [0, 1]\nmetrics = ['pearson']", "not scores"),
        ("format = ", "cannot be read as TOML"),
    ],
)
def test_bad_task_files(tmp_path, text, message):
    with pytest.raises(UserError, match=r"mine\.toml") as caught:
        find_task(write(tmp_path, text))
    assert message in str(caught.value)


def test_unknown_names():
    with pytest.raises(UserError, match="did you mean 'snli'"):
        find_task("snil")
    with pytest.raises(UserError, match="no such file"):
        find_task("absent.toml")


def test_columns_by_hand():
    task = with_columns(TASKS["rocstories"], ("context=a,b", "label=right"))
    assert task.columns["context"] == ("a,b",)
    assert task.columns["context"][0].several == ("a", "b")
    assert task.columns["label"] == ("right",)
    assert with_columns(task, ("category=kind",)).columns["category"] == ("kind",)
    with pytest.raises(UserError, match="context, question, options, label, category"):
        with_columns(task, ("text=a",))
