"""A learned mix of the states of all depths, as ELMo's tasks read their language model."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

EPSILON = 1e-12  # beside the variance, as in bilm-tf


def mix_arrays(num_layers: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of a mix: w of the L + 1 depths, which starts at 0, and γ, at 1."""
    return {"mix_weights": (num_layers + 1,), "mix_scale": (1,)}


def scalar_mix(
    params: Mapping[str, Array],
    layers: Float[Array, "N *B T D"],
    counts: Bool[Array, "*B T"] | None = None,
) -> Float[Array, "*B T D"]:
    """γ Σ softmax(w)_l h_l over the depths l (Peters et al. 2018, equation 1); float32.

    Args:
        params: arrays by the names of `mix_arrays`.
        layers: the states after each depth.
        counts: where there is a token. With it each depth is normalised first: one mean and one
            variance over all numbers of all positions that count. None: no normalisation.
    """
    layers = layers.astype(jnp.float32)
    if counts is not None:
        layers = _normalised(layers, counts)
    shares = params["mix_scale"] * jax.nn.softmax(params["mix_weights"])
    # A product of matrices, whose gradients XLA computes ten times faster on a CPU than those of a
    # sum; of the highest precision, since a GPU would round it.
    return jnp.einsum("n,n...->...", shares, layers, precision=jax.lax.Precision.HIGHEST)


def _normalised(layers: Float[Array, "N *B T D"], counts: Bool[Array, "*B T"]) -> Array:
    own = counts[None, ..., None]
    number = jnp.maximum(counts.sum().astype(jnp.float32), 1.0) * layers.shape[-1]
    axes = tuple(range(1, layers.ndim))

    def mean(x: Array) -> Array:
        return jnp.where(own, x, 0.0).sum(axes, keepdims=True) / number

    centred = layers - mean(layers)
    return centred * jax.lax.rsqrt(mean(jnp.square(centred)) + EPSILON)


def mix_penalty(params: Mapping[str, Array]) -> Float[Array, ""]:
    """Σ w², of which `task.mix_l2` adds a multiple to the loss."""
    return jnp.square(params["mix_weights"]).sum()


def describe_mix(params: Mapping[str, Any]) -> str:
    """What a mix has learnt, in words; the arrays may be numpy's."""
    shares = jax.nn.softmax(jnp.asarray(params["mix_weights"])).tolist()
    listed = ", ".join(f"{share:.3f}" for share in shares)
    return f"γ {float(params['mix_scale'][0]):.3f}, depths 0 to {len(shares) - 1}: {listed}"
