"""The file of `gptjax predict`: every row, with the cells that it had."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from gptjax.data.tables.format import Row
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.runs.answers import below, check_name, write_answers
from gptjax.runs.predictions import Predictions, read_predictions

TASK = Task("colours", "classification", ("accuracy",), labels=("red", "green"))
CELLS = [
    {"text": 'a "b"\tc', "index": "7", "note": "one\ntwo\r\nthree\rfour"},
    {"text": "", "index": "8", "note": "left out"},
    {"text": "d, e", "index": "", "note": '"'},
    {"text": " f ", "index": "9", "more": {"a": [1, None], "ü": True}, "input.index": None},
]
FOUND = Predictions(
    labels=TASK.labels,
    columns=TASK.labels,
    index=np.array([0, 2, 3]),
    gold=np.array([0.0, 1, np.nan]),
    predicted=np.array([0, 0, 1]),
    scores=np.array([[0.75, 0.25], [0.5625, 0.4375], [0.125, 0.875]], np.float32),
    tokens=np.array([5, 9, 12]),
)
NAMES = ["index", "gold", "prediction", "red", "green", "tokens"]
ANSWERS = [
    ["0", "red", "red", "0.750000", "0.250000", "5"],
    ["1", "", "", "", "", ""],
    ["2", "green", "red", "0.562500", "0.437500", "9"],
    ["3", "", "green", "0.125000", "0.875000", "12"],
]


def rows(cells=CELLS) -> list[Row]:
    return [Row(f"row {number}", one) for number, one in enumerate(cells)]


@pytest.mark.parametrize(("name", "delimiter"), [("a.tsv", "\t"), ("a.CSV", ","), ("a", "\t")])
def test_every_cell_comes_back(tmp_path, name, delimiter):
    path = tmp_path / name
    write_answers(path, FOUND, rows())
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file, delimiter=delimiter, strict=True)
    given = ["text", "input.input.index", "note", "more", "input.index"]
    assert head == [*NAMES, *given]
    assert [line[:6] for line in lines] == ANSWERS
    for line, cells in zip(lines, CELLS, strict=True):
        found = dict(zip(("text", "index", "note", "more", "input.index"), line[6:], strict=True))
        assert found.pop("more") == ('{"a": [1, null], "ü": true}' if "more" in cells else "")
        assert found == {key: cells.get(key) or "" for key in found}


def test_pandas_reads_it(tmp_path):
    pandas = pytest.importorskip("pandas")
    for name, delimiter in (("a.tsv", "\t"), ("a.csv", ",")):
        write_answers(tmp_path / name, FOUND, rows())
        found = pandas.read_csv(tmp_path / name, sep=delimiter, dtype=str, keep_default_na=False)
        assert found["text"].tolist() == [cells["text"] for cells in CELLS]
        assert found["note"][0] == CELLS[0]["note"]


def test_json_lines_keep_types(tmp_path):
    path = tmp_path / "a.jsonl"
    odd = {"half": "\ud800", "nan": float("nan"), "when": np.datetime64("2026-01-02"), "n": 1}
    write_answers(path, FOUND, rows([*CELLS[:3], {**CELLS[3], **odd}]))
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    first = {"index": 0, "gold": "red", "prediction": "red", "red": 0.75, "green": 0.25}
    note = CELLS[0]["note"]
    given = {"text": CELLS[0]["text"], "input.input.index": "7", "note": note}
    assert found[0] == {**first, "tokens": 5, **given}
    assert list(found[0])[:6] == NAMES
    assert [found[1][name] for name in NAMES] == [1, None, None, None, None, None]
    assert found[3]["more"] == CELLS[3]["more"]
    assert [found[3][name] for name in odd] == ["\ud800", None, "2026-01-02", 1]
    scale = dataclasses.replace(
        FOUND, labels=(), columns=("0", "1"), gold=np.array([0.5, 1, 0]), predicted=FOUND.gold
    )
    write_answers(path, scale, rows())
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [found[0][name] for name in ("gold", "prediction", "0")] == [0.5, 0, 0.75]


def test_answers_that_are_not_sure_are_empty(tmp_path):
    path = tmp_path / "a.tsv"
    assert below(FOUND, 0.75).tolist() == [False, True, False]
    write_answers(path, FOUND, rows(), 0.75)
    with path.open(encoding="utf-8", newline="") as file:
        assert [line[2] for line in csv.reader(file, delimiter="\t")][1:] == [
            "red",
            "",
            "",
            "green",
        ]
    # A probability is compared as it is written.
    nearly = dataclasses.replace(FOUND, scores=np.full((3, 2), 0.79999998))
    assert not below(nearly, 0.8).any()


def test_a_label_may_be_called_like_a_column(tmp_path):
    names = ("tokens", "gold")
    path = tmp_path / "a.jsonl"
    found = dataclasses.replace(FOUND, labels=names, columns=names)
    write_answers(path, found, rows([{"probability.gold": 1}] * 4))
    line = json.loads(path.read_text().splitlines()[0])
    assert (line["gold"], line["tokens"], line["prediction"]) == ("tokens", 5, "tokens")
    assert (line["probability.tokens"], line["probability.gold"]) == (0.75, 0.25)
    assert line["input.probability.gold"] == 1


def test_predictions_of_a_task_are_read_from_it(tmp_path):
    """As `gptjax compare --predictions` asks for; the input's columns are passed over."""
    path = tmp_path / "a.tsv"
    write_answers(path, FOUND, rows())
    found = read_predictions(path, TASK, labelled=False)
    assert found.index.tolist() == [0, 2, 3]
    assert found.predicted.tolist() == [0, 0, 1]
    assert found.tokens is not None
    assert found.tokens.tolist() == [5, 9, 12]
    np.testing.assert_array_equal(found.scores, FOUND.scores)
    with pytest.raises(UserError, match="no gold labels"):
        read_predictions(path, TASK)
    text = path.read_text(encoding="utf-8")
    for damaged in (text[: text.index("two")], text.replace("\n2\tgreen\tred", "\n2\tgreen")):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match="not predictions of colours"):
            read_predictions(path, TASK, labelled=False)
    write_answers(path, FOUND, rows(), 0.6)
    with pytest.raises(UserError, match="a row has no prediction"):
        read_predictions(path, TASK, labelled=False)


def test_names_that_promise_another_kind_of_file(tmp_path):
    for name in ("a.parquet", "a.xlsx", "a.csv.gz", "a.JSON"):
        with pytest.raises(UserError, match=r"let the name end in \.tsv, \.csv or \.jsonl"):
            check_name(tmp_path / name)
    for name in ("a.tsv", "a.csv", "a.jsonl", "a", "a.txt", "a.b"):
        check_name(tmp_path / name)
