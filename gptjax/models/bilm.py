"""The bidirectional language model of ELMo (Peters et al. 2018), behind the same interface."""

from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from gptjax.errors import UserError
from gptjax.models import characters
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.characters import Characters
from gptjax.models.dropout import dropout
from gptjax.models.family import Family, LayerStates, RandomKey, States, There, Tokens
from gptjax.models.layers import Linear
from gptjax.models.projected import nothing, recurrence
from gptjax.models.recurrent import Carry, Where


class Both(NamedTuple):
    """What there is of the forward direction, and of the backward one."""

    forward: Any
    backward: Any


class Direction(nn.Module):
    """A layer of one direction (`gptjax.models.projected`); matrices start at N(0, 1 / inputs)."""

    config: BiLMConfig

    def setup(self) -> None:
        cells, size = self.config.units, self.config.projection
        normal = nn.initializers.normal
        self.inputs = Linear(4 * cells, size**-0.5)
        self.recurrent = self.param("recurrent", normal(size**-0.5), (size, 4 * cells), jnp.float32)
        self.projection = self.param("projection", normal(cells**-0.5), (cells, size), jnp.float32)

    def __call__(
        self, x: Float[Array, "B T P"], carry: Carry, mask: Where
    ) -> tuple[Float[Array, "B T P"], Carry]:
        gates = self.inputs(x)
        settings = self.config.recurrence
        return recurrence(settings, gates, self.recurrent, self.projection, mask, None, carry)


class Layer(nn.Module):
    """A layer of both directions, which know nothing of each other."""

    config: BiLMConfig

    def setup(self) -> None:
        self.forward, self.backward = Direction(self.config), Direction(self.config)

    def __call__(self, x: Both, carry: Both, mask: Where) -> tuple[Both, Both]:
        forward, first = self.forward(x.forward, carry.forward, mask)
        # From right to left: padding comes first, and keeps what is remembered as it was.
        turned = None if mask is None else mask[:, ::-1]
        backward, last = self.backward(x.backward[:, ::-1], carry.backward, turned)
        return Both(forward, backward[:, ::-1]), Both(first, last)


class BiLM(Family):
    """A bidirectional language model, from tokens to states.

    A row is read from its first token to its last, and from its last to its first. Behind the last
    one a marker is read, which has no state; the marker before the first is the separator with
    which rows begin. Nothing is remembered from row to row. Parameters are ``word_embedding``, or
    ``token_embedding`` [V, P] and ``end_embedding`` [1, P]; the layers ``blocks_0``, …; and the
    output, which both directions share, ``output_table`` [V, P] and ``output_bias`` [V]. A further
    token has a row of 2 P numbers: its vector, and then its row of the output; behind characters
    these vectors are ``further_embedding``.
    """

    config: BiLMConfig

    def setup(self) -> None:
        config = self.config
        size, normal = config.vocabulary_size, nn.initializers.normal(config.initial_std)
        table = (size, config.projection)
        if config.reads_spelling:
            self.word_embedding = Characters(config)
        else:
            self.token_embedding = self.param("token_embedding", normal, table, jnp.float32)
            one = (1, config.projection)
            self.end_embedding = self.param("end_embedding", normal, one, jnp.float32)
        self.blocks = [Layer(config) for _ in range(config.num_layers)]
        if config.predicts:
            self.output_table = self.param("output_table", normal, table, jnp.float32)
            zeros = nn.initializers.zeros
            self.output_bias = self.param("output_bias", zeros, (size,), jnp.float32)

    def __call__(self, tokens: Tokens, key: RandomKey | None = None, there: There = None) -> States:
        """States of all positions; ``there`` says where a row has tokens, its first ones."""
        self.config.check_length(tokens.shape[1])
        depths, _ = self._run(tokens, key, there, self.start(len(tokens)))
        return _beside(depths[-1])[:, : tokens.shape[1]]

    def layer_states(
        self, tokens: Tokens, key: RandomKey | None = None, there: There = None
    ) -> LayerStates:
        """The states after each depth; the first is the token layer, twice side by side."""
        self.config.check_length(tokens.shape[1])
        return self.continued(tokens, self.start(len(tokens)), key, there)[0]

    def continued(
        self,
        tokens: Tokens,
        carry: tuple[Both, ...],
        key: RandomKey | None = None,
        there: There = None,
    ) -> tuple[LayerStates, tuple[Both, ...]]:
        """`layer_states` with something remembered (`start`), and what is remembered then."""
        depths, carry = self._run(tokens, key, there, carry)
        return jnp.stack([_beside(both)[:, : tokens.shape[1]] for both in depths]), carry

    def both_ways(
        self, tokens: Tokens, key: RandomKey | None, there: There
    ) -> tuple[Float[Array, "B S P"], Float[Array, "B S P"]]:
        """The last states of either direction, S = T + 1: that of the marker behind a row, too."""
        depths, _ = self._run(tokens, key, there, self.start(len(tokens)))
        return depths[-1].forward, depths[-1].backward

    def _run(
        self, tokens: Tokens, key: RandomKey | None, there: There, carry: tuple[Both, ...]
    ) -> tuple[list[Both], tuple[Both, ...]]:
        """What the first layer reads, and what each layer gives to the next one or the output."""
        config = self.config
        if there is None:
            there = jnp.ones(tokens.shape, bool)
        key = self.dropout_key(key)
        keys = None if key is None else jax.random.split(key, 2 * (config.num_layers + 1))

        def dropped(x: Both, depth: int, rate: float) -> Both:
            own = (None, None) if keys is None else (keys[2 * depth], keys[2 * depth + 1])
            return Both(dropout(x.forward, own[0], rate), dropout(x.backward, own[1], rate))

        x, mask = self._closed(tokens, there)
        depths = [dropped(Both(x, x), 0, config.embedding_dropout)]
        remembered = []
        for number, (block, before) in enumerate(zip(self.blocks, carry, strict=True)):
            found, after = block(depths[-1], before, mask)
            if config.residual and number > 0:
                found = jax.tree.map(jnp.add, found, depths[-1])
            depths.append(dropped(found, number + 1, config.residual_dropout))
            remembered.append(after)
        return depths, tuple(remembered)

    def _closed(
        self, tokens: Tokens, there: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B S P"], Bool[Array, "B S"]]:
        """The vectors of rows with the marker behind each, S = T + 1, and where there is one."""
        x = self.embed(tokens)
        x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
        length = there.sum(1)[:, None]
        column = jnp.arange(x.shape[1])[None]
        end = jnp.asarray(self._end()).astype(x.dtype)
        return jnp.where((column == length)[..., None], end, x), column <= length

    def embed(self, tokens: Tokens) -> Float[Array, "B T P"]:
        """The token layer, without dropout."""
        if not self.config.reads_spelling:
            # A numpy array in the parameters could not be indexed while a function is traced.
            table = jnp.asarray(self.token_embedding)
            return table[tokens].astype(jnp.dtype(self.config.dtype))
        further: Any = None
        if self.has_variable("params", "further_embedding"):
            further = self.get_variable("params", "further_embedding")
        found: Array = self.word_embedding(tokens, further)
        return found

    def _end(self) -> Float[Array, "1 1 P"]:
        if not self.config.reads_spelling:
            return jnp.asarray(self.end_embedding)[None]
        found: Array = self.word_embedding.end()
        return found

    @nn.nowrap
    def start(self, rows: int) -> tuple[Both, ...]:
        """Nothing remembered: of each layer, of both directions."""
        config = self.config
        make = partial(nothing, rows, config.units, config.projection, jnp.dtype(config.dtype))
        return tuple(Both(make(), make()) for _ in range(config.num_layers))

    @nn.nowrap
    def output(self, params: Any) -> tuple[Float[Array, "V P"], Float[Array, " V"]]:
        """Output table and bias, for the states of one direction."""
        if not self.config.predicts:
            raise UserError(
                "model.predicts is false: this bidirectional language model has no output table, "
                "as its files have none; take its states"
            )
        return params["output_table"], params["output_bias"]

    @nn.nowrap
    def for_loss(
        self, params: Any, key: RandomKey | None, positions: int | None
    ) -> tuple[Any, Float[Array, "R P"], Float[Array, " R"] | None]:
        """Of a model without an output table one without rows, for a task alone."""
        if self.config.predicts:
            found: tuple[Any, Array, Array | None] = super().for_loss(params, key, positions)
            return found
        return params, jnp.zeros((0, self.config.projection)), None

    @nn.nowrap
    def row_width(self) -> int:
        """2 P."""
        return self.config.width

    @nn.nowrap
    def with_rows(self, params: Any, rows: Float[Array, "S R"]) -> Any:
        """The parameters with further tokens, whose bias is 0."""
        vectors, outputs = jnp.split(rows, 2, axis=1)
        longer = dict(params)

        def extend(name: str, own: Array) -> None:
            longer[name] = jnp.concatenate([params[name], own]) if name in params else own

        if self.config.reads_spelling:
            first = len(params.get("further_embedding", ()))
            words = characters.with_further(params["word_embedding"], first, len(rows))
            longer["word_embedding"] = words
            extend("further_embedding", vectors)
        else:
            extend("token_embedding", vectors)
        if self.config.predicts:
            extend("output_table", outputs)
            longer["output_bias"] = jnp.pad(params["output_bias"], (0, len(rows)))
        return longer

    @nn.nowrap
    def read_rows(self, params: Any, tokens: Int[Array, " S"]) -> Float[Array, "S R"]:
        """Rows that are read as these tokens are; 0 for what predicts them."""
        found: Any = self.apply({"params": params}, tokens[None], method="embed")
        return jnp.pad(found[0].astype(jnp.float32), ((0, 0), (0, found.shape[-1])))

    @nn.nowrap
    def with_spelling(self, params: Any, spelled: Any) -> Any:
        """The parameters with a vocabulary of words that are spelled so, int32 [V, 50]."""
        words = characters.with_words(params["word_embedding"], spelled)
        return {**params, "word_embedding": words}


def _beside(both: Both) -> Float[Array, "B T D"]:
    return jnp.concatenate([both.forward, both.backward], axis=-1)
