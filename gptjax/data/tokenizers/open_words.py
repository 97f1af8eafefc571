"""Words as tokens where a model reads each by its characters: there is no list of known words.

A word is what stands between white space, as in texts that are tokenised already; capitals are
kept. What has ids are the words of the texts at hand.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int

from gptjax.data.tokenizers.bpe import after_space, cut_at_spaces
from gptjax.data.tokenizers.spans import as_spans
from gptjax.data.tokenizers.tokenizer import check_several, check_texts
from gptjax.errors import UserError
from gptjax.spelling import begin, spell

FEWEST = 256


class OpenWords:
    """The words of some texts behind the `Tokenizer` interface.

    Ids: 0 is the separator, then the words as they come. ``size`` is the next power of two, so that
    other texts probably have a shape that is compiled already.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.words = tuple(dict.fromkeys(word for text in texts for word in text.split()))
        check_texts(self.words)
        self.size = FEWEST
        while self.size < 1 + len(self.words):
            self.size *= 2
        self.separator = 0
        self.end: int | None = self.separator
        self.fingerprint = hashlib.sha256(b"words by their characters").hexdigest()
        self._ids = {word: number for number, word in enumerate(self.words, 1)}

    def spelling(self) -> Int[np.ndarray, "V 50"]:
        """How each id is spelled (`gptjax.spelling`); the separator is a sentence's beginning."""
        found = np.tile(begin(), (self.size, 1))
        if self.words:
            found[1 : 1 + len(self.words)] = spell(self.words)
        return found

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pieces that begin with a word."""
        return cut_at_spaces(chunks, after_space)

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """As `encode`."""
        return self.encode(pieces)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n].

        Raises:
            UserError: a word is none of those texts that this was made of.
        """
        check_several(texts)
        try:
            return [np.array([self._ids[word] for word in t.split()], np.int32) for t in texts]
        except KeyError:
            raise UserError(
                "a model of elmo:FOLDER has no vocabulary, so that it is not measured on a text; "
                "take its states, by `gptjax probe` or from Python, or fine-tune it on a task"
            ) from None

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.spans`."""
        check_several(texts)
        return [as_spans([m.span() for m in re.finditer(r"\S+", text)]) for text in texts]

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`: the last word is taken for a whole one."""
        return self.encode(texts)

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The words of some ids with a blank between two; the separator is nothing."""
        return " ".join(self.words[int(i) - 1] for i in ids if i != self.separator)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Refuse: there is nothing to write.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{folder}: a model of elmo:FOLDER has no list of words that could be written there"
        )
