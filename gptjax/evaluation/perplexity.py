"""Perplexity of a text, every token counted once, with a window that slides or not."""

import math
from dataclasses import dataclass

import numpy as np

from gptjax.batch import Batch
from gptjax.data.corpus import Corpus
from gptjax.errors import UserError


@dataclass(frozen=True)
class Perplexity:
    """A text's negative log-likelihood, by several units.

    Attributes:
        loss: nats per token.
        perplexity: exp of it.
        word_perplexity: exp of the nats per word (split at white space), which does not depend
            on the tokenizer.
        bits_per_byte: bits per byte of UTF-8, likewise.
        tokens, words, bytes: what was counted.
    """

    loss: float
    perplexity: float
    word_perplexity: float
    bits_per_byte: float
    tokens: int
    words: int
    bytes: int


def perplexity(loss: float, corpus: Corpus) -> Perplexity:
    """All units from the mean loss in nats per token of a corpus.

    A perplexity too large for a float is infinite.
    """
    nats = loss * corpus.num_tokens
    return Perplexity(
        loss=loss,
        perplexity=_exp(loss),
        word_perplexity=_exp(nats / max(corpus.words, 1)),
        bits_per_byte=nats / math.log(2) / max(corpus.bytes, 1),
        tokens=corpus.num_tokens,
        words=corpus.words,
        bytes=corpus.bytes,
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf


class SlidingWindows:
    """Windows that overlap, as `gptjax.batch.Batches`: each token is predicted in one of them.

    Window k of a document begins at token k·stride. It predicts the tokens that no window before
    it has predicted: the first window all of its tokens, each later one its last ``stride``.
    With a stride of S, a token (after the first window) has at least T - S tokens of context.

    Args:
        corpus: the documents; their first token is context only.
        context_length: T, tokens that the model sees at once.
        stride: S, from 1 to T.
        batch_size: B, windows per batch over all devices and processes.

    Raises:
        UserError: a stride outside its range.
    """

    def __init__(
        self, corpus: Corpus, *, context_length: int, stride: int, batch_size: int
    ) -> None:
        if not 1 <= stride <= context_length:
            raise UserError(
                f"--stride {stride}: it must be from 1 to the context of {context_length} tokens"
            )
        self.batch_size = batch_size
        self._corpus = corpus
        self._length = context_length
        self._stride = stride
        # n targets: one window predicts T of them, and each further one S.
        targets = corpus.ends - corpus.starts - 1
        counts = np.where(
            targets > 0, 1 + np.maximum(-(-(targets - context_length) // stride), 0), 0
        )
        self._ends = np.cumsum(counts)

    @property
    def num_windows(self) -> int:
        """How many windows cover the corpus."""
        return int(self._ends[-1])

    def __len__(self) -> int:
        """The number of batches."""
        return -(-self.num_windows // self.batch_size)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch (see `Batches`); every epoch is the same."""
        wanted = np.arange(index * self.batch_size, (index + 1) * self.batch_size)[rows]
        shape = (len(wanted), self._length + 1)
        tokens = np.full(shape, self._corpus.separator, np.int32)
        weights = np.zeros(shape, np.float32)
        for row, window in enumerate(wanted):
            if window < self.num_windows:
                start, end, first = self._window(int(window))
                tokens[row, : end - start] = self._corpus.tokens[start:end]
                weights[row, first - start : end - start] = 1
        return Batch(
            tokens=tokens[:, None],
            lm_weights=weights[:, None],
            extract=np.zeros((len(wanted), 1), np.int32),
            targets=np.ones((len(wanted), 1), np.float32),
            weights=(wanted < self.num_windows).astype(np.float32),
        )

    def describe(self, epoch: int, index: int) -> str:
        """Where the first window of a batch begins."""
        return self._corpus.locate(self._window(index * self.batch_size)[0])

    def _window(self, window: int) -> tuple[int, int, int]:
        """Positions in the corpus: the window's start and end, and its first new target."""
        document = int(np.searchsorted(self._ends, window, side="right"))
        k = window - (int(self._ends[document - 1]) if document else 0)
        begin, stop = int(self._corpus.starts[document]), int(self._corpus.ends[document])
        start = begin + k * self._stride
        new = 1 if k == 0 else self._length - self._stride + 1
        return start, min(start + self._length + 1, stop), start + new
