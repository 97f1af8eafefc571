"""Published formats in miniature, as they are: what is read, what is left out, what is refused."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from gptjax.data.tables.format import Row
from gptjax.data.tables.lines import FileReading
from gptjax.data.tasks.examples import NO_LABEL, read_split, to_split
from gptjax.data.tasks.load import load_task_data
from gptjax.data.tasks.splits import Example, targets_of
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.task import with_columns
from gptjax.errors import UserError


@pytest.fixture
def read(tmp_path):
    def call(task, name, content, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_split(path, TASKS[task] if isinstance(task, str) else task, "train", **options)

    return call


def found(split):
    return [(*example.texts, example.target) for example in split.examples]


PAIRS = [("A b.", "C d.", 0), ("E f.", "G h.", 2)]

PUBLISHED = {
    "snli jsonl": (
        "snli",
        "snli_1.0_dev.jsonl",
        '{"gold_label": "entailment", "sentence1": "A b.", "sentence2": "C d.", "pairID": "x"}\n'
        '{"gold_label": "contradiction", "sentence1": "E f.", "sentence2": "G h."}\n',
        PAIRS,
    ),
    "snli txt": (
        "snli",
        "snli_1.0_train.txt",
        "gold_label\tsentence1_parse\tsentence1\tsentence2\tlabel1\tlabel2\n"
        "entailment\t(A)\tA b.\tC d.\tentailment\tneutral\n"
        "contradiction\t(E)\tE f.\tG h.\tcontradiction\n",  # only one annotator
        PAIRS,
    ),
    "glue, label last, more annotators than the header says": (
        "snli",
        "train.tsv",
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n"
        "0\tA b.\tC d.\tneutral\tneutral\tentailment\tneutral\tentailment\n"
        "1\tE f.\tG h.\tcontradiction\tcontradiction\n",
        PAIRS,
    ),
    "breaking nli, CRLF": (
        "breaking_nli",
        "dataset.jsonl",
        '{"sentence1": "A b.", "sentence2": "C d.", "gold_label": "entailment", "pairID": 3}\r\n'
        '{"sentence1": "E f.", "sentence2": "G h.", "gold_label": "contradiction"}\r\n',
        PAIRS,
    ),
    "repackaged JSON": (
        "mnli",
        "train.json",
        json.dumps(
            {
                "0": {"text_a": "A b.", "text_b": "C d.", "label": "entailment"},
                "1": {"text_a": "E f.", "text_b": "G h.", "label": "contradiction"},
            },
            indent=4,
        ),
        PAIRS,
    ),
    "repackaged JSON in one line": (
        "mnli",
        "train.json",
        '{"0": {"text_a": "A b.", "text_b": "C d.", "label": "entailment"}}',
        PAIRS[:1],
    ),
    "a JSON list": (
        "snli",
        "train.json",
        '[{"premise": "A b.", "hypothesis": "C d.", "label": "entailment"}]',
        PAIRS[:1],
    ),
    "quotes in a TSV are characters": (
        "rte",
        "train.tsv",
        'index\tsentence1\tsentence2\tlabel\n0\t"A b.\tC" d.\tentailment\n'
        "1\tE\tF\tnot_entailment\n",
        [('"A b.', 'C" d.', 0), ("E", "F", 1)],
    ),
    "qnli": (
        "qnli",
        "dev.tsv",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tnot_entailment\n",
        [("Who?", "He.", 1)],
    ),
    "scitail tsv without a header": (
        "scitail",
        "scitail_1.0_train.tsv",
        "A b.\tC d.\tentails\nE f.\tG h.\tneutral\n",
        [("A b.", "C d.", 0), ("E f.", "G h.", 1)],
    ),
    "scitail as snli": (
        "scitail",
        "scitail_1.0_train.txt",
        '{"sentence1": "A b.", "sentence2": "C d.", "gold_label": "entailment"}\n',
        [("A b.", "C d.", 0)],
    ),
    "mrpc with a byte order mark": (
        "mrpc",
        "msr_paraphrase_train.txt",
        '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t5\t6\tA " b\tC d\n',
        [('A " b', "C d", 1)],
    ),
    "qqp of glue": (
        "qqp",
        "train.tsv",
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n7\t1\t2\tA?\tB?\t1\n",
        [("A?", "B?", 1)],
    ),
    "qqp without a header": ("qqp", "dev.tsv", "0\tA?\tB?\t18\n", [("A?", "B?", 0)]),
    "sts-b, tabs in a .csv, 7 or 9 columns": (
        "stsb",
        "sts-train.csv",
        "g\tf\t2012\t1\t5.000\tA.\tB.\ng\tf\t2012\t2\t3.4\tC.\tD.\tlicence\tsource\n",
        [("A.", "B.", 5.0), ("C.", "D.", 3.4)],
    ),
    "sts-b of glue": (
        "stsb",
        "train.tsv",
        "index\tgenre\tsentence1\tsentence2\tscore\n0\tg\tA.\tB.\t2.5\n",
        [("A.", "B.", 2.5)],
    ),
    "sst2": (
        "sst2",
        "train.tsv",
        "sentence\tlabel\nhide new secretions \t0\n",
        [("hide new secretions", 0)],
    ),
    "cola without a header": (
        "cola",
        "in_domain_train.tsv",
        "gj04\t1\t\tThey go.\ngj04\t0\t*\tThey goes.\n",
        [("They go.", 1), ("They goes.", 0)],
    ),
    "a test file without labels": (
        "cola",
        "test.tsv",
        "index\tsentence\n0\tThey go.\n",
        [("They go.", None)],
    ),
    "story cloze csv": (
        "rocstories",
        "cloze_test_val__x.csv",
        "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
        "RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
        'i,One.,"Two, three.",Four.,Five.,Good.,"Bad ""end"".",2\n',
        [("One. Two, three. Four. Five.", "", "Good.", 'Bad "end".', 1)],
    ),
    "story cloze tsv": (
        "rocstories",
        "val.tsv",
        "InputStoryid\tInputSentence1\tInputSentence2\tInputSentence3\tInputSentence4\t"
        "RandomFifthSentenceQuiz1\tRandomFifthSentenceQuiz2\tAnswerRightEnding\n"
        "i\tOne.\tTwo.\tThree.\tFour.\tGood.\tBad.\t1\n",
        [("One. Two. Three. Four.", "", "Good.", "Bad.", 0)],
    ),
    "plain columns called like the parts": (
        "sst2",
        "mine.csv",
        'text,label\n"good, really",positive\n',
        [("good, really", 1)],
    ),
}


@pytest.mark.parametrize(("task", "name", "content", "expected"), PUBLISHED.values(), ids=PUBLISHED)
def test_published_formats(read, task, name, content, expected):
    split = read(task, name, content)
    assert found(split) == expected
    assert not split.dropped


def test_race_folders(tmp_path):
    passage = {
        "article": "Long  text.",
        "questions": ["Who _ ?", "Why?"],
        "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]],
        "answers": ["D", "A"],
        "id": "x",
    }
    for folder, name in (
        ("train/middle", "2.txt"),
        ("train/high", "1.txt"),
        ("dev/middle", "1.txt"),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(json.dumps(passage))
    data = load_task_data((str(tmp_path),), TASKS["race"])
    assert {name: len(split.examples) for name, split in data.splits.items()} == {
        "train": 4,
        "valid": 2,
    }
    expected = [
        ("Long text.", "Who _ ?", "a", "b", "c", "d", 3),
        ("Long text.", "Why?", "e", "f", "g", "h", 0),
    ]
    assert found(data.splits["valid"]) == expected
    high = load_task_data((f"train={tmp_path}/train/high",), TASKS["race-high"])
    assert found(high.splits["train"]) == expected


def test_aligned_files(tmp_path):
    for name, text in (
        ("s1", "A b .\nE f .\n"),
        ("s2", "C d . \nG h .\n"),
        ("labels", "entailment\nneutral\n"),
    ):
        (tmp_path / f"{name}.dev").write_text(text)
    split = load_task_data((str(tmp_path),), TASKS["snli"]).splits["valid"]
    assert found(split) == [("A b .", "C d .", 0), ("E f .", "G h .", 1)]
    (tmp_path / "labels.dev").write_text("entailment\n")
    with pytest.raises(UserError, match=r"labels\.dev has 1"):
        load_task_data((str(tmp_path),), TASKS["snli"])


def test_parquet_with_other_columns(tmp_path):
    table = pa.table({"review": ["fine", "bad"], "stars": [1, 0], "id": [1, 2]})
    parquet.write_table(table, tmp_path / "reviews")
    task = with_columns(TASKS["sst2"], ("text=review", "label=stars"))
    assert found(read_split(tmp_path / "reviews", task, "train")) == [("fine", 1), ("bad", 0)]
    with pytest.raises(UserError, match=r"row 1: no column for the text .*set `columns=text=C"):
        read_split(tmp_path / "reviews", TASKS["sst2"], "train")


def test_unusable_rows_are_counted_by_reason_and_named(read):
    content = "\n".join(
        [
            "sentence1\tsentence2\tgold_label",
            "A\tB\tentailment",
            "A\tB\t-",
            "A\t\tneutral",
            "A\tB",
            "A\tB\tneutral",
            "A\tB\tmaybe",
            "A\tB\tcontradiction",
            "A\tB\tneutral",
            "A\tB\t-",
            "A\tB\tneutral",
        ]
    )
    split = read("snli", "x.tsv", content)
    assert len(split.examples) == 5
    assert [example.row for example in split.examples] == [0, 4, 6, 7, 9]
    reasons = {
        "an empty hypothesis": 1,
        "2 columns instead of 3": 1,
        "the unknown label 'maybe' (known: entailment, neutral, contradiction, 0, 1, 2)": 1,
        NO_LABEL: 2,
    }
    assert split.dropped == reasons
    assert split.first["an empty hypothesis"].endswith("x.tsv: line 4")
    assert any("x.tsv: line 3" in line for line in split.report())
    with pytest.raises(UserError, match=r"line 4: an empty hypothesis"):
        read("snli", "y.tsv", content, strict=True)


def test_labels_that_are_not_needed_leave_no_row_out(read):
    split = read("sst2", "x.tsv", "sentence\tlabel\na\t1\nb\t\nc\t?\nd\t9\n", labels=False)
    assert [e.target for e in split.examples] == [1, None, None, None]
    assert not split.labelled


def test_parquet_with_the_names_of_its_labels(tmp_path):
    from datasets import ClassLabel, Dataset, Features, Value

    labels = ClassLabel(names=["not_entailment", "entailment"])
    text = Value("string")
    features = Features({"sentence1": text, "sentence2": text, "label": labels})
    rows = {"sentence1": ["A", "B"], "sentence2": ["C", "D"], "label": [1, -1]}
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "train.parquet")
    split = read_split(tmp_path / "train.parquet", TASKS["rte"], "train")
    assert [example.target for example in split.examples] == [0]


def test_a_path_through_hidden_folders(tmp_path, monkeypatch):
    passage = {
        "article": "A",
        "questions": ["q"],
        "options": [["a", "b", "c", "d"]],
        "answers": ["A"],
    }
    folder = tmp_path / ".cache" / "train"
    folder.mkdir(parents=True)
    (folder / "1.txt").write_text(json.dumps(passage))
    (folder / ".hidden").write_text("x")
    monkeypatch.chdir(folder)
    task = TASKS["race"]
    assert len(load_task_data((str(tmp_path / ".cache"),), task).splits["train"].examples) == 1
    assert len(load_task_data(("..",), task).splits["train"].examples) == 1


def test_original_mrpc_is_a_training_file(tmp_path):
    rows = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t5\t6\tA\tB\n"
    for part in ("train", "test"):
        (tmp_path / f"msr_paraphrase_{part}.txt").write_text(rows)
    assert list(load_task_data((str(tmp_path),), TASKS["mrpc"]).splits) == ["train", "test"]


def test_a_file_of_another_task_is_refused(read):
    rows = "\n".join(f"A\tB\t{label}" for label in ("yes", "no", "yes", "entailment"))
    with pytest.raises(UserError, match=r"1 of 4 rows can be used: 2 × the unknown label 'yes'"):
        read("snli", "x.tsv", f"premise\thypothesis\tlabel\n{rows}\n")


BAD = {
    "a wrong column": ("sst2", "a.csv", "review,stars\nx,1\n", r"line 1 names none .*text"),
    "half of the columns": (
        "rte",
        "a.tsv",
        "sentence1\tlabel\nA\tentailment\n",
        r"line 2: no column for the hypothesis",
    ),
    "a label out of range": (
        "sst2",
        "a.tsv",
        "sentence\tlabel\nx\t1\ny\t7\n",
        r"line 3: the label 7 is out of range; sst2 knows negative, positive, 0, 1",
    ),
    "an option that is not there": (
        "race",
        "a.jsonl",
        '{"article": "x", "question": "q", "options": ["a", "b", "c", "d"], "answer": "E"}',
        r"line 1: the label E is out of range",
    ),
    "three options": (
        "race",
        "a.jsonl",
        '{"article": "x", "question": "q", "options": ["a", "b", "c"], "answer": "A"}',
        r"line 1: 3 options, where race has 4",
    ),
    "a score above the scale": (
        "stsb",
        "a.tsv",
        "sentence1\tsentence2\tscore\nA\tB\t5.1\n",
        r"line 2: the score 5.1 is no number from 0 to 5",
    ),
    "a score that is no number": (
        "stsb",
        "a.tsv",
        "sentence1\tsentence2\tscore\nA\tB\tmuch\n",
        r"line 2: the score much",
    ),
    "a broken JSON line": (
        "snli",
        "a.jsonl",
        '{"sentence1": "a", "sentence2": "b", "label": "neutral"}\n{"sentence1": "a", \n',
        r"line 2 is not JSON",
    ),
    "a broken first JSON line": ("snli", "a.jsonl", '{"sentence1": "a", \n', r"is not JSON"),
    "mixed encodings": (
        "sst2",
        "a.tsv",
        "sentence\tlabel\ncafé\t1\n".encode() + "café\t1\n".encode("latin-1"),
        r"line 3: not UTF-8 at byte 26",
    ),
    "an empty file": ("sst2", "a.tsv", "", r"is empty"),
    "only a header": ("sst2", "a.tsv", "sentence\tlabel\n", r"0 of 0 rows can be used"),
}


@pytest.mark.parametrize(("task", "name", "content", "message"), BAD.values(), ids=BAD)
def test_bad_files(read, task, name, content, message):
    with pytest.raises(UserError, match=message) as caught:
        read(task, name, content)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_not_utf8_can_be_replaced(read):
    content = b"sentence\tlabel\n" + "café\t1\n".encode("latin-1")
    assert found(read("sst2", "a.tsv", content, reading=FileReading(errors="replace"))) == [
        ("caf\ufffd", 1)
    ]


def test_scores_are_shared_between_two_points():
    examples = [Example(("a", "b"), score, "", 0) for score in (3.4, 0.0, 5.0, 2.0, None)]
    targets = targets_of(examples, TASKS["stsb"])
    np.testing.assert_allclose(
        targets,
        [
            [0, 0, 0, 0.6, 0.4, 0],
            [1, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 1],
            [0, 0, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
        ],
        atol=1e-6,
    )
    np.testing.assert_allclose(targets[:4] @ np.arange(6), [3.4, 0, 5, 2], rtol=1e-6)


def test_labels_by_the_numbers_of_the_hub(read):
    rows = "".join(f"A\tB\t{label}\n" for label in (0, 1, 2, -1))
    split = read("snli", "x.tsv", f"premise\thypothesis\tlabel\n{rows}")
    assert [example.target for example in split.examples] == [0, 1, 2]
    split = read("rte", "y.tsv", "sentence1\tsentence2\tlabel\nA\tB\t1\n")
    assert TASKS["rte"].labels[split.examples[0].target] == "not_entailment"


@pytest.mark.parametrize("value", [["a"], {"a": "b"}, True, b"x"])
@pytest.mark.parametrize("part", ["sentence1", "options"])
def test_what_is_no_text_is_refused(value, part):
    """Where a text is expected, also as an option."""
    if part == "options":
        cells, task = {"article": "a", "options": ["a", "b", "c", value], "answer": "A"}, "race"
    else:
        cells, task = {"sentence1": value, "sentence2": "b", "label": "0"}, "rte"
    message = rf"row 0: {part}: a {type(value).__name__}, not text"
    with pytest.raises(UserError, match=message):
        to_split([Row("row 0", cells)], TASKS[task], "x", source="x", fingerprint="")


def test_nan_is_a_missing_value(read):
    """As tables of other programs have it, in a text and in a label."""
    rows = [("a", 1.0), (float("nan"), 1.0), ("c", float("nan")), ("d", np.float64(0)), ("e", 1)]
    cells = [Row("row", {"sentence": text, "label": label}) for text, label in rows]
    split = to_split(cells, TASKS["sst2"], "x", source="x", fingerprint="")
    assert found(split) == [("a", 1), ("d", 0), ("e", 1)]
    assert sorted(split.dropped) == ["an empty text", NO_LABEL]
