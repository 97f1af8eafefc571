"""Batches for a sequence autoencoder: a document and its end, and the same once more.

A row is d₁ … d_k d₁ … d_k, where d_k is the end. Only the second reading is predicted, so that the
model has to remember the first (Dai and Le 2015, where encoder and decoder are one LSTM).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gptjax.data.text.rows import CorpusRows, ranges
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError

SHORTEST_CONTEXT = 3  # a token and its end, twice, without the last, which is predicted
MUCH = 0.5  # share of the tokens that are cut, from which people are told so


def check_end(tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer that has no token for the end of a document.

    Raises:
        UserError: it has none.
    """
    if tokenizer.end is None:
        raise UserError(
            "`corpus.layout=autoencode`: the tokenizer has no token for the end of a text (GPT-1's "
            "and that of 256 bytes have none); take another tokenizer"
        )


@dataclass(eq=False, repr=False)
class AutoencoderRows(CorpusRows):
    """A document a row, twice, as `gptjax.batch.Batches` for pre-training (see `CorpusRows`).

    A document of more than (T + 1) / 2 tokens, its end included, keeps its last ones. A part of a
    document, where some of it is held back, is a document here. One without any token has no row.

    Raises:
        UserError: a context too short for one token; ``drop_last`` and fewer documents than rows of
            a batch.
    """

    def __post_init__(self) -> None:
        corpus = self.corpus
        if self.context_length < SHORTEST_CONTEXT:
            raise UserError(
                f"`model.context_length={self.context_length}`: `corpus.layout=autoencode` needs "
                f"at least {SHORTEST_CONTEXT}, for a token and its end, twice"
            )
        lengths = corpus.ends - corpus.starts - 1
        self._documents = np.flatnonzero(lengths)
        lengths = lengths[self._documents]
        # int64 [rows], tokens of the text that a row has, without the end.
        self._kept = np.minimum(lengths, self.longest)
        self._beyond = lengths - self._kept
        self._count(
            len(lengths),
            f"{len(lengths):,} documents are as many rows, fewer than one batch of "
            f"{self.batch_size}; give more text, or lower `train.batch_size`",
        )

    @property
    def longest(self) -> int:
        """How many tokens of a document have room, its end not counted."""
        return (self.context_length + 1) // 2 - 1

    @property
    def num_tokens(self) -> int:
        """How many tokens of the text are predicted in an epoch of all rows, ends not counted."""
        return int(self._kept.sum())

    @property
    def num_targets(self) -> int:
        """How many tokens are predicted in an epoch of all rows, ends counted."""
        return self.num_tokens + len(self._kept)

    def report(self) -> str:
        """One line: rows, the share of positions without a target, and what is cut."""
        rows, cut = len(self._kept), self._beyond > 0
        without = 1 - self.num_targets / (rows * self.context_length)
        line = (
            f"{rows:,} rows of {self.context_length} tokens, {without:.1%} of their positions "
            "without a target, those of the first reading included; "
        )
        if not cut.any():
            return line + "every document is whole"
        return line + (
            f"{cut.sum():,} documents ({cut.mean():.1%}) are longer than {self.longest} tokens and "
            f"keep their last ones: {self._beyond.sum():,} tokens ({self.share_cut:.1%}) are cut"
        )

    @property
    def share_cut(self) -> float:
        """The share of the tokens that no row has."""
        beyond = int(self._beyond.sum())
        return beyond / max(beyond + self.num_tokens, 1)

    def notice(self) -> str | None:
        """What to say of a text whose documents are mostly too long; None of any other."""
        if self.share_cut < MUCH:
            return None
        return (
            f"{self.corpus.name}: {self.share_cut:.1%} of the tokens are never read: of each "
            f"document only the last {self.longest} have room; `corpus.layout=autoencode` is for "
            "texts that are short, such as the rows of a task, or for a longer "
            "`model.context_length`"
        )

    def _starts(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.corpus.ends[self._documents[rows]] - self._kept[rows]
        return found

    def _gather(self, rows: np.ndarray) -> tuple[Int[np.ndarray, "B S"], Float[np.ndarray, "B S"]]:
        start, half = self._starts(rows), self._kept[rows] + 1
        row, source = ranges(start, half)
        column = source - start[row]
        # The end of the very last document is beyond the array.
        found = self.corpus.tokens[np.minimum(source, len(self.corpus.tokens) - 1)]
        found = np.where(column == half[row] - 1, self.corpus.separator, found)
        shape = (len(rows), self.context_length + 1)
        tokens = np.full(shape, self.corpus.separator, np.int32)
        weights = np.zeros(shape, np.float32)
        again = column + half[row]
        tokens[row, column] = tokens[row, again] = found
        weights[row, again] = 1
        return tokens, weights
