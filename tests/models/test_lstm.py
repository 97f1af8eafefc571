"""The LSTM beside a loop in numpy, and through the frame that the transformer runs in."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.config import from_table, to_table
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.backbone import empty_cache, make_backbone
from gptjax.models.config import ModelConfig
from gptjax.models.decode import generate
from gptjax.models.lstm_recurrence import recurrence
from gptjax.models.recurrent import nothing
from gptjax.models.task_head import TaskHeadConfig
from gptjax.models.transfer import transfer
from gptjax.models.transformer import Transformer

pytestmark = pytest.mark.usefixtures("strict_dtypes")

TINY = ModelConfig(
    kind="lstm", vocabulary_size=50, context_length=16, num_layers=2, width=12, units=10
)
NEVER = 49


def make(config=TINY, seed=0):
    """Parameters far from their initial values."""
    shapes = jax.eval_shape(objective.lm(config).init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32), shapes)


@partial(jax.jit, static_argnums=0)
def apply(config, params, tokens, key=None):
    return make_backbone(config).apply({"params": params}, tokens, key)


def tokens(rows, length, seed=0):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.integers(0, TINY.vocabulary_size, (rows, length)), jnp.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(params, row):
    """States of one row, a step and a layer at a time, in float64; gates add, forget, new, out."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    n = len(p["blocks_0"]["recurrent"])
    layers = [p[name] for name in sorted(p) if name.startswith("blocks_")]
    memory = [(np.zeros(n), np.zeros(n)) for _ in layers]
    states = []
    for token in row:
        x = p["token_embedding"][token]
        for i, layer in enumerate(layers):
            h, c = memory[i]
            z = x @ layer["inputs"]["kernel"] + layer["inputs"]["bias"] + h @ layer["recurrent"]
            c = sigmoid(z[n : 2 * n] + 1) * c + sigmoid(z[:n]) * np.tanh(z[2 * n : 3 * n])
            h = sigmoid(z[3 * n :]) * np.tanh(c)
            memory[i] = (h, c)
            x = h @ layer["projection"]["kernel"] + layer["projection"]["bias"]
        states.append(x)
    return np.stack(states)


def test_equals_the_reference_step_by_step():
    params, rows = make(), tokens(3, 16)
    expected = np.stack([reference(params, row) for row in np.asarray(rows)])
    np.testing.assert_allclose(apply(TINY, params, rows), expected, rtol=2e-5, atol=2e-5)


def test_a_state_depends_on_its_own_token_and_those_before_it_alone():
    params, rows = make(), tokens(1, 8)
    changed = apply(TINY, params, rows.at[0, 5].set(3)) != apply(TINY, params, rows)
    assert changed.any(-1)[0].tolist() == [False] * 5 + [True] * 3


def test_steps_with_what_is_remembered_equal_the_whole():
    params, rows, pads = make(), tokens(3, 16), (0, 3, 5)
    extend = jax.jit(partial(make_backbone(TINY).apply, method="extend"))
    cache, states = empty_cache(TINY, 3, 16), []
    for start, end in ((0, 6), (6, 7), (7, 8), (8, 16)):
        new, cache = extend(
            {"params": params},
            rows[:, start:end],
            cache,
            jnp.int32(start),
            jnp.asarray(pads, jnp.int32),
        )
        states.append(new)
    found = np.concatenate(states, axis=1)
    for row, pad in enumerate(pads):
        expected = apply(TINY, params, rows[row : row + 1, pad:])[0]
        np.testing.assert_allclose(found[row, pad:], expected, rtol=1e-5, atol=1e-6)


def test_greedy_generation_past_the_context_equals_full_passes():
    params = make()
    params = {**params, "token_embedding": params["token_embedding"].at[NEVER].set(0.0)}
    options = {"max_tokens": 20, "end": NEVER, "temperature": 0.0}
    ((got,),) = generate(TINY, params, [[4, 5, 6]], jax.random.key(0), **options)
    window, expected = [4, 5, 6], []
    for _ in range(20):
        padded = window + [0] * (TINY.context_length - len(window))
        states = apply(TINY, params, jnp.asarray([padded], jnp.int32))
        logits = states[0, len(window) - 1] @ params["token_embedding"].T
        expected.append(int(logits.argmax()))
        if len(window) == TINY.context_length:
            window = window[-TINY.context_length // 2 :]
        window.append(expected[-1])
    assert got == expected


def test_dropout_acts_on_input_and_output_and_not_in_evaluation():
    rows, key = tokens(2, 8), jax.random.key(0, impl="rbg")
    params = make()
    still = dataclasses.replace(TINY, embedding_dropout=0.0, residual_dropout=0.0)
    whole = apply(TINY, params, rows)
    np.testing.assert_array_equal(apply(still, params, rows, key), whole)
    for change in ({"embedding_dropout": 0.5}, {"residual_dropout": 0.5}):
        config = dataclasses.replace(still, **change)
        dropped = np.asarray(apply(config, params, rows, key))
        assert (dropped == 0).any() == ("residual_dropout" in change)
        assert (dropped != whole).any()


def test_fine_tuning_takes_it_and_every_parameter_has_a_gradient():
    problem = objective.task(TINY, TaskHeadConfig("classify", 3), lm_coefficient=0.5).objective
    params = jax.jit(problem.init)(jax.random.key(0))
    rows = tokens(4, 8)[:, None]
    batch = Batch(
        np.asarray(rows),
        np.ones((4, 1, 8), np.float32),
        np.array([[3], [7], [5], [2]], np.int32),
        np.eye(3, dtype=np.float32)[[0, 1, 2, 0]],
        np.ones(4, np.float32),
    )
    gradient = jax.jit(jax.grad(lambda p: problem.loss(p, batch, None, ())[0].loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.abs(leaf).max() > 0, path


def test_layers_can_be_transferred_one_by_one():
    fresh, loaded = make(seed=1), make(seed=2)
    taken = transfer(TINY, fresh, loaded, 1)
    for name, source in (("token_embedding", loaded), ("blocks_0", loaded), ("blocks_1", fresh)):
        jax.tree.map(np.testing.assert_array_equal, taken[name], source[name])


def test_bfloat16_states_are_near_and_memory_stays_float32():
    config = dataclasses.replace(TINY, dtype="bfloat16")
    params, rows = make(), tokens(2, 16)
    states = apply(config, params, rows)
    assert states.dtype == jnp.bfloat16
    np.testing.assert_allclose(states.astype(jnp.float32), apply(TINY, params, rows), atol=0.1)


def test_the_kind_of_a_config_is_the_kind_of_the_module():
    assert isinstance(make_backbone(ModelConfig()), Transformer)
    assert not hasattr(make_backbone(TINY), "position_embedding")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "transformer", "width": 12, "num_heads": 2},
        {"norm": "pre"},
        {"fidelity": "released"},
        {"rematerialize": True},
        {"mlp_width": 8},
        {"units": 0},
    ],
)
def test_settings_of_the_other_backbone_are_refused(change):
    with pytest.raises(UserError, match="units" if "kind" in change else next(iter(change))):
        from_table(ModelConfig, {**to_table(TINY), **change}, where="a file")


def test_from_the_last_position_to_the_first_is_as_with_everything_turned():
    """States, what is remembered then, and all gradients, with padding in between."""
    rng = np.random.default_rng(0)
    gates, kernel, weigh = (
        jnp.asarray(rng.normal(0, 0.5, size), jnp.float32)
        for size in ((3, 5, 16), (4, 16), (3, 5, 4))
    )
    mask = jnp.asarray(rng.random((3, 5)) < 0.7)

    def loss(turned, gates, kernel):
        order = slice(None, None, -1) if turned else slice(None)
        given = (gates[:, order], kernel, mask[:, order], None, nothing(3, 4), 0.5, not turned)
        hidden, carry = recurrence(*given)
        hidden = hidden[:, order]
        return (weigh * hidden).sum() + jnp.sin(carry.cell).sum(), hidden

    found, expected = (
        jax.jit(jax.value_and_grad(partial(loss, turned), (0, 1), has_aux=True))(gates, kernel)
        for turned in (False, True)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
