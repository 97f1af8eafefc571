"""The options of a choice: how they are written, and rows with fewer than the most."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gptjax.data.tables.reader import Row
from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.examples import to_split
from gptjax.data.tasks.formats import Sequences, lacks_options
from gptjax.data.tasks.options import LONGEST, listed_options
from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError

TASK = parse_task('format = "choice"\nlabels = ["A", "B", "C", "D"]', "mine", "mine.toml")
HARD = ["it's", 'a "quote", no', "new\nline \\ slash", "['a' 'b']", "café", "a"]


def split(*rows, task=TASK, **options):
    given = [
        Row(f"row {number}", {"context": "c", "options": values, "label": label})
        for number, (values, label) in enumerate(rows)
    ]
    return to_split(given, task, "train", source="x", fingerprint="", **options)


WRITTEN = {
    "a list": lambda values: values,
    "numpy": np.array,
    "JSON": json.dumps,
    "JSON, indented": lambda values: json.dumps(values, indent=1),
    "Python": repr,
    "Python's tuple": lambda values: repr(tuple(values)),
    "numpy as text": lambda values: str(np.array(values, object)),
    "numpy's own text": lambda values: repr(np.array(values, object)),
    "numpy's own text of a type": lambda values: repr(np.array(values)),
    "pandas": lambda values: (
        pd.Series([values]).to_csv(index=False, header=False)[1:-2].replace('""', '"')
    ),
}


@pytest.mark.parametrize("how", WRITTEN)
@pytest.mark.parametrize("values", [HARD, HARD[:2], HARD[2:5], ["a", "b"], ["x" * 200, "y" * 200]])
def test_lists_come_back_as_they_were_written(how, values):
    assert list(listed_options(WRITTEN[how](values))) == values


def test_elements_that_are_no_texts():
    assert listed_options("['a', None, 1, -2.5e3, True,]") == ["a", None, 1, -2500.0, True]
    assert split(("[1, 2.5, 'x']", "A")).examples[0].texts == ("c", "", "1", "2.5", "x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a, b",
        "['a' 'b', 'c']",  # Python would join the first two
        "['a', 'b' 'c']",
        "['a' 'b' ... 'c']",  # numpy leaves some out
        "['a', ['b']]",
        "[('a', 'b')]",
        "['a', b]",
        "['a', print('x')]",
        "['a' * 3, 'b']",
        "['a', b'b']",
        "['a', f'{1}']",
        "['a', 'b'",
        "['a', 'b\nc']",
        "['\\N{no such letter}', 'b']",
        "{'a': 'b'}",
        "[" * 5000,
        "['a', " * 5000,
        f"['a', '{'b' * LONGEST}']",
    ],
)
def test_what_is_no_list_is_refused_in_one_line(text):
    assert listed_options(text) is None
    with pytest.raises(UserError, match="row 0: options is no list of options") as refused:
        split((text, "A"))
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_rows_may_have_fewer_options_than_the_task_has_labels():
    found = split(
        (["a", "b"], "B"),
        (["a", "b", "c"], "C"),
        (["a", "b", "c", "d"], "D"),
        (["a", "b", "", None], "A"),
        (["a", "", "c", "d"], "A"),
    )
    assert [(example.texts[2:], example.target) for example in found.examples] == [
        (("a", "b"), 1),
        (("a", "b", "c"), 2),
        (("a", "b", "c", "d"), 3),
        (("a", "b"), 0),
    ]
    assert found.dropped == {"an empty option": 1}
    for row, message in {
        ("abcde", "A"): r"row 0: 5 options, where mine has labels for 2 to 4; name as many",
        ("a", "A"): r"row 0: 1 options, where mine has labels for 2 to 4; correct",
        ("abc", "D"): r"row 0: the label D is option 4, and the row has 3 options; correct",
    }.items():
        with pytest.raises(UserError, match=message):
            split((list(row[0]), row[1]))
    assert split((list("abc"), "D"), labels=False).examples[0].target is None
    columns = parse_task(
        'format = "choice"\nlabels = ["1", "2", "3"]\ncolumns.options = ["a", "b", "c"]', "x", "x"
    )
    row = Row("row", {"context": "c", "a": "one", "b": "two", "c": " ", "label": "2"})
    several = to_split([row], columns, "train", source="x", fingerprint="")
    assert several.examples[0].texts == ("c", "", "one", "two")


@pytest.mark.parametrize("task", [replace(TASK, fewer_options=False), TASKS["race"]])
def test_published_tasks_and_older_runs_have_as_many_options_as_labels(task):
    cells = {"context": "c", "article": "c", "question": "q", "label": "A", "answer": "A"}
    row = Row("row 0", {**cells, "options": ["a", "b", "c"]})
    with pytest.raises(UserError, match=r"row 0: 3 options, where .* has 4; correct or remove"):
        to_split([row], task, "x", source="x", fingerprint="")


def test_a_missing_option_has_no_weight_in_a_batch():
    lengths = [(5, 6), (4, 7, 3, 9), (5, 5, 5)]
    sequences = [Sequences(tuple(np.full(n, 7, np.int32) for n in one), False) for one in lengths]
    examples = [Example((), 1, "", row) for row in range(3)]
    shape = {"context_length": 16, "batch_size": 4, "seed": 0, "shuffle": False}
    data = Bucketed(sequences, examples, TASK, **shape)
    batch = data.batch(0, 0)
    rows = data.members(0, 0)
    assert batch.tokens.shape[:2] == (4, 4)
    expected = [[n - 1 for n in lengths[i]] + [0] * (4 - len(lengths[i])) for i in rows]
    assert batch.extract.tolist() == [*expected, [0] * 4]
    weights = [[n - 1 for n in lengths[i]] + [0] * (4 - len(lengths[i])) for i in rows]
    assert batch.lm_weights.sum(-1).tolist() == [*weights, [0] * 4]
    two = Bucketed(sequences[:1], examples[:1], TASK, **shape)
    assert two.batch(0, 0).tokens.shape[:2] == (4, 4)
    assert lacks_options(sequences, TASK)
    assert not lacks_options(sequences[1:2], TASK)
    assert not lacks_options(sequences[:1], TASKS["snli"])
