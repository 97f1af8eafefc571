"""The part of an LSTM layer that has to go from token to token, with its gradient written out."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.layers import back_through, kernel_gradient, packed, turned_for, unpacked
from gptjax.models.recurrent import Carry, Where, turned, unless, where

FORGET_BIAS = 1.0  # A new memory cell keeps what it has (Gers et al. 2000).


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def recurrence(
    gates: Float[Array, "B T F"],
    kernel: Float[Array, "N F"],
    mask: Where,
    fresh: Where,
    carry: Carry,
    forget_bias: float = FORGET_BIAS,
    backward: bool = False,
) -> tuple[Float[Array, "B T N"], Carry]:
    """The part of a layer that has to go from token to token; F = 4 N.

    The gradients are what autodiff would give. They are written out because autodiff adds to the
    kernel's gradient at every token, which is most of its time: one product over all tokens does
    the same. Of ``gates``, W x + b of all positions, ``kernel``, U in float32, what a
    `gptjax.models.recurrent.Recurrent` gives its layers, and what is added to the forget gate, it
    makes h, and what is remembered after the last position. With ``backward`` it goes from the last
    position to the first; nothing is turned round for it, neither what it reads nor h.
    """
    kernel = kernel.astype(gates.dtype)

    def step(carry: Carry, now: tuple[Any, ...]) -> tuple[Carry, Array]:
        after, _, _ = _step(carry, kernel, forget_bias, *now)
        return after, packed(after.hidden)

    inputs = (turned(gates), turned(mask), turned(fresh))
    carry, hidden = jax.lax.scan(step, carry, inputs, reverse=backward)
    return turned(unpacked(hidden)), carry


def _step(
    carry: Carry,
    kernel: Float[Array, "N F"],
    forget_bias: float,
    gates: Float[Array, "B F"],
    is_token: Array | None,
    is_fresh: Array | None,
) -> tuple[Carry, Carry, tuple[Array, ...]]:
    """One token: what is remembered after it and before it; the four gates, float32 [B, N]."""
    before = Carry(unless(is_fresh, carry.cell), unless(is_fresh, carry.hidden))
    total = gates.astype(jnp.float32) + wide(before.hidden, kernel)
    a, f, g, o = jnp.split(total, 4, axis=-1)
    add, forget, out = jax.nn.sigmoid(a), jax.nn.sigmoid(f + forget_bias), jax.nn.sigmoid(o)
    new = jnp.tanh(g)
    cell = forget * before.cell + add * new
    hidden = (out * jnp.tanh(cell)).astype(gates.dtype)
    after = Carry(where(is_token, cell, before.cell), where(is_token, hidden, before.hidden))
    return after, before, (add, forget, new, out)


def wide(x: Array, kernel: Array) -> Array:
    """A product in float32, see `gptjax.models.layers.product`."""
    return jnp.matmul(x, kernel, preferred_element_type=jnp.float32)


def gate_gradients(
    gates: tuple[Array, ...],
    cell_before: Float[Array, "B N"],
    squashed: Float[Array, "B N"],
    g_cell: Float[Array, "B N"],
    g_inner: Float[Array, "B N"],
) -> Float[Array, "B F"]:
    """The gradient before the gates' sigmoids and tanh, of c' = f c + a g and of o tanh(c').

    Args:
        gates: a, f, g and o of one token.
        cell_before: c.
        squashed: tanh(c').
        g_cell: the gradient of c', all of it.
        g_inner: the gradient of o tanh(c').
    """
    add, forget, new, out = gates
    return jnp.concatenate(
        [
            g_cell * new * add * (1 - add),
            g_cell * cell_before * forget * (1 - forget),
            g_cell * add * (1 - new**2),
            g_inner * squashed * out * (1 - out),
        ],
        axis=-1,
    )


def _recurrence_forward(
    gates: Array,
    kernel: Array,
    mask: Where,
    fresh: Where,
    carry: Carry,
    forget_bias: float,
    backward: bool,
) -> tuple[tuple[Array, Carry], tuple[Any, ...]]:
    def step(
        carry: Carry, now: tuple[Any, ...]
    ) -> tuple[Carry, tuple[Carry, tuple[Array, ...], Array]]:
        kernel_now = kernel.astype(now[0].dtype)
        after, before, opened = _step(carry, kernel_now, forget_bias, *now)
        return after, (jax.tree.map(packed, before), opened, packed(after.hidden))

    inputs = (turned(gates), turned(mask), turned(fresh))
    last, saved = jax.lax.scan(step, carry, inputs, reverse=backward)
    before, opened, hidden = saved
    before = jax.tree.map(unpacked, before)
    return (turned(unpacked(hidden)), last), (kernel, mask, fresh, before, opened)


def _recurrence_backward(
    forget_bias: float, backward: bool, saved: tuple[Any, ...], g: tuple[Array, Carry]
) -> tuple[Array, Array, None, None, Carry]:
    del forget_bias  # the opened gates know it
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
        gates = (add, forget, new, out)
        g_gates = gate_gradients(gates, cell_before, squashed, g_cell, g_hidden).astype(dtype)
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
    first, g_gates = jax.lax.scan(step, end, inputs, reverse=not backward)
    g_gates = unpacked(g_gates)
    g_kernel = kernel_gradient(before.hidden, g_gates)
    g_carry = Carry(first.cell, first.hidden.astype(g_hidden.dtype))
    return g_gates.swapaxes(0, 1), g_kernel, None, None, g_carry


recurrence.defvjp(_recurrence_forward, _recurrence_backward)
