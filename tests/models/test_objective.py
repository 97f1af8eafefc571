import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward
from test_transformer import make

from gptjax.batch import Batch
from gptjax.models import cross_entropy as room
from gptjax.models.config import ModelConfig
from gptjax.models.cross_entropy import cross_entropy
from gptjax.models.objective import lm

pytestmark = pytest.mark.usefixtures("strict_dtypes")

TINY = ModelConfig(vocabulary_size=40, context_length=8, num_layers=1, num_heads=2, width=16)


def make_batch(rows=3, sequences=2, length=9):
    rng = np.random.default_rng(0)
    shape = (rows, sequences, length)
    return Batch(
        rng.integers(0, TINY.vocabulary_size, shape).astype(np.int32),
        rng.choice([0.0, 0.5, 1.0, 2.0], shape).astype(np.float32),
        np.zeros((rows, sequences), np.int32),
        np.zeros((rows, sequences), np.float32),
        np.asarray([1, 1, 0][:rows], np.float32),
    )


def log_softmax(logits):
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def test_sums_equal_the_reference_and_padding_examples_do_not_count():
    objective = lm(TINY)
    params = make(TINY)
    batch = make_batch()
    sums = jax.jit(objective.loss)(params, batch, None, ())[0]

    rows = batch.tokens.reshape(-1, 9)
    x = forward(params, rows[:, :-1], TINY.num_heads, "post")
    logits = x @ np.asarray(params["token_embedding"], np.float64).T
    weights = (batch.lm_weights * batch.weights[:, None, None]).reshape(-1, 9)[:, 1:]
    targets = rows[:, 1:]
    nll = -np.take_along_axis(log_softmax(logits), targets[..., None], -1)[..., 0]
    np.testing.assert_allclose(sums.loss, (weights * nll).sum(), rtol=1e-5)
    np.testing.assert_allclose(sums.weight, weights.sum(), rtol=1e-6)
    hits = logits.argmax(-1) == targets
    np.testing.assert_allclose(sums.metrics["accuracy"], (weights * hits).sum(), rtol=1e-6)
    assert {x.dtype for x in jax.tree.leaves(sums)} == {jnp.dtype("float32")}


def plain(states, table, targets, weights, bias=None):
    logits = states.astype(jnp.float32) @ table.astype(states.dtype).astype(jnp.float32).T
    if bias is not None:
        logits = logits + bias[None]
    nll = -jax.nn.log_softmax(logits)[jnp.arange(len(targets)), targets]
    return (nll * weights).sum()


@pytest.fixture
def problem():
    keys = jax.random.split(jax.random.key(0), 4)
    return (
        jax.random.normal(keys[0], (37, 16)),
        jax.random.normal(keys[1], (50, 16)),
        jax.random.randint(keys[2], (37,), 0, 50),
        jax.random.uniform(keys[3], (37,)),
    )


@pytest.mark.parametrize(
    ("rows", "with_bias", "on_cpu"),
    [
        *((100, True, True), (37, False, True), (10, True, True), (1, False, True)),
        # With the table padded as for accelerators.
        *((10, True, False), (37, False, False)),
    ],
)
def test_cross_entropy_and_its_gradients_equal_autodiff_for_any_chunk(
    problem, rows, with_bias, on_cpu, monkeypatch
):
    monkeypatch.setattr(room, "_ROWS_ON_CPU" if on_cpu else "_ROWS", rows)
    monkeypatch.setattr(room, "_on_cpu", lambda: on_cpu)
    wanted = (0, 1, 3)
    if with_bias:
        problem, wanted = (*problem, jax.random.normal(jax.random.key(7), (50,))), (0, 1, 3, 4)

    def mine(*args):
        return 3 * cross_entropy(*args)[0]

    def reference(*args):
        return 3 * plain(*args)

    expected, slopes = jax.jit(jax.value_and_grad(reference, argnums=wanted))(*problem)
    np.testing.assert_allclose(jax.jit(mine)(*problem), expected, rtol=1e-6)
    graded = jax.jit(jax.value_and_grad(mine, argnums=wanted))
    assert ("128x16" in graded.lower(*problem).as_text()) == (not on_cpu)
    value, gradients = graded(*problem)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    for a, b in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)


def test_evaluation_does_not_compute_the_gradients(problem, monkeypatch):
    count = {}
    for name, f in (
        ("value", lambda *args: cross_entropy(*args)[0]),
        ("gradient", jax.grad(lambda *args: cross_entropy(*args)[0], argnums=(0, 1))),
    ):
        count[name] = str(jax.make_jaxpr(f)(*problem)).count("dot_general")
    assert count == {"value": 1, "gradient": 3}


def test_cross_entropy_stays_finite_far_from_zero(problem):
    states, table, targets, weights = problem
    value, gradient = jax.value_and_grad(lambda x: cross_entropy(x, table, targets, weights)[0])(
        states * 1e4
    )
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_cross_entropy_in_bfloat16(problem):
    states, table, targets, weights = problem
    low = states.astype(jnp.bfloat16)

    def mine(x, table):
        return cross_entropy(x, table, targets, weights)[0]

    gradient, table_gradient = jax.grad(mine, argnums=(0, 1))(low, table)
    assert gradient.dtype == jnp.bfloat16
    assert table_gradient.dtype == jnp.float32
    expected = jax.grad(plain, argnums=(0, 1))(states, table, targets, weights)
    for a, b in zip((gradient, table_gradient), expected, strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.03 * np.abs(b).max())


def test_training_is_the_same_program_with_an_end_apart():
    params, batch = make(TINY), make_batch()

    def program(key, *end):
        return jax.jit(lm(TINY, *end).loss).lower(params, batch, key, ()).as_text()

    key = jax.random.key(0, impl="rbg")
    assert program(key, 7) == program(key)
    assert program(None, 7) != program(None)


def test_init_gives_the_transformers_parameters():
    mine = jax.eval_shape(lm(TINY).init, jax.random.key(0))
    assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, make(TINY))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_every_parameter_gets_a_gradient(norm):
    config = dataclasses.replace(TINY, norm=norm)
    objective = lm(config)
    params = make(config)
    key = jax.random.key(1, impl="rbg")
    gradients = jax.jit(jax.grad(lambda p: objective.loss(p, make_batch(), key, ())[0].loss))(
        params
    )
    for path, g in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.abs(g).max() > 0, path
        assert np.isfinite(g).all(), path


def test_the_gradient_is_the_slope():
    objective = lm(TINY)
    params = make(TINY)
    batch, key = make_batch(), jax.random.key(5, impl="rbg")

    @jax.jit
    def loss(p):
        return objective.loss(p, batch, key, ())[0].loss

    gradient = jax.device_get(jax.jit(jax.grad(loss))(params))
    params = jax.device_get(params)
    norm = float(np.sqrt(sum(np.square(g).sum() for g in jax.tree.leaves(gradient))))
    step = 2e-2 / norm
    ahead, behind = (
        float(loss(jax.tree.map(lambda p, g: p + s * step * g, params, gradient)))  # noqa: B023
        for s in (1.0, -1.0)
    )
    assert (ahead - behind) / (2 * step) == pytest.approx(norm**2, rel=2e-2)


def test_evaluation_is_deterministic_and_a_key_decides_the_dropout():
    objective = lm(TINY)
    params, batch = make(TINY), make_batch()
    loss = jax.jit(objective.loss)
    quiet = [float(loss(params, batch, None, ())[0].loss) for _ in range(2)]
    assert quiet[0] == quiet[1]
    noisy = [
        float(loss(params, batch, jax.random.key(s, impl="rbg"), ())[0].loss) for s in (0, 0, 1)
    ]  # fmt: skip
    assert noisy[0] == noisy[1]
    assert len({quiet[0], *noisy}) == 3
