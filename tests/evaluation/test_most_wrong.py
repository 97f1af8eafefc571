"""The examples that a model answers worst, and the file of them."""

import dataclasses

import numpy as np
import pytest

from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.evaluation.most_wrong import most_wrong, shown
from gptjax.evaluation.task_scores import score
from gptjax.runs.most_wrong import read_most_wrong, write_most_wrong

TASK = TASKS["sst2"]
# Probability of "negative", gold, and the row's number.
ANSWERS = [(0.9, 1, 0), (0.2, 1, 1), (0.9, 1, 3), (0.6, None, 4), (0.7, 1, 5), (0.01, 0, 6)]


def scored(answers=ANSWERS):
    examples = [
        Example((f'text\x1b "{row}"',), gold, f"a/b.tsv: line {row + 2}", row)
        for _, gold, row in answers
    ]
    log_p = np.log([[p, 1 - p] for p, _, _ in answers]).astype(np.float32)
    return score(log_p, examples, TASK), examples


def test_the_least_probable_gold_label_comes_first():
    scores, examples = scored()
    found = most_wrong(TASK, scores, examples)
    assert found.columns == ("index", "gold", "prediction", "probability_of_gold", "text")
    assert [row[:4] for row in found.rows] == [
        ("6", "negative", "positive", "0.010000"),
        ("0", "positive", "negative", "0.100000"),
        ("3", "positive", "negative", "0.100000"),
        ("5", "positive", "negative", "0.300000"),
    ]
    assert found.rows[0][4] == 'text\x1b "6"'
    assert most_wrong(TASK, scores, examples, 2).rows == found.rows[:2]
    right, examples = scored(ANSWERS[1:2])
    assert most_wrong(TASK, right, examples).rows == ()
    assert list(shown(TASK, right, examples, "a/b.tsv")) == []


def test_a_long_text_is_cut_and_few_rows_are_kept():
    scores, examples = scored([(0.9, 1, row) for row in range(30)])
    examples = [one._replace(texts=("x" * 2000,)) for one in examples]
    found = most_wrong(TASK, scores, examples)
    assert [row[0] for row in found.rows] == [str(row) for row in range(20)]
    assert {row[4] for row in found.rows} == {"x" * 999 + "…"}


def test_on_the_terminal_a_row_has_its_line_and_no_control_characters():
    scores, examples = scored()
    head, *lines = shown(TASK, scores, examples, "a/b.tsv")
    assert head == "most wrong, with the probability of gold:"
    assert lines[0] == r'  line 8: negative, not positive (0.010): text\x1b "6"'
    assert next(iter(list(shown(TASK, scores, examples, "a"))[1:])).startswith("  b.tsv: line 8: ")


def test_of_a_scale_the_farthest_and_of_a_choice_all_options():
    scale, parts = TASKS["stsb"], ("one", "other")
    golds = [0.0, 2.5, 5.0, 2.0]
    examples = [Example(parts, gold, "", row) for row, gold in enumerate(golds)]
    log_p = np.log(np.array([[0, 0, 1, 0, 0, 0]] * 4) + 1e-30).astype(np.float32)
    found = most_wrong(scale, score(log_p, examples, scale), examples)
    assert found.columns[3:] == ("distance", "first", "second")
    assert [row[:4] for row in found.rows[:2]] == [
        ("2", "5.0000", "2.0000", "3.000000"),
        ("0", "0.0000", "2.0000", "2.000000"),
    ]
    choice = TASKS["race"]
    examples = [Example(("story", "", "a", "b", "c", "d"), 2, "", 0)]
    log_p = np.log([[0.4, 0.3, 0.2, 0.1]]).astype(np.float32)
    (row,) = most_wrong(choice, score(log_p, examples, choice), examples).rows
    assert row == ("0", "C", "A", "0.200000", "story", "", "a | b | c | d")


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "most_wrong.tsv"
    scores, examples = scored()
    examples = [one._replace(texts=('"a" b\\',)) for one in examples]
    found = most_wrong(TASK, scores, examples)
    write_most_wrong(path, found)
    assert read_most_wrong(path) == found
    empty = dataclasses.replace(found, rows=())
    write_most_wrong(path, empty)
    assert read_most_wrong(path) == empty


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("index", "number"),
        ("probability_of_gold", "x"),
        ("0.010000", "x"),
        ("6\tneg", "6.5\tneg"),
        ("negative\tpositive\t", "negative\t"),
        ('""6', '"6'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, old, new):
    path = tmp_path / "most_wrong.tsv"
    scores, examples = scored()
    write_most_wrong(path, most_wrong(TASK, scores, examples))
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match="is damaged, no most wrong examples") as raised:
        read_most_wrong(path)
    assert str(path) in str(raised.value)
