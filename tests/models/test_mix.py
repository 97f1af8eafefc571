"""The mix of depths against recorded outputs and gradients, a head's LSTM against numpy."""

import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward
from test_task_head import CONFIG, log_softmax, make_batch, make_params

from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.backbone import layer_states, with_rows
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.mix import mix_penalty, scalar_mix
from gptjax.models.task_head import HeadShape, TaskHeadConfig, head_arrays
from gptjax.models.transfer import maps_only
from gptjax.runs.head import read_shape
from gptjax.runs.head_options import HeadOptions

SHARED = os.environ.get("GPTJAX_SHARED")
NAMES = ("plain", "norm")


def recorded():
    """Layers, their mask, w and γ, and what allennlp's own code makes of them."""
    if SHARED is not None:
        return dict(np.load(Path(SHARED) / "reference/ancestors/scalar_mix.npz"))
    kept = json.loads((Path(__file__).parents[1] / "golden/scalar_mix.json").read_text())
    del kept["source"]
    return {name: np.array(value) for name, value in kept.items()}


def mixed(layers, mask, normed, weights, scale):
    own = {"mix_weights": jnp.asarray(weights), "mix_scale": jnp.reshape(scale, 1)}
    return scalar_mix(own, layers, mask if normed else None)


@pytest.mark.parametrize("name", NAMES)
def test_the_mix_is_as_recorded_and_so_are_its_gradients(name):
    kept = recorded()
    layers = jnp.asarray([kept[f"layer_{i}"] for i in range(3)], jnp.float32)
    mask = jnp.asarray(kept["mask"].astype(bool))

    def loss(weights, scale):
        found = mixed(layers, mask, name == "norm", weights, scale)
        return jnp.square(found * mask[..., None]).sum(), found

    given = (jnp.asarray(kept["w"], jnp.float32), jnp.asarray(kept["gamma"], jnp.float32))
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (_, found), (of_weights, of_scale) = gradient(*given)
    np.testing.assert_allclose(found, kept[f"mix_{name}"], atol=1e-5)
    np.testing.assert_allclose(of_weights, kept[f"grad_w_{name}"], rtol=1e-4)
    np.testing.assert_allclose(of_scale, kept[f"grad_gamma_{name}"][0], rtol=1e-4)


@pytest.mark.skipif(SHARED is None, reason="needs the recorded numbers of bilm-tf")
@pytest.mark.parametrize("name", ["bilm_residual", "bilm_no_residual"])
def test_the_mix_is_that_of_bilm(name):
    kept = np.load(Path(SHARED) / f"reference/ancestors/{name}.npz")
    layers = jnp.asarray(kept["embeddings"]).swapaxes(0, 1)
    mask = jnp.asarray(kept["mask"])
    # The last layer alone is a mix whose other weights are far below.
    cases = {
        "mix_plain": (False, [0.1, 0.3, 0.5], 1.1),
        "mix_norm": (True, [0.2, 0.4, 0.6], 0.88),
        "mix_top": (False, [-1e9, -1e9, 0.0], 0.7),
    }
    for case, (normed, weights, scale) in cases.items():
        found = mixed(layers, mask, normed, jnp.asarray(weights, jnp.float32), scale)
        there = np.asarray(mask)
        np.testing.assert_allclose(found[there], kept[case][there], atol=1e-5)
    penalty = mix_penalty({"mix_weights": jnp.asarray([0.1, 0.3, 0.5])})
    np.testing.assert_allclose(0.5 * penalty, kept["reg"][0], rtol=1e-6)


SHAPES = [
    HeadShape(mix=True),
    HeadShape("concat", 7, mix=True),
    HeadShape("mean", mix=True, mix_norm=True),
    HeadShape(model="bilstm", units=5),
    HeadShape("max", model="bilstm", mix=True),
]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(own, direction, x):
    """One direction over one sequence, a token at a time."""
    kernel, bias, recurrent = (own[f"{direction}_{n}"] for n in ("kernel", "bias", "recurrent"))
    hidden = cell = np.zeros(len(recurrent))
    found = []
    for row in x if direction == "forward" else x[::-1]:
        a, f, g, o = np.split(row @ kernel + bias + hidden @ recurrent, 4)
        cell = sigmoid(f + 1) * cell + sigmoid(a) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        found.append(hidden)
    return np.array(found)


def by_definition(shape, params, batch):
    """Logits, a sequence at a time and without padding; the depths from the reference."""
    own = {name: np.asarray(array) for name, array in params["adapter"]["head"].items()}
    longer = with_rows(CONFIG, params["backbone"], params["adapter"]["special_embedding"])
    config = replace(CONFIG, vocabulary_size=CONFIG.vocabulary_size + 3)
    rows = jnp.asarray(batch.tokens.reshape(-1, batch.tokens.shape[-1]))
    every = np.asarray(jax.jit(layer_states, static_argnums=0)(config, longer, rows))
    every = every.reshape(len(every), *batch.tokens.shape, -1)
    read = [  # a causal model: what follows has no part in it
        [every[:, b, k, : batch.extract[b, k] + 1] for k in range(batch.tokens.shape[1])]
        for b in range(len(batch.tokens))
    ]
    for depths, ids in zip(read[0], batch.tokens[0], strict=True):
        (expected,) = forward(longer, ids[None, : depths.shape[1]], CONFIG.num_heads, CONFIG.norm)
        np.testing.assert_allclose(depths[-1], expected, rtol=1e-4, atol=1e-4)
    if shape.mix_norm:  # one mean and variance of each depth, over all sequences
        flat = np.concatenate([depths for one in read for depths in one], axis=1)
        mean, std = (f(flat, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
        read = [[(depths - mean) / std for depths in one] for one in read]
    found = []
    for tokens, one in zip(batch.tokens, read, strict=True):
        total = 0.0
        for ids, depths in zip(tokens, one, strict=True):
            x = depths[-1]
            if shape.mix:
                shares = np.exp(own["mix_weights"]) / np.exp(own["mix_weights"]).sum()
                x = own["mix_scale"][0] * np.tensordot(shares, depths, 1)
            text = ids[: len(x)] < CONFIG.vocabulary_size
            ways = [(x, text)]
            if shape.model == "bilstm":
                ways = [(lstm(own, way, x), text) for way in ("forward", "backward")]
                ways[1] = (ways[1][0], text[::-1])
            total = total + np.concatenate([pooled(shape.pooling, *way) for way in ways])
        if shape.width:
            total = np.maximum(total @ own["hidden_kernel"] + own["hidden_bias"], 0)
        found.append(total @ own["kernel"] + own["bias"])
    return np.array(found)


def pooled(how, x, text):
    parts = {"extract": x[-1], "last": x[text][-1], "max": x[text].max(0), "mean": x[text].mean(0)}
    if how == "concat":
        return np.concatenate([parts[name] for name in ("last", "max", "mean")])
    return parts[how]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("k", [1, 2])
def test_a_head_is_its_definition_and_padding_never_counts(shape, k):
    head = TaskHeadConfig("classify", 3, shape=shape)
    params, batch = make_params(head), make_batch(k, 3)
    sizes = {name: array.shape for name, array in params["adapter"]["head"].items()}
    assert sizes == head_arrays(CONFIG, head)
    log_p = jax.jit(objective.task(CONFIG, head).log_probabilities)(params, batch)
    expected = log_softmax(by_definition(shape, params, batch))
    np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-4)
    assert all(jax.tree.leaves(maps_only(params)["adapter"]["head"]))


def test_rows_that_pad_a_batch_do_not_move_the_statistics():
    head = TaskHeadConfig("classify", 3, shape=HeadShape("mean", mix=True, mix_norm=True))
    params, batch = make_params(head), make_batch(1, 3)
    run = jax.jit(objective.task(CONFIG, head).log_probabilities)
    more = jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x[:3])]), batch)
    np.testing.assert_allclose(run(params, more)[:5], run(params, batch), atol=1e-5)


EVERY = [*SHAPES, HeadShape()]
WITH_GAIN = [one for one in EVERY if (one.pooling, one.model) == ("extract", "linear")]


@pytest.mark.parametrize(
    ("shape", "gain"), [(one, False) for one in EVERY] + [(one, True) for one in WITH_GAIN], ids=str
)
def test_kept_states_give_the_losses_and_gradients_of_the_backbone(shape, gain):
    head = TaskHeadConfig("classify", 3, dropout=0.0, shape=shape)
    params, batch = make_params(head), make_batch(1 if gain else 2, 3)
    functions = objective.task(
        CONFIG, head, freeze_backbone=True, label_gain=gain, mix_l2=0.3 * shape.mix
    )
    states = np.asarray(jax.jit(functions.states)(params, batch))
    depths = CONFIG.num_layers + 1 if shape.mix else 1
    ends = shape.reads_ends and not gain
    assert states.shape == (*batch.tokens.shape[:2], 1 if ends else 12, depths, CONFIG.width)

    @jax.jit
    def run(own, batch):
        def loss(own):
            adapter = {**params["adapter"], "head": own}
            given = {**params, "adapter": adapter}
            return functions.objective.loss(given, batch, jax.random.key(0), ())[0]

        return loss(own), jax.grad(lambda own: loss(own).loss)(own)

    own = params["adapter"]["head"]
    (sums, gradient) = run(own, batch)
    (again, kept) = run(own, batch._replace(states=states))
    np.testing.assert_allclose(again.loss, sums.loss, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), kept, gradient
    )


def test_the_penalty_is_a_part_of_the_mean_loss():
    head = TaskHeadConfig("classify", 3, shape=HeadShape(mix=True))
    params, batch = make_params(head), make_batch(1, 3)
    found = []
    for mix_l2 in (0.0, 0.5):
        loss = objective.task(CONFIG, head, mix_l2=mix_l2).objective.loss
        found.append(jax.jit(loss, static_argnums=2)(params, batch, None, ())[0])
    added = 0.5 * np.square(params["adapter"]["head"]["mix_weights"]).sum()
    difference = (found[1].loss - found[0].loss) / found[0].weight
    np.testing.assert_allclose(difference, added, rtol=1e-4)
    assert found[1].metrics["task_loss"] == found[0].metrics["task_loss"]


def test_a_new_mix_is_the_mean_of_the_depths():
    head = TaskHeadConfig("classify", 3, shape=HeadShape(mix=True, model="bilstm"))
    init = objective.task(CONFIG, head).objective.init
    own = jax.jit(init)(jax.random.key(0))["adapter"]["head"]
    layers = jnp.asarray(np.random.default_rng(0).standard_normal((4, 2, 3, 5)), jnp.float32)
    np.testing.assert_allclose(scalar_mix(own, layers), layers.mean(0), rtol=1e-5, atol=1e-6)
    assert not np.array_equal(own["forward_kernel"], own["backward_kernel"])


def test_the_usual_heads_are_the_same_heads():
    """What is recorded of them has no new names, and their fresh arrays are as they were."""
    assert HeadShape("mean", 7).described() == {"pooling": "mean", "width": 7, "norm": False}
    shape = HeadShape("max", 7, True, True, True, "bilstm", 9)
    options = HeadOptions(
        pooling="max",
        head_width=7,
        head_norm=True,
        mix=True,
        mix_norm=True,
        model="bilstm",
        units=9,
    )
    assert options.head_shape == shape
    assert read_shape(vars(options), "here") == shape
    for name, value in {"model": "lstm", "mix": 1, "units": 2.0}.items():
        with pytest.raises(UserError, match=rf"here: .*task.{name} = .* are no task head"):
            read_shape({name: value}, "here")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix_norm": True}, "task.mix_norm: is for task.mix"),
        ({"mix_l2": 0.1}, "task.mix_l2: is for task.mix"),
        ({"mix": True, "mix_l2": -1.0}, "task.mix_l2 is -1.0, but it must be at least 0"),
        ({"units": 3}, "task.units: is for task.model bilstm"),
        ({"model": "bilstm", "units": 0}, "task.units is 0"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(UserError, match=message):
        HeadOptions(**settings)


@pytest.mark.slow
def test_a_mix_reads_depths_of_different_widths():
    """The narrower ones are padded; the LM loss reads the last one without the padding."""
    config = LSTMConfig(
        vocabulary_size=CONFIG.vocabulary_size,
        context_length=CONFIG.context_length,
        num_layers=2,
        width=8,
        layer_units=(12, 8),
        map_back=False,
    )
    assert config.widest == 12
    shape = HeadShape(mix=True, pooling="mean")
    head = TaskHeadConfig(num_classes=3, head="classify", shape=shape)
    assert head_arrays(config, head)["kernel"] == (12, 3)
    problem = objective.task(config, head, lm_coefficient=0.5).objective
    params = problem.init(jax.random.key(0))
    batch = make_batch(k=1, classes=3)
    (loss, sums), gradients = jax.value_and_grad(
        lambda p: (lambda found: (found.loss, found))(problem.loss(p, batch, None, ())[0]),
        has_aux=True,
    )(params)
    assert np.isfinite(loss)
    assert set(sums.metrics) >= {"task_loss", "lm_loss"}
    assert np.abs(gradients["adapter"]["head"]["mix_weights"]).min() > 0
