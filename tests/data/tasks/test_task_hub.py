"""Tasks from mirrors of the hub's schemas (configs, splits, features, order of the labels)."""

import dataclasses

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from gptjax.data.tasks.load import load_split, load_task_data
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError

TEXT = Value("string")
GLUE_PAIR = {"sentence1": TEXT, "sentence2": TEXT}


def names(*labels):
    return ClassLabel(names=list(labels))


# task -> (features, split -> rows, expected examples of the first split, unlabelled splits)
MIRRORS = {
    "snli": (
        {
            "premise": TEXT,
            "hypothesis": TEXT,
            "label": names("entailment", "neutral", "contradiction"),
        },
        {
            "train": [("A.", "B.", 2), ("C.", "D.", -1), ("E.", "F.", 0)],
            "validation": [("A.", "B.", 1)],
            "test": [("A.", "B.", 1)],
        },
        [("A.", "B.", 2), ("E.", "F.", 0)],
        [],
    ),
    "mnli": (
        {
            "premise": TEXT,
            "hypothesis": TEXT,
            "label": names("entailment", "neutral", "contradiction"),
            "idx": Value("int32"),
        },
        {
            "train": [("A.", "B.", 1, 0)],
            "validation_matched": [("A.", "B.", 1, 0)],
            "validation_mismatched": [("A.", "B.", 1, 0)],
            "test_matched": [("A.", "B.", -1, 0)],
            "test_mismatched": [("A.", "B.", -1, 0)],
        },
        [("A.", "B.", 1)],
        ["test", "test-mismatched"],
    ),
    "wnli": (
        {**GLUE_PAIR, "label": names("not_entailment", "entailment"), "idx": Value("int32")},
        {"train": [("A.", "B.", 1, 0)], "validation": [("A.", "B.", 0, 0)]},
        [("A.", "B.", 1)],
        [],
    ),
    "rte": (
        {**GLUE_PAIR, "label": names("entailment", "not_entailment"), "idx": Value("int32")},
        {"train": [("A.", "B.", 1, 0)], "test": [("A.", "B.", -1, 0)]},
        [("A.", "B.", 1)],
        ["test"],
    ),
    # The order of a mirror's labels may be another: names decide.
    "qnli": (
        {
            "question": TEXT,
            "sentence": TEXT,
            "label": names("not_entailment", "entailment"),
            "idx": Value("int32"),
        },
        {"train": [("A?", "B.", 1, 0)], "validation": [("A?", "B.", 0, 0)]},
        [("A?", "B.", 0)],
        [],
    ),
    "scitail": (
        {"premise": TEXT, "hypothesis": TEXT, "label": TEXT},
        {"train": [("A.", "B.", "entails"), ("A.", "C.", "neutral")]},
        [("A.", "B.", 0), ("A.", "C.", 1)],
        [],
    ),
    "race-middle": (
        {
            "example_id": TEXT,
            "article": TEXT,
            "answer": TEXT,
            "question": TEXT,
            "options": Sequence(TEXT),
        },
        {"train": [("x", "A.", "C", "B?", ["a", "b", "c", "d"])]},
        [("A.", "B?", "a", "b", "c", "d", 2)],
        [],
    ),
    "cola": (
        {"sentence": TEXT, "label": names("unacceptable", "acceptable"), "idx": Value("int32")},
        {"train": [("A.", 1, 0)], "test": [("B.", -1, 0)]},
        [("A.", 1)],
        ["test"],
    ),
    "qqp": (
        {
            "question1": TEXT,
            "question2": TEXT,
            "label": names("not_duplicate", "duplicate"),
            "idx": Value("int32"),
        },
        {"train": [("A?", "B?", 1, 0)]},
        [("A?", "B?", 1)],
        [],
    ),
    "stsb": (
        {**GLUE_PAIR, "label": Value("float32"), "idx": Value("int32")},
        {"train": [("A.", "B.", 2.5, 0)], "test": [("A.", "B.", -1.0, 0)]},
        [("A.", "B.", 2.5)],
        ["test"],
    ),
}


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))

    def make(task, features, splits):
        folder = tmp_path / "mirror"
        config = TASKS[task].hub.config
        lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
        for split, rows in splits.items():
            columns = dict(zip(features, map(list, zip(*rows, strict=True)), strict=True))
            file = f"{config}/{split}-00000-of-00001.parquet"
            (folder / config).mkdir(parents=True, exist_ok=True)
            Dataset.from_dict(columns, Features(features)).to_parquet(folder / file)
            lines += [f"  - split: {split}", f"    path: {file}"]
        (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
        return f"hub:{folder}"

    return make


@pytest.mark.parametrize("name", MIRRORS)
def test_mirrors(mirror, name):
    features, splits, expected, hidden = MIRRORS[name]
    data = load_task_data((mirror(name, features, splits),), TASKS[name])
    assert not data.sample
    assert len(data.splits) == len(splits)
    train = data.splits["train"]
    assert [(*e.texts, e.target) for e in train.examples] == expected
    assert [split for split in data.splits if not data.splits[split].labelled] == hidden
    assert sum(train.dropped.values()) == len(splits["train"]) - len(expected)


def test_breaking_nli_is_one_split(mirror):
    features = {"sentence1": TEXT, "sentence2": TEXT, "gold_label": TEXT}
    data = mirror("breaking_nli", features, {"full": [("A.", "B.", "contradiction")]})
    split, sample = load_split(data, TASKS["breaking_nli"], "test")
    assert ([e.target for e in split.examples], sample) == ([2], False)


def test_without_a_network_the_hub_is_refused_and_no_data_means_the_sample():
    with pytest.raises(UserError, match=r"hub:ehovy/race`: .* give a local file or folder"):
        load_task_data(("hub",), TASKS["race"])
    data = load_task_data((), TASKS["race"])
    assert data.sample
    assert "ehovy/race" in data.notices[0]


def test_what_is_wrong_on_the_hub_is_no_reason_for_the_sample(mirror, monkeypatch):
    features, splits, *_ = MIRRORS["snli"]
    data = mirror("snli", features, splits)
    hub = dataclasses.replace(TASKS["snli"].hub, id=data.removeprefix("hub:"))
    with pytest.raises(UserError, match="no label, or none that the annotators agreed on"):
        load_task_data((), dataclasses.replace(TASKS["snli"], hub=hub), strict=True)


def test_a_task_that_is_not_on_the_hub():
    with pytest.raises(UserError, match="no dataset of it on the hub"):
        load_task_data(("hub",), TASKS["rocstories"])
    assert load_task_data((), TASKS["rocstories"]).sample
