"""Which token comes next: the likeliest one, or one that is drawn, and how probable each is."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def draw(
    logits: Float[Array, "B V"],
    key: Key[Array, ""],
    temperature: Float[Array, ""],
    top_k: Int[Array, ""],
    top_p: Float[Array, ""],
) -> Int[Array, " B"]:
    """Draw a token from each row of logits; the options are those of `decode.generate`.

    Top-k acts first, and top-p on what it left (nucleus sampling, Holtzman et al. 2020). Tokens
    as probable as the last one that fits are kept too.
    """

    def drawn(logits: Array) -> Array:
        scaled = _scaled(logits, temperature, top_k, top_p)
        # As jax.random.categorical draws.
        return largest(scaled + jax.random.gumbel(key, scaled.shape, scaled.dtype))

    token: Array = jax.lax.cond(temperature > 0, drawn, largest, logits)
    return token


def probabilities(
    logits: Float[Array, "B V"],
    temperature: Float[Array, ""],
    top_k: Int[Array, ""],
    top_p: Float[Array, ""],
) -> Float[Array, "B V"]:
    """The probability with which `draw` draws each token, of the same arguments."""

    def drawn(logits: Array) -> Array:
        return jax.nn.softmax(_scaled(logits, temperature, top_k, top_p), axis=-1)

    def greedy(logits: Array) -> Array:
        return jax.nn.one_hot(largest(logits), logits.shape[-1], dtype=logits.dtype)

    found: Array = jax.lax.cond(temperature > 0, drawn, greedy, logits)
    return found


def _scaled(logits: Array, temperature: Array, top_k: Array, top_p: Array) -> Array:
    """The logits whose softmax is drawn from; -inf is never drawn."""
    rows = logits.shape[:1]

    def cut(x: Array) -> Array:
        return truncated(x, jnp.broadcast_to(top_k, rows), jnp.broadcast_to(top_p, rows))

    cuts = (top_k > 0) | (top_p < 1)
    found: Array = jax.lax.cond(cuts, cut, lambda x: x, logits / temperature)
    return found


def draw_each(
    logits: Float[Array, "B V"],
    keys: Key[Array, " B"],
    temperature: Float[Array, " B"],
    top_k: Int[Array, " B"],
    top_p: Float[Array, " B"],
) -> Int[Array, " B"]:
    """Draw a token from each row, by options and with a key of its own.

    A row's token is that which `draw` gives of this row alone: it does not depend on the others.
    """

    def drawn(logits: Array) -> Array:
        # Rows without a temperature are divided by 1, and take the likeliest token below.
        scaled = logits / jnp.where(temperature > 0, temperature, 1.0)[:, None]
        cuts = (temperature > 0) & ((top_k > 0) | (top_p < 1))

        def cut(x: Array) -> Array:
            return jnp.where(cuts[:, None], truncated(x, top_k, top_p), x)

        scaled = jax.lax.cond(cuts.any(), cut, lambda x: x, scaled)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:], logits.dtype))(keys)
        return largest(jnp.where(temperature[:, None] > 0, scaled + noise, logits))

    token: Array = jax.lax.cond((temperature > 0).any(), drawn, largest, logits)
    return token


def truncated(
    logits: Float[Array, "B V"], top_k: Int[Array, " B"], top_p: Float[Array, " B"]
) -> Float[Array, "B V"]:
    """The logits, but -inf for tokens that top-k (0 is no limit) or top-p leaves out."""
    ordered = -jnp.sort(-logits, axis=-1)
    rank = jnp.arange(ordered.shape[-1])[None]
    limit = jnp.where(top_k > 0, top_k, ordered.shape[-1])[:, None]
    ordered = jnp.where(rank < limit, ordered, -jnp.inf)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    kept = (before < top_p[:, None]) & (rank < limit)
    least = jnp.where(kept, ordered, jnp.inf).min(-1, keepdims=True)
    return jnp.where(logits >= least, logits, -jnp.inf)


def largest(x: Float[Array, "B V"]) -> Int[Array, " B"]:
    """The place of each row's largest number, the first of equal ones, as `jnp.argmax`.

    Written as two reductions, which XLA's CPU compiler vectorises. It does not vectorise an argmax.
    """
    places = jnp.arange(x.shape[-1], dtype=jnp.int32)[None]
    found = jnp.where(x == x.max(-1, keepdims=True), places, x.shape[-1] - 1)
    return found.min(-1)
