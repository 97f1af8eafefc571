"""What rows remember from batch to batch: in updates, in checkpoints, in evaluation."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import WIDTH, ToyBatches, objective

from gptjax.errors import Interrupted, UserError
from gptjax.training import parallel
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.step import Progress, TrainState, make_train_step
from gptjax.training.tracking import Tracker, TrackingConfig
from tests.training.test_fit import SignalAt

STEPS = 12
OPTIMIZER = make_optimizer(OptimizerConfig(learning_rate=0.05, warmup=2.0), STEPS)


def run(folder, batches=None, dropout=0.2, accumulate=2, batch_size=8, resume="auto"):
    problem = objective(dropout, state=True)
    config = TrainConfig(steps=STEPS, batch_size=batch_size, accumulate=accumulate, log_every=1)
    valid = ToyBatches(examples=13, shuffle=False, streams=True)
    checkpoints = CheckpointConfig(every=1, keep=20, per_doubling=1)
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        return fit(
            problem,
            batches or ToyBatches(batch_size=batch_size, streams=True),
            config,
            OPTIMIZER,
            evaluate=Evaluator(problem, valid),
            checkpoints=Checkpoints(folder / "checkpoints", checkpoints, {}),
            tracker=tracker,
            resume=resume,
        )


def carry_of(folder, step):
    shapes = jax.eval_shape(objective().init, jax.random.key(0))
    nothing = {"mean": jax.ShapeDtypeStruct((8, WIDTH), jnp.float32)}
    targets = {"params": shapes, "optimizer": jax.eval_shape(OPTIMIZER.init, shapes)}
    kept = Checkpoints(folder / "checkpoints", CheckpointConfig(), {})
    return kept.restore({**targets, "carry": nothing}, str(step)).items["carry"]["mean"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder


def test_interrupted_is_uninterrupted(whole, tmp_path, records):
    """In the middle of an epoch, with dropout on."""
    with pytest.raises(Interrupted):
        run(tmp_path, SignalAt(streams=True).at(7))
    run(tmp_path)
    assert records(tmp_path) == records(whole)
    np.testing.assert_array_equal(carry_of(tmp_path, STEPS), carry_of(whole, STEPS))
    assert np.abs(carry_of(whole, STEPS)).min() > 0


def test_checkpoints_to_keep_hold_no_carry(whole):
    for kind, there in (("last", True), ("best", False), ("curve", False)):
        for path in (whole / "checkpoints" / kind).iterdir():
            assert (path / "carry").exists() == there, path


@pytest.mark.parametrize(("devices", "accumulate"), [(4, 1), (2, 2), (1, 4)])
def test_another_layout_goes_on_from_the_same_rows(
    tmp_path, records, monkeypatch, devices, accumulate
):
    run(tmp_path / "whole", dropout=0.0)
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    some = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: some)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    run(tmp_path / "run", dropout=0.0, accumulate=accumulate, resume="7")
    np.testing.assert_allclose(
        carry_of(tmp_path / "run", STEPS), carry_of(tmp_path / "whole", STEPS), rtol=0, atol=1e-5
    )
    found, expected = records(tmp_path / "run"), records(tmp_path / "whole")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-5)


def test_another_batch_size_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    expected = r"is float32\[8, 8\] there and float32\[16, 8\] here; give the `train.batch_size`"
    with pytest.raises(UserError, match=expected):
        run(tmp_path / "run", batch_size=16)


def test_an_update_that_is_withheld_keeps_the_old_carry():
    problem = objective(state=True)
    batches = ToyBatches(streams=True, poison=(0, 1))
    step = make_train_step(problem, OPTIMIZER, accumulate=2)
    params = jax.jit(problem.init)(jax.random.key(0))
    progress = Progress(jnp.array(0, jnp.int32), jnp.array(False), jnp.array(0, jnp.int32))
    placed = parallel.replicate((params, OPTIMIZER.init(params), progress))
    state = TrainState(*placed, parallel.shard_all(problem.init_carry(8)))
    found = []
    for index in (0, 1, 2):
        *changed, _ = step(*state, parallel.shard(batches.batch(0, index)), parallel.vote(False))
        state = TrainState(*changed)
        found.append(parallel.unshard(state.carry)["mean"])
    assert np.abs(found[0]).min() > 0
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])  # all that follow are withheld, too


def test_evaluation_goes_on_from_batch_to_batch_and_begins_from_nothing():
    problem = objective(state=True)
    params = jax.jit(problem.init)(jax.random.key(1))
    batches = ToyBatches(examples=16, shuffle=False, streams=True)
    evaluator, carry, total = Evaluator(problem, batches), problem.init_carry(8), np.zeros(2)
    loss = jax.jit(lambda batch, carry: problem.loss(params, batch, None, carry))
    for index in range(2):
        sums, carry = loss(batches.batch(0, index), carry)
        total += sums.loss, sums.weight
    for _ in range(2):
        assert evaluator(params)["loss"] == pytest.approx(total[0] / total[1], rel=1e-5)
    plain = objective()
    without = Evaluator(plain, ToyBatches(examples=16, shuffle=False))(params)["loss"]
    assert abs(without - total[0] / total[1]) > 1e-4


def test_an_objective_without_state_has_no_input_and_no_output_for_it():
    problem = objective()
    step = make_train_step(problem, OPTIMIZER, accumulate=2)
    params = jax.jit(problem.init)(jax.random.key(0))
    optimizer_state = OPTIMIZER.init(params)
    progress = Progress(jnp.array(0, jnp.int32), jnp.array(False), jnp.array(0, jnp.int32))
    batch, votes = parallel.shard(ToyBatches().batch(0, 0)), parallel.vote(False)
    lowered = step.lower(params, optimizer_state, progress, (), batch, votes)
    program = lowered.as_text()
    begin = program.index("@main(")
    head = program[begin : program.index("{\n", begin)]
    kept = (params, optimizer_state, progress)
    read = (batch.tokens, batch.lm_weights, batch.weights)  # no other part of a batch
    assert head.count("%arg") == len(jax.tree.leaves((kept, read, votes)))
    metrics = ("loss", "accuracy", "learning_rate", "grad_norm", "tokens", "finite", "votes")
    assert head.count("jax.result_info") == len(jax.tree.leaves(kept)) + len(metrics)
