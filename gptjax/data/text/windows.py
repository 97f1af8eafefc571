"""Batches for pre-training: windows of T + 1 tokens in which every token is predicted once.

Consecutive windows of a document share one token: the last target of one is the first context
of the next. A document begins with a separator, the context of its first token. A separator is
predicted only where it is the end of a document, and only if ends are asked for. All else that is
predicted are the tokens of the text, so that every setting divides by the same count.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gptjax.batch import Batch
from gptjax.data.text.corpus import Corpus
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
class Windows:
    """Windows over a corpus, as `gptjax.batch.Batches` for pre-training (K = 1, C = 1).

    Shapes: tokens int32 [B, 1, T + 1], lm_weights float32 [B, 1, T + 1], extract int32 [B, 1]
    (zeros), targets float32 [B, 1] (ones), weights float32 [B]. What lies in an epoch's batches
    is a permutation of the windows that depends on (seed, epoch) only.

    Raises:
        UserError: ``drop_last`` and fewer windows than a batch has; a stride outside its range.
    """

    corpus: Corpus
    _: KW_ONLY
    context_length: int  # T, tokens that the model sees at once
    batch_size: int  # B, windows per batch over all devices and processes
    seed: int = 0  # of the order
    shuffle: bool = True  # another order every epoch; otherwise the corpus's own
    # Leave out the windows that do not fill a batch (other ones every epoch, if shuffled);
    # otherwise the last batch is filled up with rows of weight 0.
    drop_last: bool = True
    short_documents: Literal["pad", "pack", "cross"] = "pad"  # see `CorpusConfig`
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
        self._order = (-1, np.arange(self.num_windows))  # an epoch, and its order
        if self.drop_last and self.num_windows < self.batch_size:
            raise UserError(
                f"{corpus.name}: {corpus.num_tokens:,} tokens are {self.num_windows:,} windows of "
                f"{length} tokens, fewer than one batch of {self.batch_size}; give more text, "
                "or lower `train.batch_size` or `model.context_length`"
            )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(self.num_windows, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch of an epoch, as fresh numpy arrays (see `Batches`)."""
        windows = self._windows(epoch, index)
        wanted = np.arange(self.batch_size)[rows]
        present = wanted < len(windows)
        tokens, weights = self._gather(windows[wanted[present]])
        missing = ((0, len(wanted) - len(tokens)), (0, 0))  # Only the last rows can be.
        tokens = np.pad(tokens, missing, constant_values=self.corpus.separator)
        return Batch(
            tokens=tokens[:, None, :],
            lm_weights=np.pad(weights, missing)[:, None, :],
            extract=np.zeros((len(wanted), 1), np.int32),
            targets=np.ones((len(wanted), 1), np.float32),
            weights=present.astype(np.float32),
        )

    def describe(self, epoch: int, index: int) -> str:
        """File, document and token where each window of a batch begins."""
        starts = self._pieces.start[self._pieces.first[self._windows(epoch, index)]]
        return "; ".join(self.corpus.locate(int(start)) for start in starts)

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

    def _windows(self, epoch: int, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        begin = index * self.batch_size
        end = min(begin + self.batch_size, self.num_windows)
        if self.shuffle and self._order[0] != epoch:
            # 8 bytes for a window of 1 KiB: under 1 % of the corpus.
            generator = np.random.default_rng((self.seed, epoch))
            self._order = (epoch, generator.permutation(self.num_windows))
        return self._order[1][begin:end]

    def _gather(
        self, windows: np.ndarray
    ) -> tuple[Int[np.ndarray, "B S"], Float[np.ndarray, "B S"]]:
        """Tokens and weights of some windows, S = T + 1."""
        first = self._pieces.first
        row, piece = _ranges(first[windows], first[windows + 1] - first[windows])
        piece_row, source = _ranges(self._pieces.start[piece], self._pieces.length[piece])
        within = source - self._pieces.start[piece][piece_row]
        target = (row[piece_row], self._pieces.offset[piece][piece_row] + within)
        shape = (len(windows), self.context_length + 1)
        tokens = np.full(shape, self.corpus.separator, np.int32)
        # The end of the very last document is beyond the array.
        tokens[target] = self.corpus.tokens[np.minimum(source, len(self.corpus.tokens) - 1)]
        new = within >= self._pieces.context[piece][piece_row]
        # The separator before a document is told by its position: GPT-1 has no token of its own
        # for one.
        starts = self.corpus.starts
        separator = starts[np.searchsorted(starts, source, side="right") - 1] == source
        end = _is_in(self._ends, source)
        rows, columns = target
        tokens[rows[end], columns[end]] = self.corpus.separator
        # Only ones are written: a packed document begins where the end of the one before is.
        predicted = new & (end | ~separator)
        weights = np.zeros(shape, np.float32)
        weights[rows[predicted], columns[predicted]] = 1
        return tokens, weights


def _ranges(start: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Several ranges one after the other: which range an entry is of, and its value.

    ([7, 20], [2, 3]) gives [0, 0, 1, 1, 1] and [7, 8, 20, 21, 22].
    """
    owner = np.repeat(np.arange(len(start)), length)
    before = np.cumsum(length, dtype=np.int64) - length
    return owner, np.arange(len(owner)) + (start - before)[owner]


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
    document, step = _ranges(np.zeros_like(counts), counts)
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
