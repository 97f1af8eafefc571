"""How a word is spelled for a model that reads its characters: 50 numbers, as ELMo has them.

A word is its beginning, its bytes of UTF-8, at most 48 of them, and its end; padding fills it up.
Nothing here imports jax.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

LENGTH = 50
# Bytes are 0 to 255.
BEGIN_SENTENCE, END_SENTENCE, BEGIN_WORD, END_WORD, PADDING = range(256, 261)
CHARACTERS = 261


def spelled(characters: Sequence[int]) -> Int[np.ndarray, "50"]:
    """A word of these characters, int32; those for which there is no room are left out."""
    found = np.full(LENGTH, PADDING, np.int32)
    kept = [BEGIN_WORD, *characters[: LENGTH - 2], END_WORD]
    found[: len(kept)] = kept
    return found


def begin() -> Int[np.ndarray, "50"]:
    """The marker that stands before a sentence, as if it were a word."""
    return spelled([BEGIN_SENTENCE])


def end() -> Int[np.ndarray, "50"]:
    """The marker that stands after a sentence."""
    return spelled([END_SENTENCE])


def spell(words: Iterable[str]) -> Int[np.ndarray, "V 50"]:
    """Words as numbers, int32, in their order."""
    return np.stack([spelled(word.encode()) for word in words])
