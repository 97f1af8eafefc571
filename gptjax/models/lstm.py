"""The LSTM that the paper puts in the transformer's place (table 5), behind the same interface."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.config import ModelConfig
from gptjax.models.family import States
from gptjax.models.layers import (
    Linear,
    back_through,
    kernel_gradient,
    packed,
    turned_for,
    unpacked,
)
from gptjax.models.recurrent import (
    Carry,
    Recurrent,
    Where,
    turned,
    unless,
    where,
)

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

    def __call__(self, x: States, carry: Carry, mask: Where, fresh: Where) -> tuple[States, Carry]:
        hidden, carry = recurrence(self.inputs(x), self.recurrent, mask, fresh, carry)
        return self.projection(hidden), carry


@jax.custom_vjp
def recurrence(
    gates: Float[Array, "B T F"],
    kernel: Float[Array, "N F"],
    mask: Where,
    fresh: Where,
    carry: Carry,
) -> tuple[Float[Array, "B T N"], Carry]:
    """The part of a layer that has to go from token to token; F = 4 N.

    The gradients are what autodiff would give. They are written out because autodiff adds to the
    kernel's gradient at every token, which is most of its time: one product over all tokens does
    the same. Of ``gates``, W x + b of all positions, ``kernel``, U in float32, and what a
    `gptjax.models.recurrent.Recurrent` gives its layers, it makes h, and what is remembered after
    the last position.
    """
    kernel = kernel.astype(gates.dtype)

    def step(carry: Carry, now: tuple[Any, ...]) -> tuple[Carry, Array]:
        after, _, _ = _step(carry, kernel, *now)
        return after, packed(after.hidden)

    carry, hidden = jax.lax.scan(step, carry, (turned(gates), turned(mask), turned(fresh)))
    return turned(unpacked(hidden)), carry


def _step(
    carry: Carry,
    kernel: Float[Array, "N F"],
    gates: Float[Array, "B F"],
    is_token: Array | None,
    is_fresh: Array | None,
) -> tuple[Carry, Carry, tuple[Array, ...]]:
    """One token: what is remembered after it and before it; the four gates, float32 [B, N]."""
    before = Carry(unless(is_fresh, carry.cell), unless(is_fresh, carry.hidden))
    total = gates.astype(jnp.float32) + _wide(before.hidden, kernel)
    a, f, g, o = jnp.split(total, 4, axis=-1)
    add, forget, out = jax.nn.sigmoid(a), jax.nn.sigmoid(f + FORGET_BIAS), jax.nn.sigmoid(o)
    new = jnp.tanh(g)
    cell = forget * before.cell + add * new
    hidden = (out * jnp.tanh(cell)).astype(gates.dtype)
    after = Carry(where(is_token, cell, before.cell), where(is_token, hidden, before.hidden))
    return after, before, (add, forget, new, out)


def _wide(x: Array, kernel: Array) -> Array:
    """A product in float32, see `gptjax.models.layers.product`."""
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def _recurrence_forward(
    gates: Array, kernel: Array, mask: Where, fresh: Where, carry: Carry
) -> tuple[tuple[Array, Carry], tuple[Any, ...]]:
    def step(
        carry: Carry, now: tuple[Any, ...]
    ) -> tuple[Carry, tuple[Carry, tuple[Array, ...], Array]]:
        after, before, opened = _step(carry, kernel.astype(now[0].dtype), *now)
        return after, (jax.tree.map(packed, before), opened, packed(after.hidden))

    last, saved = jax.lax.scan(step, carry, (turned(gates), turned(mask), turned(fresh)))
    before, opened, hidden = saved
    before = jax.tree.map(unpacked, before)
    return (turned(unpacked(hidden)), last), (kernel, mask, fresh, before, opened)


def _recurrence_backward(
    saved: tuple[Any, ...], g: tuple[Array, Carry]
) -> tuple[Array, Array, None, None, Carry]:
    kernel, mask, fresh, before, opened = saved
    g_hidden, g_last = g
    dtype = g_hidden.dtype
    turned_kernel = turned_for(dtype, kernel)

    def step(later: Carry, now: tuple[Any, ...]) -> tuple[Carry, Array]:
        g_hidden, is_token, is_fresh, cell_before, (add, forget, new, out) = now
        # Of h and c after this token: what reads them here, and the tokens after it.
        g_hidden = g_hidden.astype(jnp.float32) + later.hidden
        squashed = jnp.tanh(forget * cell_before + add * new)
        g_cell = later.cell + g_hidden * out * (1 - squashed**2)
        g_gates = jnp.concatenate(
            [
                g_cell * new * add * (1 - add),
                g_cell * cell_before * forget * (1 - forget),
                g_cell * add * (1 - new**2),
                g_hidden * squashed * out * (1 - out),
            ],
            axis=-1,
        ).astype(dtype)
        g_gates = where(is_token, g_gates, jnp.zeros_like(g_gates))
        earlier = Carry(
            where(is_token, g_cell * forget, later.cell),
            where(is_token, back_through(g_gates, turned_kernel), g_hidden),
        )
        return Carry(unless(is_fresh, earlier.cell), unless(is_fresh, earlier.hidden)), packed(
            g_gates
        )

    end = Carry(g_last.cell, g_last.hidden.astype(jnp.float32))
    inputs = (*map(turned, (g_hidden, mask, fresh)), before.cell, opened)
    first, g_gates = jax.lax.scan(step, end, inputs, reverse=True)
    g_gates = unpacked(g_gates)
    g_kernel = kernel_gradient(before.hidden, g_gates)
    g_carry = Carry(first.cell, first.hidden.astype(g_hidden.dtype))
    return g_gates.swapaxes(0, 1), g_kernel, None, None, g_carry


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


class LSTM(Recurrent):
    """A recurrent language model, from tokens to states, with the parameters of every family."""

    config: LSTMConfig

    def setup(self) -> None:
        config = self.config
        normal = nn.initializers.normal(config.initial_std)
        self.token_embedding = self.param(
            "token_embedding", normal, (config.vocabulary_size, config.width), jnp.float32
        )
        self.blocks = [Layer(config) for _ in range(config.num_layers)]
