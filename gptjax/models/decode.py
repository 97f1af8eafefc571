"""Sampling from a model, with what the backbone keeps of the tokens before."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from gptjax.errors import LARGEST, UserError, shown
from gptjax.models.backbone import empty_cache, extend
from gptjax.models.backbone import logits as logits_of
from gptjax.models.cells import Held, hold
from gptjax.models.config import ModelConfig
from gptjax.models.draws import draw

MOST_TOKENS = 10_000_000
MOST_SAMPLES = 100_000


def generate(
    config: ModelConfig,
    params: Any,
    prompts: list[list[int]],
    key: Key[Array, ""],
    *,
    max_tokens: int,
    end: int | None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    num_samples: int = 1,
    held: Held | None = None,
) -> list[list[list[int]]]:
    """Continue each prompt, token by token.

    A text may outgrow the context: when the window is full, the model reads its later half again
    as a new window and goes on from there, so that a token is drawn given at least the
    context_length // 2 tokens before it. Of a prompt longer than the context, the last
    context_length tokens are read.

    Args:
        config: the model.
        params: its parameters.
        prompts: token ids, at least one each; lengths may differ.
        key: a typed key, for the draws.
        max_tokens: the most tokens to add to each prompt.
        end: the id at which a sample ends; it is not part of the sample. None: at max_tokens.
        temperature: divides the logits; 0 takes the most probable token each time.
        top_k: draw from the k most probable tokens only; 0 for all.
        top_p: draw from the fewest tokens whose probabilities add up to at least p; 1 for all.
        num_samples: independent continuations per prompt.
        held: memory cells that are overwritten after the prompt and after each token.

    Returns:
        for each prompt its samples, each a list of the new token ids.

    Raises:
        UserError: an option out of its range, or an empty prompt.
    """
    _check(config, prompts, max_tokens, temperature, top_k, top_p, num_samples)
    stop = -1 if end is None else end  # No id is negative.
    tokens, first = _padded(config, prompts, num_samples, max(stop, 0))
    new = sample(
        config, params, tokens, first, key, np.int32(stop), np.float32(temperature),
        np.int32(top_k), np.float32(top_p), held, max_tokens=max_tokens,
    )  # fmt: skip
    drawn = np.asarray(new).tolist()
    samples = [row[: row.index(stop)] if stop in row else row for row in drawn]
    return [samples[i : i + num_samples] for i in range(0, len(samples), num_samples)]


def stream(
    config: ModelConfig,
    params: Any,
    prompt: list[int],
    key: Key[Array, ""],
    *,
    max_tokens: int,
    end: int | None,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    num_samples: int = 1,
    held: Held | None = None,
    every: int = 1,
) -> Iterator[list[list[int]]]:
    """Continue a prompt as `generate` does, and give the new tokens while they are drawn.

    Args:
        every: how many tokens of each sample are drawn before they are given.

    Yields:
        for each sample its next tokens; after the first ``end`` of a sample they mean nothing.
    """
    _check(config, [prompt], max_tokens, temperature, top_k, top_p, num_samples)
    stop = np.int32(-1 if end is None else end)
    tokens, first = _padded(config, [prompt], num_samples, max(int(stop), 0))
    width, every = tokens.shape[1], min(every, max_tokens)
    options = (np.float32(temperature), np.int32(top_k), np.float32(top_p))
    state = _begin(config, params, tokens, first, held, max_tokens=max_tokens)
    for drawn in range(0, max_tokens, every):
        until = min(drawn + every, max_tokens)
        state, new, done = _go_on(
            config, params, state, first, key, stop, *options, held, np.int32(until),
            width=width, every=every,
        )  # fmt: skip
        # The last tokens are given whole, some of them once more.
        yield np.asarray(new)[:, every - (until - drawn) :].tolist()
        if done:
            return


def _padded(
    config: ModelConfig, prompts: list[list[int]], num_samples: int, padding: int
) -> tuple[Int[np.ndarray, "B P"], Int[np.ndarray, " B"]]:
    """Each prompt so many times, padded on the left, and the columns of the first tokens."""
    most = config.context or 0  # prompt[-0:] is all of it
    rows = [prompt[-most:] for prompt in prompts for _ in range(num_samples)]
    width = max(len(row) for row in rows)
    tokens = np.full((len(rows), width), padding, np.int32)
    for i, row in enumerate(rows):
        tokens[i, width - len(row) :] = row
    return tokens, np.asarray([width - len(row) for row in rows], np.int32)


class _State(NamedTuple):
    """What changes while tokens are drawn. ``base`` is the column at which the window begins."""

    drawn: Int[Array, ""]
    base: Int[Array, ""]
    tokens: Int[Array, "B S"]
    cache: tuple[Any, ...]
    logits: Float[Array, "B V"]
    done: Array


@partial(jax.jit, static_argnames=("config", "max_tokens"))
def sample(
    config: ModelConfig,
    params: Any,
    prompt: Int[Array, "B P"],
    first: Int[Array, " B"],
    key: Key[Array, ""],
    end: Int[Array, ""],
    temperature: Float[Array, ""],
    top_k: Int[Array, ""],
    top_p: Float[Array, ""],
    held: Held | None = None,
    *,
    max_tokens: int,
) -> Int[Array, "B N"]:
    """The compiled part of ``generate``: one compilation per shape of the prompt.

    The prompt, of at most the context length, is padded on the left so that all rows end together;
    ``first`` are the columns of their first tokens. ``end`` -1 is no end. The result has
    ``max_tokens`` new tokens of each row; after an end only ends.
    """
    state = _begin(config, params, prompt, first, held, max_tokens=max_tokens)
    options = (temperature, top_k, top_p, held)
    state = _draw_until(
        config, params, state, first, key, end, *options, jnp.int32(max_tokens), prompt.shape[1]
    )
    return state.tokens[:, prompt.shape[1] :]


def _slots(config: ModelConfig, most: int) -> int:
    """How many tokens a window has, of a text of at most so many."""
    return most if config.context is None else min(config.context, most)


def _read(
    config: ModelConfig,
    params: Any,
    tokens: Array,
    cache: tuple[Any, ...],
    slot: Array,
    start: Array,
    held: Held | None,
) -> tuple[Array, tuple[Any, ...]]:
    """The logits after the tokens, and the cache with them in it."""
    states, cache = extend(config, params, tokens, cache, slot, start)
    return logits_of(config, params, states[:, -1]), hold(cache, held)


@partial(jax.jit, static_argnames=("config", "max_tokens"))
def _begin(
    config: ModelConfig,
    params: Any,
    prompt: Int[Array, "B P"],
    first: Int[Array, " B"],
    held: Held | None,
    *,
    max_tokens: int,
) -> _State:
    """The state after the prompt, before anything is drawn."""
    batch, width = prompt.shape
    cache = empty_cache(config, batch, _slots(config, width + max_tokens))
    logits, cache = _read(config, params, prompt, cache, jnp.int32(0), first, held)
    zero, tokens = jnp.int32(0), jnp.pad(prompt, ((0, 0), (0, max_tokens)))
    return _State(zero, zero, tokens, cache, logits, jnp.zeros(batch, bool))


@partial(jax.jit, static_argnames=("config", "width", "every"), donate_argnames="state")
def _go_on(
    config: ModelConfig,
    params: Any,
    state: _State,
    first: Int[Array, " B"],
    key: Key[Array, ""],
    end: Int[Array, ""],
    temperature: Float[Array, ""],
    top_k: Int[Array, ""],
    top_p: Float[Array, ""],
    held: Held | None,
    until: Int[Array, ""],
    *,
    width: int,
    every: int,
) -> tuple[_State, Int[Array, "B N"], Bool[Array, ""]]:
    """Draw until so many are drawn: the state, the last ``every`` tokens, and if all have ended."""
    options = (temperature, top_k, top_p, held)
    state = _draw_until(config, params, state, first, key, end, *options, until, width)
    new = jax.lax.dynamic_slice_in_dim(state.tokens, width + until - every, every, axis=1)
    return state, new, state.done.all()


def _draw_until(
    config: ModelConfig,
    params: Any,
    state: _State,
    first: Array,
    key: Array,
    end: Array,
    temperature: Array,
    top_k: Array,
    top_p: Array,
    held: Held | None,
    until: Array,
    width: int,
) -> _State:
    """Draw tokens until ``until`` of them are drawn, or every row has ended."""
    slots = _slots(config, state.tokens.shape[1])
    kept = slots // 2
    read = partial(_read, config, params, held=held)

    def slide(state: _State) -> _State:
        """Begin a new window with the later half of the full one."""
        base = state.base + slots - kept
        if kept == 0:
            return state._replace(base=base)
        tail = jax.lax.dynamic_slice_in_dim(state.tokens, base, kept, axis=1)
        _, cache = read(tail, state.cache, jnp.int32(0), jnp.maximum(first - base, 0))
        return state._replace(base=base, cache=cache)

    def step(state: _State) -> _State:
        token = draw(state.logits, jax.random.fold_in(key, state.drawn), temperature, top_k, top_p)
        token = jnp.where(state.done, end, token)
        column = width + state.drawn
        tokens = jax.lax.dynamic_update_slice_in_dim(state.tokens, token[:, None], column, axis=1)
        state = state._replace(tokens=tokens, done=state.done | (token == end))
        state = jax.lax.cond(column - state.base == slots, slide, lambda s: s, state)
        new, slot = token[:, None], column - state.base
        logits, cache = read(new, state.cache, slot, jnp.maximum(first - state.base, 0))
        return state._replace(drawn=state.drawn + 1, cache=cache, logits=logits)

    found: _State = jax.lax.while_loop(lambda s: (s.drawn < until) & ~s.done.all(), step, state)
    return found


def _check(
    config: ModelConfig,
    prompts: list[list[int]],
    max_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    num_samples: int,
) -> None:
    if any(not prompt for prompt in prompts):
        raise UserError("a prompt has no tokens: give at least one, for example the separator")
    if any(not 0 <= token < config.vocabulary_size for prompt in prompts for token in prompt):
        raise UserError(
            f"a prompt has a token outside the vocabulary of {config.vocabulary_size}: "
            "use the run's own tokenizer"
        )
    if not prompts:
        raise UserError("generation needs a prompt")
    for name, value, most in (
        ("max_tokens", max_tokens, MOST_TOKENS),
        ("num_samples", num_samples, MOST_SAMPLES),
    ):
        if not 1 <= value <= most:
            raise UserError(f"`{name}={shown(value)}`: it must be from 1 to {most:,}")
    if not 0 <= temperature < float("inf"):
        raise UserError(f"temperature is {temperature}: it must be 0 (greedy) or positive")
    if not 0 <= top_k <= LARGEST:
        raise UserError(
            f"top-k is {shown(top_k)}: it must be from 1 to {LARGEST:,}, or 0 for all tokens"
        )
    if not 0 < top_p <= 1:
        raise UserError(f"top-p is {top_p}: it must be above 0 and at most 1")
