"""The average of the parameters: beside torch's, evaluated and kept, resumed to the last bit."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_fit import SignalAt
from toy import ToyBatches, objective

from gptjax.batch import Batch, Objective, Sums
from gptjax.errors import Interrupted
from gptjax.training import parallel
from gptjax.training.average import averaged, evaluated
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import Optimizer, OptimizerConfig, make_optimizer
from gptjax.training.step import Progress, make_train_step
from gptjax.training.stored import restore_params

SHARED = os.environ.get("GPTJAX_SHARED")
STEPS, FIRST = 12, 5
RATE = OptimizerConfig(learning_rate=0.05, warmup=2.0)
PLAIN = make_optimizer(RATE, STEPS)


def recorded():
    """The trace of torch.optim.ASGD with t0 = 0."""
    folder = Path(__file__).parents[1] / "golden"
    if SHARED is not None:
        folder = Path(SHARED) / "reference/ancestors"
    return json.loads((folder / "ulmfit.json").read_text())["asgd"]


def test_the_average_is_that_of_torchs_asgd():
    """The gradient of update k is 0.2 (k + 1) (p - 0.5); a batch has k + 1 in its tokens."""
    trace = recorded()

    def loss(params, batch, key, carry):
        del key
        each = 0.1 * batch.tokens[:, 0, 0] * jnp.square(params["p"] - 0.5).sum()
        return Sums((each * batch.weights).sum(), batch.weights.sum(), {}), carry

    rate = trace["lr"]
    chain = optax.chain(optax.add_decayed_weights(trace["weight_decay"]), optax.sgd(rate))
    torchs = Optimizer(chain.init, chain.update, lambda step: rate, None)
    optimizer = averaged(torchs, 2)
    params = {"p": jnp.asarray(trace["start"], jnp.float32)}
    step = make_train_step(Objective(lambda key: params, loss), optimizer, 1)
    progress = Progress(jnp.int32(0), jnp.array(False), jnp.int32(0))
    state = parallel.replicate((params, optimizer.init(params), progress))
    for k, expected in enumerate(trace["trace"]):
        rows = np.full((4, 1, 1), k + 1, np.int32)
        ones = np.ones(4, np.float32)
        batch = Batch(rows, np.ones((4, 1, 1), np.float32), rows[..., 0], ones[:, None], ones)
        *state, _, _ = step(*state, (), parallel.shard(batch), parallel.vote(False))
        np.testing.assert_allclose(state[0]["p"], expected["p"], rtol=1e-6)
        np.testing.assert_allclose(evaluated(*state[:2])["p"], expected["ax"], rtol=1e-6)


def run(folder, batches=None, first=FIRST, every=1):
    problem = objective(0.2)
    return fit(
        problem,
        batches or ToyBatches(),
        TrainConfig(steps=STEPS, batch_size=8, evaluate_every=3),
        averaged(PLAIN, first),
        evaluate=Evaluator(problem, ToyBatches(examples=13, shuffle=False)),
        checkpoints=Checkpoints(
            folder / "checkpoints", CheckpointConfig(every=every, keep=20, per_doubling=1), {}
        ),
    )


SHAPES = jax.eval_shape(objective().init, jax.random.key(0))


def read(folder, which, first=FIRST):
    return restore_params(folder / "checkpoints", SHAPES, which)[0]


def raw(folder, step, first=FIRST):
    """The parameters that training goes on with after ``step`` updates."""
    from gptjax.training import archive

    path = folder / "checkpoints/last" / str(step)
    return archive.read(path, {"params": SHAPES}, {})[0]["params"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def test_every_checkpoint_gives_the_mean_since_the_first_update(whole):
    """Before it, the parameters themselves. What trains is that of a run without an average."""
    folder, result = whole
    run(folder / "plain", first=None)
    for step in range(1, STEPS + 1):
        here, there = raw(folder, step), raw(folder / "plain", step)
        jax.tree.map(np.testing.assert_array_equal, here, there)
    assert not (folder / "plain/checkpoints/last/7/average").exists()
    for step in (1, FIRST - 1, FIRST, FIRST + 1, STEPS):
        since = [raw(folder, n) for n in range(min(FIRST, step), step + 1)]
        mean = jax.tree.map(lambda *each: np.mean(each, axis=0, dtype=np.float64), *since)
        for which in [f"last/{step}", *([f"curve/{step}"] if step in (1, 4) else [])]:
            close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)  # noqa: E731
            jax.tree.map(close, read(folder, which), mean)
    jax.tree.map(np.testing.assert_array_equal, result.params, read(folder, "last"))


def test_the_best_checkpoint_is_the_average_that_was_evaluated(whole):
    folder, result = whole
    best = result.history.best_step
    assert best >= FIRST
    jax.tree.map(np.testing.assert_array_equal, read(folder, "best"), read(folder, f"last/{best}"))
    problem = objective(0.2)
    evaluate = Evaluator(problem, ToyBatches(examples=13, shuffle=False))
    assert evaluate(read(folder, "best"))["loss"] == result.history.best_metrics["loss"]
    assert evaluate(raw(folder, best))["loss"] != result.history.best_metrics["loss"]


@pytest.mark.parametrize("step", [3, 8])
def test_killed_and_resumed_is_uninterrupted(whole, tmp_path, step):
    """Before the average begins, and after."""
    folder, result = whole
    with pytest.raises(Interrupted):
        run(tmp_path, SignalAt().at(step))
    again = run(tmp_path)
    assert again.step == STEPS
    jax.tree.map(np.testing.assert_array_equal, again.params, result.params)
    for which in ("best", "last", f"last/{STEPS - 1}"):
        jax.tree.map(np.testing.assert_array_equal, read(tmp_path, which), read(folder, which))
    assert again.history == result.history
