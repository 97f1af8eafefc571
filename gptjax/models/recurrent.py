"""What recurrent families share: layers that remember, from token to token and beyond a window."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gptjax.models.dropout import dropout
from gptjax.models.family import (
    Columns,
    Family,
    LayerStates,
    RandomKey,
    Regularised,
    Slot,
    States,
    Tokens,
)
from gptjax.models.masks import SequenceMasks, masked

Where = Bool[Array, "B T"] | None


class Carry(NamedTuple):
    """What a layer of N memory cells remembers of the tokens before."""

    cell: Float[Array, "B N"]  # float32
    hidden: Float[Array, "B N"]  # in the compute type


def nothing(batch: int, cells: int, dtype: Any = jnp.float32) -> Carry:
    """What is remembered before the first token; ``dtype`` is the compute type."""
    shape = (batch, cells)
    return Carry(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, dtype))


class Recurrent(Family):
    """A stack of layers that read from token to token.

    A subclass has the embedding and the layers. A layer is called with what it reads [B, T, I],
    what it remembers, and two masks [B, T], which are None where they say nothing: `mask`, where
    there is a token (elsewhere what is remembered stays as it is), and `fresh`, where nothing is
    remembered of the positions before. It gives its states [B, T, D], and what it remembers then.
    """

    def __call__(self, tokens: Tokens, key: RandomKey | None = None) -> States:
        """States of all positions; nothing is remembered before."""
        return self._run(tokens, key, self.empty_carry(len(tokens)), None)[0][-1]

    def layer_states(self, tokens: Tokens, key: RandomKey | None = None) -> LayerStates:
        """The states after each depth; narrower ones are padded with zeros."""
        depths, *_ = self._run(tokens, key, self.empty_carry(len(tokens)), None)
        widest = self.config.widest
        return jnp.stack([jnp.pad(x, ((0, 0), (0, 0), (0, widest - x.shape[-1]))) for x in depths])

    def advance(
        self, tokens: Tokens, key: RandomKey | None, carry: tuple[Carry, ...], fresh: Where
    ) -> tuple[States, tuple[Carry, ...]]:
        """States of a window that goes on from the one before, and what is remembered after it."""
        depths, _, after = self._run(tokens, key, carry, fresh)
        return depths[-1], after

    def regularised(
        self,
        tokens: Tokens,
        key: RandomKey | None,
        carry: tuple[Carry, ...] | None,
        fresh: Where,
        masks: SequenceMasks | None = None,
    ) -> Regularised:
        """States after and before the dropout of the last layer; ``masks`` are drawn if None."""
        carry = self.empty_carry(len(tokens)) if carry is None else carry
        depths, last, after = self._run(tokens, key, carry, fresh, masks)
        return Regularised(depths[-1], last, after)

    def _run(
        self,
        tokens: Tokens,
        key: RandomKey | None,
        carry: tuple[Carry, ...],
        fresh: Where,
        masks: SequenceMasks | None = None,
    ) -> tuple[list[Array], States, tuple[Carry, ...]]:
        """What the first layer reads, and what each layer gives to the next one or the output; the
        latter before its dropout, too."""
        config: Any = self.config
        config.check_length(tokens.shape[1])  # so that it sees as much as a transformer
        key = self.dropout_key(key)
        keys = None if key is None else jax.random.split(key, config.num_layers + 1)
        masks = self.sequence_masks(key, len(tokens)) if masks is None else masks
        read, *given = masks.by_depth
        x = self.embed(tokens)
        x = dropout(x, None if keys is None else keys[-1], config.embedding_dropout)
        depths, remembered = [masked(x, read)], []
        for i, (block, before) in enumerate(zip(self.blocks, carry, strict=True)):
            x, after = block(depths[-1], before, None, fresh)
            x = self.summed(i, depths[-1], x)
            dropped = dropout(x, None if keys is None else keys[i], config.residual_dropout)
            depths.append(masked(dropped, given[i]))
            remembered.append(after)
        return depths, x, tuple(remembered)

    @nn.nowrap
    def summed(
        self, number: int, read: Float[Array, "B T D"], given: Float[Array, "B T O"]
    ) -> Float[Array, "B T O"]:
        """What a layer, counted from 0, gives to the next one or the output, before dropout."""
        del number, read
        return given

    def sequence_masks(self, key: RandomKey | None, rows: int) -> SequenceMasks:
        """The masks of whole sequences that a key draws; most families have none."""
        del key, rows
        return SequenceMasks(None, (None,) * (self.config.num_layers - 1), None)

    def extend(
        self, tokens: Tokens, cache: tuple[Carry, ...], slot: Slot, first: Columns
    ) -> tuple[States, tuple[Carry, ...]]:
        """States of further positions; at slot 0 nothing is remembered of those before."""
        present = slot + jnp.arange(tokens.shape[1])[None] >= first[:, None]
        x, remembered = self.embed(tokens), []
        for i, (block, carry) in enumerate(zip(self.blocks, cache, strict=True)):
            before = jax.tree.map(lambda a: jnp.where(slot == 0, 0, a), carry)
            found, after = block(x, before, present, None)
            x = self.summed(i, x, found)
            remembered.append(after)
        return x, tuple(remembered)

    def embed(self, tokens: Tokens) -> Float[Array, "B T E"]:
        """The token embedding, without dropout."""
        # A numpy array in the parameters could not be indexed while a function is traced.
        table = jnp.asarray(self.token_embedding)
        return table[tokens].astype(jnp.dtype(self.config.dtype))

    @nn.nowrap
    def empty_cache(self, batch: int, slots: int) -> tuple[Carry, ...]:
        """What is remembered before the first token."""
        return self.empty_carry(batch)

    @nn.nowrap
    def empty_carry(self, rows: int) -> tuple[Carry, ...]:
        """Likewise."""
        config: Any = self.config
        layers: int = config.num_layers
        return (nothing(rows, config.cells, jnp.dtype(config.dtype)),) * layers


def turned(x: Array | None) -> Any:
    """From rows first to positions first, or back."""
    return None if x is None else x.swapaxes(0, 1)


def where(mask: Array | None, here: Array, elsewhere: Array | float) -> Array:
    """``here`` [B, N] in the rows of the mask [B], and in all of them without one."""
    return here if mask is None else jnp.where(mask[:, None], here, elsewhere)


def unless(mask: Array | None, here: Array) -> Array:
    """``here`` [B, N] but for the rows of the mask [B], where it is 0."""
    return here if mask is None else jnp.where(mask[:, None], jnp.zeros_like(here), here)
