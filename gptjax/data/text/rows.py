"""Batches of rows of a corpus: their order in an epoch, and what fills up the last batch."""

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, field

import numpy as np
from jaxtyping import Float, Int

from gptjax.batch import Batch
from gptjax.data.text.corpus import Corpus
from gptjax.errors import UserError


@dataclass(eq=False, repr=False)
class CorpusRows(ABC):
    """Rows of T + 1 tokens of a corpus, as `gptjax.batch.Batches` for pre-training (K = 1, C = 1).

    Shapes: tokens int32 [B, 1, T + 1], lm_weights float32 [B, 1, T + 1], extract int32 [B, 1]
    (zeros), targets float32 [B, 1] (ones), weights float32 [B]. What lies in an epoch's batches
    is a permutation of the rows that depends on (seed, epoch) only. What a row holds is up to the
    classes below.
    """

    corpus: Corpus
    _: KW_ONLY
    context_length: int  # T, tokens that the model sees at once
    batch_size: int  # B, rows per batch over all devices and processes
    seed: int = 0  # of the order
    shuffle: bool = True  # another order every epoch; otherwise the corpus's own
    # Leave out the rows that do not fill a batch (other ones every epoch, if shuffled);
    # otherwise the last batch is filled up with rows of weight 0.
    drop_last: bool = True
    _order: tuple[int, np.ndarray] = field(init=False)  # an epoch, and its order

    def _count(self, number: int, what: str) -> None:
        """Take so many rows; ``what`` they are, and what could be lowered, is for the error."""
        self._order = (-1, np.arange(number))
        if self.drop_last and number < self.batch_size:
            raise UserError(f"{self.corpus.name}: {what}")

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(len(self._order[1]), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch of an epoch, as fresh numpy arrays (see `Batches`)."""
        found = self._rows(epoch, index)
        wanted = np.arange(self.batch_size)[rows]
        present = wanted < len(found)
        tokens, weights = self._gather(found[wanted[present]])
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
        """File, document and token where each row of a batch begins."""
        starts = self._starts(self._rows(epoch, index))
        return "; ".join(self.corpus.locate(int(start)) for start in starts)

    def _rows(self, epoch: int, index: int) -> np.ndarray:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        number = len(self._order[1])
        begin = index * self.batch_size
        end = min(begin + self.batch_size, number)
        if self.shuffle and self._order[0] != epoch:
            # 8 bytes for a row of 1 KiB: under 1 % of the corpus.
            generator = np.random.default_rng((self.seed, epoch))
            self._order = (epoch, generator.permutation(number))
        return self._order[1][begin:end]

    @abstractmethod
    def report(self) -> str:
        """One line for people: how many rows, and what is in them."""

    @abstractmethod
    def _starts(self, rows: np.ndarray) -> np.ndarray:
        """The position in the corpus of the first token of some rows."""

    @abstractmethod
    def _gather(self, rows: np.ndarray) -> tuple[Int[np.ndarray, "B S"], Float[np.ndarray, "B S"]]:
        """Tokens and weights of some rows, S = T + 1."""


def ranges(start: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Several ranges one after the other: which range an entry is of, and its value.

    ([7, 20], [2, 3]) gives [0, 0, 1, 1, 1] and [7, 8, 20, 21, 22].
    """
    owner = np.repeat(np.arange(len(start)), length)
    before = np.cumsum(length, dtype=np.int64) - length
    return owner, np.arange(len(owner)) + (start - before)[owner]
