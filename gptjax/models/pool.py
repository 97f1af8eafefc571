"""Texts that are written together, each in a row of its own: they come and go at any time.

`gptjax.models.decode` continues prompts that begin together, with the same options. Here every row
has its own prompt, options, key and length, and none depends on the rows beside it: a text is the
one that `decode.stream` writes of this prompt alone with the same key.

Dimensions: S rows of a pool, R rows that join, P tokens of a prompt, N tokens drawn, K
alternatives.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from gptjax.models.backbone import empty_cache, extend
from gptjax.models.backbone import logits as logits_of
from gptjax.models.config import ModelConfig
from gptjax.models.draws import draw_each

ALTERNATIVES = 5
"""K, the likeliest tokens that are told of each position."""


class Options(NamedTuple):
    """How each row is written."""

    key: Key[Array, " S"]  # of its draws
    temperature: Float[Array, " S"]  # these three as of `gptjax.models.decode.generate`
    top_k: Int[Array, " S"]
    top_p: Float[Array, " S"]
    most: Int[Array, " S"]  # tokens to add
    told: Bool[Array, " S"]  # whether log-probabilities are wanted


class Pool(NamedTuple):
    """What is known of each row between two steps. A row that is done may be taken."""

    cache: Any  # of `gptjax.models.backbone.extend`, its arrays [S, …]
    logits: Float[Array, "S V"]  # of the next token
    column: Int[Array, " S"]  # where that will stand
    drawn: Int[Array, " S"]  # tokens so far
    done: Bool[Array, " S"]
    options: Options


class Drawn(NamedTuple):
    """New tokens of each row; what follows a row's last one means nothing.

    Log-probabilities are those of the model, without temperature or truncation, in nats. They are 0
    where no row wants them.
    """

    tokens: Int[Array, "S N"]
    log_probability: Float[Array, "S N"]
    best: Int[Array, "S N K"]  # the likeliest tokens, the first of them first
    best_log_probability: Float[Array, "S N K"]
    counts: Int[Array, " S"]  # how many of the N tokens are a row's own
    done: Bool[Array, " S"]


def options_of(rows: list[tuple[int, int, float, int, float, int, bool]]) -> Options:
    """Options of some rows.

    Args:
        rows: of each the seed, the number of the sample (of the samples of a seed, from 0),
            temperature, top-k, top-p, the most tokens, and whether log-probabilities are wanted.
            Sample 0 is drawn with the seed's own key.
    """
    seeds, samples, temperature, top_k, top_p, most, told = zip(*rows, strict=True)
    return Options(
        _keys(jnp.asarray(seeds, jnp.uint32), jnp.asarray(samples, jnp.uint32)),
        jnp.asarray(temperature, jnp.float32),
        jnp.asarray(top_k, jnp.int32),
        jnp.asarray(top_p, jnp.float32),
        jnp.asarray(most, jnp.int32),
        jnp.asarray(told, bool),
    )


@jax.jit
def _keys(seeds: Array, samples: Array) -> Key[Array, " S"]:
    def one(seed: Array, sample: Array) -> Array:
        key = jax.random.key(seed)
        # No text has so many tokens that its draws meet these numbers.
        other = jax.random.fold_in(key, jnp.uint32(2**32 - 1) - sample)
        own: Array = jax.lax.select(sample == 0, key, other)
        return own

    keys: Array = jax.vmap(one)(seeds, samples)
    return keys


def empty_pool(config: ModelConfig, rows: int, slots: int) -> Pool:
    """A pool of texts of at most ``slots`` tokens, all of its rows free.

    Raises:
        UserError: the family cannot write.
    """
    none = [(0, 0, 0.0, 0, 1.0, 0, False)] * rows
    zero = jnp.zeros(rows, jnp.int32)
    logits = jnp.zeros((rows, config.vocabulary_size), jnp.float32)
    cache = empty_cache(config, rows, slots)
    pool = Pool(cache, logits, zero, zero, jnp.ones(rows, bool), options_of(none))
    # `join` and `advance` take the buffers over, so that no two arrays may share one.
    copied: Pool = jax.tree.map(lambda x: x.copy(), pool)
    return copied


@partial(jax.jit, static_argnames=("config", "slots"))
def read(
    config: ModelConfig,
    params: Any,
    prompts: Int[Array, "R P"],
    first: Int[Array, " R"],
    *,
    slots: int,
) -> tuple[Any, Float[Array, "R V"]]:
    """What is remembered of prompts, and the logits after them.

    Args:
        config: the model.
        params: its parameters.
        prompts: int32, padded on the left.
        first: the column of each row's first token.
        slots: as of `empty_pool`, at least P.
    """
    cache = empty_cache(config, len(prompts), slots)
    states, cache = extend(config, params, prompts, cache, jnp.int32(0), first)
    # The first token moves to column 0: of a prompt no padding takes the place of what is written.
    moved = jax.tree.map(lambda x, axis: _moved(x, first, axis), cache, _slot_axes(config))
    return moved, logits_of(config, params, states[:, -1])


@lru_cache(maxsize=16)
def _slot_axes(config: ModelConfig) -> Any:
    """Of every array of a cache the axis of the slots; -1 of one that has none."""
    one, two = (jax.eval_shape(partial(empty_cache, config, 1, slots)) for slots in (1, 2))

    def axis(short: Any, long: Any) -> int:
        sizes = zip(short.shape, long.shape, strict=True)
        return next((number for number, (a, b) in enumerate(sizes) if a != b), -1)

    return jax.tree.map(axis, one, two)


def _moved(x: Array, first: Array, axis: int) -> Array:
    if axis < 0:
        return x
    return jax.vmap(lambda row, steps: jnp.roll(row, -steps, axis - 1))(x, first)


@partial(jax.jit, donate_argnames="pool")
def join(
    pool: Pool,
    rows: Int[Array, " R"],
    cache: Any,
    logits: Float[Array, "R V"],
    lengths: Int[Array, " R"],
    options: Options,
) -> Pool:
    """The pool with prompts that `read` has read.

    Args:
        pool: which has room for them.
        rows: which row each takes; S for one that only fills up the shape, and takes none.
        cache: from `read`.
        logits: from `read`.
        lengths: tokens of each prompt.
        options: of the texts.
    """
    free = jnp.zeros(rows.shape, bool)
    new = Pool(cache, logits, lengths, jnp.zeros_like(lengths), free, options)
    joined: Pool = jax.tree.map(lambda x, y: x.at[rows].set(y, mode="drop"), pool, new)
    return joined


@jax.jit
def moved(pool: Pool, rows: Int[Array, " S"]) -> Pool:
    """Another pool, with these rows of this one; -1 is a free row."""
    taken: Pool = jax.tree.map(lambda x: x.at[jnp.maximum(rows, 0)].get(mode="clip"), pool)
    return taken._replace(done=taken.done | (rows < 0))


@jax.jit
def without(pool: Pool, leaving: Bool[Array, " S"]) -> Pool:
    """The pool in which these rows are done, whatever they still wanted."""
    return pool._replace(done=pool.done | leaving)


@partial(jax.jit, static_argnames=("config", "steps"), donate_argnames="pool")
def advance(
    config: ModelConfig, params: Any, pool: Pool, end: Int[Array, ""], *, steps: int
) -> tuple[Pool, Drawn]:
    """Draw up to ``steps`` tokens of every row that is not done.

    Args:
        config: the model.
        params: its parameters.
        pool: its rows have room for what they may still add.
        end: the id at which a text ends; it is among the tokens. -1: there is none.
        steps: N.
    """
    narrow = (len(pool.done), steps)
    wide = (*narrow, ALTERNATIVES)
    ids, logs = jnp.int32, jnp.float32
    given = (
        jnp.zeros(narrow, ids),
        jnp.zeros(narrow, logs),
        jnp.zeros(wide, ids),
        jnp.zeros(wide, logs),
    )

    def step(state: tuple[Array, Pool, Any]) -> tuple[Array, Pool, Any]:
        number, pool, given = state
        own = pool.options
        keys = jax.vmap(jax.random.fold_in)(own.key, pool.drawn)
        token = draw_each(pool.logits, keys, own.temperature, own.top_k, own.top_p)
        told = (token, *_told(pool.logits, token, own.told & ~pool.done))
        given = jax.tree.map(
            lambda all, new: jax.lax.dynamic_update_index_in_dim(all, new, number, 1), given, told
        )
        drawn = pool.drawn + ~pool.done
        done = pool.done | (token == end) | (drawn >= own.most)
        # A row that is done writes over a slot of its own until it is taken.
        states, cache = _next(config, params, token, pool.cache, pool.column)
        column = pool.column + ~done
        logits = logits_of(config, params, states)
        return number + 1, Pool(cache, logits, column, drawn, done, own), given

    before = pool.drawn
    start = (jnp.int32(0), pool, given)
    _, pool, given = jax.lax.while_loop(lambda s: (s[0] < steps) & ~s[1].done.all(), step, start)
    return pool, Drawn(*given, pool.drawn - before, pool.done)


def _next(
    config: ModelConfig, params: Any, tokens: Array, cache: Any, columns: Array
) -> tuple[Float[Array, "S D"], Any]:
    """The state of each row's next token, which stands in a column of its own."""

    def one(token: Array, cache: Any, column: Array) -> tuple[Array, Any]:
        alone = jax.tree.map(lambda x: x[None], cache)
        none = jnp.zeros(1, jnp.int32)
        states, alone = extend(config, params, token[None, None], alone, column, none)
        return states[0, -1], jax.tree.map(lambda x: x[0], alone)

    found: tuple[Array, Any] = jax.vmap(one)(tokens, cache, columns)
    return found


def _told(logits: Array, token: Array, wanted: Array) -> tuple[Array, Array, Array]:
    """The log-probability of each token, and the likeliest tokens with theirs."""

    def tell(logits: Array) -> tuple[Array, Array, Array]:
        total = jax.nn.logsumexp(logits, axis=-1)
        values, best = jax.lax.top_k(logits, min(ALTERNATIVES, logits.shape[-1]))
        chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
        missing = ((0, 0), (0, ALTERNATIVES - best.shape[-1]))
        best = jnp.pad(best, missing, constant_values=-1)
        values = jnp.pad(values, missing, constant_values=-jnp.inf)
        return chosen - total, best, values - total[:, None]

    def none(logits: Array) -> tuple[Array, Array, Array]:
        shape = (len(logits), ALTERNATIVES)
        zeros = jnp.zeros(shape, jnp.float32)
        return zeros[:, 0], jnp.zeros(shape, jnp.int32), zeros

    found: tuple[Array, Array, Array] = jax.lax.cond(wanted.any(), tell, none, logits)
    return found
