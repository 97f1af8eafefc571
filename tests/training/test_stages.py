"""Training by stages: what is frozen does not move by a bit, and bias correction starts late."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import ToyBatches, objective

from gptjax.errors import UserError
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from gptjax.training.stages import Stage, join, make_staged_optimizer, read_stages, split
from gptjax.training.tracking import Tracker, TrackingConfig

HIGHEST = 2
DEPTHS = {"embedding": 0, "hidden": 1, "output": 2}
OPTIMIZER = OptimizerConfig(learning_rate=0.05, warmup=0.0, schedule="constant", weight_decay=0.1)
PER_EPOCH = len(ToyBatches())


def depths(params):
    return {name: jax.tree.map(partial(depth_of, name), part) for name, part in params.items()}


def depth_of(name, leaf):
    del leaf
    return DEPTHS[name]


def matrices(params):
    return jax.tree.map(lambda depth, x: depth == 1 and x.ndim == 2, depths(params), params)


def staged(unfreeze, epochs, config=OPTIMIZER, restart=False):
    stages = read_stages(unfreeze, epochs, HIGHEST, head=True)
    return make_staged_optimizer(
        config,
        stages,
        epochs,
        PER_EPOCH,
        depths,
        HIGHEST,
        restart_schedule=restart,
        matrices=matrices,
    )


def train(unfreeze, epochs, config=OPTIMIZER, restart=False, **more):
    settings = TrainConfig(epochs=epochs, batch_size=8, unfreeze=tuple(unfreeze))
    optimizer = staged(unfreeze, epochs, config, restart)
    result = fit(objective(0.2), ToyBatches(), settings, optimizer, **more)
    return jax.device_get(result.params)


def same(one, other):
    return all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(other)))


@pytest.mark.parametrize(
    ("unfreeze", "epochs", "stages"),
    [
        (["head", "3:", "2:3", "0:"], 9, [(0, [4]), (1, [3, 4]), (2, [2]), (3, [0, 1, 2, 3, 4])]),
        (["head", "head", ":2"], 3, [(0, [4]), (2, [0, 1])]),
        (["1:2", "1:2", "1:2"], 3, [(0, [1])]),
    ],
)
def test_ranges_are_by_depth_and_neighbours_that_are_equal_are_one(unfreeze, epochs, stages):
    found = read_stages(unfreeze, epochs, 4, head=True)
    assert [(stage.first, list(stage.depths)) for stage in found] == stages


@pytest.mark.parametrize(
    ("unfreeze", "message"),
    [
        (["2"], "no range of depths"),
        (["-1:"], "no range of depths"),
        (["3:2"], "has no depth"),
        (["0:6"], "one too many; the depths are 0 .* to 4 .head."),
        (["5:"], "has no depth"),
        (["0:", "0:", "0:", "0:"], "has 4 ranges, .* the run has 3 epochs"),
    ],
)
def test_what_is_no_range_is_refused(unfreeze, message):
    with pytest.raises(UserError, match=message):
        read_stages(unfreeze, 3, 4, head=True)


def test_a_language_model_has_no_head():
    with pytest.raises(UserError, match="here is none"):
        read_stages(["head"], 3, 4, head=False)
    assert read_stages(["2:"], 1, 2, head=False) == [Stage(0, range(2, 3))]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 5, "unfreeze": ("0:",)}, "by epochs|range for each epoch"),
        ({"epochs": 5, "restart_schedule": True}, "stages of train.unfreeze"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        TrainConfig(**settings)


def test_what_is_frozen_does_not_move_by_a_bit_nor_do_its_moments():
    """Also in chain-thaw, where a depth that was trained is frozen again."""
    optimizer = staged(["head", "0:1", "1:2"], 3)
    later = [one for _, one in optimizer.later]
    params = objective().init(jax.random.key(0))
    state = optimizer.init(params)
    gradients = jax.tree.map(jnp.ones_like, params)
    for one, moving in zip([optimizer, *later], ["output", "embedding", "hidden"], strict=True):
        own, rest = split(params, one.trained(params))
        masked, _ = split(gradients, one.trained(params))
        updates, new = one.update(masked, state, own)
        moved = join(jax.tree.map(jnp.add, own, updates), rest)
        groups, before = new[0].inner_states, state[0].inner_states
        for name, depth in DEPTHS.items():
            assert same(moved[name], params[name]) == (name != moving)
            assert same(groups[str(depth)], before[str(depth)]) == (name != moving)
        params, state = moved, new


def test_every_stage_has_the_same_state():
    optimizer = staged(["head", "1:", "0:"], 3)
    params = objective().init(jax.random.key(0))
    structures = {jax.tree.structure(optimizer.init(params))}
    structures |= {jax.tree.structure(one.init(params)) for _, one in optimizer.later}
    assert len(structures) == 1


@pytest.mark.parametrize("update", ["adamw", "released"])
def test_the_correction_of_a_depth_begins_when_it_thaws(update):
    """Its first update is that of a run that begins there: of the length of the learning rate."""
    config = OptimizerConfig(
        learning_rate=0.05, warmup=0.0, schedule="constant", weight_decay=0.0, update=update
    )
    params = objective().init(jax.random.key(0))
    gradients = jax.tree.map(lambda leaf: 0.3 + 0.0 * leaf, params)
    optimizer = staged(["head", "0:"], 2, config)
    ((first, whole),) = optimizer.later
    assert first == PER_EPOCH
    state = optimizer.init(params)
    head, _ = split(gradients, optimizer.trained(params))
    for _ in range(3):
        _, state = optimizer.update(head, state, split(params, optimizer.trained(params))[0])
    updates, _ = whole.update(gradients, state, params)
    plain = make_optimizer(config, 10)
    expected, _ = plain.update(gradients, plain.init(params), params)
    for name in ("embedding", "hidden"):
        pairs = zip(*map(jax.tree.leaves, (updates[name], expected[name])), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(updates["embedding"], -0.05, rtol=1e-4)


@pytest.mark.parametrize("update", ["adamw", "muon", "released"])
def test_one_stage_of_all_depths_is_training_as_usual(update):
    config = OptimizerConfig(learning_rate=0.05, warmup=0.1, update=update, layer_decay=0.5)
    ours = train(["0:"], 2, config)
    plain = make_optimizer(config, 2 * PER_EPOCH, depths=depths, matrices=matrices)
    settings = TrainConfig(epochs=2, batch_size=8)
    theirs = jax.device_get(fit(objective(0.2), ToyBatches(), settings, plain).params)
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_the_norm_that_is_clipped_is_that_of_what_is_trained(tmp_path, records):
    with Tracker(tmp_path, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        train(["head", "0:"], 2, tracker=tracker)
    norms = {r["step"]: r["grad_norm"] for r in records(tmp_path) if r["split"] == "train"}
    params, batches = objective().init(jax.random.key(0)), ToyBatches()
    batch = batches.batch(0, 0)

    def loss(params):
        sums = objective().loss(params, batch, None, ())[0]
        return sums.loss / sums.weight

    gradients = jax.grad(loss)(params)
    # Dropout is at work in the run, so that its norm is near this one, far from that of them all.
    alone = float(jnp.linalg.norm(gradients["output"]))
    whole = float(jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients))))
    assert abs(norms[1] - alone) < abs(norms[1] - whole)


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path):
    unfreeze = ["head", "1:2", "0:"]
    whole = train(unfreeze, 3)
    for until in (3, PER_EPOCH, 2 * PER_EPOCH + 1):  # in a stage, and between two
        kept = partial(
            Checkpoints,
            tmp_path / str(until),
            CheckpointConfig(every=until, keep=20),
            {"data": "x"},
        )
        settings = TrainConfig(epochs=3, batch_size=8, unfreeze=tuple(unfreeze))
        optimizer = staged(unfreeze, 3)
        fit(objective(0.2), ToyBatches(), settings, optimizer, checkpoints=kept())
        result = fit(
            objective(0.2),
            ToyBatches(),
            settings,
            staged(unfreeze, 3),
            checkpoints=kept(),
            resume=str(until),
        )
        assert same(jax.device_get(result.params), whole)


def test_each_stage_may_have_a_schedule_of_its_own():
    config = OptimizerConfig(learning_rate=0.05, schedule="slanted", cut_fraction=0.3)
    optimizer = staged(["head", "0:"], 3, config, restart=True)
    one, two = make_schedule(config, PER_EPOCH), make_schedule(config, 2 * PER_EPOCH)
    expected = [one(t) for t in range(PER_EPOCH)] + [two(t) for t in range(2 * PER_EPOCH)]
    found = [optimizer.schedule(jnp.asarray(t)) for t in range(3 * PER_EPOCH)]
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-6)
    through = staged(["head", "0:"], 3, config).schedule
    whole = make_schedule(config, 3 * PER_EPOCH)
    assert [float(through(t)) for t in range(15)] == [float(whole(t)) for t in range(15)]


def test_a_warm_up_that_is_longer_than_a_stage_is_refused():
    config = OptimizerConfig(warmup=6.0)
    with pytest.raises(UserError, match="stage 1 has 5 updates"):
        staged(["head", "0:"], 3, config, restart=True)
    staged(["head", "0:"], 3, config)


def test_patience_counts_from_the_last_stage():
    """Every evaluation is worse than the first, and patience is 2."""
    seen = []

    def evaluate(params):
        del params
        seen.append(None)
        return {"loss": float(len(seen))}

    settings = TrainConfig(epochs=9, batch_size=8, unfreeze=("head", "1:", "0:"), patience=2)
    optimizer = staged(settings.unfreeze, 9)
    result = fit(objective(), ToyBatches(), settings, optimizer, evaluate=evaluate)
    assert result.step == 4 * PER_EPOCH  # two epochs of the last stage, which begins with the third


def test_stages_and_their_programs_are_told(tmp_path, capsys):
    with Tracker(tmp_path, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        train(["head", "1:2", "0:"], 4, tracker=tracker)
    said = capsys.readouterr().err
    for line in (
        "stage 1 of 3, epoch 1: trains depth 2 of 0 to 2",
        "stage 2 of 3, epoch 2: trains depth 1 of 0 to 2",
        "stage 3 of 3, epochs 3 to 4: trains depths 0 to 2 of 0 to 2",
    ):
        assert line in said
    assert said.count("  1 program compiled in ") == 3


def test_the_state_has_the_shape_that_interrupted_runs_have_saved():
    params = objective().init(jax.random.key(0))
    state, schedule = staged(["0:"], 1).init(params)
    for depth in state.inner_states.values():
        adam, decay, scale = depth.inner_state
        assert {"mu", "nu", "count"} == set(adam._fields)
        assert decay.inner_state == scale == optax.EmptyState()
    assert schedule._fields == ("count",)
