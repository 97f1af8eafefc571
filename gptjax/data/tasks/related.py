"""What is known of the words of an example's sequences, position by position.

It is kept as the positions that have something, since most pairs of words have no relation, and
spread when a batch is made.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from gptjax.data.knowledge.relations import NAMES
from gptjax.data.knowledge.table import Knowledge
from gptjax.data.tokenizers.alignment import align, split_words
from gptjax.data.tokenizers.tokenizer import Tokenizer

Places = Int32[np.ndarray, " _"]


class Related(NamedTuple):
    """Of one example with two texts, the words of its tokens and their relations.

    Position i is of a token of the first text and in the first of K sequences, position j of one
    of the second text and in the last.
    """

    words: tuple[Places, ...]  # of each sequence's tokens the places of their words, or -1
    places: Int32[np.ndarray, "P 2"]  # i and j of tokens whose words are related
    values: Float32[np.ndarray, "P 5"]  # the relations of the first word to the second


class Words:
    """The words of some texts, and of each token the place of its word."""

    def __init__(self, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        self._words = {text: split_words(text) for text in texts}
        self._places = dict(zip(texts, align(tokenizer, texts), strict=True))

    def numbered(self, first: str, second: str) -> list[Places]:
        """Of each token of two texts the number of its word, or -1; the second text's words are
        numbered after the first's, so that a number says whose it is."""
        own, other = self._places[first], self._places[second]
        return [own, np.where(other < 0, -1, other + len(self._words[first])).astype(np.int32)]

    def related(
        self, first: str, second: str, numbers: Sequence[Places], knowledge: Knowledge
    ) -> Related:
        """What is known of two texts, given the numbers of the words in their sequences."""
        own, other = self._words[first], self._words[second]
        size, found = len(own), list(knowledge.related(own, other))
        # By the numbers of two words the place of their relations in what was found, or -1.
        known = np.full((size + 1, len(other) + 1), -1, np.int32)
        for place, (row, column, _) in enumerate(found):
            known[row, column] = place
        number = known[_inside(numbers[0], size)][:, _inside(numbers[-1] - size, len(other))]
        at, to = (number >= 0).nonzero()
        values = np.array([values for _, _, values in found], np.float32).reshape(-1, len(NAMES))
        places = np.stack([at, to], axis=-1).astype(np.int32)
        words = tuple(np.where(one >= size, one - size, one) for one in numbers)
        return Related(words, places, values[number[at, to]])


def _inside(numbers: Places, size: int) -> Places:
    """The numbers from 0 to below ``size``, and ``size`` in the place of all others."""
    return np.where((numbers >= 0) & (numbers < size), numbers, size)


def describe(examples: Iterable[Related | None]) -> str:
    """How much is known of some examples' words, in words."""
    counts = np.array([0 if one is None else len(one.places) for one in examples])
    related = counts[counts > 0]
    mean = f", {related.mean():.1f} pairs of tokens each" if len(related) else ""
    return f"{len(related) / len(counts):.1%} of the examples have words that are related{mean}"


def spread_words(
    examples: Iterable[tuple[int, Related]], shape: tuple[int, int, int]
) -> Int32[np.ndarray, "B K T"]:
    """The word of each token of a batch, by the row of each example; -1 elsewhere."""
    words = np.full(shape, -1, np.int32)
    for row, example in examples:
        for k, places in enumerate(example.words):
            words[row, k, : len(places)] = places
    return words


def spread_knowledge(
    examples: Iterable[tuple[int, Related]], shape: tuple[int, int, int]
) -> Float32[np.ndarray, "B T T 5"]:
    """The relations of each pair of positions of a batch, by the row of each example."""
    rows, _, length = shape
    knowledge = np.zeros((rows, length, length, len(NAMES)), np.float32)
    for row, example in examples:
        knowledge[row, *example.places.T] = example.values
    return knowledge
