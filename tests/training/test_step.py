"""One update: global means, one compilation, a latch for what is not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import ToyBatches, objective

from gptjax.batch import Batch
from gptjax.training import parallel
from gptjax.training import step as step_module
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.step import Progress, TrainState, make_train_step


def start(problem, optimizer, seed=0):
    params = problem.init(jax.random.key(seed))
    progress = Progress(jnp.zeros((), jnp.int32), jnp.zeros((), bool), jnp.int32(seed))
    return parallel.replicate(TrainState(params, optimizer.init(params), progress, ()))


def run(step, state, batch):
    *state, metrics = step(*state, parallel.shard(batch), parallel.vote(False))
    return TrainState(*state), jax.device_get(metrics)


@pytest.fixture
def optimizer():
    return make_optimizer(
        OptimizerConfig(learning_rate=0.1, warmup=0.0, schedule="constant", clip_norm=0.05), 10
    )


@pytest.mark.parametrize(("accumulate", "waits"), [(1, False), (2, False), (4, False), (1, True)])
def test_an_update_is_of_the_global_mean(optimizer, accumulate, waits, monkeypatch):
    monkeypatch.setattr(step_module, "_waits_for_branches", lambda: waits)
    problem, batch = objective(), ToyBatches(batch_size=16, examples=28).batch(0, 1)
    weights = batch.weights * np.resize([0.25, 1, 3], 16).astype(np.float32)  # of classes
    batch = batch._replace(weights=weights)
    state = start(problem, optimizer)
    params = parallel.fetch(state.params)

    @jax.jit
    def mean_loss(params, batch):
        sums = problem.loss(params, batch, None, ())[0]
        return sums.loss / sums.weight

    loss, gradient = jax.jit(jax.value_and_grad(mean_loss))(params, batch)
    norm = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(gradient)))
    clipped = jax.tree.map(lambda g: g * jnp.minimum(1.0, 0.05 / norm), gradient)
    updates, _ = optimizer.update(clipped, optimizer.init(params), params)
    expected = optax.apply_updates(params, updates)

    step = make_train_step(problem, optimizer, accumulate=accumulate)
    state, metrics = run(step, state, batch)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    np.testing.assert_allclose(metrics["grad_norm"], norm, rtol=1e-5)
    assert norm > 0.05  # so that clipping had something to do
    counted = batch.lm_weights[..., 1:] * (batch.weights[:, None, None] > 0)
    assert metrics["tokens"] == counted.sum()
    # Adam's first update is the sign of the gradient, so compare the moments as well.
    first_moment = jax.device_get(state.optimizer_state[0].mu)
    jax.tree.map(
        lambda m, g: np.testing.assert_allclose(m, 0.1 * g, rtol=1e-4, atol=1e-8),
        first_moment,
        jax.device_get(clipped),
    )
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-4),
        jax.device_get(state.params),
        jax.device_get(expected),
    )
    # The mean over devices of their own means is another number.
    parts = [jax.tree.map(lambda x, i=i: x[4 * i : 4 * i + 4], batch) for i in range(4)]
    parts = [part for part in parts if problem.loss(params, part, None, ())[0].weight > 0]
    assert abs(np.mean([mean_loss(params, part) for part in parts]) - loss) > 1e-4


def test_one_compilation(optimizer):
    problem, batches = objective(dropout=0.1), ToyBatches()
    step = make_train_step(problem, optimizer, accumulate=2)
    state = start(problem, optimizer)
    shards = [parallel.shard(batches.batch(0, index)) for index in range(4)]
    compiled = []

    def listen(name: str, _: float, **context: object) -> None:
        if name.endswith("backend_compile_duration"):
            compiled.append(context)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for shard in shards:
            *changed, metrics = step(*state, shard, parallel.vote(False))
            state = TrainState(*changed)
            jax.device_get(metrics)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert len(compiled) == 1, compiled


@pytest.mark.parametrize("waits", [False, True])
def test_an_update_that_is_not_finite_is_withheld_and_so_are_those_after_it(
    optimizer, waits, monkeypatch
):
    monkeypatch.setattr(step_module, "_waits_for_branches", lambda: waits)
    problem, batches = objective(dropout=0.1), ToyBatches(poison=(0, 2))
    step = make_train_step(problem, optimizer, accumulate=1)
    state = start(problem, optimizer)
    for index in range(2):
        state, metrics = run(step, state, batches.batch(0, index))
        assert metrics["finite"]
    before = parallel.fetch(state)
    state, metrics = run(step, state, batches.batch(0, 2))
    assert not metrics["finite"]
    for index in (3, 0):
        state, metrics = run(step, state, batches.batch(0, index))
    after = parallel.fetch(state)
    assert after.progress.stopped
    assert after.progress.step == 2
    jax.tree.map(
        np.testing.assert_array_equal,
        (after.params, after.optimizer_state),
        (before.params, before.optimizer_state),
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


def test_dropout_depends_on_seed_step_device_and_micro_batch(optimizer):
    """A draw with each key that the objective is given, against the derivation written out."""

    def key_only(params, batch, key, carry):
        sums = objective().loss(params, batch, None, ())[0]
        draw = {"draw": jax.random.uniform(key, ())}
        return sums._replace(loss=0 * sums.loss, weight=jnp.float32(1), metrics=draw), carry

    problem = objective()._replace(loss=key_only)
    batch = ToyBatches().batch(0, 0)
    step = make_train_step(problem, optimizer, accumulate=2)  # one program for all seeds
    for seed in (0, 1):
        state = start(problem, optimizer, seed)
        for count in range(2):
            state, metrics = run(step, state, batch)
            draws = []
            for device in range(4):
                for micro_batch in range(2):
                    key = jax.random.key(seed, impl="rbg")
                    for number in (count, device, micro_batch):
                        key = jax.random.fold_in(key, number)
                    draws.append(float(jax.random.uniform(key, ())))
            assert len(set(draws)) == 8
            np.testing.assert_allclose(metrics["draw"], np.mean(draws), rtol=1e-5)


def test_every_parameter_moves(optimizer):
    problem = objective()
    step = make_train_step(problem, optimizer, accumulate=1)
    state = start(problem, optimizer)
    before = parallel.fetch(state.params)
    state, _ = run(step, state, ToyBatches().batch(0, 0))
    moved = jax.tree.map(lambda x, y: bool((x != y).any()), before, parallel.fetch(state.params))
    assert all(jax.tree.leaves(moved)), moved


def test_a_batch_without_any_weight_is_no_division_by_zero(optimizer):
    problem = objective()
    step = make_train_step(problem, optimizer, accumulate=1)
    batch = ToyBatches().batch(0, 0)
    empty = Batch(*batch[:4], np.zeros_like(batch.weights))
    _, metrics = run(step, start(problem, optimizer), empty)
    assert metrics["finite"]
    assert metrics["loss"] == 0
