"""The LSTM that the paper puts in the transformer's place (table 5), behind the same interface."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gptjax.models.config import ModelConfig
from gptjax.models.dropout import dropout
from gptjax.models.family import Columns, Family, LayerStates, RandomKey, Slot, States, Tokens
from gptjax.models.layers import Linear

FORGET_BIAS = 1.0  # A new memory cell keeps what it has (Gers et al. 2000).


@dataclass(frozen=True)
class LSTMConfig(ModelConfig):
    """The shape of the LSTM that the GPT-1 paper compares with (table 5)."""

    called: ClassVar[str] = "an LSTM"
    ignored: ClassVar[tuple[str, ...]] = ("attention", "attention_dropout")

    kind: Literal["lstm"] = "lstm"
    """The family of the model; each has options of its own (--model.kind transformer --help)."""

    units: int | None = None
    """Memory cells of each layer (None: the width)."""

    embedding_dropout: float = 0.1
    """Probability of dropping a component of the token embedding."""

    residual_dropout: float = 0.1
    """Probability of dropping a component of what a layer gives to the next one or to the
    output."""

    num_heads: int = 12
    """Without effect. It is part of the hash by which runs recognise their LSTM."""

    @property
    def cells(self) -> int:
        """The memory cells of a layer."""
        return self.width if self.units is None else self.units

    def num_parameters(self) -> int:
        width, cells = self.width, self.cells
        inputs, recurrent, back = 4 * cells * (width + 1), 4 * cells**2, (cells + 1) * width
        return self.vocabulary_size * width + self.num_layers * (inputs + recurrent + back)

    def shape(self) -> dict[str, int | str]:
        # Runs have recorded the hash of all this since an LSTM had a transformer's settings too.
        old: dict[str, int | str] = {"num_heads": self.num_heads, "norm": "post"}
        return {**super().shape(), **old, "hidden_width": 4 * self.width, "cells": self.cells}

    def describe(self) -> str:
        return f"LSTM of {self.num_layers} × {self.cells} cells, width {self.width}"


class Carry(NamedTuple):
    """What a layer of N memory cells remembers of the tokens before."""

    hidden: Float[Array, "B N"]  # in the compute type
    cell: Float[Array, "B N"]  # float32


class Layer(nn.Module):
    """One LSTM layer (Hochreiter and Schmidhuber 1997) and a linear map back to the width.

    With [a, f, g, o] = W x + U h + b: c' = σ(f + 1) c + σ(a) tanh(g), h' = σ(o) tanh(c'). The map
    from N cells to the width D (Sak et al. 2014) lets the number of cells differ from that of the
    table which is input and output at once. Matrices start at N(0, 1 / inputs).
    """

    config: LSTMConfig

    def setup(self) -> None:
        cells, width = self.config.cells, self.config.width
        self.inputs = Linear(4 * cells, width**-0.5)
        self.recurrent = self.param(
            "recurrent", nn.initializers.normal(cells**-0.5), (cells, 4 * cells), jnp.float32
        )
        self.projection = Linear(width, cells**-0.5)

    def __call__(self, x: States) -> States:
        return self.projection(recurrence(self.inputs(x), self.recurrent))

    def extend(self, x: States, carry: Carry, present: Bool[Array, "B T"]) -> tuple[States, Carry]:
        hidden, carry = remember(self.inputs(x), self.recurrent, carry, present)
        return self.projection(hidden), carry


@jax.custom_vjp
def recurrence(gates: Float[Array, "B T F"], kernel: Float[Array, "N F"]) -> Float[Array, "B T N"]:
    """The part of a layer that has to go from token to token, from nothing remembered; F = 4 N.

    The gradients are what autodiff would give. They are written out because autodiff adds to the
    kernel's gradient at every token, which is most of its time: one product over all tokens does
    the same. Of ``gates``, W x + b of all positions, and ``kernel``, U in float32, it makes h.
    """
    hidden, _ = remember(gates, kernel, _nothing(gates, kernel), None)
    return hidden


def remember(
    gates: Float[Array, "B T F"],
    kernel: Float[Array, "N F"],
    carry: Carry,
    present: Bool[Array, "B T"] | None,
) -> tuple[Float[Array, "B T N"], Carry]:
    """`recurrence` that goes on from what is remembered, and what is remembered after it.

    ``present`` says where there is a token; elsewhere nothing is remembered. None: everywhere.
    """
    kernel = kernel.astype(gates.dtype)

    def step(carry: Carry, now: tuple[Array, Array | None]) -> tuple[Carry, Array]:
        own, is_token = now
        carry, _ = _step(carry, own, kernel)
        if is_token is not None:
            carry = jax.tree.map(lambda a: jnp.where(is_token[:, None], a, 0), carry)
        return carry, carry.hidden

    there = None if present is None else present.swapaxes(0, 1)
    carry, hidden = jax.lax.scan(step, carry, (gates.swapaxes(0, 1), there))
    return hidden.swapaxes(0, 1), carry


def _step(
    carry: Carry, gates: Float[Array, "B F"], kernel: Float[Array, "N F"]
) -> tuple[Carry, tuple[Array, ...]]:
    """One token: what is remembered after it, and the four gates, float32 [B, N] each."""
    total = (gates + carry.hidden @ kernel).astype(jnp.float32)
    a, f, g, o = jnp.split(total, 4, axis=-1)
    add, forget, out = jax.nn.sigmoid(a), jax.nn.sigmoid(f + FORGET_BIAS), jax.nn.sigmoid(o)
    new = jnp.tanh(g)
    cell = forget * carry.cell + add * new
    hidden = (out * jnp.tanh(cell)).astype(gates.dtype)
    return Carry(hidden, cell), (add, forget, new, out)


def _nothing(gates: Float[Array, "B T F"], kernel: Float[Array, "N F"]) -> Carry:
    shape = (gates.shape[0], kernel.shape[0])
    return Carry(jnp.zeros(shape, gates.dtype), jnp.zeros(shape, jnp.float32))


def _recurrence_forward(gates: Array, kernel: Array) -> tuple[Array, tuple[Any, ...]]:
    def step(carry: Carry, now: Array) -> tuple[Carry, tuple[Carry, tuple[Array, ...], Array]]:
        after, opened = _step(carry, now, kernel.astype(now.dtype))
        return after, (carry, opened, after.hidden)

    _, saved = jax.lax.scan(step, _nothing(gates, kernel), gates.swapaxes(0, 1))
    return saved[2].swapaxes(0, 1), (kernel, saved[0], saved[1])


def _recurrence_backward(saved: tuple[Any, ...], g: Array) -> tuple[Array, Array]:
    kernel, before, opened = saved
    transposed = kernel.T.astype(g.dtype)

    def step(
        carry: tuple[Array, Array], now: tuple[Array, Array, tuple[Array, ...]]
    ) -> tuple[tuple[Array, Array], Array]:
        g_later, g_cell = carry  # of h and c', from the tokens after
        g_hidden, cell_before, (add, forget, new, out) = now
        g_hidden = g_hidden.astype(jnp.float32) + g_later
        squashed = jnp.tanh(forget * cell_before + add * new)
        g_cell = g_cell + g_hidden * out * (1 - squashed**2)
        g_gates = jnp.concatenate(
            [
                g_cell * new * add * (1 - add),
                g_cell * cell_before * forget * (1 - forget),
                g_cell * add * (1 - new**2),
                g_hidden * squashed * out * (1 - out),
            ],
            axis=-1,
        ).astype(g.dtype)
        return ((g_gates @ transposed).astype(jnp.float32), g_cell * forget), g_gates

    nothing = jnp.zeros(before.cell.shape[1:], jnp.float32)
    inputs = (g.swapaxes(0, 1), before.cell, opened)
    _, g_gates = jax.lax.scan(step, (nothing, nothing), inputs, reverse=True)
    g_kernel = jnp.einsum("tbn,tbf->nf", before.hidden, g_gates, preferred_element_type=jnp.float32)
    return g_gates.swapaxes(0, 1), g_kernel


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


class LSTM(Family):
    """A recurrent language model, from tokens to states, with the parameters of every family."""

    config: LSTMConfig

    def setup(self) -> None:
        config = self.config
        normal = nn.initializers.normal(config.initial_std)
        self.token_embedding = self.param(
            "token_embedding", normal, (config.vocabulary_size, config.width), jnp.float32
        )
        self.blocks = [Layer(config) for _ in range(config.num_layers)]

    def __call__(self, tokens: Tokens, key: RandomKey | None = None) -> States:
        """States of all positions; nothing is remembered before."""
        return self._depths(tokens, key)[-1]

    def layer_states(self, tokens: Tokens, key: RandomKey | None = None) -> LayerStates:
        """The states after each depth (`gptjax.models.backbone.layer_states`)."""
        return jnp.stack(self._depths(tokens, key))

    def _depths(self, tokens: Tokens, key: RandomKey | None) -> list[States]:
        """What the first layer reads, and what each layer gives to the next one or the output."""
        config = self.config
        config.check_length(tokens.shape[1])  # so that it sees as much as a transformer
        key = self.dropout_key(key)
        keys = None if key is None else jax.random.split(key, config.num_layers + 1)
        x = self.embed(tokens)
        depths = [dropout(x, None if keys is None else keys[-1], config.embedding_dropout)]
        for i, block in enumerate(self.blocks):
            x = dropout(
                block(depths[-1]), None if keys is None else keys[i], config.residual_dropout
            )
            depths.append(x)
        return depths

    def extend(
        self, tokens: Tokens, cache: tuple[Carry, ...], slot: Slot, first: Columns
    ) -> tuple[States, tuple[Carry, ...]]:
        """States of further positions; at slot 0 nothing is remembered of those before."""
        present = slot + jnp.arange(tokens.shape[1])[None] >= first[:, None]
        x, remembered = self.embed(tokens), []
        for block, carry in zip(self.blocks, cache, strict=True):
            before = jax.tree.map(lambda a: jnp.where(slot == 0, 0, a), carry)
            x, after = block.extend(x, before, present)
            remembered.append(after)
        return x, tuple(remembered)

    def embed(self, tokens: Tokens) -> States:
        """The token embedding, without dropout."""
        # A numpy array in the parameters could not be indexed while a function is traced.
        return jnp.asarray(self.token_embedding)[tokens].astype(jnp.dtype(self.config.dtype))

    @nn.nowrap
    def empty_cache(self, batch: int, slots: int) -> tuple[Carry, ...]:
        """What is remembered before the first token."""
        shape = (batch, self.config.cells)
        hidden = jnp.zeros(shape, jnp.dtype(self.config.dtype))
        return (Carry(hidden, jnp.zeros(shape, jnp.float32)),) * self.config.num_layers
