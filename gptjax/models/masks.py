"""The masks of AWD-LSTM's five dropouts (Merity et al. 2017, sections 3 and 4).

Two act on parameters, and are the same for all rows of an update; three act on states, and are the
same at all positions of a sequence. A mask has 0 where a number is dropped and 1 / (1 - rate)
elsewhere; None in its place drops nothing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.dropout import keep_mask, key_words
from gptjax.models.family import RandomKey

WORD_MASK = "word_mask"  # beside the parameters, where rows of the embedding are dropped
OfWords = Float[Array, "V 1"] | None
OfKernel = Float[Array, "N F"] | None
OfStates = Float[Array, "B 1 D"] | None


class ParameterMasks(NamedTuple):
    """What an update drops of the parameters."""

    words: OfWords
    """Of rows of the embedding: a word is gone wherever it stands. The output keeps its rows."""
    recurrent: tuple[OfKernel, ...]
    """Of the elements of each layer's recurrent matrix."""


class SequenceMasks(NamedTuple):
    """What is dropped of the states of some rows."""

    input: OfStates
    """Of what the first layer reads."""
    hidden: tuple[OfStates, ...]
    """Of what each layer but the last gives to the next one."""
    output: OfStates
    """Of what the last layer gives."""

    @property
    def by_depth(self) -> tuple[OfStates, ...]:
        """One for each depth, from the embedding on."""
        return (self.input, *self.hidden, self.output)


def draw(key: RandomKey | None, rate: float, *shape: int) -> Any:
    """A mask; None without a key or a rate."""
    if key is None or rate == 0:
        return None
    keep = keep_mask(key_words(key), rate, shape)
    return jnp.where(keep, jnp.float32(1 / (1 - rate)), jnp.float32(0))


def masked(x: Float[Array, "B T D"], mask: OfStates) -> Float[Array, "B T D"]:
    """States times a mask, in their own type."""
    return x if mask is None else x * mask.astype(x.dtype)


def thin(params: Any, masks: ParameterMasks) -> Any:
    """The parameters of an update that drops some of them; the mask of words lies beside them.

    A gradient with regard to ``params`` goes through it.
    """
    thinned = dict(params)
    if masks.words is not None:
        # The table is the output's too, and longer than what is read of it: `seen` looks up both.
        thinned[WORD_MASK] = masks.words
    for number, mask in enumerate(masks.recurrent):
        if mask is not None:
            block = params[f"blocks_{number}"]
            kernel: Array = block["recurrent"]
            thinned[f"blocks_{number}"] = {**block, "recurrent": kernel * mask}
    return thinned


def parameter_masks(
    key: RandomKey,
    words: int,
    cells: tuple[int, ...],
    projection: int | None = None,
    *,
    of_words: float,
    of_weights: float,
) -> ParameterMasks:
    """Masks of an update: of ``words`` rows, and of layers of so many ``cells``, by their rates.

    The ``projection`` is the size of what layers feed back; None: their cells' outputs.
    """
    rows = draw(jax.random.fold_in(key, 0), of_words, words, 1)
    kernels = (
        draw(jax.random.fold_in(key, number), of_weights, projection or size, 4 * size)
        for number, size in enumerate(cells, start=1)
    )
    return ParameterMasks(rows, tuple(kernels))
