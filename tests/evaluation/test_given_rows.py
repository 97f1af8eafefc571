"""Rows that a script gives to `predict`."""

import numpy as np
import pytest

from gptjax.data.tasks.examples import to_split
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import with_columns
from gptjax.errors import UserError
from gptjax.evaluation.given_rows import ADVICE, rows_of

TEXTS = ["the red house", "walked slowly"]


def texts_of(given, task=TASKS["sst2"]):
    """What is predicted, as `gptjax.evaluation.model.Model.predict` reads it."""
    rows, task = rows_of(given, task)
    if not rows:
        return []
    how = {"strict": True, "labels": False, "required": (), "advice": ADVICE}
    split = to_split(rows, task, "rows", source="rows", fingerprint="", **how)
    return [example.texts for example in split.examples]


@pytest.fixture
def frame():
    pandas = pytest.importorskip("pandas")
    table = {"id": [7, 8], "sentence": TEXTS, "label": [None, "?"]}
    return pandas.DataFrame(table, index=[5, 3])


def test_rows_strings_and_frames_are_the_same(frame):
    wanted = [(text,) for text in TEXTS]
    rows = [{"text": text} for text in TEXTS]
    for given in (rows, TEXTS, tuple(TEXTS), iter(TEXTS), np.array(TEXTS), frame):
        assert texts_of(given) == wanted
    assert texts_of(frame["sentence"]) == wanted
    assert texts_of(frame[:0]) == texts_of([]) == []
    race = [{"article": "a", "question": "q", "options": np.array(["w", "x", "y", "z"])}]
    assert texts_of(race, TASKS["race"]) == [("a", "q", "w", "x", "y", "z")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("the red house", "a text alone; give a list"),
        ({"text": "the red house"}, "a row alone; give a list"),
        (5, "rows: a int; give a list"),
        ([*TEXTS, 5], "row 2: a int; give a text, or a mapping with text"),
        ([*TEXTS, None], "row 2: a NoneType"),
        ([*TEXTS, " "], "row 2: an empty text"),
        ([*TEXTS, {"txt": "a"}], r"row 2: no column for the text .*it has 'txt'"),
        ([*TEXTS, {"text": ["a"]}], "row 2: text: a list, not text"),
        ([*TEXTS, "a\0b"], "row 2: text: character 1 is a NUL"),
        ([*TEXTS, "a\ud800"], "row 2: text: half of a surrogate pair"),
        ("a missing value", "row 1: an empty text"),
        ("another column", "row 0: no column for the text .*it has 'id'"),
    ],
)
def test_errors_name_the_row_and_no_setting(frame, given, message):
    if given == "a missing value":
        frame.loc[3, "sentence"] = np.nan
        given = frame
    elif isinstance(given, str) and given == "another column":
        given = frame[["id"]]
    with pytest.raises(UserError, match=message) as refused:
        texts_of(given)
    for word in ("strict", "set `", "--", "errors"):
        assert word not in str(refused.value)


def test_columns_that_were_named():
    """They are exact; a row that has nothing but the parts means these."""
    task = with_columns(TASKS["sst2"], ("text=clean", "label=gold"))
    wanted = [("walked slowly",)]
    assert texts_of(["walked slowly"], task) == wanted
    assert texts_of([{"text": "walked slowly"}], task) == wanted
    assert texts_of([{"text": "the red house", "clean": "walked slowly"}], task) == wanted
    with pytest.raises(UserError, match="row 0: no column 'clean' for the text; it has 'text', 'x"):
        texts_of([{"text": "walked slowly", "x": 1}], task)
    with pytest.raises(UserError, match="row 0: one text, and snli has premise, hypothesis"):
        texts_of(["a"], TASKS["snli"])
    swapped = with_columns(TASKS["snli"], ("premise=hypothesis", "hypothesis=premise"))
    assert texts_of([{"premise": "a", "hypothesis": "b"}], swapped) == [("b", "a")]
