"""Which column is which part: those that are named are exact, and a column serves one part."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from gptjax.data.tables.columns import with_nested
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.load import load_split, load_task_data
from gptjax.data.tasks.table import TASKS, find_task
from gptjax.data.tasks.task import as_before, with_columns
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError

ROWS = [
    {"text": "wrong a", "label": "bad", "gold": "fine", "Clean": "right a", "n": "1"},
    {"text": "wrong b", "label": "bad", "gold": "fine", "Clean": "right b", "n": "2"},
]


def own(tmp_path, text, name="mine.toml"):
    (tmp_path / name).write_text(text)
    return find_task(str(tmp_path / name))


@pytest.fixture
def reviews(tmp_path):
    return own(tmp_path, 'format = "classification"\nlabels = ["bad", "fine"]\n')


def write(tmp_path, kind, rows=ROWS, name="rows"):
    path = tmp_path / f"{name}.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        lines = [list(rows[0]), *(row.values() for row in rows)]
        path.write_text("\n".join({"csv": ",", "tsv": "\t"}[kind].join(line) for line in lines))
    return path


def found(split):
    return [(*example.texts, example.target) for example in split.examples]


KINDS = ["csv", "tsv", "jsonl", "json", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_named_is_exact(tmp_path, reviews, kind):
    path = write(tmp_path, kind)
    task = with_columns(reviews, ("text=Clean", "label=gold"))
    assert found(read_split(path, task, "train")) == [("right a", 1), ("right b", 1)]
    assert found(read_split(path, reviews, "train")) == [("wrong a", 0), ("wrong b", 0)]
    for words, message in {
        ("text=clean_text",): "no column 'clean_text' for the text; it has 'text', 'label', 'gold'",
        ("text=clean",): "no column 'clean' for the text.*nearest: 'Clean'.*`columns=text=",
        ("label=gold_label",): "no column 'gold_label' for the label.*'gold', 'Clean', 'n'",
        ("label=Gold",): "no column 'Gold' for the label.*nearest: 'gold'",
        ("text=Clean,extra",): "no column 'extra' for the text",
        ("category=kind",): "no column 'kind' for the category",
        ("text=text.body",): "no column 'text.body' for the text.*nearest: 'text'",
    }.items():
        with pytest.raises(UserError, match=message) as refused:
            read_split(path, with_columns(reviews, words), "train")
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_task_file_names_them_too(tmp_path):
    start = 'format = "classification"\nlabels = ["bad", "fine"]\n[columns]\n'
    path = write(tmp_path, "csv")
    with pytest.raises(UserError, match="no column 'gold_label' for the label"):
        read_split(path, own(tmp_path, start + 'label = "gold_label"'), "train")
    task = own(tmp_path, start + 'label = "gold"\ntext = "Clean"')
    assert found(read_split(path, task, "train"))[0] == ("right a", 1)
    # What is typed wins over the file, and is as exact.
    with pytest.raises(UserError, match="no column 'clean'"):
        read_split(path, with_columns(task, ("text=clean",)), "train")
    # So is a part that may be absent.
    choice = 'format = "choice"\nlabels = ["fine", "2"]\n[columns]\noptions = ["text", "Clean"]\n'
    choice += 'context = "n"\nlabel = "gold"\nquestion = "ask"\n'
    with pytest.raises(UserError, match="no column 'ask' for the question"):
        read_split(path, own(tmp_path, choice.replace('label = "n"', 'question = "ask"')), "train")


def test_columns_that_are_named_stand_in_a_header(tmp_path):
    """Also of a task whose published files have none, and of a header that is not known."""
    path = tmp_path / "raw.tsv"
    path.write_text("gj04\t1\t\tA sentence.\n" * 3)
    assert len(read_split(path, TASKS["cola"], "train").examples) == 3
    with pytest.raises(UserError, match=r"no column 'label' or 'text' \(it has 'gj04', '1'"):
        read_split(path, with_columns(TASKS["cola"], ("text=text",)), "train")
    numbered = with_columns(TASKS["cola"], ("text=4", "label=2"))
    assert found(read_split(path, numbered, "train")) == [("A sentence.", 1)] * 3
    path.write_text("a\tb\tc\td\nx\t1\ty\tz\n")
    with pytest.raises(UserError, match=r"no column 'body'.*; it has 'a', 'b', 'c', 'd'"):
        read_split(path, with_columns(TASKS["cola"], ("text=body",)), "train")
    task = with_columns(TASKS["cola"], ("text=c", "label=b"))
    assert found(read_split(path, task, "train")) == [("y", 1)]


def test_a_row_of_json_may_lack_its_label_but_not_all_may(tmp_path, reviews):
    task = with_columns(reviews, ("label=gold",))
    rows = [*ROWS, {"text": "c", "label": "fine"}]
    split = read_split(write(tmp_path, "jsonl", rows), task, "train")
    assert found(split) == [("wrong a", 1), ("wrong b", 1)]
    assert sum(split.dropped.values()) == 1
    with pytest.raises(UserError, match=r"line 1: no column 'gold' .* it has 'text', 'label'"):
        read_split(write(tmp_path, "jsonl", rows[2:]), task, "train")
    with pytest.raises(UserError, match=r"line 3: no column 'Clean' for the text"):
        read_split(write(tmp_path, "jsonl", rows), with_columns(reviews, ("text=Clean",)), "x")


def test_labels_are_asked_of_the_splits_that_need_them(tmp_path, reviews):
    task = with_columns(reviews, ("label=gold",))
    rows = [{"text": "c", "label": "fine"}] * 2
    write(tmp_path, "csv", name="train")
    write(tmp_path, "csv", rows, name="test")
    splits = load_task_data((str(tmp_path),), task).splits
    assert found(splits["train"]) == [("wrong a", 1), ("wrong b", 1)]
    assert found(splits["test"]) == [("c", None)] * 2  # and not the label of another column
    with pytest.raises(UserError, match=r"test\.csv.*no column 'gold'.*gptjax predict"):
        load_split(str(tmp_path), task, "test")
    write(tmp_path, "csv", rows, name="dev")
    with pytest.raises(UserError, match=r"dev\.csv.*no column 'gold'"):
        load_task_data((str(tmp_path),), task)
    answers = read_split(tmp_path / "test.csv", task, "rows", labels=False, required=())
    assert found(answers) == [("c", None)] * 2


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_nested_column(tmp_path, reviews, kind):
    rows = [{"meta": {"text": "a", "more": {"gold": "fine"}}, "text": "b"}] * 2
    task = with_columns(reviews, ("text=meta.text", "label=meta.more.gold"))
    assert found(read_split(write(tmp_path, kind, rows), task, "train")) == [("a", 1)] * 2
    exact = [{"meta.text": "exact", **row} for row in rows]
    assert found(read_split(write(tmp_path, kind, exact), task, "train"))[0] == ("exact", 1)
    with pytest.raises(UserError, match=r"it has 'meta\.text', 'meta\.more\.gold', 'text'"):
        read_split(tmp_path / f"rows.{kind}", with_columns(reviews, ("text=meta.txt",)), "x")


def test_a_column_serves_one_part(tmp_path):
    choice = own(
        tmp_path,
        'format = "choice"\nlabels = ["1", "2"]\n'
        '[columns]\ncontext = "question"\noptions = ["a", "b"]\n',
    )
    rows = [{"question": "Why?", "a": "x", "b": "y", "label": "1"}] * 2
    for kind in KINDS:
        split = read_split(write(tmp_path, kind, rows), choice, "train")
        assert found(split)[0] == ("Why?", "", "x", "y", 0)
    # Runs from before go on as they were trained, and so do their predictions.
    split = read_split(write(tmp_path, "csv", rows), as_before(choice), "train")
    assert found(split)[0] == ("Why?", "Why?", "x", "y", 0)
    # Columns that are published give way to those that are named.
    path = tmp_path / "pairs.csv"
    path.write_text("premise,hypothesis,text_b,label\np,h,t,0\n")
    task = with_columns(TASKS["snli"], ("premise=hypothesis",))
    assert found(read_split(path, task, "train")) == [("h", "t", 0)]
    path.write_text("premise,hypothesis,label\np,h,0\n")
    with pytest.raises(UserError, match="no column for the hypothesis"):
        read_split(path, task, "train")
    task = with_columns(TASKS["snli"], ("premise=hypothesis", "hypothesis=premise"))
    assert found(read_split(path, task, "train")) == [("h", "p", 0)]
    task = with_columns(TASKS["sst2"], ("text=label",))
    path.write_text("text,label\na,1\nb,0\n")
    assert not read_split(path, task, "train").labelled


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("premise=x", "hypothesis=x"), "'x' is named for the premise and for the hypothesis"),
        (("premise=x", "label=x"), "'x' is named for the premise and for the label"),
        (("premise=x,y", "hypothesis=y,z"), "'y' is named for the premise and"),
        (("premise=x,x",), "'x' is named twice for the premise"),
    ],
)
def test_one_column_named_for_two_parts(tmp_path, words, message):
    (tmp_path / "a.csv").write_text("x,y,z\na,b,c\n")
    with pytest.raises(UserError, match=message):
        read_split(tmp_path / "a.csv", with_columns(TASKS["snli"], words), "train")
    # A category may be any column.
    (tmp_path / "a.csv").write_text("premise,hypothesis,label\na,b,0\n")
    task = with_columns(TASKS["snli"], ("category=premise",))
    (example,) = read_split(tmp_path / "a.csv", task, "train").examples
    assert (example.texts, example.category) == (("a", "b"), "a")


def test_runs_from_before_read_their_files_as_they_did(tmp_path, reviews):
    task = as_before(with_columns(reviews, ("text=clean_text", "label=gold")))
    assert found(read_split(write(tmp_path, "csv"), task, "train"))[0] == ("wrong a", 1)
    # But for what is typed now.
    with pytest.raises(UserError, match="no column 'clean_text'"):
        read_split(write(tmp_path, "csv"), with_columns(task, ("text=clean_text",)), "train")


ARC = {
    "id": "a",
    "question": {
        "stem": "What is hot?",
        "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}],
    },
    "answers": [{"text": "x"}, {"text": "y", "more": [[1, 2], [3]]}],
    "answerKey": "B",
    "a[0]": "exact",
}


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_columns_inside_of_lists(tmp_path, kind):
    rows = [ARC, {**ARC, "answerKey": "A"}]
    path = tmp_path / f"a.{kind}"
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(
            json.dumps(rows, indent=1) if kind == "json" else "\n".join(map(json.dumps, rows))
        )
    task = parse_task(
        'format = "choice"\nlabels = ["A", "B"]\n[columns]\ncontext = "question.stem"\n'
        'options = "question.choices[].text"\nquestion = "answers[-1].text"\nlabel = "answerKey"',
        "arc",
        "arc",
    )
    split = read_split(path, task, "train")
    texts = ("What is hot?", "y", "ice", "fire")
    assert [(e.texts, e.target) for e in split.examples] == [(texts, 1), (texts, 0)]
    wrong = with_columns(task, ("options=question.choices[].txt",))
    with pytest.raises(
        UserError,
        match=r"no column 'question.choices\[\].txt' for the options; .*"
        r"'question.choices\[\].text'.*\(nearest: 'question.choices\[\].text'\)",
    ):
        read_split(path, wrong, "train")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("answers[0].text", "x"),
        ("answers[].text", ["x", "y"]),
        ("answers[1].more[0][1]", 2),
        ("answers[1].more[][0]", [1, 3]),
        ("answers[1].more[]", [[1, 2], [3]]),
        ("a[0]", "exact"),
        ("answers[].more", None),  # the first one has none
        ("answers[2].text", None),
        ("answers[-3]", None),
        ("answers[1].more[][1]", None),
        ("question[0]", None),
        ("answers.text", None),
        ("answers[", None),
        ("answers[x].text", None),
        ("answers[0", None),
        ("[]", None),
    ],
)
def test_names_that_lead_into_lists(name, value):
    assert with_nested(ARC, [name]).get(name) == value
