"""Dropout of parameters: one draw an update, whatever the devices and micro-batches."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.models import objective
from gptjax.models.lstm_config import LSTMConfig
from gptjax.training import parallel
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.step import OF_UPDATE, Progress, make_train_step

ROWS, LENGTH = 8, 7
CONFIG = LSTMConfig(
    vocabulary_size=20,
    context_length=8,
    num_layers=2,
    width=6,
    layer_units=(10, 6),
    map_back=False,
    initial_std=0.5,
    embedding_dropout=0.0,
    residual_dropout=0.0,
    word_dropout=0.3,
    weight_dropout=0.5,
)
STILL = make_optimizer(OptimizerConfig(learning_rate=1e-30, warmup=0.0, schedule="constant"), 9)


def batch():
    tokens = np.random.default_rng(0).integers(0, 20, (ROWS, 1, LENGTH + 1)).astype(np.int32)
    ones = np.ones(tokens.shape, np.float32)
    nothing = np.zeros((ROWS, 1), np.int32)
    fresh = np.zeros((ROWS, 1, LENGTH), bool)
    return Batch(tokens, ones, nothing, np.ones((ROWS, 1), np.float32), ones[:, 0, 0], fresh)


def losses(problem, accumulate, steps=2, seed=3):
    """Of updates that change nothing, each from the same state on."""
    params = problem.init(jax.random.key(0))
    step = make_train_step(problem, STILL, accumulate)
    progress = Progress(jnp.int32(0), jnp.array(False), jnp.int32(seed))
    state, progress = parallel.replicate((params, STILL.init(params))), parallel.replicate(progress)
    found = []
    for _ in range(steps):
        carry = parallel.shard_all(problem.init_carry(ROWS))
        given = (progress, carry, parallel.shard(batch()), parallel.vote(False))
        *state, progress, _, metrics = step(*state, *given)
        found.append(float(metrics["loss"]))
    return found


@pytest.mark.parametrize("streams", [False, True])
def test_all_devices_and_micro_batches_drop_the_same_and_each_update_something_else(streams):
    problem = objective.lm(CONFIG, streams=streams)
    assert jax.device_count() == 4
    found = [losses(problem, accumulate) for accumulate in (1, 2)]
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert abs(found[0][0] - found[0][1]) > 1e-3
    assert losses(problem, 1) == found[0]
    # On the host, all rows at once, with one draw for all of them.
    params = problem.init(jax.random.key(0))
    for step, loss in enumerate(found[0]):
        key = jax.random.fold_in(jax.random.key(3, impl="rbg"), step)
        dropped = problem.thin(params, jax.random.fold_in(key, OF_UPDATE))
        whole = jax.jit(partial(problem.loss, key=key))
        sums, _ = whole(dropped, batch(), carry=problem.init_carry(ROWS))
        np.testing.assert_allclose(loss, sums.loss / sums.weight, rtol=1e-5)


def test_evaluation_drops_nothing():
    problem = objective.lm(CONFIG)
    params = problem.init(jax.random.key(0))
    step = parallel.evaluation_step(lambda p, b, carry: problem.loss(p, b, None, carry))
    sums, _ = step(parallel.place(params), parallel.shard(batch()), ())
    again, _ = jax.jit(partial(problem.loss, key=None))(params, batch(), carry=())
    np.testing.assert_allclose(sums.loss, again.loss, rtol=1e-5)
