"""What acts on each position alone: the linear map, GELU and LayerNorm."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EPSILON = 1e-5
"""LayerNorm's addend to the variance, GPT-1's and GPT-2's."""

_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


@jax.custom_vjp
def linear(
    x: Float[Array, "B T D"], kernel: Float[Array, "D F"], bias: Float[Array, " F"]
) -> Float[Array, "B T F"]:
    """x @ kernel + bias, in the type of x; kernel and bias are float32 and so are their gradients.

    The gradients are what autodiff would give. They are written out because autodiff makes the
    kernel's gradient transposed, for which XLA's CPU compiler first copies the incoming gradient
    into the other layout; and because a bfloat16 model gets its kernels' gradients in float32.
    """
    if x.dtype == jnp.float32:
        return jnp.einsum("btd,df->btf", x, kernel) + bias[None, None]
    wide = jnp.einsum("btd,df->btf", x, kernel.astype(x.dtype), preferred_element_type=jnp.float32)
    return (wide + bias[None, None]).astype(x.dtype)


def _linear_forward(x: Array, kernel: Array, bias: Array) -> tuple[Array, tuple[Array, Array]]:
    return linear(x, kernel, bias), (x, kernel)


def _linear_backward(saved: tuple[Array, Array], g: Array) -> tuple[Array, Array, Array]:
    x, kernel = saved
    rows, g_rows = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])
    g_kernel = kernel_gradient(rows, g_rows)
    g_x = product("nf,df->nd", g_rows, kernel.astype(g.dtype))
    return g_x.reshape(x.shape), g_kernel, g_rows.astype(jnp.float32).sum(0)


def product(dimensions: str, x: Array, y: Array) -> Array:
    """A product in the type of x, with float32 sums.

    They are asked for by name: XLA's CPU compiler takes its kernel for bfloat16 only if the product
    comes out in float32. It is twice as fast, or three times.
    """
    return jnp.einsum(dimensions, x, y, preferred_element_type=jnp.float32).astype(x.dtype)


def turned_for(dtype: Any, kernel: Float[Array, "N F"]) -> Float[Array, "..."]:
    """A matrix in a compute type, as `back_through` takes it; to be made outside of a loop."""
    # For bfloat16 it is not turned: that would be half as fast.
    return kernel.T if dtype == jnp.float32 else kernel.astype(dtype)


def back_through(g: Float[Array, "B F"], kernel: Float[Array, "..."]) -> Float[Array, "B N"]:
    """g @ kernelᵀ, float32: the gradient of what was multiplied by a matrix (`turned_for`)."""
    if g.dtype == jnp.float32:
        return g @ kernel
    return jnp.einsum("bf,nf->bn", g, kernel, preferred_element_type=jnp.float32)


def kernel_gradient(rows: Float[Array, "*N D"], g: Float[Array, "*N F"]) -> Float[Array, "D F"]:
    """rowsᵀ @ g, float32: the gradient of a matrix that N rows were multiplied by."""
    if rows.dtype == jnp.float32:
        axes = tuple(range(rows.ndim - 1))[::-1]
        return jnp.tensordot(rows, g, (axes, axes))
    rows, g = rows.reshape(-1, rows.shape[-1]), g.reshape(-1, g.shape[-1])
    return jnp.einsum("dn,nf->df", transposed(rows), g, preferred_element_type=jnp.float32)


def transposed(x: Float[Array, "*B N D"]) -> Float[Array, "*B D N"]:
    """x with its last two axes exchanged, to be the left side of a product in bfloat16."""
    return by_rows(x.swapaxes(-1, -2))


def by_rows(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """The same array. On a CPU it lies in memory by rows, as a product in bfloat16 needs it.

    XLA's CPU compiler decides about the kernel for bfloat16, which is twice as fast, when it still
    takes a transpose for a layout, unless what was turned was flattened. The barrier keeps it from
    joining the two.
    """

    def in_memory(x: Array) -> Array:
        flat: Array = jax.lax.optimization_barrier(x.reshape(-1))
        return flat.reshape(x.shape)

    laid: Array = jax.lax.platform_dependent(x, cpu=in_memory, default=lambda x: x)
    return laid


def packed(x: Array) -> Array:
    """An array to be written into another, or stacked by a scan: bfloat16 as bits of an integer.

    XLA's CPU compiler would convert the whole of it to float32 and back each time.
    """
    return jax.lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def unpacked(x: Array) -> Array:
    """What `packed` packed."""
    return jax.lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x


linear.defvjp(_linear_forward, _linear_backward)


@jax.checkpoint
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """GELU in its tanh form (Hendrycks and Gimpel 2016), which GPT-1 and GPT-2 use.

    (1 + tanh(z)) / 2 is the logistic function of 2 z. The backward pass computes it again from x:
    that is cheaper than keeping and reading another array of this size.
    """
    wide = x.astype(jnp.float32)
    z = _SQRT_2_OVER_PI * (wide + 0.044715 * wide**3)
    return (wide * jax.nn.sigmoid(2 * z)).astype(x.dtype)


class Linear(nn.Module):
    """A linear map with parameters ``kernel`` [D, F], N(0, std), and ``bias`` [F], 0."""

    features: int
    std: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], further: Float[Array, " F"] | None = None
    ) -> Float[Array, "B T F"]:
        """The map; a ``further`` bias is added to its own."""
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.std), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return linear(x, kernel, bias if further is None else bias + further)


def layer_norm(
    x: Float[Array, "B T D"], scale: Float[Array, " D"], bias: Float[Array, " D"]
) -> Float[Array, "B T D"]:
    """Layer normalisation (Ba et al. 2016) with float32 statistics, in the type of x."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(variance + EPSILON)
    return (normal * scale[None, None] + bias[None, None]).astype(x.dtype)


class LayerNorm(nn.Module):
    """`layer_norm` with parameters ``scale`` [D], 1, and ``bias`` [D], 0."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), jnp.float32)
        return layer_norm(x, scale, bias)
