"""The multiplicative LSTM's arithmetic, layer by layer; `gptjax.models.mlstm` is the model.

Krause et al. 2016 (arXiv 1609.07959) with the weight normalisation of Radford et al. 2017 (arXiv
1704.01444), computed as in the code that was released with the second paper.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gptjax.models.layers import linear

LEAST_SQUARE = 1e-12  # TensorFlow's l2_normalize takes no smaller square of a column's length


class Carry(NamedTuple):
    """What a layer of N memory cells remembers of the tokens before."""

    cell: Float[Array, "B N"]  # float32
    hidden: Float[Array, "B N"]  # in the compute type


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
    mask: Bool[Array, "B T"] | None,
    carry: Carry,
) -> tuple[Float[Array, "B T N"], Float[Array, "B T N"], Carry]:
    """One layer over some positions, given what is remembered of those before.

    Of x and h, the state before: m = (x W_mx) (h W_mh), without a bias; [i, f, o, u] =
    x W_x + m W_h + b; c' = σ(f) c + σ(i) tanh(u), h' = σ(o) tanh(c'). So h acts through m alone.
    Chunks, each of which begins with what the one before it gave, are the same as one pass.

    Args:
        params: of a layer, ``blocks_0`` of a backbone's parameters.
        inputs: x, in the compute type.
        mask: where there is a token; elsewhere c and h stay as they are. None: everywhere.
        carry: what is remembered before the first position (`nothing`, or of an earlier call).

    Returns:
        h of all positions, in the compute type; c of all positions, float32; and what is
        remembered after the last one.
    """
    names = ("inputs", "input_factor", "recurrent", "recurrent_factor")
    matrices = {name: normalised(**params[name]) for name in names}
    return run_with(Matrices(**matrices, bias=params["bias"]), inputs, mask, carry)


def nothing(batch: int, cells: int, dtype: Any = jnp.float32) -> Carry:
    """What is remembered before the first token; ``dtype`` is the compute type."""
    shape = (batch, cells)
    return Carry(jnp.zeros(shape, jnp.float32), jnp.zeros(shape, dtype))


def run_with(
    matrices: Matrices,
    x: Float[Array, "B T I"],
    mask: Bool[Array, "B T"] | None,
    carry: Carry,
) -> tuple[Float[Array, "B T N"], Float[Array, "B T N"], Carry]:
    """`run` with matrices that are normalised already."""
    inputs = jnp.concatenate([matrices.inputs, matrices.input_factor], axis=1)
    bias = jnp.pad(matrices.bias, (0, len(matrices.recurrent)))
    own = linear(x, inputs, bias)
    hidden, cell = recurrence(own, matrices.recurrent, matrices.recurrent_factor, mask, carry)
    return hidden, cell, Carry(cell[:, -1], hidden[:, -1])


@jax.custom_vjp
def recurrence(
    own: Float[Array, "B T G"],
    kernel: Float[Array, "N F"],
    factor: Float[Array, "N N"],
    mask: Bool[Array, "B T"] | None,
    carry: Carry,
) -> tuple[Float[Array, "B T N"], Float[Array, "B T N"]]:
    """The part of a layer that has to go from token to token; G = 5 N.

    The gradients are what autodiff would give. They are written out because autodiff adds to the
    matrices' gradients at every token, which is most of its time: one product over all tokens does
    the same. Of ``own``, x W_x + b and x W_mx side by side, it makes h and c.
    """

    def step(carry: Carry, now: tuple[Array, Array | None]) -> tuple[Carry, Carry]:
        carry, _ = _step(carry, *now, *_as(now[0], kernel, factor))
        return carry, carry

    _, after = jax.lax.scan(step, carry, (_turned(own), _turned(mask)))
    return _turned(after.hidden), _turned(after.cell)


def _step(
    carry: Carry, own: Array, is_token: Array | None, kernel: Array, factor: Array
) -> tuple[Carry, tuple[Array, ...]]:
    """One token: what is remembered after it; the four gates [B, N], float32, and h W_mh."""
    cells = len(kernel)
    back = carry.hidden @ factor
    total = own[:, : 4 * cells] + (own[:, 4 * cells :] * back) @ kernel
    i, f, o, u = jnp.split(total.astype(jnp.float32), 4, axis=-1)
    add, forget, out = jax.nn.sigmoid(i), jax.nn.sigmoid(f), jax.nn.sigmoid(o)
    new = jnp.tanh(u)
    cell = forget * carry.cell + add * new
    hidden = (out * jnp.tanh(cell)).astype(own.dtype)
    after = Carry(_where(is_token, cell, carry.cell), _where(is_token, hidden, carry.hidden))
    return after, (add, forget, out, new, back)


def _as(x: Array, *matrices: Array) -> list[Array]:
    return [matrix.astype(x.dtype) for matrix in matrices]


def _turned(x: Array | None) -> Any:
    """From rows first to positions first, or back."""
    return None if x is None else x.swapaxes(0, 1)


def _where(is_token: Array | None, here: Array, elsewhere: Array) -> Array:
    return here if is_token is None else jnp.where(is_token[:, None], here, elsewhere)


def _recurrence_forward(
    own: Array, kernel: Array, factor: Array, mask: Array | None, carry: Carry
) -> tuple[tuple[Array, Array], tuple[Any, ...]]:
    def step(
        carry: Carry, now: tuple[Array, Array | None]
    ) -> tuple[Carry, tuple[Carry, tuple[Array, ...]]]:
        after, opened = _step(carry, *now, *_as(now[0], kernel, factor))
        return after, (after, opened)

    _, (after, opened) = jax.lax.scan(step, carry, (_turned(own), _turned(mask)))
    through = _turned(own[..., 4 * len(kernel) :])
    found = (_turned(after.hidden), _turned(after.cell))
    return found, (through, kernel, factor, mask, carry, after, opened)


def _recurrence_backward(
    saved: tuple[Any, ...], g: tuple[Array, Array]
) -> tuple[Array, Array, Array, None, Carry]:
    through, kernel, factor, mask, carry, after, opened = saved
    before = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), carry, after)
    turned_kernel, turned_factor = _as(through, kernel.T, factor.T)

    def step(later: Carry, now: tuple[Any, ...]) -> tuple[Carry, tuple[Array, Array, Array]]:
        g_hidden, g_cell, is_token, through, cell, cell_before, opened = now
        add, forget, out, new, back = opened
        # Of h and c after this token: what reads them here, and the tokens after it.
        g_hidden = g_hidden.astype(jnp.float32) + later.hidden
        g_cell = g_cell + later.cell
        squashed = jnp.tanh(cell)
        through_cell = g_cell + g_hidden * out * (1 - squashed**2)
        g_gates = [
            through_cell * new * add * (1 - add),
            through_cell * cell_before * forget * (1 - forget),
            g_hidden * squashed * out * (1 - out),
            through_cell * add * (1 - new**2),
        ]
        g_total = jnp.concatenate(g_gates, axis=-1).astype(through.dtype)
        g_total = _where(is_token, g_total, jnp.zeros_like(g_total))
        g_product = g_total @ turned_kernel
        g_through, g_back = g_product * back, g_product * through
        g_before = (g_back @ turned_factor).astype(jnp.float32)
        earlier = Carry(
            _where(is_token, through_cell * forget, g_cell),
            _where(is_token, g_before, g_hidden),
        )
        return earlier, (g_total, g_through, g_back)

    end = nothing(*carry.cell.shape)
    inputs = (*map(_turned, g), _turned(mask), through, after.cell, before.cell, opened)
    first, (g_total, g_through, g_back) = jax.lax.scan(step, end, inputs, reverse=True)
    product, wide = through * opened[-1], jnp.float32
    g_kernel = jnp.einsum("tbn,tbf->nf", product, g_total, preferred_element_type=wide)
    g_factor = jnp.einsum("tbn,tbm->nm", before.hidden, g_back, preferred_element_type=wide)
    g_own = _turned(jnp.concatenate([g_total, g_through], axis=-1))
    g_carry = Carry(first.cell, first.hidden.astype(carry.hidden.dtype))
    return g_own, g_kernel, g_factor, None, g_carry


recurrence.defvjp(_recurrence_forward, _recurrence_backward)
