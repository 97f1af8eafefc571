"""Vectors of words in text files: GloVe's oddities, bad lines, and what a run of them holds."""

import numpy as np
import pytest

from gptjax.errors import UserError
from gptjax.interchange.word_vectors import read_word_vectors

WORDS = ["<unk>", "cat", "dog", ". .", "naïve", "at"]
GLOVE = (
    "the 0.1 0.2 -3e-1\n"
    "cat 1 2 3\n"
    ". . 4 5 6\n"  # a word with a blank, as in GloVe 840B
    "at name@domain.com 0 0 1\n"
    "naïve\xa0x 9 9 9\n"  # a blank that is none, and no line end either
    "naïve 7 8 9\n"
    "cat 0 0 0\n"
)


def write(tmp_path, text):
    file = tmp_path / "vectors.txt"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("header", ["", "7 3\n"])
@pytest.mark.parametrize("end", ["\n", " \n", "\r\n"])
def test_words_have_their_vectors(header, end, tmp_path):
    file = write(tmp_path, header + GLOVE.replace("\n", end))
    values, there = read_word_vectors(file, WORDS)
    assert there.tolist() == [False, True, False, True, True, False]
    np.testing.assert_array_equal(values[1], [1, 2, 3])
    np.testing.assert_array_equal(values[3], [4, 5, 6])
    np.testing.assert_array_equal(values[4], [7, 8, 9])
    assert not values[~there].any()
    assert values.dtype == np.float32


def test_the_first_word_may_have_a_blank(tmp_path):
    values, there = read_word_vectors(write(tmp_path, ". . 4 5\ncat 1 2\n"), WORDS)
    assert values.shape == (6, 2)
    assert there.sum() == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat 1 2 3\ndog 1 2\n", "line 2: is no word with 3 numbers"),
        ("cat 1 2 3\n\ndog 1 2 3\n", "line 2: is no word with 3 numbers"),
        ("2 3\ncat 1 2 3\nother 1\n", "line 3: is no word with 3 numbers"),
        ("the 1 2\ncat 1 x\n", "line 2: one of its values is no finite number"),
        ("the 1 2\ncat 1 nan\n", "line 2: one of its values is no finite number"),
        ("the 1 2\ncat 1 1e40\n", "line 2: one of its values is no finite number"),
        ("just text\n", "line 1: is no word with numbers after it"),
        ("1 0\n", "line 1: is no word with numbers after it"),
        ("the 1 2\n", "has none of the 6 words"),
        ("", "has none of the 6 words"),
    ],
)
def test_what_cannot_be_read_is_one_line(text, message, tmp_path):
    file = write(tmp_path, text)
    with pytest.raises(UserError, match=message) as error:
        read_word_vectors(file, WORDS)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_word_vectors(tmp_path / "none.txt", WORDS)
    with pytest.raises(UserError, match="cannot be read"):
        read_word_vectors(tmp_path, WORDS)
