"""The splits of a task: from which files, what is held back, and what training asks of them."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from gptjax.data.tasks.load import TaskData, for_training, load_split, load_task_data
from gptjax.data.tasks.splits import Example, Split, draw, draw_by_label, hold_back, targets_of
from gptjax.data.tasks.table import TASKS, find_task
from gptjax.errors import UserError


def found(split):
    return [(*example.texts, example.target) for example in split.examples]


def split_of(count, name="train", group=1):
    examples = [Example((f"p{i // group}", f"h{i}"), i % 3, f"line {i}", i) for i in range(count)]
    return Split(name, "file", examples, fingerprint="f")


def test_a_missing_split_is_held_back_by_premise():
    data = for_training(TaskData({"train": split_of(90, group=3)}), TASKS["snli"])
    train, valid = data.splits["train"], data.splits["valid"]
    assert len(train.examples) + len(valid.examples) == 90
    assert 6 <= len(valid.examples) <= 12
    assert not {e.texts[0] for e in train.examples} & {e.texts[0] for e in valid.examples}
    assert [e.row for e in train.examples] == sorted(e.row for e in train.examples)
    again = for_training(TaskData({"train": split_of(90, group=3)}), TASKS["snli"])
    assert again.splits["valid"].examples == valid.examples
    assert "held back" in valid.source
    from_valid = for_training(TaskData({"valid": split_of(90, "valid")}), TASKS["snli"])
    assert len(from_valid.splits["train"].examples) > len(from_valid.splits["valid"].examples) > 0


def test_a_part_of_a_split():
    data = for_training(
        TaskData({"train": split_of(50), "valid": split_of(20, "valid")}),
        TASKS["snli"],
        {"train": 10, "valid": None},
    )
    rows = [example.row for example in data.splits["train"].examples]
    assert len(rows) == 10
    assert rows == sorted(set(rows))
    assert "10 of 50" in data.splits["train"].source
    assert data.splits["train"].fingerprint != split_of(50).fingerprint
    assert len(data.splits["valid"].examples) == 20


def test_a_part_is_drawn_from_all_over_the_file():
    split = split_of(1000)
    drawn = [example.row for example in draw(split, 100).examples]
    assert len(set(drawn)) == 100
    assert drawn == sorted(drawn)
    assert draw(split, 100).examples == draw(split, 100).examples
    # The mean of 100 of 1000 rows, drawn without replacement.
    deviation = np.sqrt((1000**2 - 1) / 12 / 100 * (900 / 999))
    assert abs(np.mean(drawn) - 999 / 2) < 3 * deviation
    # So are their gaps: of rows at a fixed distance all would be the same.
    assert 5 < np.diff(drawn).std() < 15
    assert [example.row for example in draw(split, 1000).examples] == list(range(1000))


def labelled(*targets: float) -> Split:
    """A training split with these targets."""
    examples = [Example(("a",), target, f"row {n}", n) for n, target in enumerate(targets)]
    return Split("train", "test", examples, fingerprint="f")


def drawn_rows(split: Split, count: int, seed: int, task: str = "snli") -> list[int]:
    rows = [example.row for example in draw_by_label(split, count, TASKS[task], seed).examples]
    assert rows == sorted(set(rows))
    return rows


def test_a_smaller_draw_is_a_part_of_a_larger_one():
    targets = np.random.default_rng(1).choice(3, 400, p=[0.9, 0.08, 0.02])
    split = labelled(*targets.tolist())
    for rows in (
        lambda count: {example.row for example in draw(split, count).examples},
        lambda count: set(drawn_rows(split, count, 7)),
    ):
        drawn = [rows(count) for count in range(1, 401)]
        assert all(small < large for small, large in pairwise(drawn))
    assert drawn_rows(split, 50, 7) != drawn_rows(split, 50, 8)
    one, other = (draw_by_label(split, 50, TASKS["snli"], seed) for seed in (7, 8))
    assert len({one.fingerprint, other.fingerprint, draw(split, 50).fingerprint}) == 3


def test_by_label_each_label_has_its_share():
    targets = [0] * 900 + [1] * 90 + [2] * 7
    split, shares = labelled(*targets), np.array([900, 90, 7]) / 997
    for count in (1, 2, 3, 4, 30, 100, 500, 996):
        rows = drawn_rows(split, count, 3)
        found = np.bincount([targets[row] for row in rows], minlength=3)
        assert found.sum() == count
        assert (found <= np.ceil(count * shares)).all()
        assert (found > 0).all() or count < 3
        assert abs(found - count * shares).max() < 3
    # Chance decides which examples of a label are drawn.
    common = [row for row in drawn_rows(split, 200, 3) if row < 900]
    assert abs(np.mean(common) - 450) < 3 * 900 / np.sqrt(12 * len(common))


def test_scores_and_options_are_drawn_by_chance():
    """The place of an option says nothing, and a score is no label."""
    split = labelled(*[0] * 300, *[1] * 3)
    assert drawn_rows(split, 100, 3, "stsb") == drawn_rows(split, 100, 3, "rocstories")
    assert drawn_rows(split, 100, 3, "stsb") != drawn_rows(split, 100, 3, "rte")


def test_a_draw_by_label_is_of_the_training_split_alone():
    given = {"train": split_of(50), "valid": split_of(40, "valid")}
    task, most = TASKS["snli"], {"train": 10, "valid": 20}
    plain = for_training(TaskData(given), task, most)
    one, other = (for_training(TaskData(given), task, most, by_label=seed) for seed in (1, 2))
    assert one.splits["valid"] == other.splits["valid"] == plain.splits["valid"]
    rows = [[e.row for e in data.splits["train"].examples] for data in (plain, one, other)]
    assert rows[0] != rows[1] != rows[2]
    assert "10 of 50, drawn by label with seed 2" in other.splits["train"].source


def test_story_cloze_is_split_as_in_the_released_code():
    train, valid = hold_back(split_of(1871), TASKS["rocstories"], "valid")
    rest, taken = train_test_split(np.arange(1871), test_size=374, random_state=3535999445)
    assert {e.row for e in valid.examples} == set(taken.tolist())
    assert {e.row for e in train.examples} == set(rest.tolist())


def test_training_needs_labels(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\nx\ny\n")
    data = load_task_data((str(tmp_path),), TASKS["sst2"])
    with pytest.raises(UserError, match=r"train\.tsv: no labels"):
        for_training(data, TASKS["sst2"])


def test_what_data_may_name(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nx\t1\n")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\ny\t0\n")
    sst2 = TASKS["sst2"]
    train, dev = str(tmp_path / "train.tsv"), str(tmp_path / "dev.tsv")
    assert list(load_task_data((str(tmp_path),), sst2).splits) == ["train", "valid"]
    assert list(load_task_data((train,), sst2).splits) == ["train"]
    named = load_task_data((f"train={train}", f"valid={dev}"), sst2)
    assert found(named.splits["valid"]) == [("y", 0)]
    split, sample = load_split(str(tmp_path), sst2, "valid")
    assert (found(split), sample) == ([("y", 0)], False)
    assert found(load_split(dev, sst2, "test")[0]) == [("y", 0)]
    for words, message in [
        (("nowhere",), "no such file or folder"),
        ((f"dev={dev}",), "the splits of sst2 are train, valid, test"),
        ((train, dev), "SPLIT=PATH"),
        (("train=nowhere.tsv",), r"nowhere\.tsv: no such file"),
    ]:
        with pytest.raises(UserError, match=message):
            load_task_data(words, sst2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"none of the files of rocstories .*cloze_test_val"):
        load_task_data((str(tmp_path / "empty"),), TASKS["rocstories"])


@pytest.mark.parametrize("task", list(TASKS.values()), ids=TASKS)
def test_the_sample_of_every_task(task):
    data = load_task_data(("sample",), task)
    assert data.sample
    sizes = {name: len(split.examples) for name, split in data.splits.items()}
    assert sizes == {"train": 480, "valid": 120, "test": 120}
    train = data.splits["train"]
    counts = targets_of(train.examples, task).sum(0)
    assert counts.min() >= 0.8 * 480 / task.num_classes * (0.5 if task.scores else 1)
    texts = [{e.texts for e in split.examples} for split in data.splits.values()]
    assert [len(text) for text in texts] == [480, 120, 120]
    assert len(set.union(*texts)) == 720


def test_the_sentences_of_the_sample_stay_the_same():
    """Their fingerprint is a version: other sentences need another one."""
    digest, ancestors = hashlib.sha256(), ("imdb", "ag_news", "trec", "mr", "sst5", "subj")
    for name, task in TASKS.items():
        if name in (*ancestors, "cr", "mpqa"):
            continue
        for split in load_task_data(("sample",), task).splits.values():
            digest.update(repr([(e.texts, e.target) for e in split.examples]).encode())
    assert digest.hexdigest()[:16] == "6cd35d24b8b667b1"


def test_a_task_of_ones_own_has_no_sample(tmp_path):
    (tmp_path / "mine.toml").write_text("format = 'classification'\nlabels = ['a', 'b']")
    with pytest.raises(UserError, match="no sample of this task; set `data`"):
        load_task_data(("sample",), find_task(str(tmp_path / "mine.toml")))


def test_the_files_that_a_task_file_names_have_to_be_there(tmp_path):
    (tmp_path / "mine.toml").write_text(
        "format = 'classification'\nlabels = ['a', 'b']\n[files]\ntrain = 'trian.csv'\n"
    )
    (tmp_path / "train.csv").write_text("text,label\nx,a\ny,b\n")
    task = find_task(str(tmp_path / "mine.toml"))
    with pytest.raises(UserError, match=r"trian\.csv: no such file; mine names it under .*train"):
        load_task_data((), task, folder=tmp_path)
    assert list(load_task_data((str(tmp_path),), task).splits) == ["train"]  # named by --data
