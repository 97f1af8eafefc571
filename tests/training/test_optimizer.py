"""Schedules against closed formulas, decay on matrices only, clipping, and the update itself."""

import dataclasses
import json
import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from gptjax.errors import UserError
from gptjax.training.muon import orthogonalized
from gptjax.training.optimizer import (
    OptimizerConfig,
    clip_scale,
    is_matrix,
    layer_factors,
    make_optimizer,
    make_schedule,
    resolve_update,
    settle_warmup,
)

SHARED = os.environ.get("GPTJAX_SHARED")
T, W, R = 100, 10.0, 0.5


def ramp(t):
    return min(t / W, 1.0)


FORMULAS = {
    "cosine": lambda t: (
        R * ramp(t) * (0.5 * (1 + math.cos(math.pi * (t - W) / (T - W))) if t > W else 1)
    ),
    "linear": lambda t: R * ramp(t) * (1 - t / T),
    "constant": lambda t: R * ramp(t),
}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("warmup", [W, W / T])
def test_schedules(name, warmup):
    config = OptimizerConfig(learning_rate=R, warmup=warmup, schedule=name)
    schedule = make_schedule(config, T)
    for t in (0, 1, 5, 9, 10, 11, 50, 99, 100):
        np.testing.assert_allclose(
            schedule(jnp.asarray(t)), FORMULAS[name](t), rtol=1e-5, atol=1e-6
        )
    assert float(schedule(jnp.asarray(0))) == 0


def test_the_papers_fine_tuning_schedule():
    """warmup_linear(x) = (x/w if x <= w else 1)·(1 - x), w = 0.002, of the released code."""
    total = 5000
    config = OptimizerConfig(learning_rate=6.25e-5, warmup=0.002, schedule="linear")
    schedule = make_schedule(config, total)
    for t in (0, 1, 5, 10, 11, 2500, 4999):
        x = t / total
        expected = 6.25e-5 * (x / 0.002 if x <= 0.002 else 1) * (1 - x)
        np.testing.assert_allclose(schedule(jnp.asarray(t)), expected, rtol=1e-5)


def test_no_warmup_begins_at_the_full_rate():
    schedule = make_schedule(OptimizerConfig(learning_rate=R, warmup=0.0), T)
    np.testing.assert_allclose(schedule(jnp.asarray(0)), R, rtol=1e-6)


def test_weight_decay_acts_on_matrices_only():
    params = {"embedding": jnp.ones((3, 2)), "gain": jnp.ones(2), "bias": jnp.ones(2)}
    assert is_matrix(params) == {"embedding": True, "gain": False, "bias": False}
    config = OptimizerConfig(learning_rate=0.1, warmup=0.0, schedule="constant", weight_decay=0.01)
    optimizer = make_optimizer(config, 10)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_allclose(updates["embedding"], -0.1 * 0.01 * np.ones((3, 2)), rtol=1e-6)
    assert not updates["gain"].any()
    assert not updates["bias"].any()


def test_two_updates_are_adam_with_decoupled_decay():
    config = OptimizerConfig(learning_rate=0.1, warmup=0.0, schedule="constant", weight_decay=0.02)
    optimizer = make_optimizer(config, 10)
    params = {"w": jnp.array([[1.0, -2.0]])}
    state = optimizer.init(params)
    p, m, v = np.array([[1.0, -2.0]]), 0.0, 0.0
    for t, g in enumerate((np.array([[0.3, -0.1]]), np.array([[-0.2, 0.4]])), start=1):
        updates, state = optimizer.update({"w": jnp.asarray(g, jnp.float32)}, state, params)
        params = {"w": params["w"] + updates["w"]}
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - 0.1 * ((m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + 0.02 * p)
        np.testing.assert_allclose(params["w"], p, rtol=1e-4)


@pytest.mark.parametrize(
    ("norm", "limit", "scale"), [(4, 1.0, 0.25), (0.5, 1.0, 1), (0, 1.0, 1), (9, None, 1)]
)
def test_clipping_only_shortens(norm, limit, scale):
    assert float(clip_scale(jnp.float32(norm), limit)) == scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup": 101.0}, "this run has 100 updates"),
        ({"warmup": -1.0}, "warmup"),
        ({"beta1": 1.0}, "beta1"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"weight_decay": -0.1}, "weight_decay"),
    ],
)
def test_bad_values_are_refused_by_name(change, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(OptimizerConfig(**{"warmup": 1.0, **change}), 100)


def test_the_released_update_is_its_formula():
    """lr · sqrt(1-b2^t)/(1-b1^t) · (m/(sqrt(v)+eps) + l2·p), tiny gradients included."""
    config = OptimizerConfig(
        learning_rate=1e-2, warmup=0.002, schedule="linear", weight_decay=0.1, update="released"
    )
    total = 10
    optimizer = make_optimizer(config, total)
    rng = np.random.default_rng(0)
    scales = np.array([1.0, 1e-4, 1e-8])
    params = {"w": rng.standard_normal((4, 3)), "b": rng.standard_normal(3)}
    ours = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    state = optimizer.init(ours)
    moments = {name: [np.zeros_like(p), np.zeros_like(p)] for name, p in params.items()}
    update = jax.jit(optimizer.update)
    for t in range(1, total + 1):
        gradients = {name: rng.standard_normal(p.shape) * scales for name, p in params.items()}
        g32 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), gradients)
        changes, state = update(g32, state, ours)
        ours = jax.tree.map(jnp.add, ours, changes)
        rate = 1e-2 * (1 - (t - 1) / total) * (t > 1)
        rate *= math.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        for name, g in gradients.items():
            m, v = moments[name]
            m[:] = 0.9 * m + 0.1 * g
            v[:] = 0.999 * v + 0.001 * g * g
            decay = 0.1 * params[name] if params[name].ndim > 1 else 0.0
            params[name] = params[name] - rate * (m / (np.sqrt(v) + 1e-8) + decay)
    for name in params:
        np.testing.assert_allclose(ours[name], params[name], rtol=1e-4, atol=1e-6)


def test_the_update_follows_the_fidelity_unless_it_is_chosen():
    given = OptimizerConfig(update="adamw")
    assert resolve_update(given, "released") is given
    assert resolve_update(OptimizerConfig(), "released").update == "released"
    assert resolve_update(OptimizerConfig(), "paper").update is None


@pytest.fixture(scope="module")
def recorded():
    """What was recorded of ULMFiT's schedules and rates, or the part of it that is kept here."""
    here = Path(__file__).parents[1] / "golden"
    folder = Path(SHARED) / "reference/ancestors" if SHARED is not None else here
    return json.loads((folder / "ulmfit.json").read_text())


def test_the_slanted_schedule_is_as_recorded(recorded):
    """Values of the published formula (`ulmfit.json`), also where T · cut_fraction is not whole."""
    for total, values in recorded["stlr"].items():
        config = OptimizerConfig(learning_rate=0.01, schedule="slanted")
        schedule = make_schedule(config, int(total))
        for step, value in values.items():
            np.testing.assert_allclose(schedule(jnp.asarray(int(step))), value, rtol=2e-5)
    other = recorded["stlr_other"]
    config = OptimizerConfig(
        learning_rate=other["top"],
        schedule="slanted",
        cut_fraction=other["cut_frac"],
        slant_ratio=float(other["ratio"]),
    )
    found = make_schedule(config, other["T"])(jnp.arange(len(other["values"])))
    np.testing.assert_allclose(found, other["values"], rtol=2e-5)


def test_the_slanted_schedule_rises_and_falls_and_is_never_negative():
    config = OptimizerConfig(learning_rate=0.01, schedule="slanted")
    # From equation 3: T = 100, cut = 10; p = 0, 1/10, 1, 1 - 40/90, 0.
    for step, p in ((0, 0.0), (1, 0.1), (10, 1.0), (50, 1 - 40 / 90), (100, 0.0)):
        expected = 0.01 * (1 + p * 31) / 32
        np.testing.assert_allclose(make_schedule(config, 100)(step), expected, rtol=1e-5)
    for total in (1, 2, 5, 9, 19, 29):
        rates = make_schedule(config, total)(jnp.arange(total))
        assert (np.asarray(rates) >= 0).all()
        assert np.asarray(rates).max() > 0


def test_a_typed_warm_up_of_the_slanted_schedule_is_refused():
    with pytest.raises(UserError, match="leave the warm-up out"):
        OptimizerConfig(schedule="slanted", warmup=0.1)
    assert settle_warmup(OptimizerConfig(schedule="slanted"), 0.5).warmup is None
    assert settle_warmup(OptimizerConfig(), 0.5).warmup == 0.5
    assert settle_warmup(OptimizerConfig(warmup=3.0), 0.5).warmup == 3.0


DEPTHS = {"embedding": 0, "one": 1, "two": 2, "three": 3, "head": 4}


def test_layer_decay_gives_the_recorded_rates(recorded):
    """0.01 for the head, and a 2.6th for each depth below (`published_classifier`)."""
    factors = layer_factors(DEPTHS, 1 / 2.6)
    found = [0.01 * factors[name] for name in DEPTHS]
    np.testing.assert_allclose(
        found, recorded["discriminative"]["published_classifier"], rtol=1e-12
    )


def test_layer_decay_scales_the_whole_update_of_a_depth():
    params = {name: jnp.full((2, 2), 0.5) for name in DEPTHS}
    gradients = {name: jnp.full((2, 2), 0.1) for name in DEPTHS}
    config = OptimizerConfig(learning_rate=0.1, warmup=0.0, schedule="constant", weight_decay=0.3)
    plain = make_optimizer(config, 10)
    decayed = make_optimizer(
        dataclasses.replace(config, layer_decay=0.5), 10, depths=lambda _: DEPTHS
    )
    state = plain.init(params)
    assert jax.tree.structure(decayed.init(params)) == jax.tree.structure(state)
    expected, _ = plain.update(gradients, state, params)
    found, _ = decayed.update(gradients, state, params)
    for name, depth in DEPTHS.items():
        np.testing.assert_allclose(found[name], expected[name] * 0.5 ** (4 - depth), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -1.0, 1.01, 2.6])
def test_a_layer_decay_that_is_none_is_refused(value):
    with pytest.raises(UserError, match=r"layer_decay is .* positive and at most 1"):
        OptimizerConfig(layer_decay=value)


MUON = OptimizerConfig(
    learning_rate=0.1, warmup=0.0, schedule="constant", weight_decay=0.02, update="muon"
)


def matrices(params):
    return {name: name.startswith("blocks") and x.ndim == 2 for name, x in params.items()}


def some_params():
    rng = np.random.default_rng(0)
    shapes = {"blocks_kernel": (8, 32), "blocks_bias": (32,), "embedding": (9, 8)}
    return {name: jnp.asarray(rng.standard_normal(s), jnp.float32) for name, s in shapes.items()}


def test_muon_turns_a_matrix_by_nearly_equal_singular_values_of_adams_size():
    params, gradients = some_params(), some_params()
    gradients["blocks_kernel"] *= jnp.logspace(0, -2, 8)[:, None]  # singular values far apart
    optimizer = make_optimizer(MUON, 10, matrices=matrices)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    direction = updates["blocks_kernel"] / -0.1 - 0.02 * params["blocks_kernel"]
    values = np.linalg.svd(direction, compute_uv=False) / (0.2 * 32**0.5)
    assert values.max() < 1.3  # Newton-Schulz of five steps brings them to 0.7 … 1.2
    assert values.min() > 0.6
    rms = float(jnp.sqrt(jnp.mean(jnp.square(direction))))
    np.testing.assert_allclose(rms, 0.2, rtol=0.2)


def test_muon_leaves_the_rest_to_adam():
    params, gradients = some_params(), some_params()
    updates = {}
    for update in ("muon", "adamw"):
        optimizer = make_optimizer(dataclasses.replace(MUON, update=update), 10, matrices=matrices)
        state = optimizer.init(params)
        for _ in range(3):
            updates[update], state = optimizer.update(gradients, state, params)
    for name in ("embedding", "blocks_bias"):
        np.testing.assert_array_equal(updates["muon"][name], updates["adamw"][name])
    assert not np.allclose(updates["muon"]["blocks_kernel"], updates["adamw"]["blocks_kernel"])


def test_checkpoints_know_muons_state_by_its_tree():
    """Runs from before find theirs again: where each array lies is a part of a checkpoint."""
    state = make_optimizer(MUON, 10, matrices=matrices).init(some_params())
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    moments = [f"[0].inner_states['muon'].inner_state[0].{name}" for name in ("count", "ns_coeffs")]
    assert set(moments) <= set(paths)
    muon, direction = state[0].inner_states["muon"].inner_state
    assert jax.tree.leaves(muon.mu)
    assert direction == optax.EmptyState()


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 16)])
def test_muons_iteration_is_that_of_optax(shape):
    """It is written again because optax's is slow on a CPU."""
    gradient = {"a": jax.random.normal(jax.random.key(0), shape)}
    dimensions = {"a": contrib.MuonDimensionNumbers()}
    muon = contrib.scale_by_muon(weight_dimension_numbers=dimensions)
    expected, _ = muon.update(gradient, muon.init(gradient), gradient)
    norm = jnp.linalg.norm(gradient["a"])
    np.testing.assert_allclose(orthogonalized(gradient["a"] / norm), expected["a"], atol=1e-5)


def test_a_gradient_of_zeros_is_no_nan_for_muon():
    params = some_params()
    optimizer = make_optimizer(MUON, 10, matrices=matrices)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(zeros, optimizer.init(params), params)
    np.testing.assert_allclose(
        updates["blocks_kernel"], -0.1 * 0.02 * params["blocks_kernel"], rtol=1e-5
    )
