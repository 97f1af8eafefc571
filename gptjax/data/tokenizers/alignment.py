"""Words of a text, and the word of each of its tokens.

A word is a run of letters, marks, digits and underscores, with hyphens and apostrophes inside of
it. What English joins to a word is one by itself: the 's of "dog's", the n't of "don't".
Punctuation belongs to no word.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int32

from gptjax.data.tokenizers.tokenizer import Tokenizer

_JOINED = r"(?:n['\u2019]t|['\u2019](?:s|re|ve|ll|d|m))(?!\w)"
_PARTS = r"\w+(?:['\u2019-]\w+)*"
_WORD = re.compile(rf"{_JOINED}|{_PARTS}?(?={_JOINED})|{_PARTS}", re.IGNORECASE)


def split_words(text: str) -> list[str]:
    """The words of a text, in order."""
    return _WORD.findall(text)


def align(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Int32[np.ndarray, " n"]]:
    """Of each token of `Tokenizer.encode` the place of its word in `split_words`, or −1.

    Tokens of one word have the same place. A token that reaches into several words belongs to the
    first of them; one of punctuation or white space alone belongs to none.
    """
    spans = tokenizer.spans(texts)
    return [_places(text, own) for text, own in zip(texts, spans, strict=True)]


def _places(text: str, spans: Int32[np.ndarray, "n 2"]) -> Int32[np.ndarray, " n"]:
    words = [found.span() for found in _WORD.finditer(text)]
    if not words:
        return np.full(len(spans), -1, np.int32)
    starts, ends = np.array(words, np.int64).T
    begin, end = spans.T
    # The first word that ends after the token's first character.
    place = np.searchsorted(ends, begin, side="right")
    near = np.minimum(place, len(words) - 1)
    inside = (begin < end) & (place < len(words)) & (starts[near] < end)
    return np.where(inside, near, -1).astype(np.int32)
