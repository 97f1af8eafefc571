"""The rows of a task as documents: their texts, which rows, and what validates."""

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tasks.texts import check, open_sources, open_split, report, row_text
from gptjax.data.text.corpus import prepare
from gptjax.data.text.documents import Source
from gptjax.data.text.settings import CorpusConfig
from gptjax.errors import UserError


def texts(source):
    return ["".join(document.chunks) for document in source.documents()]


def opened(data, **settings):
    return open_sources(CorpusConfig(data=str(data), **settings))


def write_snli(folder, name, *rows):
    """A file as it was published; a row is a premise, a hypothesis and the label."""
    folder.mkdir(exist_ok=True)
    cells = [dict(zip(("sentence1", "sentence2", "gold_label"), row, strict=True)) for row in rows]
    lines = [json.dumps(one) + "\n" for one in cells]
    (folder / f"snli_1.0_{name}.jsonl").write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def snli(tmp_path):
    folder = tmp_path / "snli"
    write_snli(
        folder,
        "train",
        ("A  man\tsits.", "He is\nsitting. ", "entailment"),
        ("A man sits.", "He runs.", "-"),
        ("A man sits.", "", "neutral"),
        ("A man sits.", "He sings.", "no such label"),
    )
    write_snli(folder, "dev", ("A dog.", "An animal.", "entailment"))
    write_snli(folder, "test", ("Secret one.", "Secret two.", "entailment"))
    return folder


@pytest.mark.parametrize(
    ("task", "parts", "target", "expected"),
    [
        ("sst2", ("a text",), 1, "a text"),
        ("snli", ("premise", "hypothesis"), 0, "premise\nhypothesis"),
        ("stsb", ("first", "second"), 2.5, "first\nsecond"),
        ("race", ("context", "question", "a", "b", "c", "d"), 2, "context\nquestion\nc"),
        ("rocstories", ("context", "", "x", "y"), 0, "context\nx"),  # no question
        ("race", ("context", "question", "a", "b", "c", "d"), None, "context\nquestion"),
    ],
)
def test_the_text_of_a_row(task, parts, target, expected):
    assert row_text(Example(parts, target, "line 1", 0), TASKS[task]) == expected


def test_which_rows_are_read(snli):
    sources = opened(f"task:snli={snli}")
    assert all(isinstance(source, Source) for source in sources)
    assert texts(sources.train) == [
        "A man sits.\nHe is sitting.",
        "A man sits.\nHe runs.",  # nobody agreed on its label
        "A man sits.\nHe sings.",
    ]
    assert texts(sources.validation) == ["A dog.\nAn animal."]
    assert sources.train.left_out == {"rows (an empty hypothesis)": 1}
    train = snli / "snli_1.0_train.jsonl"
    assert list(report(sources)) == [
        f"train: the text of 3 rows from {train}",
        f"  1 left out: an empty hypothesis (first: {train}: line 3)",
        f"valid: the text of 1 row from {snli / 'snli_1.0_dev.jsonl'}",
    ]


def test_the_test_rows_are_not_even_opened(snli):
    (snli / "snli_1.0_test.jsonl").write_bytes(b"\xff\xff no JSON")
    for source in opened(f"task:snli={snli}"):
        assert "Secret" not in "".join(texts(source))
    with pytest.raises(UserError, match=r"snli_1\.0_test"):
        open_split(f"task:snli={snli}", CorpusConfig(), "test")


def test_validation_that_is_named_wins(snli, tmp_path):
    data = f"task:snli={snli}"
    (tmp_path / "v.txt").write_text("other text\n")
    assert texts(opened(data, validation=str(tmp_path / "v.txt")).validation) == ["other text\n"]
    write_snli(tmp_path / "more", "dev", ("One.", "Two.", "neutral"))
    more = tmp_path / "more" / "snli_1.0_dev.jsonl"
    for named in (more, more.parent, f"valid={more}"):
        found = opened(data, validation=f"task:snli={named}")
        assert texts(found.validation) == ["One.\nTwo."]
        assert texts(found.train) == texts(opened(data).train)
    other = opened(str(tmp_path / "v.txt"), validation=data)
    assert texts(other.validation) == ["A dog.\nAn animal."]


def test_without_validation_rows_a_share_is_held_back(tmp_path, tokenizer):
    rows = [(f"the old house {i}", "a river", "neutral") for i in range(40)]
    write_snli(tmp_path, "train", *rows)
    config = CorpusConfig(data=f"task:snli={tmp_path}", validation_fraction=0.2)
    sources = open_sources(config)
    assert sources.validation is None
    train, valid = prepare(config, tokenizer, sources)
    assert train.num_documents + valid.num_documents == 40
    share = valid.num_tokens / (train.num_tokens + valid.num_tokens)
    assert share == pytest.approx(0.2, abs=0.05)


def test_files_by_split_and_a_single_file(snli):
    train, dev = (snli / f"snli_1.0_{name}.jsonl" for name in ("train", "dev"))
    both = opened(f"task:snli=train={train} valid={dev}")
    assert [texts(source) for source in both] == [
        texts(source) for source in opened(f"task:snli={snli}")
    ]
    alone = opened(f"task:snli={train}")
    assert texts(alone.train) == texts(both.train)
    assert alone.validation is None


def test_a_corpus_is_its_texts(snli, tmp_path, tokenizer):
    """It is encoded again when a text changes, and not when the files lie elsewhere."""
    config = CorpusConfig(data=f"task:snli={snli}")
    train, valid = prepare(config, tokenizer, open_sources(config))
    assert train.dropped == {"empty": 0, "rows (an empty hypothesis)": 1}
    assert [tokenizer.decode(train.tokens[train.starts[1] + 1 : train.ends[1]].tolist())] == [
        "A man sits.\nHe runs."
    ]
    assert valid.name == f"task:snli={snli} (valid)"
    moved = CorpusConfig(data=f"task:snli={snli.rename(tmp_path / 'moved')}")
    again, _ = prepare(moved, tokenizer, open_sources(moved))
    assert (again.fingerprint, again.earlier) == (train.fingerprint, train.earlier)
    write_snli(tmp_path / "moved", "train", ("A man sits.", "He runs!", "-"))
    changed, _ = prepare(moved, tokenizer, open_sources(moved))
    assert changed.fingerprint != train.fingerprint


def test_files_without_a_label_are_text(tmp_path):
    for place in ("train/pos", "train/neg", "train/unsup", "test/pos", "test/neg"):
        folder = tmp_path / place
        folder.mkdir(parents=True)
        (folder / "0_1.txt").write_text(f"a film\nof {place}\n")
    source = opened(f"task:imdb={tmp_path}").train
    assert texts(source) == [f"a film of train/{name}" for name in ("neg", "pos", "unsup")]
    assert source.left_out == {}


def test_what_lies_beside_files_with_a_text_a_line_is_counted(tmp_path):
    for end in ("pos", "neg", "readme"):
        (tmp_path / f"rt-polarity.{end}").write_text(f"{end} one\n{end} two\n")
    source = opened(f"task:mr={tmp_path}").train
    assert texts(source) == ["neg one", "neg two", "pos one", "pos two"]
    assert source.left_out == {"rows (files that belong to none of the labels)": 1}


def test_a_task_file_names_its_files(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'format = "choice"\nlabels = ["1", "2", "3"]\n'
        '[columns]\ncontext = "story"\noptions = "ends"\nlabel = "right"\n'
        '[files]\ntrain = "stories.jsonl"\n'
    )
    rows = [
        {"story": "Once.", "ends": ["a", "b"], "right": 2},
        {"story": "Twice.", "ends": ["c", "d", "e"], "right": None},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "stories.jsonl").write_text(lines)
    assert texts(opened(f"task:{tmp_path}/mine.toml").train) == ["Once.\nb", "Twice."]
    (tmp_path / "other.jsonl").write_text(lines.replace("Once", "Never"))
    other = opened(f"task:{tmp_path}/mine.toml={tmp_path}/other.jsonl")
    assert texts(other.train) == ["Never.\nb", "Twice."]


def test_a_file_is_read_as_fine_tuning_reads_it(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'format = "classification"\nlabels = ["ja", "nein"]\n'
        'columns = { label = 1, text = 2 }\nencoding = "cp1252"\n'
    )
    (tmp_path / "train.csv").write_bytes("label;text\nja;schön\n?;grün\n".encode("cp1252"))
    assert texts(opened(f"task:{tmp_path}/mine.toml").train) == ["schön", "grün"]
    (tmp_path / "train.csv").write_bytes("label;text\nja;schön\n?;grün\n".encode("utf-16"))
    found = opened(f"task:{tmp_path}/mine.toml", encoding="utf-16")
    assert texts(found.train) == ["schön", "grün"]


def test_rows_of_a_dataset_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder, lines = tmp_path / "imdb", ["---", "configs:", "- config_name: plain_text"]
    lines.append("  data_files:")
    for split, label in (("train", 1), ("test", 0), ("unsupervised", -1)):
        file = folder / "plain_text" / f"{split}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"text": [f"a {split} film"], "label": [label]}), file)
        lines += [f"  - split: {split}", f"    path: plain_text/{file.name}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    sources = opened(f"task:imdb=hub:{folder}")
    assert texts(sources.train) == ["a train film", "a unsupervised film"]
    assert sources.validation is None


def test_the_offline_sample_is_named():
    sources = opened("task:sst2=sample")
    assert (len(texts(sources.train)), len(texts(sources.validation))) == (480, 120)
    assert "THE OFFLINE SAMPLE" in next(line for line in report(sources) if "OFFLINE" in line)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("task:sst3", r"`data=task:sst3`: did you mean 'sst5'\?"),
        ("task:", "a task file ends in .toml"),
        ("task:ax", "a test set without training rows; take those of mnli"),
        ("task:snli=nowhere", "task:snli: `data=nowhere`: no such file or folder"),
        ("task:nowhere.toml", r"nowhere\.toml"),
        ("task:snli={folder}", "task:snli: .* none of the files of snli in this folder"),
        ("task:snli=valid={folder}/x.jsonl", "no such file"),
    ],
)
def test_what_is_refused_before_any_text_is_read(data, message, tmp_path):
    for settings in ({"data": data}, {"data": "embedded", "validation": data}):
        settings = {key: value.format(folder=tmp_path) for key, value in settings.items()}
        with pytest.raises(UserError, match=f"(?i){message}") as error:
            check(CorpusConfig(**settings))
        assert "\n" not in str(error.value)


def test_a_task_without_the_rows_that_are_asked_for(snli, tmp_path):
    dev = snli / "snli_1.0_dev.jsonl"
    (tmp_path / "t.txt").write_text("a text\n")
    with pytest.raises(UserError, match=r"no rows of the split train here, only of valid; name"):
        opened(f"task:snli=valid={dev}")
    with pytest.raises(UserError, match=r"no rows of the split valid here, only of train; name"):
        opened(str(tmp_path / "t.txt"), validation=f"task:snli=train={dev}")


def test_without_a_network_nothing_else_is_taken():
    with pytest.raises(UserError, match=r"hub:ehovy/race`: .* give a local file or folder"):
        opened("task:race")
    with pytest.raises(UserError, match="no dataset of it on the hub"):
        opened("task:rocstories")
