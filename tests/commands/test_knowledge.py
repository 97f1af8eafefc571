"""`gptjax knowledge`, on a made database."""

from pathlib import Path

import pytest

from gptjax.cli import main
from gptjax.data.knowledge.relations import Relations
from gptjax.data.knowledge.table import read_knowledge

MADE = Path(__file__).parents[1] / "golden" / "wordnet"
ROWS = "sentence1\tsentence2\tgold_label\n"


@pytest.fixture
def rows(tmp_path):
    """A training file of three rows, one of them without a label, and a test set."""
    file = tmp_path / "train.tsv"
    pairs = ("A dog left.\tThe hound's gone\tneutral", "Dogs run!\tMen leave\tcontradiction")
    file.write_text(ROWS + "\n".join(pairs) + "\n")
    (tmp_path / "test.tsv").write_text(ROWS + "Rex\tcats\tneutral\n")
    return file


def command(rows, *more):
    words = ["knowledge", "--wordnet", str(MADE), "--task", "snli", "--data", f"train={rows}"]
    return main([*words, "--out", str(rows.parent / "out"), *more])


def test_the_words_of_a_task_are_looked_up(rows, capsys):
    assert command(rows) == 0
    knowledge = read_knowledge(rows.parent / "out")
    assert dict(knowledge.lemmas) == {
        "Dogs": ["dog"],
        "Men": ["man"],
        "dog": ["dog"],
        "hound": ["hound"],
        "leave": ["leave"],
        "left": ["leave"],
        "run": ["run"],
    }
    assert set(knowledge.pairs) == {
        *(("dog", "hound"), ("hound", "dog"), ("leave", "run"), ("run", "leave")),
    }
    assert knowledge.relations("left", "run") == Relations(co_hyponymy=1)
    out = capsys.readouterr().out
    assert "11 words, of which WordNet 3.0 has 7; 4 pairs have a relation" in out
    assert "co-hyponymy          2" in out


def test_further_tasks_and_base_forms_of_one_s_own(rows, tmp_path):
    (tmp_path / "lemmas.tsv").write_text("dogs\tpoodle\nmen\t\n")
    other = f"breaking_nli={rows.with_name('test.tsv')}"
    assert command(rows, "--also", other, "--lemmas", str(tmp_path / "lemmas.tsv")) == 0
    knowledge = read_knowledge(rows.parent / "out")
    assert knowledge.lemmas["Dogs"] == ["poodle"]
    assert "Men" not in knowledge.lemmas
    assert knowledge.lemmas["cats"] == ["cat"]
    assert knowledge.relations("cats", "dog") == Relations(co_hyponymy=1)


def test_rare_words_are_left_out(rows):
    assert command(rows, "--min-count", "2") == 0
    assert read_knowledge(rows.parent / "out").pairs == {}


def test_a_table_is_replaced_only_on_request(rows, capsys):
    assert command(rows) == 0
    assert command(rows) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert command(rows, "--overwrite") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--wordnet", "nowhere"], "--wordnet nowhere: no file data.noun in this folder; Debian"),
        (["--wordnet", ""], "--wordnet is missing"),
        (["--task", ""], "--task is missing"),
        (["--task", "snlj"], "snli"),
        (["--also", "breaking_nli"], "write TASK=DATA"),
        (["--lemmas", "nowhere.tsv"], "nowhere.tsv: no such table"),
    ],
)
def test_what_cannot_be_is_one_line(rows, capsys, words, message):
    assert command(rows, *words) == 2
    assert message in capsys.readouterr().err
