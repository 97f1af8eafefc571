"""The texts of experiments/context_or_knowledge.py keep every word, and lose what they say."""

import itertools
import json
import random

import corpora
import pytest

from gptjax.data.tables.lines import FileReading
from gptjax.data.text.sources import FileSource


@pytest.fixture(scope="module")
def book():
    draw = random.Random(0)
    paragraphs = [
        " ".join(f"Sentence {i} of {p}, and\nno other." for i in range(draw.randint(1, 6)))
        for p in range(40)
    ]
    return "\n\n".join(paragraphs) + "\n"


def sentences(text):
    return [part.strip() + " other." for part in text.split(" other.")[:-1]]


def test_shuffling_keeps_every_sentence_and_the_shape_of_paragraphs(book):
    shuffled = corpora.shuffle_sentences(book, seed=1)
    assert sorted(sentences(shuffled)) == sorted(sentences(book))
    counts = [[part.count("other.") for part in text.split("\n\n")] for text in (book, shuffled)]
    assert counts[0] == counts[1]
    assert len(counts[0]) == 40
    order = [sentences(book).index(one) for one in sentences(shuffled)]
    neighbours = sum(b == a + 1 for a, b in itertools.pairwise(order))
    assert neighbours < len(order) / 10
    assert corpora.shuffle_sentences(book, seed=1) == shuffled != corpora.shuffle_sentences(book, 2)


def test_lines_are_paragraphs_where_no_line_is_blank():
    text = "One. Two.\nThree.\nFour. Five. Six.\n"
    shuffled = corpora.shuffle_sentences(text, seed=3)
    assert [line.count(".") for line in shuffled.splitlines()] == [2, 1, 3]
    assert sorted(shuffled.split()) == sorted(text.split())


def test_snippets_keep_every_word_in_order_and_books_are_mixed(book, tmp_path):
    pieces = corpora.snippets(book)
    assert " ".join(pieces).split() == book.split()
    assert {len(piece.split()) for piece in pieces[:-1]} == {corpora.SNIPPET_WORDS}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        text = book.replace("Sentence", name)
        (tmp_path / name / "book.txt").write_text(text, encoding="utf-8")
    books = FileSource(str(tmp_path), "text", FileReading())
    out = tmp_path / "out"
    corpora.write_snippets(books, out / "snippets.jsonl", seed=0)
    corpora.write_shuffled(books, out / "shuffled.jsonl", seed=0)
    rows = texts(out / "snippets.jsonl")
    assert sorted(rows) == sorted(
        piece for name in ("a", "b") for piece in corpora.snippets(book.replace("Sentence", name))
    )
    owners = ["a" if " a " in f" {row} " else "b" for row in rows]
    assert sum(x != y for x, y in itertools.pairwise(owners)) > len(owners) / 4
    shuffled = texts(out / "shuffled.jsonl")
    assert [sorted(text.split()) for text in shuffled] == [
        sorted(book.replace("Sentence", name).split()) for name in ("a", "b")
    ]
    assert [path.name for path in sorted(out.iterdir())] == ["shuffled.jsonl", "snippets.jsonl"]


def texts(file):
    return [json.loads(row)["text"] for row in file.read_text(encoding="utf-8").splitlines()]
