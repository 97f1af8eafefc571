"""Batches whose rows go on from batch to batch, for models that remember.

Row b of a batch goes on where row b of the one before ended: the last token that it predicted is
the first that it reads. `gptjax.batch.Batch.fresh` says where nothing is remembered.
"""

import heapq
from dataclasses import KW_ONLY, dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from gptjax.batch import Batch
from gptjax.data.text.corpus import Corpus
from gptjax.errors import UserError


class Line(NamedTuple):
    """Stretches of a corpus, one after the other."""

    starts: np.ndarray  # int64 [S], the position in the corpus of the first token of each
    offsets: np.ndarray  # int64 [S + 1], where each begins in the line, and where the last ends

    @staticmethod
    def of(starts: np.ndarray, lengths: np.ndarray) -> "Line":
        """Stretches of so many tokens."""
        return Line(starts, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))

    def at(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of places in the line the stretch, S beyond the end, and the token in it."""
        stretch = np.searchsorted(self.offsets, places, side="right") - 1
        return stretch, places - self.offsets[stretch]


@dataclass(eq=False, repr=False)
class Streams:
    """A corpus as B streams that run side by side, as `gptjax.batch.Batches` for pre-training.

    The documents of an epoch, in an order that depends on (seed, epoch) alone, are one long text,
    a separator before each. It is cut into B streams of the same number of windows; what is left
    over at the end is not read in that epoch. Shapes are those of `gptjax.data.text.windows`.

    Raises:
        UserError: there is too little text for one batch.
    """

    corpus: Corpus
    _: KW_ONLY
    context_length: int  # T, tokens that the model reads at once
    batch_size: int  # B, streams over all devices and processes
    seed: int = 0  # of the order
    # What is remembered is forgotten where an epoch begins, or where each document does, too.
    reset: Literal["epoch", "document"] = "epoch"
    predict_end: bool = False  # the end of each document that is whole: the next one's separator

    def __post_init__(self) -> None:
        corpus = self.corpus
        self._documents = np.flatnonzero(corpus.ends - corpus.starts > 1)
        self._lengths = (corpus.ends - corpus.starts)[self._documents]
        self._epoch = -1
        total = int(self._lengths.sum())
        self.num_windows = total // (self.batch_size * self.context_length)  # of each stream
        if self.num_windows < 1:
            raise UserError(
                f"{corpus.name}: {corpus.num_tokens:,} tokens do not fill {self.batch_size} "
                f"streams of {self.context_length} tokens; give more text, or lower "
                "`train.batch_size` or `model.context_length`"
            )
        self._total = total

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return self.num_windows

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch of an epoch, as fresh numpy arrays (see `Batches`)."""
        line, order = self._line(epoch)
        places = self._begins(index)[rows, None] + np.arange(self.context_length + 1)
        stretch, within = line.at(places)
        beyond = stretch == len(line.starts)  # the end of the last document
        stretch = np.minimum(stretch, len(line.starts) - 1)
        source = line.starts[stretch] + np.where(beyond, 0, within)
        tokens = self.corpus.tokens[source].astype(np.int32)
        tokens[beyond] = self.corpus.separator
        first = beyond | (within == 0)
        before = order[np.where(beyond, stretch, stretch - 1)]
        weights = np.where(first, self.predict_end & self.corpus.closed[before], True)
        fresh = first[:, :-1] if self.reset == "document" else np.zeros_like(first[:, :-1])
        fresh[:, 0] |= index == 0
        return _batch(tokens, weights, fresh, np.ones(len(tokens), bool))

    def describe(self, epoch: int, index: int) -> str:
        """File, document and token where each stream is."""
        line, _ = self._line(epoch)
        stretch, within = line.at(self._begins(index))
        positions = line.starts[stretch] + within
        return "; ".join(self.corpus.locate(int(position)) for position in positions)

    def report(self) -> str:
        """One line: the streams, and what is left over."""
        read = self.batch_size * self.num_windows * self.context_length
        return (
            f"{self.batch_size:,} streams of {self.num_windows:,} windows of "
            f"{self.context_length} tokens; what is remembered goes on until the {self.reset} "
            f"ends; {1 - read / self._total:.1%} of the text is left over in each epoch"
        )

    def _begins(self, index: int) -> Int[np.ndarray, " B"]:
        """Where the streams are in the line before a batch."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        windows = np.arange(self.batch_size) * self.num_windows + index
        begins: np.ndarray = windows * self.context_length
        return begins

    def _line(self, epoch: int) -> tuple[Line, np.ndarray]:
        """The text of an epoch, and its documents in order."""
        if self._epoch != epoch:
            generator = np.random.default_rng((self.seed, epoch))
            order = generator.permutation(len(self._documents))
            documents = self._documents[order]
            line = Line.of(self.corpus.starts[documents], self._lengths[order])
            self._epoch, self._now = epoch, (line, documents)
        return self._now


@dataclass(eq=False, repr=False)
class WholeDocuments:
    """Documents in B rows, each read from its beginning to its end, to evaluate what remembers.

    The longest come first, each in the row that has the least so far. Nothing is remembered of the
    document before, so that what comes out depends neither on the rows nor on their number. Every
    token of the text is predicted once. A single document is cut into streams, if so many are
    asked for, each of which remembers nothing of the one before.
    """

    corpus: Corpus
    _: KW_ONLY
    context_length: int  # T, tokens that the model reads at once
    batch_size: int  # B, rows over all devices and processes
    streams: int = 1  # into which a single document is cut
    predict_end: bool = False

    def __post_init__(self) -> None:
        corpus = self.corpus
        starts, ends, closed = corpus.starts, corpus.ends, corpus.closed & self.predict_end
        pieces = min(self.streams, corpus.num_tokens)
        self.is_cut = corpus.num_documents == 1 and pieces > 1
        if self.is_cut:
            cuts = starts[0] + np.arange(pieces + 1) * (ends[0] - starts[0] - 1) // pieces
            starts, ends = cuts[:-1], cuts[1:] + 1
            closed = np.append(np.zeros(pieces - 1, bool), closed)
        lengths = np.where(ends - starts > 1, ends - starts + closed, 0)
        self._ends = ends
        self._rows: list[list[int]] = [[] for _ in range(self.batch_size)]
        filled = [(0, row) for row in range(self.batch_size)]
        for document in np.argsort(-lengths, kind="stable"):
            if lengths[document]:
                length, row = heapq.heappop(filled)
                self._rows[row].append(int(document))
                heapq.heappush(filled, (length + int(lengths[document]), row))
        chosen = [np.array(row, np.int64) for row in self._rows]
        self._lines = [Line.of(starts[row], lengths[row]) for row in chosen]
        longest = max(int(line.offsets[-1]) for line in self._lines)
        self.num_windows = max(-(-(longest - 1) // self.context_length), 1)

    def __len__(self) -> int:
        """The number of batches."""
        return self.num_windows

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch, the same in every epoch (see `Batches`)."""
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        chosen = range(self.batch_size)[rows]
        shape = (len(chosen), self.context_length + 1)
        tokens = np.full(shape, self.corpus.separator, np.int32)
        weights, first = np.zeros(shape, bool), np.zeros(shape, bool)
        places = index * self.context_length + np.arange(shape[1])
        for to, row in enumerate(chosen):
            line = self._lines[row]
            inside = places < line.offsets[-1]
            stretch, within = line.at(places[inside])
            source = line.starts[stretch] + within
            text = source < self._ends[np.array(self._rows[row], int)[stretch]]
            found = self.corpus.tokens[np.where(text, source, 0)]
            tokens[to, inside] = np.where(text, found, self.corpus.separator)
            weights[to, inside], first[to, inside] = within > 0, within == 0
        there = np.array([len(self._rows[row]) > 0 for row in chosen], bool)
        return _batch(tokens, weights, first[:, :-1], there)

    def report(self) -> str:
        """One line: what each row reads."""
        if not self.is_cut:
            return "each document is read from its beginning to its end, and nothing before it"
        cut = min(self.streams, self.corpus.num_tokens)
        return f"one document, cut into {cut:,} streams, each of which begins from nothing"

    def describe(self, epoch: int, index: int) -> str:
        """For messages; nothing that is shuffled needs to be found again."""
        return f"batch {index} of {self.corpus.name}"


def _batch(
    tokens: Int[np.ndarray, "B S"],
    weights: Bool[np.ndarray, "B S"],
    fresh: Bool[np.ndarray, "B T"],
    there: Bool[np.ndarray, " B"],
) -> Batch:
    """K = 1; the first column is context only."""
    lm_weights = weights.astype(np.float32)
    lm_weights[:, 0] = 0
    return Batch(
        tokens=tokens[:, None],
        lm_weights=lm_weights[:, None],
        extract=np.zeros((len(tokens), 1), np.int32),
        targets=np.ones((len(tokens), 1), np.float32),
        weights=there.astype(np.float32),
        fresh=fresh[:, None],
    )
