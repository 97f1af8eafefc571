"""Batches for pre-training: windows of T + 1 tokens in which every token is predicted once.

Consecutive windows of a document share one token: the last target of one is the first context
of the next. A document begins with a separator, the context of its first token. A separator is
predicted only where it is the end of a document, and only if ends are asked for. All else that is
predicted are the tokens of the text, so that every setting divides by the same count.
"""

from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gptjax.data.text.corpus import Corpus
from gptjax.data.text.rows import CorpusRows, ranges
from gptjax.data.text.settings import ShortDocuments
from gptjax.errors import UserError


class Pieces(NamedTuple):
    """Which stretches of a corpus lie where in which window."""

    # int64 [P], position in the corpus of the first token (context only). A document's end has the
    # position after its last token, where the next one's separator is.
    start: np.ndarray
    length: np.ndarray  # int32 [P], tokens, the context included; from 2 to T + 1
    context: np.ndarray  # int32 [P], how many of them are context only, at the front; at least 1
    offset: np.ndarray  # int32 [P], where in the window it begins
    # int64 [W + 1]: window w holds pieces first[w] to first[w + 1] - 1; its rest is separators.
    first: np.ndarray


@dataclass(eq=False, repr=False)
class Windows(CorpusRows):
    """Windows over a corpus, as `gptjax.batch.Batches` for pre-training (see `CorpusRows`).

    Raises:
        UserError: ``drop_last`` and fewer windows than a batch has; a stride outside its range.
    """

    _: KW_ONLY
    short_documents: ShortDocuments = "pad"  # see `CorpusConfig`
    # Tokens by which a window moves on, from 1 to T, which None is. Below T the windows of a
    # document overlap: the first predicts all of its tokens, each further one its last `stride`,
    # so that they have at least T - stride tokens of context, and every token still counts once.
    stride: int | None = None
    # Predict the end of each document that has any token, once; where a document is cut is no end.
    predict_end: bool = False

    def __post_init__(self) -> None:
        corpus, length = self.corpus, self.context_length
        stride = length if self.stride is None else self.stride
        if not 1 <= stride <= length:
            raise UserError(
                f"`stride={stride}`: it must be from 1 to the context of {length} tokens"
            )
        with_end = corpus.closed & (corpus.ends - corpus.starts > 1)
        self._ends = corpus.ends[with_end & self.predict_end]  # positions, in order
        self._pieces = _lay_out(corpus, length, stride, self.short_documents, self._ends)
        self.num_windows = len(self._pieces.first) - 1
        self._count(
            self.num_windows,
            f"{corpus.num_tokens:,} tokens are {self.num_windows:,} windows of {length} tokens, "
            f"fewer than one batch of {self.batch_size}; give more text, or lower "
            "`train.batch_size` or `model.context_length`",
        )

    def report(self) -> str:
        """One line: windows, and the shares of padding, short documents and shared windows."""
        pieces_in = np.diff(self._pieces.first)
        lengths = self.corpus.ends - self.corpus.starts - 1
        short = lengths < self.context_length
        predicted = self.corpus.num_tokens + len(self._ends)
        padding = 1 - predicted / (self.num_windows * self.context_length)
        line = (
            f"{self.num_windows:,} windows of {self.context_length} tokens, {padding:.1%} of their "
            f"positions without a target; {short.mean():.1%} of the documents "
            f"({lengths[short].sum() / max(lengths.sum(), 1):.1%} of the tokens) are shorter than "
            "a window"
        )
        if self.short_documents == "pack":
            line += f"; {(pieces_in > 1).mean():.1%} of the windows are packed"
        return line

    def _starts(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._pieces.start[self._pieces.first[rows]]
        return found

    def _gather(self, rows: np.ndarray) -> tuple[Int[np.ndarray, "B S"], Float[np.ndarray, "B S"]]:
        first = self._pieces.first
        row, piece = ranges(first[rows], first[rows + 1] - first[rows])
        piece_row, source = ranges(self._pieces.start[piece], self._pieces.length[piece])
        within = source - self._pieces.start[piece][piece_row]
        target = (row[piece_row], self._pieces.offset[piece][piece_row] + within)
        shape = (len(rows), self.context_length + 1)
        tokens = np.full(shape, self.corpus.separator, np.int32)
        # The end of the very last document is beyond the array.
        tokens[target] = self.corpus.tokens[np.minimum(source, len(self.corpus.tokens) - 1)]
        new = within >= self._pieces.context[piece][piece_row]
        # The separator before a document is told by its position: GPT-1 has no token of its own
        # for one.
        starts = self.corpus.starts
        separator = starts[np.searchsorted(starts, source, side="right") - 1] == source
        end = _is_in(self._ends, source)
        owner, columns = target
        tokens[owner[end], columns[end]] = self.corpus.separator
        # Only ones are written: a packed document begins where the end of the one before is.
        predicted = new & (end | ~separator)
        weights = np.zeros(shape, np.float32)
        weights[owner[predicted], columns[predicted]] = 1
        return tokens, weights


def _is_in(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which values are among some numbers in order, bool [N]."""
    if not len(ordered):
        return np.zeros(len(values), bool)
    nearest = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: np.ndarray = ordered[nearest] == values
    return found


def _lay_out(
    corpus: Corpus, context_length: int, stride: int, short_documents: str, predicted: np.ndarray
) -> Pieces:
    """The pieces of all documents; ``predicted`` are the positions of the ends to be predicted."""
    if short_documents == "cross":
        starts, ends = stretches(corpus).T
    else:
        starts, ends = corpus.starts, corpus.ends
    closed = _is_in(predicted, ends)
    ends = ends + closed
    # Of n tokens after the first, one window predicts T and each further one S; window k begins
    # at token k S.
    targets = ends - starts - 1
    further = np.maximum(-(-(targets - context_length) // stride), 0)
    counts = np.where(targets > 0, 1 + further, 0)
    document, step = ranges(np.zeros_like(counts), counts)
    start = starts[document] + step * stride
    length = np.minimum(targets[document] - step * stride, context_length) + 1
    length = length.astype(np.int32)
    context = np.where(step == 0, 1, context_length - stride + 1).astype(np.int32)
    to_end = closed[document] & (step == counts[document] - 1)
    if short_documents == "pack":
        return _pack(start, length, context, step > 0, to_end, context_length)
    # Windows with an end and nothing else come last: those of the text are the same without ends.
    order = np.argsort(to_end & (length == context + 1), kind="stable")
    start, length, context = start[order], length[order], context[order]
    offset = np.zeros(len(start), np.int32)
    return Pieces(start, length, context, offset, first=np.arange(len(start) + 1))


def _pack(
    start: np.ndarray,
    length: np.ndarray,
    context: np.ndarray,
    continued: np.ndarray,
    to_end: np.ndarray,
    context_length: int,
) -> Pieces:
    """Full windows first, then the shorter pieces in order, as many to a window as fit.

    A piece that does not begin with the separator of its document gets one before it. Where a piece
    has the end of its document (``to_end``), that is the separator of the next one too.
    """
    size = context_length + 1
    full = length == size
    order = np.concatenate([np.flatnonzero(full), np.flatnonzero(~full)])
    start, length, context = start[order], length[order], context[order]
    gap = (continued & ~full)[order].astype(np.int64)
    shared = to_end[order].astype(np.int64)
    taken = length + gap - shared
    ends = np.cumsum(taken)
    reach = ends + shared
    first = list(range(full.sum()))
    at = len(first)
    while at < len(start):
        first.append(at)
        before = ends[at - 1] if at else 0
        at = int(np.searchsorted(reach, before + size, side="right"))
    first_array = np.array([*first, len(start)], np.int64)
    window_of = np.repeat(np.arange(len(first)), np.diff(first_array))
    begins = ends - taken
    offset = begins - begins[first_array[:-1]][window_of] + gap
    return Pieces(start, length, context, offset.astype(np.int32), first_array)


def stretches(corpus: Corpus) -> np.ndarray:
    """Neighbouring documents joined: the fewest [start, end) with the same tokens, int64 [S, 2]."""
    starts, ends = corpus.starts, corpus.ends
    breaks = np.flatnonzero(starts[1:] != ends[:-1])
    return np.stack([starts[np.append(0, breaks + 1)], ends[np.append(breaks, -1)]], axis=1)
