"""The LSTM with a projection that is fed back (Sak et al. 2014), and with clipping, as ELMo has it.

With [a, f, g, o] = W x + U h + b: c' = clip(σ(f + β) c + σ(a) tanh(g)), h' = clip(P (σ(o)
tanh(c'))), where P makes a state of D numbers of the N cells, and β is the forget gate's addend.
Without P the N outputs of the cells are the state.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.layers import back_through, kernel_gradient, packed, turned_for, unpacked
from gptjax.models.lstm_recurrence import gate_gradients, wide
from gptjax.models.recurrent import Carry, Where, turned, unless, where


class Settings(NamedTuple):
    """What is no parameter."""

    forget_bias: float = 1.0  # β
    cell_clip: float | None = None  # the largest size of a memory cell; None: any
    projection_clip: float | None = None  # the largest size of a state's number


def nothing(batch: int, cells: int, features: int, dtype: Any = jnp.float32) -> Carry:
    """What is remembered before the first token: c [B, N], and h [B, D] in the compute type."""
    return Carry(jnp.zeros((batch, cells), jnp.float32), jnp.zeros((batch, features), dtype))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(
    settings: Settings,
    gates: Float[Array, "B T F"],
    kernel: Float[Array, "D F"],
    projection: Float[Array, "N D"] | None,
    mask: Where,
    fresh: Where,
    carry: Carry,
) -> tuple[Float[Array, "B T D"], Carry]:
    """The part of a layer that has to go from token to token; F = 4 N.

    The gradients are what autodiff would give; where something is clipped there is none. They are
    written out for the reason that `gptjax.models.lstm_recurrence.recurrence` has.

    Args:
        settings: what is no parameter.
        gates: W x + b of all positions, in the compute type.
        kernel: U, float32.
        projection: P, float32; None: there is none, and D is N.
        mask: where there is a token; elsewhere what is remembered stays as it is. None: everywhere.
        fresh: where nothing is remembered of the positions before. None: nowhere.
        carry: what is remembered before the first position (`nothing`).

    Returns:
        h of all positions, and what is remembered after the last.
    """
    dtype = gates.dtype
    kernel, projection = kernel.astype(dtype), _as(dtype, projection)

    def step(carry: Carry, now: tuple[Any, ...]) -> tuple[Carry, Array]:
        after, _, _, _ = _step(settings, carry, kernel, projection, *now)
        return after, packed(after.hidden)

    carry, hidden = jax.lax.scan(step, carry, (turned(gates), turned(mask), turned(fresh)))
    return turned(unpacked(hidden)), carry


def _step(
    settings: Settings,
    carry: Carry,
    kernel: Float[Array, "D F"],
    projection: Float[Array, "N D"] | None,
    gates: Float[Array, "B F"],
    is_token: Array | None,
    is_fresh: Array | None,
) -> tuple[Carry, Carry, tuple[Array, ...], Array | None]:
    """One token: what is remembered after it and before it; the four gates, float32 [B, N]; which
    numbers of h are not clipped, bool [B, D]."""
    before = Carry(unless(is_fresh, carry.cell), unless(is_fresh, carry.hidden))
    total = gates.astype(jnp.float32) + wide(before.hidden, kernel)
    a, f, g, o = jnp.split(total, 4, axis=-1)
    add, out = jax.nn.sigmoid(a), jax.nn.sigmoid(o)
    forget, new = jax.nn.sigmoid(f + settings.forget_bias), jnp.tanh(g)
    cell = _clipped(forget * before.cell + add * new, settings.cell_clip)
    projected = out * jnp.tanh(cell)
    if projection is not None:
        projected = wide(projected.astype(gates.dtype), projection)
    hidden = _clipped(projected, settings.projection_clip).astype(gates.dtype)
    after = Carry(where(is_token, cell, before.cell), where(is_token, hidden, before.hidden))
    return after, before, (add, forget, new, out), _inside(projected, settings.projection_clip)


def _as(dtype: Any, projection: Array | None) -> Array | None:
    return None if projection is None else projection.astype(dtype)


def _clipped(x: Array, most: float | None) -> Array:
    return x if most is None else jnp.clip(x, -most, most)


def _inside(x: Array, most: float | None) -> Array | None:
    """Where a number passes as it is, and its gradient with it; None: everywhere."""
    return None if most is None else jnp.abs(x) <= most


def _passed(inside: Array | None, g: Array) -> Array:
    """A gradient behind the clipping."""
    return g if inside is None else jnp.where(inside, g, jnp.zeros_like(g))


def _recurrence_forward(
    settings: Settings,
    gates: Array,
    kernel: Array,
    projection: Array | None,
    mask: Where,
    fresh: Where,
    carry: Carry,
) -> tuple[tuple[Array, Carry], tuple[Any, ...]]:
    dtype = gates.dtype
    own, back = kernel.astype(dtype), _as(dtype, projection)

    def step(carry: Carry, now: tuple[Any, ...]) -> tuple[Carry, tuple[Any, ...]]:
        after, before, opened, inside = _step(settings, carry, own, back, *now)
        return after, (jax.tree.map(packed, before), opened, inside, packed(after.hidden))

    last, saved = jax.lax.scan(step, carry, (turned(gates), turned(mask), turned(fresh)))
    before, opened, inside, hidden = saved
    before = jax.tree.map(unpacked, before)
    kept = (kernel, projection, mask, fresh, before, opened, inside)
    return (turned(unpacked(hidden)), last), kept


def _recurrence_backward(
    settings: Settings, saved: tuple[Any, ...], g: tuple[Array, Carry]
) -> tuple[Array, Array, Array | None, None, None, Carry]:
    kernel, projection, mask, fresh, before, opened, inside = saved
    g_hidden, g_last = g
    dtype = g_hidden.dtype
    turned_kernel = turned_for(dtype, kernel)
    turned_projection = None if projection is None else turned_for(dtype, projection)

    def step(later: Carry, now: tuple[Any, ...]) -> tuple[Carry, tuple[Array, Array]]:
        g_hidden, is_token, is_fresh, cell_before, inside, (add, forget, new, out) = now
        # Of h and c after this token: what reads them here, and the tokens after it.
        g_hidden = g_hidden.astype(jnp.float32) + later.hidden
        g_projected = _passed(inside, g_hidden)
        if turned_projection is not None:
            g_projected = g_projected.astype(dtype)
        g_inner = g_projected = where(is_token, g_projected, jnp.zeros_like(g_projected))
        if turned_projection is not None:
            g_inner = back_through(g_projected, turned_projection)
        cell = forget * cell_before + add * new
        squashed = jnp.tanh(_clipped(cell, settings.cell_clip))
        g_cell = later.cell + g_inner * out * (1 - squashed**2)
        g_cell = _passed(_inside(cell, settings.cell_clip), g_cell)
        gates = (add, forget, new, out)
        g_gates = gate_gradients(gates, cell_before, squashed, g_cell, g_inner).astype(dtype)
        g_gates = where(is_token, g_gates, jnp.zeros_like(g_gates))
        earlier = Carry(
            where(is_token, g_cell * forget, later.cell),
            where(is_token, back_through(g_gates, turned_kernel), g_hidden),
        )
        earlier = Carry(unless(is_fresh, earlier.cell), unless(is_fresh, earlier.hidden))
        return earlier, (packed(g_gates), packed(g_projected))

    end = Carry(g_last.cell, g_last.hidden.astype(jnp.float32))
    inputs = (*map(turned, (g_hidden, mask, fresh)), before.cell, inside, opened)
    first, found = jax.lax.scan(step, end, inputs, reverse=True)
    g_gates, g_projected = map(unpacked, found)
    add, forget, new, out = opened
    cell = _clipped(forget * before.cell + add * new, settings.cell_clip)
    inner = (out * jnp.tanh(cell)).astype(dtype)
    g_kernel = kernel_gradient(before.hidden, g_gates)
    g_projection = None if projection is None else kernel_gradient(inner, g_projected)
    g_carry = Carry(first.cell, first.hidden.astype(dtype))
    return g_gates.swapaxes(0, 1), g_kernel, g_projection, None, None, g_carry


recurrence.defvjp(_recurrence_forward, _recurrence_backward)
