"""A label's cell: several labels are refused, and unknown ones are a few reasons."""

import dataclasses
import json

import numpy as np
import pytest

from gptjax.data.tables.format import Row
from gptjax.data.tasks.examples import read_split, to_split
from gptjax.data.tasks.labels import known_labels
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import as_before, with_columns
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError

TASK = dataclasses.replace(TASKS["sst2"], name="mine", labels=("a", "b", "not a"), aliases={})
MANY = dataclasses.replace(TASK, labels=tuple(f"topic {number}" for number in range(150)))


def split(cells, task=TASK, **options):
    rows = [
        Row(f"x.csv: line {i}", {"text": "x", "label": cell}) for i, cell in enumerate(cells, 2)
    ]
    return to_split(rows, task, "train", source="x.csv", fingerprint="", **options)


SEVERAL = [
    *("a,b", "a, b", "a;b", "a|b", "a/b", "a b", "b + a", "a,b,a", " a , not a "),
    *(
        "['a\\d', 'b']",
        '["a", "b"]',
        "['a', 'b']",
        "('a', 'b')",
        "{'a', 'b'}",
        '["a", "unknown"]',
        "[1, 0, 1]",
    ),
    *(["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array([0, 1, 1]), [["a"], ["b"]]),
]


@pytest.mark.parametrize("cell", SEVERAL, ids=str)
def test_several_labels_are_refused_in_one_line(cell):
    with pytest.raises(
        UserError, match=r"^x\.csv: line 4: \d labels in one row .* one label a row is supported"
    ) as found:
        split(["a", "b", cell, "a"])
    assert len(str(found.value)) < 200
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "cell", ["a", " a ", ["a"], '["a"]', "['a']", np.array(["a"]), "not a"], ids=str
)
def test_one_label_is_one_label(cell):
    (example,) = split([cell]).examples
    assert TASK.labels[example.target] == ("not a" if cell == "not a" else "a")


@pytest.mark.parametrize(
    "cell",
    [
        "a,c",
        "c,d",
        "[",
        "[a, b",
        "(a)",
        "a,",
        "(" * 300,
        "{'a': 1, 'b': 2}",
        "[a, b]",
        "9" * 5000 + ",",
    ],
)
def test_what_is_no_list_of_labels_is_an_unknown_label(cell):
    assert [*split(["a", "b", "a", cell]).dropped.values()] == [1]


def test_labels_that_are_not_needed_may_be_several():
    assert [e.target for e in split(["a", "a,b", ["a", "b"]], labels=False).examples] == [
        0,
        None,
        None,
    ]


def test_an_empty_list_is_no_label():
    assert split([[], "a"]).dropped == {"no label, or none that the annotators agreed on": 1}


def test_a_value_that_means_no_label_is_none():
    task = dataclasses.replace(TASK, labels=("n", "a", "b"), unusable=("n/a", "[]"))
    found = split(["n/a", "a", "[]", "n"], task)
    assert found.dropped == {"no label, or none that the annotators agreed on": 2}


def test_runs_from_before_leave_such_rows_out_as_they_did():
    found = split(["a", "a,b", ["a"], "b"], as_before(TASK))
    assert [example.target for example in found.examples] == [0, 1]


def test_columns_of_one_label_each_are_refused():
    """One column for each label, which is 1 or 0."""
    row = Row("x.csv: line 2", {"text": "x", "a": 1, "b": 0})
    task = with_columns(TASK, ("label=a,b",))
    with pytest.raises(UserError, match=r"one label a row is supported: .*`columns=label=a`"):
        to_split([row], task, "train", source="x.csv", fingerprint="")
    text = 'format = "classification"\nlabels = ["0", "1"]\n[columns]\nlabel = ["a", "b"]'
    with pytest.raises(UserError, match=r"columns\.label is a list .*one label a row is supported"):
        parse_task(text, "mine", "mine.toml")


def test_many_unknown_labels_are_a_few_reasons():
    cells = [f"what {number % 199}" for number in range(400)]
    with pytest.raises(
        UserError, match=r"0 of 400 rows can be used: 3 × the unknown label 'what 0' "
    ) as found:
        split(cells, MANY)
    text = str(found.value)
    assert text.count("unknown label") == 6
    assert "× a further unknown label" in text
    assert len(text) < 800
    read = split(["topic 3"] * 400 + cells[:199], MANY)
    assert len([*read.report()]) == 7
    assert sum(read.dropped.values()) == 199


def test_of_many_labels_the_nearest_and_the_first_are_named():
    assert known_labels(TASK.labels, "c") == "a, b, not a"
    first = "topic 0, topic 1, topic 2, topic 3, topic 4, topic 5, topic 6"
    assert known_labels(MANY.labels, "topic 77x") == f"topic 77, {first} and 142 more"
    assert known_labels(MANY.labels, "?") == f"{first}, topic 7 and 142 more"
    with pytest.raises(
        UserError, match=r"line 3: the label 151 is out of range; mine knows .* and 142 more"
    ):
        split(["topic 1", "151"], MANY)


def test_a_file_with_lists_of_labels(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text(
        "".join(json.dumps({"text": "x", "label": cell}) + "\n" for cell in (["a"], ["b", "a"]))
    )
    with pytest.raises(UserError, match=r"x\.jsonl: line 2: 2 labels in one row \('b', 'a'\)"):
        read_split(file, TASK, "train")
