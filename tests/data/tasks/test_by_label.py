"""One file for each label with a text a line, one file for each text, and tables by label."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.load import load_split, load_task_data
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError

TASK = parse_task('format = "classification"\nlabels = ["pos", "neg"]', "mine", "mine.toml")


def write(folder, **files):
    """Files whose names have `__` for a dot and `_S_` for a slash."""
    for name, content in files.items():
        path = folder / name.replace("_S_", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def found(split, folder):
    return [
        (e.texts[0], e.target, e.where.removeprefix(f"{folder}/"), e.row) for e in split.examples
    ]


def test_a_text_a_line(tmp_path):
    write(tmp_path, rt__pos='good\n\nfine, \t"x\r\n', rt__neg="bad", rt__all="no", _S___x="hidden")
    pattern = tmp_path / "rt.{label}"
    expected = [
        ("good", 0, "rt.pos: line 1", 0),
        ('fine, "x', 0, "rt.pos: line 3", 2),
        ("bad", 1, "rt.neg: line 1", 3),
    ]
    seen = []
    split = read_split(pattern, TASK, "rows", labels=False, seen=seen)
    assert found(split, tmp_path) == expected
    assert [row.cells["text"] for row in seen] == ["good", "", 'fine, \t"x', "bad"]
    assert split.dropped == {"an empty text": 1, "files that belong to none of the labels": 1}
    assert split.first["files that belong to none of the labels"] == str(tmp_path / "rt.all")
    for words in ((str(pattern),), (f"train={pattern}", f"test={pattern}")):
        data = load_task_data(words, TASK)
        assert [found(split, tmp_path) for split in data.splits.values()] == [expected] * len(words)
    assert found(load_split(str(pattern), TASK, "test")[0], tmp_path) == expected
    before = split.fingerprint
    write(tmp_path, rt__neg="worse")
    assert read_split(pattern, TASK, "rows").fingerprint != before


def test_a_text_a_file(tmp_path):
    for label in ("neg", "pos", "unsup"):
        for name in ("1_2", "0_9", "10_1"):
            write(tmp_path, **{f"train_S_{label}_S_{name}__txt": f"{label} {name}\nmore\n"})
    write(tmp_path, train_S_pos_S___DS_Store="x", train_S_pos_S_notes__md="x")
    expected = [
        (f"{label} {name} more", target, f"train/{label}/{name}.txt", 3 * target + row)
        for target, label in enumerate(("pos", "neg"))
        for row, name in enumerate(("0_9", "10_1", "1_2"))
    ]
    split = read_split(tmp_path / "train/{label}/*.txt", TASK, "train")
    assert found(split, tmp_path) == expected
    assert split.dropped == {"files that belong to none of the labels": 3}
    (tmp_path / "train/pos/notes.md").unlink()
    for pattern in ("train/{label}", "train/{label}/*"):  # a folder's files are texts, too
        assert found(read_split(tmp_path / pattern, TASK, "train"), tmp_path) == expected


def test_a_task_file_names_them(tmp_path):
    write(tmp_path, rt__pos="good", rt__neg="bad", d_S_positive__gz=gzip.compress(b"yes"))
    write(tmp_path, d_S_negative__gz=gzip.compress(b"no"))
    text = 'format = "classification"\nlabels = ["pos", "neg"]\nfiles.train = "rt.{label}"'
    data = load_task_data((), parse_task(text, "t", "t"), folder=tmp_path)
    assert [e.texts[0] for e in data.splits["train"].examples] == ["good", "bad"]
    text = f'{text}\ncolumns.text = "review"\ncolumns.label = "stars"'
    data = load_task_data((), parse_task(text, "t", "t"), folder=tmp_path)
    assert [e.texts[0] for e in data.splits["train"].examples] == ["good", "bad"]
    aliased = replace(TASK, aliases={"positive": "pos", "negative": "neg"})
    published = replace(aliased, files={"train": ("x.{label}", "{label}.gz")})
    data = load_task_data((str(tmp_path / "d"),), published)
    examples = data.splits["train"].examples
    assert [(e.texts[0], e.target) for e in examples] == [("yes", 0), ("no", 1)]
    with pytest.raises(UserError, match=r"rt\.\{label\}: no such file; t names it under \[files\]"):
        load_task_data((), parse_task(text, "t", "t"), folder=tmp_path / "d")


def test_a_table_by_label_keeps_its_columns(tmp_path):
    for label in ("pos", "neg"):
        rows = [{"text": f"{label} {n}", "label": "x", "label2": n} for n in range(2)]
        write(tmp_path, **{f"{label}__jsonl": "\n".join(map(json.dumps, rows))})
    seen = []
    split = read_split(tmp_path / "{label}.jsonl", TASK, "train", seen=seen)
    assert [(e.texts[0], e.target, e.row) for e in split.examples] == [
        ("pos 0", 0, 0),
        ("pos 1", 0, 1),
        ("neg 0", 1, 2),
        ("neg 1", 1, 3),
    ]
    assert seen[1].cells == {"text": "pos 1", "label": "pos", "label2": 1}


def test_refusals(tmp_path):
    write(tmp_path, rt__positive="good", rt__neg="bad")
    with pytest.raises(UserError, match=r"no file of the label 'pos' \(other files: 'rt.positive'"):
        read_split(tmp_path / "rt.{label}", TASK, "train")
    scored = parse_task(
        'format = "classification"\nscores = [0, 5]\nmetrics = ["pearson"]', "s", "s"
    )
    with pytest.raises(UserError, match="stands for a label, and s has scores"):
        read_split(tmp_path / "rt.{label}", scored, "train")
    pairs = parse_task('format = "entailment"\nlabels = ["positive", "neg"]', "p", "p")
    with pytest.raises(UserError, match="a line is one text, and p has premise, hypothesis"):
        read_split(tmp_path / "rt.{label}", pairs, "train")
    with pytest.raises(UserError, match=r"gone/\{label\}: no file of the label 'pos'"):
        load_task_data((str(tmp_path / "gone/{label}"),), TASK)


PUBLISHED = {
    "mr/rt-polarity.{label}": ("neg", 4798, "pos", 4798, 0),
    "cr/custrev.{label}": ("neg", 1229, "pos", 2164, 4),
    "mpqa/mpqa.{label}": ("neg", 6563, "pos", 2981, 2),
    "subj/subj.{label}": ("objective", 4500, "subjective", 4500, 0),
    "movie_reviews/{label}.jsonl": ("neg", 900, "pos", 900, 0),
}


@pytest.mark.skipif("GPTJAX_SHARED" not in os.environ, reason="published files are not here")
@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param(name, marks=pytest.mark.slow) if sum(PUBLISHED[name][1:4:2]) > 4000 else name
        for name in PUBLISHED
    ],
)
def test_published_files(pattern):
    first, count, second, other, left_out = PUBLISHED[pattern]
    task = replace(TASK, labels=(first, second))
    split = read_split(Path(os.environ["GPTJAX_SHARED"]) / "data" / pattern, task, "train")
    assert [e.target for e in split.examples] == [0] * count + [1] * other
    rows = [e.row for e in split.examples]
    assert (len(set(rows)), rows) == (count + other, sorted(rows))
    assert sum(split.dropped.values()) == left_out
