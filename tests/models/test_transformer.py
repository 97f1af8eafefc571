import dataclasses
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward

from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.transformer import Transformer

pytestmark = pytest.mark.usefixtures("strict_dtypes")

TINY = ModelConfig(
    vocabulary_size=50, context_length=16, num_layers=2, num_heads=2, width=16, mlp_width=24
)


@lru_cache
def make(config, seed=0, scale=5.0):
    """Parameters far from their initial values: everything random, biases and gains too."""
    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0), jnp.zeros((1, 1), int))
    rng = np.random.default_rng(seed)

    def value(path, x):
        mean, std = ("scale" in str(path[-1])), 0.1 if x.ndim == 1 else 0.02 * scale
        return jnp.asarray(mean + std * rng.standard_normal(x.shape), jnp.float32)

    return jax.tree_util.tree_map_with_path(value, shapes["params"])


@partial(jax.jit, static_argnums=0)
def apply(config, params, tokens, key):
    return Transformer(config).apply({"params": params}, tokens, key)


def states(config, params, tokens, key=None):
    return apply(config, params, jnp.asarray(tokens, jnp.int32), key)


def random_tokens(batch, length, seed=0):
    return np.random.default_rng(seed).integers(0, TINY.vocabulary_size, (batch, length))


def rbg(seed):
    return jax.random.key(seed, impl="rbg")


def test_the_default_is_gpt1_in_size():
    shapes = jax.eval_shape(
        lambda key: Transformer(ModelConfig()).init(key, jnp.zeros((1, 1), jnp.int32)),
        jax.random.key(0),
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 116_534_784
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("attention", ["einsum", "fused"])
def test_equals_the_reference(norm, attention):
    config = dataclasses.replace(TINY, norm=norm, attention=attention, attention_dropout=0.0)
    params = make(config)
    tokens = random_tokens(2, 16)
    expected = forward(params, tokens, config.num_heads, norm)
    np.testing.assert_allclose(states(config, params, tokens), expected, rtol=2e-5, atol=2e-5)


def test_equals_the_reference_where_the_queries_take_several_blocks():
    # 300 positions: blocks of 128, 128 and 44 queries.
    config = dataclasses.replace(TINY, context_length=300, num_layers=1)
    params, tokens = make(config), random_tokens(1, 300)
    expected = forward(params, tokens, config.num_heads, "post")
    np.testing.assert_allclose(states(config, params, tokens), expected, rtol=5e-5, atol=5e-5)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("length", [6, 260])
def test_no_state_depends_on_a_later_token(norm, length):
    config = dataclasses.replace(TINY, norm=norm, context_length=length)
    params, tokens = make(config), jnp.asarray(random_tokens(1, length), jnp.int32)

    @jax.jit
    @jax.grad
    def influence(table_rows, t):
        # One embedding row per position, so that its gradient is that of the position.
        mine = {**params, "token_embedding": table_rows}
        config_t = dataclasses.replace(config, vocabulary_size=length)
        return states(config_t, mine, jnp.arange(length)[None])[0, t].sum()

    rows = params["token_embedding"][tokens[0]]
    for t in (0, length // 2, length - 1):
        size = np.abs(influence(rows, t)).sum(-1)
        assert (size[t + 1 :] == 0).all()
        assert (size[: t + 1] > 0).all()


def test_padding_changes_no_state_before_it():
    params, tokens = make(TINY), random_tokens(2, 16)
    other = tokens.copy()
    other[:, 9:] = 0
    np.testing.assert_array_equal(
        states(TINY, params, tokens)[:, :9], states(TINY, params, other)[:, :9]
    )
    np.testing.assert_allclose(
        states(TINY, params, tokens[:, :9]), states(TINY, params, tokens)[:, :9], rtol=1e-5,
        atol=1e-5,
    )  # fmt: skip


def test_bfloat16_is_close_and_keeps_float32_parameters():
    plain = dataclasses.replace(TINY, num_layers=1)
    params, tokens = make(plain, scale=1.0), random_tokens(2, 16)
    config = dataclasses.replace(plain, dtype="bfloat16")
    mine = states(config, params, tokens)
    assert mine.dtype == jnp.bfloat16
    exact = np.asarray(states(plain, params, tokens))
    assert np.abs(np.asarray(mine, np.float32) - exact).max() < 0.05
    gradient = jax.jit(
        jax.grad(lambda p: states(config, p, tokens, rbg(0)).astype(jnp.float32).std())
    )(params)
    assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_rematerialisation_changes_memory_and_not_gradients(norm):
    plain = dataclasses.replace(TINY, norm=norm, num_layers=1)
    again = dataclasses.replace(plain, rematerialize=True)
    params, tokens = make(plain), random_tokens(4, 16)

    def gradient(config):
        return jax.jit(jax.grad(lambda p: jnp.square(states(config, p, tokens, rbg(3))).sum()))

    # The attention's exponentials, once more for every block.
    kept, repeated = (
        str(jax.make_jaxpr(gradient(c))(params)).count(" = exp ") for c in (plain, again)
    )
    assert repeated > kept
    for a, b in zip(*(jax.tree.leaves(gradient(c)(params)) for c in (plain, again)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize(
    "rate", ["embedding_dropout", "attention_dropout", "residual_dropout"]
)  # fmt: skip
def test_every_dropout_acts_in_training_only(rate):
    off = {"embedding_dropout": 0.0, "attention_dropout": 0.0, "residual_dropout": 0.0}
    config = dataclasses.replace(TINY, **{**off, rate: 0.5})
    params, tokens = make(config), random_tokens(2, 16)
    still = states(dataclasses.replace(config, **off), params, tokens, rbg(0))
    np.testing.assert_array_equal(states(config, params, tokens), still)
    one, same, other = (states(config, params, tokens, rbg(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - still).max() > 0.1
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize(("branch", "other"), [("attention", "mlp"), ("mlp", "attention")])
def test_each_branch_of_a_block_is_dropped_from(norm, branch, other):
    """The other branch is silenced, so that it has nothing to drop."""
    off = {"embedding_dropout": 0.0, "attention_dropout": 0.0}
    config = dataclasses.replace(TINY, norm=norm, num_layers=1, residual_dropout=0.5, **off)
    params, tokens = make(config), random_tokens(2, 16)
    silent = jax.tree.map(jnp.zeros_like, params["blocks_0"][other]["projection"])
    block = {**params["blocks_0"], other: {**params["blocks_0"][other], "projection": silent}}
    params = {**params, "blocks_0": block}
    still, noisy = (states(config, params, tokens, key) for key in (None, rbg(0)))
    assert np.abs(noisy - still).max() > 0.1, f"nothing is dropped from the {branch}"


@pytest.mark.parametrize(("norm", "std"), [("post", 0.02), ("pre", 0.02), ("post", 0.05)])
def test_initial_values(norm, std):
    assert ModelConfig().initial_std == 0.02
    sizes = {"width": 128, "mlp_width": 512, "vocabulary_size": 500}
    config = dataclasses.replace(TINY, norm=norm, initial_std=std, **sizes)
    init = jax.jit(Transformer(config).init)
    params = jax.device_get(init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))["params"]
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path)
        if name.endswith("['scale']"):
            assert (x == 1).all()
        elif x.ndim == 1:
            assert (x == 0).all()
        else:
            # Two residual branches per block: 2 L of them are added up.
            smaller = norm == "pre" and "projection" in name
            expected = std / np.sqrt(2 * config.num_layers) if smaller else std
            assert x.std() == pytest.approx(expected, rel=0.05)
            assert abs(x.mean()) < 0.05 * expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 100, "num_heads": 12}, "model.width 100"),
        ({"num_layers": 0}, "model.num_layers is 0"),
        ({"mlp_width": -1}, "model.mlp_width is -1"),
        ({"initial_std": 0.0}, "model.initial_std is 0.0"),
        ({"residual_dropout": 1.0}, "model.residual_dropout is 1.0"),
        ({"attention": "fused"}, "model.attention-dropout to 0"),
    ],
)
def test_an_impossible_shape_is_refused(change, message):
    with pytest.raises(UserError, match=message) as error:
        dataclasses.replace(TINY, **change)
    assert "\n" not in str(error.value)


def test_too_long_a_sequence_is_refused():
    with pytest.raises(UserError, match=r"17 tokens is longer than model.context_length 16"):
        states(TINY, make(TINY), random_tokens(1, 17))
