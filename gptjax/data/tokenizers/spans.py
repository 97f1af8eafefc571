"""Where tokens stand in their text: of each the first character, and the one after the last."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import numpy as np
from jaxtyping import Int32

Spans = Int32[np.ndarray, "n 2"]

# What the preparation of a text replaces character by character, in all of its variants.
_SAME = str.maketrans(
    {
        **dict.fromkeys("\u2014\u2013\u2015", "-"),
        **dict.fromkeys("\u00b4\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        "\u2026": "...",
    }
)


def no_spans() -> Spans:
    """Those of no token."""
    return np.zeros((0, 2), np.int32)


def as_spans(offsets: Sequence[tuple[int, int]]) -> Spans:
    """Pairs of numbers as an array, also where there are none."""
    return np.array(offsets, np.int32).reshape(-1, 2)


def spans_of_bytes(text: str, lengths: Int32[np.ndarray, " n"]) -> Spans:
    """Of tokens that are so many bytes of a text in UTF-8 each, in a row.

    Bytes that are too many stand before the text, as the blank that some models put there. A token
    of a part of a character has the whole character.
    """
    size = np.array([len(character.encode()) for character in text], np.int64)
    character = np.repeat(np.arange(len(text)), size)
    ends = np.cumsum(lengths, dtype=np.int64)
    before = int(ends[-1]) - len(character) if len(ends) else 0
    ends = np.maximum(ends - before, 0)
    begins = np.maximum(ends - lengths, 0)
    real = ends > begins
    spans = np.zeros((len(lengths), 2), np.int32)
    spans[real, 0] = character[begins[real]]
    spans[real, 1] = character[ends[real] - 1] + 1
    return spans


def spans_of_prepared(text: str, prepared: str, lengths: Sequence[int]) -> Spans:
    """Of tokens that are so many characters each of what was made of a text.

    The characters of both are matched in order, without white space and capitals; those of
    ``prepared`` that are not in the text belong nowhere.
    """
    places, original = [], []
    for place, character in enumerate(text):
        for one in character.translate(_SAME).lower():
            if not one.isspace():
                places.append(place)
                original.append(one)
    numbers = [number for number, one in enumerate(prepared) if not one.isspace()]
    made = [prepared[number] for number in numbers]
    found = np.full(len(prepared), -1, np.int64)
    for mine, theirs, size in _blocks(original, made):
        found[numbers[theirs : theirs + size]] = places[mine : mine + size]
    spans, start = np.zeros((len(lengths), 2), np.int32), 0
    for number, length in enumerate(lengths):
        own = found[start : start + length]
        start += length
        if (own := own[own >= 0]).size:
            spans[number] = own[0], own[-1] + 1
    return spans


def _blocks(first: list[str], second: list[str]) -> Sequence[tuple[int, int, int]]:
    """Places in both, and the length, of runs that are the same."""
    if first == second:
        return [(0, 0, len(first))]
    return SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks()
