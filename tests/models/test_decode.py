import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_transformer import TINY, make, random_tokens, states

from gptjax.errors import UserError
from gptjax.models.backbone import empty_cache
from gptjax.models.decode import generate, sample
from gptjax.models.draws import draw, largest
from gptjax.models.transformer import Transformer

pytestmark = pytest.mark.usefixtures("strict_dtypes")

SMALL = dataclasses.replace(TINY, num_layers=1)
NEVER = 49  # the end; its row is made improbable by ``quiet``


def quiet(params):
    """The same model, its end never the most probable token."""
    return {**params, "token_embedding": params["token_embedding"].at[NEVER].set(0.0)}


def full_logits(config, params, tokens):
    return states(config, params, tokens) @ params["token_embedding"].T


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_cached_logits_equal_the_full_forward_pass(norm):
    config = dataclasses.replace(TINY, norm=norm)
    params, tokens = make(config, scale=2.0), random_tokens(3, 16)
    pads = np.asarray([0, 3, 5])
    extend = jax.jit(partial(Transformer(config).apply, method="extend"))
    cache = empty_cache(config, 3, 16)
    logits = []
    for start, end in ((0, 6), (6, 7), (7, 8), (8, 12), (12, 16)):
        new, cache = extend(
            {"params": params},
            jnp.asarray(tokens[:, start:end], jnp.int32),
            cache,
            jnp.int32(start),
            jnp.asarray(pads, jnp.int32),
        )
        logits.append(new @ params["token_embedding"].T)
    cached = np.concatenate(logits, axis=1)
    for row, pad in enumerate(pads):
        expected = full_logits(config, params, tokens[row : row + 1, pad:])[0]
        np.testing.assert_allclose(cached[row, pad:], expected, rtol=1e-5, atol=1e-5)


def greedy(config, params, prompt, count):
    """Full forward passes over a window that slides by half when it is full."""
    window, new = list(prompt), []
    for _ in range(count):
        # What follows the last token cannot matter: one shape, one compilation.
        padded = window + [0] * (config.context_length - len(window))
        logits = full_logits(config, params, [padded])[0, len(window) - 1]
        new.append(int(logits.argmax()))
        if len(window) == config.context_length:
            window = window[-(config.context_length // 2) :]
        window.append(new[-1])
    return new


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_greedy_generation_equals_full_forward_passes_past_the_context(norm):
    config = dataclasses.replace(SMALL, norm=norm)
    params = quiet(make(config, seed=3))
    prompts = [[5, 6, 7, 8, 9], [1], [2, 3]]
    got = generate(
        config, params, prompts, jax.random.key(0), max_tokens=40, end=NEVER, temperature=0.0
    )
    # Rows of unequal length share one window, so that the longest decides when it slides.
    assert got[0][0] == greedy(config, params, prompts[0], 40)
    for prompt, samples in zip(prompts, got, strict=True):
        assert samples[0][:11] == greedy(config, params, prompt, 11)
        assert len(samples[0]) == 40


def test_a_prompt_longer_than_the_context_is_cut_to_its_end():
    params, prompt = quiet(make(SMALL)), random_tokens(1, 30)[0].tolist()
    options = {"max_tokens": 6, "end": NEVER, "temperature": 0.0}
    long, short = (
        generate(SMALL, params, [p], jax.random.key(0), **options) for p in (prompt, prompt[-16:])
    )
    assert long == short


def test_a_context_of_one_token_can_still_write():
    config = dataclasses.replace(SMALL, context_length=1)
    params = quiet(make(config))
    got = generate(
        config, params, [[4, 5]], jax.random.key(0), max_tokens=5, end=NEVER, temperature=0.0
    )
    window, expected = 5, []
    for _ in range(5):
        window = int(full_logits(config, params, [[window]])[0, -1].argmax())
        expected.append(window)
    assert got == [[expected]]


def test_a_sample_ends_before_the_end():
    params = make(SMALL, scale=1.0)
    got = generate(SMALL, params, [[1, 2]], jax.random.key(0), max_tokens=300, end=7, num_samples=8)
    lengths = [len(s) for s in got[0]]
    assert all(7 not in s for s in got[0])
    assert min(lengths) < max(lengths)


def test_samples_differ_and_a_key_decides_them():
    params = make(SMALL, scale=1.0)

    def run(seed):
        return generate(
            SMALL, params, [[1], [2, 3]], jax.random.key(seed), max_tokens=12, end=NEVER,
            num_samples=3,
        )  # fmt: skip

    first = run(0)
    assert [len(samples) for samples in first] == [3, 3]
    assert first == run(0)
    assert first != run(1)
    assert len({tuple(s) for samples in first for s in samples}) == 6


def test_options_and_seeds_share_one_compilation():
    params = make(SMALL)
    sample.clear_cache()
    for seed, options in enumerate(
        ({}, {"temperature": 0.0}, {"temperature": 0.3, "top_k": 5}, {"top_p": 0.5, "end": 3})
    ):
        key = jax.random.key(seed)
        options = {"max_tokens": 4, "end": NEVER} | options
        generate(SMALL, params, [[1, 2], [seed, 5]], key, **options)
    assert sample._cache_size() == 1


def drawn(logits, **options):
    """The frequency of each token among many draws."""
    options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | options
    rows = jnp.tile(jnp.log(jnp.asarray(logits))[None], (20_000, 1))
    tokens = draw(
        rows,
        jax.random.key(0),
        jnp.float32(options["temperature"]),
        jnp.int32(options["top_k"]),
        jnp.float32(options["top_p"]),
    )
    return np.bincount(tokens, minlength=len(logits)) / len(tokens)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"temperature": 0.0}, [0, 1, 0, 0]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 99}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 0.01}, [0, 1, 0, 0]),
        ({"top_p": 0.65}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"top_k": 3, "top_p": 0.6}, [0, 4 / 7, 0, 3 / 7]),
    ],
)
def test_draws_follow_the_truncated_distribution(options, expected):
    np.testing.assert_allclose(drawn([0.1, 0.4, 0.2, 0.3], **options), expected, atol=0.015)
    frequencies = drawn([0.1, 0.4, 0.2, 0.3], **options)
    assert (frequencies[np.asarray(expected) == 0] == 0).all()


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[]], {}, "no tokens"),
        ([[50]], {}, "outside the vocabulary of 50"),
        ([[1]], {"temperature": -1.0}, "temperature is -1.0"),
        ([[1]], {"top_k": -1}, "top-k is -1"),
        ([[1]], {"top_p": 0.0}, "top-p is 0.0"),
        ([[1]], {"max_tokens": 0}, "max_tokens=0"),
        ([[1]], {"max_tokens": 10**30}, "a number of 31 digits"),
        ([[1]], {"num_samples": 10**30}, "num_samples=a number of 31 digits"),
        ([[1]], {"top_k": 10**30}, "from 1 to 2,147,483,647"),
        ([[1]], {"num_samples": 0}, "num_samples=0"),
    ],
)
def test_bad_options_are_refused(prompts, options, message):
    options = {"max_tokens": 2, "end": NEVER} | options
    with pytest.raises(UserError, match=message):
        generate(SMALL, make(SMALL), prompts, jax.random.key(0), **options)


def test_draws_are_those_of_jax():
    """The place of the largest is found in another way than jax finds it."""
    logits = jax.random.normal(jax.random.key(0), (5, 31))
    logits = logits.at[1, 7].set(logits[1].max())  # two are the largest
    options = (jnp.int32(0), jnp.float32(1))
    for seed in range(8):
        key = jax.random.key(seed)
        expected = jax.random.categorical(key, logits / jnp.float32(0.7), axis=-1)
        found = draw(logits, key, jnp.float32(0.7), *options)
        np.testing.assert_array_equal(found, expected)
    greedy = draw(logits, jax.random.key(0), jnp.float32(0), *options)
    np.testing.assert_array_equal(greedy, logits.argmax(-1))
    ties = jnp.zeros((2, 9)).at[1, 4].set(-1.0)
    np.testing.assert_array_equal(largest(ties), [0, 0])
