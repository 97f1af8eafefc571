"""Vectors of words in a text file: GloVe's format, and the text format of word2vec and fastText.

A line is a word and its numbers, with a blank between each two. word2vec's files begin with a line
of two numbers, how many words there are and how many numbers each has. A word may have blanks
inside, as some of GloVe's have: the numbers are counted from the end of the line.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from gptjax.errors import UserError
from gptjax.files import open_file
from gptjax.finite import is_finite


class WordVectors(NamedTuple):
    """The vectors of some words, as far as a file has them."""

    values: Float32[np.ndarray, "V D"]  # 0 of words that it lacks
    there: Bool[np.ndarray, " V"]


def read_word_vectors(file: Path, words: Sequence[str]) -> WordVectors:
    """The vectors of these words; of a word that a file has twice the first one.

    Only lines of these words are taken to pieces, so that a file of gigabytes takes seconds.

    Raises:
        UserError: no such file, none of the words, or a line that is no word with its numbers;
            says which.
    """
    wanted = {word.encode(): number for number, word in enumerate(words)}
    begin = {word.partition(b" ")[0] for word in wanted}
    width, values = 0, np.zeros((len(words), 0), np.float32)
    there = np.zeros(len(words), bool)
    try:
        with open_file(file) as lines:
            for number, line in enumerate(lines, 1):
                line = line.rstrip()
                if number == 1:
                    width = _width(line, file)
                    values = np.zeros((len(words), width), np.float32)
                    if _is_header(line):
                        continue
                if line.count(b" ") < width:
                    raise UserError(
                        f"{file}, line {number:,}: is no word with {width:,} numbers, as the "
                        "first line says; correct or remove the line"
                    )
                if line.partition(b" ")[0] not in begin:
                    continue
                word, *numbers = line.rsplit(b" ", width)
                at = wanted.get(word)
                if at is not None and not there[at]:
                    values[at], there[at] = _numbers(numbers, f"{file}, line {number:,}"), True
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    if not there.any():
        raise UserError(
            f"{file}: has none of the {len(words):,} words; is it of the same language, and are "
            "its words written as the vocabulary's are?"
        )
    return WordVectors(values, there)


def _is_header(line: bytes) -> bool:
    fields = line.split(b" ")
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def _width(line: bytes, file: Path) -> int:
    """How many numbers follow a word, by the first line."""
    fields = line.split(b" ")
    if _is_header(line):
        width = int(fields[1])
    else:
        width = 0
        while width < len(fields) - 1 and _is_number(fields[-1 - width]):
            width += 1
    if width == 0:
        raise UserError(
            f"{file}, line 1: is no word with numbers after it; name a text file in the format of "
            "GloVe or word2vec"
        )
    return width


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _numbers(fields: Sequence[bytes], where: str) -> Float32[np.ndarray, " D"]:
    try:
        found = [float(field) for field in fields]
    except ValueError:
        found = [math.nan]
    if not all(map(is_finite, found)):
        raise UserError(f"{where}: one of its values is no finite number; correct or remove it")
    return np.array(found, np.float32)
