"""Batches of a task's examples by length: a handful of shapes, little padding.

Examples are grouped by the length of their longest sequence. Where a bucket does not fill its
last batch in an epoch, its rest moves on to the next longer one, so that an epoch has the same
number of batches in any order, and only one of them is not full.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from gptjax.batch import Batch
from gptjax.data.tasks.formats import Sequences
from gptjax.data.tasks.related import spread_knowledge, spread_words
from gptjax.data.tasks.splits import Example, targets_of
from gptjax.data.tasks.task import Task

MAX_BUCKETS = 8
LENGTH_MULTIPLE = 4  # of the lengths of shapes: vector units like it, and padding stays small
# Each further shape is compiled once, which takes as long as many batches: it is not worth it
# below this share of padding, nor for fewer than so many batches an epoch.
ENOUGH_PADDING = 0.08
BATCHES_PER_SHAPE = 8
BATCHES_PER_STAGE = 24  # the same where every epoch compiles its shapes anew
# Of a few batches the lengths are coarse, so that the next few rows, asked for in the same process,
# probably have a shape that is compiled already.
FEW_MULTIPLE = 16


@runtime_checkable
class KeptStates(Protocol):
    """The states of each example's sequences, where they were computed before."""

    def batch(
        self, members: Int[np.ndarray, " B"], width: int, length: int
    ) -> Float[np.ndarray, "B K T N D"]:
        """Those of a batch of examples by their numbers; -1 is none."""


@dataclass(eq=False, repr=False)
class Bucketed:
    """A split's examples as `gptjax.batch.Batches`, each batch with the shape of its bucket.

    Shapes: tokens int32 [B, K, T], lm_weights float32 [B, K, T], extract int32 [B, K], targets
    float32 [B, C], weights float32 [B]; T is the bucket's length. Of a choice K is C, and of an
    option that an example lacks lm_weights and extract are 0: no sequence ends there. What lies in
    an epoch's batches and their order depend on (seed, epoch) only. The last batch is filled up
    with rows of weight 0. Where the sequences' words were looked up, batches have knowledge float32
    [B, T, T, 5] and words int32 [B, K, T].
    """

    sequences: Sequence[Sequences]  # of each example, K of them
    examples: Sequence[Example]  # the same ones, with their targets
    task: Task  # says what the targets are
    _: KW_ONLY
    context_length: int  # no shape is longer
    batch_size: int  # B, over all devices and processes
    seed: int  # of the order
    shuffle: bool  # another order every epoch; otherwise bucket by bucket
    weights: Float[np.ndarray, " N"] | None = None  # of each example; None: 1
    compiled_anew: bool = False  # in every epoch, so that each shape costs more
    states: KeptStates | None = None  # what batches have in the place of a frozen backbone

    def __post_init__(self) -> None:
        if not self.sequences:
            raise ValueError("no examples")
        self.num_examples = len(self.sequences)
        own = len(self.sequences[0].tokens)
        self._width = self.task.num_classes if self.task.format == "choice" else own
        self._targets = targets_of(self.examples, self.task)
        self._lengths = np.array([max(item.lengths) for item in self.sequences])
        most = min(MAX_BUCKETS, 2 + len(self) // BATCHES_PER_SHAPE)
        if self.compiled_anew:
            most = min(MAX_BUCKETS, 1 + len(self) // BATCHES_PER_STAGE)
        multiple = FEW_MULTIPLE if len(self) < BATCHES_PER_SHAPE else LENGTH_MULTIPLE
        self.edges = choose_lengths(
            self._lengths, self.context_length, most=most, multiple=multiple
        )
        self._bucket = np.searchsorted(self.edges, self._lengths)
        self._plan: tuple[int, list[tuple[int, np.ndarray]]] = (-1, [])  # of an epoch

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-self.num_examples // self.batch_size)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch of an epoch, as fresh numpy arrays (see `Batches`)."""
        length, members = self._planned(epoch)[index]
        members = np.pad(members, (0, self.batch_size - len(members)), constant_values=-1)[rows]
        present = members >= 0
        own = [self.sequences[number] if number >= 0 else None for number in members]
        tokens, weights, extract = padded(own, self._width, length)
        targets = np.where(present[:, None], self._targets[members], 0).astype(np.float32)
        counts = present.astype(np.float32)
        if self.weights is not None:
            counts *= self.weights[members]
        states = None
        if self.states is not None:
            states = self.states.batch(members, self._width, length)
        batch = Batch(tokens, weights, extract, targets, weights=counts, states=states)
        if self.sequences[0].related is None:
            return batch
        found = [(int(row), self.sequences[members[row]]) for row in np.flatnonzero(present)]
        related = [(row, one.related) for row, one in found if one.related is not None]
        knowledge = spread_knowledge(related, tokens.shape)
        return batch._replace(knowledge=knowledge, words=spread_words(related, tokens.shape))

    def members(self, epoch: int, index: int) -> Int[np.ndarray, " _"]:
        """Numbers of the examples of a batch, row by row; fewer than B in the last one."""
        return self._planned(epoch)[index][1]

    def describe(self, epoch: int, index: int) -> str:
        """Where each example of a batch comes from."""
        return "; ".join(self.examples[i].where for i in self.members(epoch, index))

    def shapes(self) -> list[int]:
        """The lengths T that occur, each compiled once."""
        return sorted({length for length, _ in self._planned(0)})

    def padding(self) -> float:
        """The share of all positions of the first epoch that no token fills."""
        filled = sum(sum(item.lengths) for item in self.sequences)
        width = self._width * self.batch_size
        return 1 - filled / sum(length * width for length, _ in self._planned(0))

    def report(self) -> str:
        """One line: the shapes and the padding."""
        shapes = ", ".join(map(str, self.shapes()))
        return (
            f"{len(self):,} batches an epoch in {len(self.shapes())} shapes (lengths {shapes}), "
            f"each compiled once; {self.padding():.1%} of their tokens are padding"
        )

    def in_order(self, rows: np.ndarray) -> np.ndarray:
        """What was computed for each row of the first epoch's batches, [batches × B, …], as one
        row per example, in the order of the examples."""
        result = np.zeros((self.num_examples, *rows.shape[1:]), rows.dtype)
        for index in range(len(self)):
            members = self.members(0, index)
            begin = index * self.batch_size
            result[members] = rows[begin : begin + len(members)]
        return result

    def _planned(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        epoch = epoch if self.shuffle else 0
        if self._plan[0] != epoch:
            self._plan = (epoch, self._plan_epoch(epoch))
        return self._plan[1]

    def _plan_epoch(self, epoch: int) -> list[tuple[int, np.ndarray]]:
        """(length, examples) of every batch."""
        generator = np.random.default_rng((self.seed, epoch))
        order = np.arange(self.num_examples)
        if self.shuffle:
            order = generator.permutation(self.num_examples)
        batches: list[tuple[int, np.ndarray]] = []
        rest = np.zeros(0, np.int64)
        for bucket, length in enumerate(self.edges):
            members = np.concatenate([rest, order[self._bucket[order] == bucket]])
            full = len(members) // self.batch_size * self.batch_size
            parts = members[:full].reshape(-1, self.batch_size)
            batches += [(int(length), part) for part in parts]
            rest = members[full:]
        if len(rest):
            # It may be shorter than its bucket, and no shape is made for it alone.
            longest = self._lengths[rest].max()
            batches.append((int(self.edges[np.searchsorted(self.edges, longest)]), rest))
        if self.shuffle:
            batches = [batches[i] for i in generator.permutation(len(batches))]
        return batches


def width_of(task: Task, separate: bool = False) -> int:
    """K, how many sequences a batch has room for in each example of a task.

    ``separate`` says whether the two texts of an example are sequences of their own.
    """
    if separate:
        return 2
    return {"choice": task.num_classes, "similarity": 2}.get(task.format, 1)


def padded(
    sequences: Sequence[Sequences | None], width: int, length: int
) -> tuple[Int[np.ndarray, "B K T"], Float[np.ndarray, "B K T"], Int[np.ndarray, "B K"]]:
    """The tokens, lm_weights and extract of a batch of these examples; None is a row of padding.

    Args:
        sequences: of each example, at most K.
        width: K.
        length: T, at least as long as all of them.
    """
    shape = (len(sequences), width, length)
    tokens = np.zeros(shape, np.int32)
    weights = np.zeros(shape, np.float32)
    extract = np.zeros(shape[:2], np.int32)
    for row, example in enumerate(sequences):
        for k, ids in enumerate(() if example is None else example.tokens):
            tokens[row, k, : len(ids)] = ids
            # The auxiliary loss predicts all but the start token, which has no past; delimiter and
            # extract count too, as in the released code.
            weights[row, k, 1 : len(ids)] = 1
            extract[row, k] = len(ids) - 1
    return tokens, weights, extract


def choose_lengths(
    lengths: Int[np.ndarray, " N"], context_length: int, *, most: int, multiple: int
) -> Int[np.ndarray, " S"]:
    """At most ``most`` lengths such that little is padded, the largest covering all.

    The fewest that leave under ``ENOUGH_PADDING`` of all positions empty, or else the most
    allowed. For each number of buckets the lengths are the best ones there are (dynamic
    programming over the counts per ``multiple``).
    """
    steps = -(-np.asarray(lengths) // multiple)
    counts = np.bincount(steps)
    top = len(counts) - 1
    edges = np.arange(1, top + 1)
    up_to = np.cumsum(counts)[1:]  # examples of at most so many steps as an edge
    # cost[i]: positions (in steps) of everything up to edge i, with the buckets so far.
    cost = (up_to * edges).astype(np.float64)
    origins: list[np.ndarray] = []
    filled = float(np.sum(lengths)) / multiple
    while 1 - filled / cost[-1] > ENOUGH_PADDING and len(origins) < min(most, top) - 1:
        # The last bucket before edge i ends at edge j < i.
        joined = cost[:, None] + (up_to[None] - up_to[:, None]) * edges
        joined = np.where(edges[:, None] < edges[None], joined, np.inf)
        joined = np.concatenate([joined, cost[None]])  # or there is none
        origins.append(joined.argmin(0))
        cost = joined.min(0)
    chosen, at = [top], top - 1
    for origin in reversed(origins):
        if origin[at] < len(edges):
            at = int(origin[at])
            chosen.append(int(edges[at]))
    edges = np.array(sorted(chosen)) * multiple
    return np.minimum(edges, context_length, dtype=edges.dtype)
