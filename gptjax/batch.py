"""What passes between the wings: the batch, where batches come from, and the objective.

Dimensions, here and everywhere: B examples, K sequences per example, T positions,
C classes, D width, H heads, V vocabulary, L layers. Nothing here imports jax, so that
the data wing stays free of it; a named tuple is a pytree all the same.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

Array = Any  # a numpy array in the data wing, a jax array inside the step
NUM_RELATIONS = 5  # of two words, in the order of `gptjax.data.knowledge.relations`


class Batch(NamedTuple):
    """Examples of one shape, the only thing that the loop feeds to an objective.

    Attributes:
        tokens: int32 [B, K, T], token ids; padding is any id with weight 0.
        lm_weights: float32 [B, K, T], weight of predicting *this* token from those before
            it. Position 0 has no prediction and is ignored; padding has weight 0.
        extract: int32 [B, K], the position whose state the task head reads.
        targets: float32 [B, C], a distribution over the classes (or the K choices).
        weights: float32 [B], how much an example counts: 1, or the weight of its class; 0 for one
            that only pads the batch.
        fresh: bool [B, K, T - 1], in batches whose rows go on from the batch before: where nothing
            is remembered of the positions before. None: every sequence stands alone.
        states: [B, K, T, N, D], what a frozen backbone gives the task head, in the compute type, of
            N depths; T is 1 where the head reads the state at ``extract`` alone. Padding is 0.
            None: the backbone runs.
        knowledge: float32 [B, T, T, 5], of a pair of texts the relations of the word at position i
            of the first text to the word at position j of the second, in the order of
            `gptjax.data.knowledge.relations`. Where K is 2, i counts in sequence 0 and j in
            sequence 1; where both texts lie in one sequence, both count there. 0 elsewhere. None:
            nothing was looked up.
        words: int32 [B, K, T], with knowledge: the place in its text of the word that a token is a
            piece of; -1 of the others. All pieces of a word have its relations.
    """

    tokens: Array
    lm_weights: Array
    extract: Array
    targets: Array
    weights: Array
    fresh: Array | None = None
    states: Array | None = None
    knowledge: Array | None = None
    words: Array | None = None


class Sums(NamedTuple):
    """What an objective returns: numerators, and the one denominator they share.

    Sums and not means, so that micro-batches, devices and processes add up exactly and the
    division happens once: mean = sum / max(weight, 1 if weight is 0). In evaluation a metric may be
    a pair of a sum and a weight of its own; it has a mean only where that weight is not 0.

    Attributes:
        loss: float32 [], the sum to minimise.
        weight: float32 [], what to divide by (predicted tokens, or examples, by their weights).
        metrics: float32 [] each, further sums over the same weight, by name (see above).
    """

    loss: Array
    weight: Array
    metrics: Mapping[str, Any]


def no_carry(rows: int) -> Any:
    """The carry of an objective that has no state."""
    return ()


class Objective(NamedTuple):
    """A training problem as pure functions.

    Attributes:
        init: key -> params.
        loss: (params, batch, key, carry) -> (Sums, carry); ``key=None`` means evaluation, without
            dropout. The carry is what a row remembers of the batches before, arrays [B, …]; the
            gradient stops at it. Most objectives have none: ``()``.
        init_carry: B -> the carry of rows that remember nothing.
        thin: (params, key) -> the parameters that ``loss`` is given in an update, where dropout
            acts on parameters. The key is the update's own: all devices and micro-batches drop the
            same. None: ``loss`` is given the parameters themselves.
    """

    init: Callable[[Array], Any]
    loss: Callable[[Any, Batch, Array | None, Any], tuple[Sums, Any]]
    init_carry: Callable[[int], Any] = no_carry
    thin: Callable[[Any, Array], Any] | None = None


@runtime_checkable
class Batches(Protocol):
    """One pass after another over some examples, in an order that is a pure function.

    ``batch(epoch, index)`` depends on its arguments and on what the object was made from,
    never on what was asked before, so that resuming is arithmetic.
    """

    batch_size: int

    def __len__(self) -> int:
        """The number of batches in an epoch."""

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        """Rows of the index-th batch of an epoch, as numpy arrays.

        ``rows`` selects within the global batch of ``batch_size`` examples (a process asks
        for its own share only). Every batch has ``batch_size`` rows; where examples run out
        the rest has weight 0. The arrays are fresh: the caller may hand them to a device
        without a copy.
        """

    def describe(self, epoch: int, index: int) -> str:
        """Where the examples of a batch come from, for messages to a person."""
