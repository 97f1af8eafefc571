"""Words by their characters: ELMo's convolutions, highway layers and projection."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax import spelling
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.family import Tokens
from gptjax.models.layers import Linear, linear

CARRY_BIAS = -2.0  # A new highway layer lets most of what it reads through.
# A new highway layer lets most of what it reads through (Srivastava et al. 2015).


def uniform(most: float) -> Any:
    """Initial values between -most and most."""

    def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.uniform(key, shape, dtype, -most, most)

    return init


class Convolution(nn.Module):
    """One width of filters: convolution over the characters of a word, maximum, activation."""

    width: int
    count: int
    activation: str

    @nn.compact
    def __call__(self, x: Float[Array, "W 50 C"]) -> Float[Array, "W F"]:
        shape = (self.width, x.shape[-1], self.count)
        start = uniform(0.05)
        if self.activation == "tanh":
            start = nn.initializers.normal((self.width * x.shape[-1]) ** -0.5)
        kernel = self.param("kernel", start, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.count,), jnp.float32)
        found = jax.lax.conv_general_dilated(
            x, kernel.astype(x.dtype), (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
        )
        found = found.max(1) + bias.astype(x.dtype)[None]  # the bias moves all positions alike
        return jnp.tanh(found) if self.activation == "tanh" else jax.nn.relu(found)


class Highway(nn.Module):
    """y = g ⊙ relu(W x + b) + (1 - g) ⊙ x with a gate g of x (Srivastava et al. 2015)."""

    @nn.compact
    def __call__(self, x: Float[Array, "B T F"]) -> Float[Array, "B T F"]:
        size = x.shape[-1]
        start, shut = nn.initializers.normal(size**-0.5), nn.initializers.constant(CARRY_BIAS)
        kernel = self.param("carry_kernel", start, (size, size), jnp.float32)
        bias = self.param("carry_bias", shut, (size,), jnp.float32)
        gate = jax.nn.sigmoid(linear(x, kernel, bias))
        found = jax.nn.relu(Linear(size, size**-0.5, name="transform")(x))
        return gate * found + (1 - gate) * x


class Characters(nn.Module):
    """The vectors of words, from their characters alone.

    ``spelling`` are the numbers of `gptjax.spelling` of all words, as float32 [V × 50] in a row: no
    training changes them, whose gradient is 0, nor does weight decay, which leaves vectors as they
    are. A word whose first number is -1 - k has no spelling, and is row k of ``further``.
    """

    config: BiLMConfig

    def setup(self) -> None:
        config = self.config
        start, length = nn.initializers.constant(float(spelling.PADDING)), spelling.LENGTH
        words = (config.vocabulary_size * length,)
        self.spelling = self.param("spelling", start, words, jnp.float32)
        table = (spelling.CHARACTERS, config.character_width)
        self.characters = self.param("characters", uniform(1.0), table, jnp.float32)
        self.filters = [
            Convolution(width, count, config.activation)
            for width, count in zip(config.filter_widths, config.filter_counts, strict=True)
        ]
        self.highways = [Highway() for _ in range(config.highway_layers)]
        self.out = Linear(config.projection, sum(config.filter_counts) ** -0.5)

    def __call__(
        self, tokens: Tokens, further: Float[Array, "S P"] | None
    ) -> Float[Array, "B T P"]:
        table = jax.lax.stop_gradient(jnp.asarray(self.spelling))
        table = jnp.round(table).astype(jnp.int32).reshape(-1, spelling.LENGTH)
        spelled = table[tokens]
        found = self.read(jnp.maximum(spelled, 0))
        if further is None:
            return found
        row = -1 - spelled[..., 0]
        own = jnp.asarray(further)[jnp.maximum(row, 0)].astype(found.dtype)
        return jnp.where((row >= 0)[..., None], own, found)

    def end(self) -> Float[Array, "1 1 P"]:
        """The vector of the marker after a sentence."""
        return self.read(jnp.asarray(spelling.end())[None, None])

    def read(self, spelled: Int[Array, "B T 50"]) -> Float[Array, "B T P"]:
        """The vectors of words that are spelled so."""
        rows, shape = spelled.reshape(-1, spelling.LENGTH), spelled.shape[:-1]
        x = jnp.asarray(self.characters)[rows].astype(jnp.dtype(self.config.dtype))
        x = jnp.concatenate([convolution(x) for convolution in self.filters], axis=-1)
        x = x.reshape(*shape, -1)
        for highway in self.highways:
            x = highway(x)
        return self.out(x)


def with_words(params: Any, spelled: Int[Any, "V 50"]) -> Any:
    """The parameters of `Characters` with the words that are spelled so as their vocabulary."""
    return {**params, "spelling": jnp.asarray(spelled, jnp.float32).reshape(-1)}


def with_further(params: Any, first: int, count: int) -> Any:
    """The parameters with further words without spelling, for rows ``first`` … of ``further``."""
    rows = -1.0 - first - jnp.arange(count, dtype=jnp.float32)
    rows = jnp.broadcast_to(rows[:, None], (count, spelling.LENGTH))
    return {**params, "spelling": jnp.concatenate([params["spelling"], rows.reshape(-1)])}
