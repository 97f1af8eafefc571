"""The multiplicative LSTM's arithmetic, layer by layer; `gptjax.models.mlstm` is the model.

Krause et al. 2016 (arXiv 1609.07959) with the weight normalisation of Radford et al. 2017 (arXiv
1704.01444), computed as in the code that was released with the second paper.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.layers import (
    back_through,
    kernel_gradient,
    linear,
    packed,
    product,
    turned_for,
    unpacked,
)
from gptjax.models.recurrent import Carry, Where, turned, unless, where

LEAST_SQUARE = 1e-12  # TensorFlow's l2_normalize takes no smaller square of a column's length


def normalised(kernel: Float[Array, "I O"], gain: Float[Array, " O"]) -> Float[Array, "I O"]:
    """The kernel with columns of the lengths in ``gain``."""
    square = jnp.maximum(jnp.square(kernel).sum(0), LEAST_SQUARE)
    return kernel * (gain * jax.lax.rsqrt(square))[None]


class Matrices(NamedTuple):
    """What a layer multiplies with, float32; I inputs, N cells, F = 4 N gates i, f, o, u."""

    inputs: Float[Array, "I F"]
    input_factor: Float[Array, "I N"]
    recurrent: Float[Array, "N F"]
    recurrent_factor: Float[Array, "N N"]
    bias: Float[Array, " F"]


def run(
    params: Mapping[str, Any],
    inputs: Float[Array, "B T I"],
    mask: Where,
    carry: Carry,
    fresh: Where = None,
) -> tuple[Float[Array, "B T N"], Float[Array, "B T N"], Carry]:
    """One layer over some positions, given what is remembered of those before.

    Of x and h, the state before: m = (x W_mx) (h W_mh), without a bias; [i, f, o, u] =
    x W_x + m W_h + b; c' = σ(f) c + σ(i) tanh(u), h' = σ(o) tanh(c'). So h acts through m alone.
    Chunks, each of which begins with what the one before it gave, are the same as one pass.

    Args:
        params: of a layer, ``blocks_0`` of a backbone's parameters.
        inputs: x, in the compute type.
        mask: where there is a token; elsewhere c and h stay as they are. None: everywhere.
        carry: what is remembered before the first position (`gptjax.models.recurrent.nothing`, or
            of an earlier call).
        fresh: where nothing is remembered of the positions before. None: nowhere.

    Returns:
        h of all positions, in the compute type; c of all positions, float32; and what is
        remembered after the last one.
    """
    names = ("inputs", "input_factor", "recurrent", "recurrent_factor")
    matrices = Matrices(**{name: normalised(**params[name]) for name in names}, bias=params["bias"])
    after, (_, all_after, _) = _scan(*_given(matrices, inputs), mask, fresh, carry)
    return turned(all_after.hidden), turned(all_after.cell), after


def run_with(
    matrices: Matrices,
    x: Float[Array, "B T I"],
    mask: Where,
    fresh: Where,
    carry: Carry,
) -> tuple[Float[Array, "B T N"], Carry]:
    """h and the carry of `run`, for training, with matrices that are normalised already."""
    return recurrence(*_given(matrices, x), mask, fresh, carry)


def _given(matrices: Matrices, x: Float[Array, "B T I"]) -> tuple[Array, Array, Array]:
    """What `recurrence` begins with: own, kernel and factor."""
    inputs = jnp.concatenate([matrices.inputs, matrices.input_factor], axis=1)
    bias = jnp.pad(matrices.bias, (0, len(matrices.recurrent)))
    return linear(x, inputs, bias), matrices.recurrent, matrices.recurrent_factor


@jax.custom_vjp
def recurrence(
    own: Float[Array, "B T G"],
    kernel: Float[Array, "N F"],
    factor: Float[Array, "N N"],
    mask: Where,
    fresh: Where,
    carry: Carry,
) -> tuple[Float[Array, "B T N"], Carry]:
    """The part of a layer that has to go from token to token; G = 5 N.

    The gradients are what autodiff would give. They are written out because autodiff adds to the
    matrices' gradients at every token, which is most of its time: one product over all tokens does
    the same. Of ``own``, x W_x + b and x W_mx side by side, it makes h, and what is remembered
    after the last position.
    """
    last, (_, after, _) = _scan(own, kernel, factor, mask, fresh, carry)
    return turned(after.hidden), last


Opened = tuple[Array, Array, Array, Array, Array]


def _scan(
    own: Array, kernel: Array, factor: Array, mask: Where, fresh: Where, carry: Carry
) -> tuple[Carry, tuple[Carry, Carry, Opened]]:
    """All tokens: what is remembered at the end; by position what was before and after it, the
    four gates, float32, and h W_mh."""
    kernel, factor = _as(own, kernel, factor)
    cells = len(kernel)

    def step(carry: Carry, now: tuple[Any, ...]) -> tuple[Carry, tuple[Carry, Carry, Opened]]:
        own, is_token, is_fresh = now
        before = Carry(unless(is_fresh, carry.cell), unless(is_fresh, carry.hidden))
        back = product("bn,nm->bm", before.hidden, factor)
        state = own[:, 4 * cells :] * back
        wide = jnp.matmul(state, kernel, preferred_element_type=jnp.float32)
        total = own[:, : 4 * cells].astype(jnp.float32) + wide
        i, f, o, u = jnp.split(total, 4, axis=-1)
        add, forget, out = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
        new = jnp.tanh(u)
        cell = forget * before.cell + add * new
        hidden = (out * jnp.tanh(cell)).astype(own.dtype)
        after = Carry(where(is_token, cell, before.cell), where(is_token, hidden, before.hidden))
        return after, jax.tree.map(packed, (before, after, (add, forget, out, new, back)))

    last, found = jax.lax.scan(step, carry, (turned(own), turned(mask), turned(fresh)))
    return last, jax.tree.map(unpacked, found)


def _as(x: Array, *matrices: Array) -> list[Array]:
    return [matrix.astype(x.dtype) for matrix in matrices]


def _recurrence_forward(
    own: Array, kernel: Array, factor: Array, mask: Where, fresh: Where, carry: Carry
) -> tuple[tuple[Array, Carry], tuple[Any, ...]]:
    last, (before, after, opened) = _scan(own, kernel, factor, mask, fresh, carry)
    through = turned(own[..., 4 * len(kernel) :])
    saved = (through, kernel, factor, mask, fresh, before, after.cell, opened)
    return (turned(after.hidden), last), saved


def _recurrence_backward(
    saved: tuple[Any, ...], g: tuple[Array, Carry]
) -> tuple[Array, Array, Array, None, None, Carry]:
    through, kernel, factor, mask, fresh, before, cell, opened = saved
    g_hidden, g_last = g
    kernel, factor = (turned_for(through.dtype, matrix) for matrix in (kernel, factor))

    def step(later: Carry, now: tuple[Any, ...]) -> tuple[Carry, tuple[Array, Array, Array]]:
        g_hidden, is_token, is_fresh, through, cell, cell_before, opened = now
        add, forget, out, new, back = opened
        # Of h and c after this token: what reads them here, and the tokens after it.
        g_hidden = g_hidden.astype(jnp.float32) + later.hidden
        squashed = jnp.tanh(cell)
        through_cell = later.cell + g_hidden * out * (1 - squashed**2)
        g_gates = [
            through_cell * new * add * (1 - add),
            through_cell * cell_before * forget * (1 - forget),
            g_hidden * squashed * out * (1 - out),
            through_cell * add * (1 - new**2),
        ]
        g_total = jnp.concatenate(g_gates, axis=-1).astype(through.dtype)
        g_total = where(is_token, g_total, jnp.zeros_like(g_total))
        g_product = back_through(g_total, kernel).astype(through.dtype)
        g_through, g_back = g_product * back, g_product * through
        g_before = back_through(g_back, factor)
        earlier = Carry(
            where(is_token, through_cell * forget, later.cell),
            where(is_token, g_before, g_hidden),
        )
        earlier = Carry(unless(is_fresh, earlier.cell), unless(is_fresh, earlier.hidden))
        return earlier, jax.tree.map(packed, (g_total, g_through, g_back))

    end = Carry(g_last.cell, g_last.hidden.astype(jnp.float32))
    inputs = (*map(turned, (g_hidden, mask, fresh)), through, cell, before.cell, opened)
    first, found = jax.lax.scan(step, end, inputs, reverse=True)
    g_total, g_through, g_back = jax.tree.map(unpacked, found)
    g_kernel = kernel_gradient(through * opened[-1], g_total)
    g_factor = kernel_gradient(before.hidden, g_back)
    g_own = turned(jnp.concatenate([g_total, g_through], axis=-1))
    g_carry = Carry(first.cell, first.hidden.astype(g_hidden.dtype))
    return g_own, g_kernel, g_factor, None, None, g_carry


recurrence.defvjp(_recurrence_forward, _recurrence_backward)
