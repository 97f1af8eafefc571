"""AWD-LSTM beside fastai's own numbers, in evaluation and in training with every mask given."""

import base64
import dataclasses
import json
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.models import backbone, objective
from gptjax.models.cross_entropy import cross_entropy
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.masks import ParameterMasks, SequenceMasks, thin
from gptjax.models.penalties import of_windows, penalty
from gptjax.models.task_head import TaskHeadConfig

pytestmark = pytest.mark.usefixtures("strict_dtypes")

SHARED = os.environ.get("GPTJAX_SHARED")
CONFIG = LSTMConfig(
    vocabulary_size=40,
    context_length=16,
    num_layers=3,
    width=12,
    layer_units=(20, 20, 12),
    map_back=False,
    biases=2,
    forget_bias=0.0,
    output_bias=True,
    embedding_dropout=0.0,
    residual_dropout=0.0,
    activation_penalty=2.0,
    temporal_penalty=1.0,
)
DROPOUTS = {f"{name}_dropout": 0.5 for name in ("word", "input", "weight", "hidden", "output")}


def recorded():
    """The weights of fastai's model by their names, what was read, and what came out.

    A part of the numbers lies here: those of the second call of evaluation, and of training without
    the gradients of most matrices. Of dropped matrices there are the bits that say what was kept.
    """
    if SHARED is not None:
        return dict(np.load(Path(SHARED) / "reference/ancestors/awd_lstm.npz"))
    kept = json.loads((Path(__file__).parents[1] / "golden/awd_lstm.json").read_text())
    found = {}
    for name, one in kept.items():
        size = int(np.prod(one["shape"]))
        if "bits" in one:
            number = name.removeprefix("kept_hh_")
            bits = np.unpackbits(np.frombuffer(base64.b64decode(one["bits"]), np.uint8))[:size]
            factors = np.float32(one["scale"]) * bits.reshape(one["shape"])
            whole = found[f"w_0.rnns.{number}.weight_hh_l0_raw"]
            found[f"dropped_hh_{number}"] = (factors * whole).astype(np.float32)
        else:
            numbers = np.frombuffer(base64.b64decode(one["bytes"]), one["dtype"])
            found[name] = numbers.reshape(one["shape"])
    return found


def ours(found, prefix):
    """Parameters, or their gradients, out of torch's names; its gates i, f, g, o are ours."""

    def one(name):
        array = found.get(prefix + name)  # of some gradients there is none here
        return None if array is None else jnp.asarray(array.T, jnp.float32)

    table = one("0.encoder.weight")
    params = {"output_bias": one("1.decoder.bias")}
    params["token_embedding"] = None if table is None else table.T
    for number in range(3):
        layer = f"0.rnns.{number}"
        params[f"blocks_{number}"] = {
            "inputs": {
                "kernel": one(f"{layer}.module.weight_ih_l0"),
                "bias": one(f"{layer}.module.bias_ih_l0"),
            },
            "recurrent": one(f"{layer}.weight_hh_l0_raw"),
            "recurrent_bias": one(f"{layer}.module.bias_hh_l0"),
        }
    return params


@pytest.fixture(scope="module")
def original():
    found = recorded()
    return found, ours(found, "w_")


def masks_of(found, params):
    """Those that fastai drew; of recurrent matrices it kept the products."""
    kernels = []
    for number in range(3):
        whole = np.asarray(params[f"blocks_{number}"]["recurrent"])
        dropped = found[f"dropped_hh_{number}"].T
        kept = np.unique((dropped / whole)[dropped != 0].round(4))
        assert len(kept) == 1 < kept[0]
        kernels.append(jnp.asarray((dropped != 0) * kept[0], jnp.float32))
    rows, read, first, second, last = (
        jnp.asarray(found[f"mask_{name}"])
        for name in ("embedding_rows", "input", "hidden_0", "hidden_1", "output")
    )
    return ParameterMasks(rows, tuple(kernels)), SequenceMasks(read, (first, second), last)


def test_states_and_logits_are_as_recorded_and_go_on_in_a_second_call(original):
    found, params = original
    advance = jax.jit(partial(backbone.advance, CONFIG))
    carry = backbone.empty_carry(CONFIG, 3)
    states, carry = advance(params, jnp.asarray(found["x"], jnp.int32), None, carry, None)
    logits = partial(backbone.logits, CONFIG, params)
    if SHARED is not None:
        np.testing.assert_allclose(states, found["eval_states"], atol=1e-5)
        np.testing.assert_allclose(logits(states), found["eval_logits"], atol=1e-5)
        targets = jnp.asarray(found["y"], jnp.int32)[..., None]
        loss = -jnp.take_along_axis(jax.nn.log_softmax(logits(states)), targets, axis=-1).mean()
        np.testing.assert_allclose(loss, found["eval_loss"], atol=1e-5)
    second = jnp.asarray(found["x2"], jnp.int32)
    alone = backbone.states(CONFIG, params, second)
    np.testing.assert_allclose(logits(alone), found["eval_logits_x2_alone"], atol=1e-5)
    on, _ = advance(params, second, None, carry, None)
    np.testing.assert_allclose(logits(on), found["eval_logits_carried"], atol=1e-5)
    assert np.abs(np.asarray(on) - np.asarray(alone)).max() > 1e-3


def test_training_with_every_mask_given_is_as_recorded(original):
    """Cross-entropy, AR, TAR, and the gradient of their sum with regard to every parameter."""
    found, params = original
    of_parameters, of_states = masks_of(found, params)
    tokens, targets = (jnp.asarray(found[name], jnp.int32) for name in ("x", "y"))
    model = backbone.make_backbone(CONFIG)

    def loss(params):
        dropped = thin(params, of_parameters)
        given = (tokens, None, None, None, of_states)
        read = model.apply({"params": dropped}, *given, method="regularised")
        table, bias = backbone.output(CONFIG, dropped)
        ones = jnp.ones(tokens.shape, jnp.float32)
        rows = read.states.reshape(-1, CONFIG.width)
        total, _ = cross_entropy(rows, table, targets.reshape(-1), ones.reshape(-1), bias)
        weights = of_windows(ones, None)
        parts = [total] + [penalty(s, read, *weights) for s in ((2.0, 0.0), (0.0, 1.0))]
        parts = [part / tokens.size for part in parts]
        return sum(parts), (parts, read)

    (_, (parts, read)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    for part, name in zip(parts, ("train_ce", "train_ar", "train_tar"), strict=True):
        np.testing.assert_allclose(part, found[name], rtol=1e-5)
    np.testing.assert_allclose(read.before, found["train_states"], atol=1e-5)
    np.testing.assert_allclose(read.states, found["train_dropped"], atol=1e-5)
    expected = dict(jax.tree_util.tree_leaves_with_path(ours(found, "grad_")))
    assert len(expected) == (len(jax.tree.leaves(params)) if SHARED else 8)
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        if path in expected:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            assert np.abs(expected[path]).max() > 1e-4, name
            np.testing.assert_allclose(gradient, expected[path], rtol=1e-4, atol=1e-6, err_msg=name)


def batch_of(rows, length=9, seed=0):
    draw = np.random.default_rng(seed)
    return Batch(
        draw.integers(0, 40, (rows, 1, length + 1)).astype(np.int32),
        np.ones((rows, 1, length + 1), np.float32),
        np.full((rows, 1), length, np.int32),
        np.eye(2, dtype=np.float32)[np.arange(rows) % 2],
        np.ones(rows, np.float32),
    )


def test_the_objective_adds_the_means_of_the_penalties(original):
    """The sums of two halves of a batch add up to those of the whole."""
    _, params = original
    loss = jax.jit(objective.lm(CONFIG).loss)
    key = jax.random.key(0, impl="rbg")
    whole, parts = batch_of(4), [batch_of(4), batch_of(4)]
    parts = [jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], whole) for i in (0, 1)]
    sums = loss(params, whole, key, ())[0]
    several = [loss(params, part, key, ())[0] for part in parts]
    np.testing.assert_allclose(sums.loss, sum(one.loss for one in several), rtol=1e-5)
    tokens = jnp.asarray(whole.tokens)[:, 0, :-1]
    h = np.asarray(backbone.states(CONFIG, params, tokens), np.float64)
    mean = 2 * (h**2).mean() + ((h[:, 1:] - h[:, :-1]) ** 2).mean()
    np.testing.assert_allclose(sums.metrics["penalty"] / sums.weight, mean, rtol=1e-5)
    plain = loss(params, whole, None, ())[0]
    assert "penalty" not in plain.metrics
    np.testing.assert_allclose(sums.loss - sums.metrics["penalty"], plain.loss, rtol=1e-5)


def test_a_task_has_the_penalties_of_its_sequences(original):
    """Of each sequence the mean over its own tokens, whatever pads it."""
    _, params = original
    problem = objective.task(CONFIG, TaskHeadConfig("classify", 2, dropout=0.0)).objective
    both = jax.jit(problem.init)(jax.random.key(0))
    both = {**both, "backbone": params}
    batch = batch_of(3)._replace(extract=np.array([[4], [9], [6]], np.int32))
    key = jax.random.key(0, impl="rbg")
    sums = jax.jit(problem.loss)(both, batch, key, ())[0]
    h = np.asarray(backbone.states(CONFIG, params, jnp.asarray(batch.tokens)[:, 0]), np.float64)
    own = [row[: last + 1] for row, (last,) in zip(h, batch.extract, strict=True)]
    each = [2 * (x**2).mean() + ((x[1:] - x[:-1]) ** 2).mean() for x in own]
    np.testing.assert_allclose(sums.metrics["penalty"], sum(each), rtol=1e-5)


@pytest.mark.parametrize("name", ["input_dropout", "hidden_dropout", "output_dropout"])
def test_a_mask_of_states_is_one_for_all_positions_of_a_row(original, name):
    """And another one in every row; kept numbers are scaled."""
    config = dataclasses.replace(CONFIG, **{name: 0.5})
    model = backbone.make_backbone(config)
    masks = model.sequence_masks(jax.random.key(3, impl="rbg"), 64)
    own = {
        "input_dropout": [masks.input],
        "hidden_dropout": masks.hidden,
        "output_dropout": [masks.output],
    }
    assert all(mask is None for other in own if other != name for mask in own[other])
    for mask in own[name]:
        assert mask.shape[:2] == (64, 1)
        assert set(np.unique(mask)) == {0.0, 2.0}
        assert 0.4 < (mask == 0).mean() < 0.6
        assert len(np.unique(np.asarray(mask)[:, 0], axis=0)) > 60
    if name == "hidden_dropout":
        assert (masks.hidden[0] != masks.hidden[1]).any()


def test_weights_are_dropped_one_by_one_and_words_by_their_rows(original):
    """The input's matrices, the biases and the output's table stay as they are."""
    _, params = original
    config = dataclasses.replace(CONFIG, **DROPOUTS)
    assert config.thins
    assert not CONFIG.thins
    key = jax.random.key(5, impl="rbg")
    dropped = jax.jit(partial(backbone.thinned, config))(params, key)
    table, bias = backbone.output(config, dropped)
    np.testing.assert_array_equal(table, params["token_embedding"])
    np.testing.assert_array_equal(bias, params["output_bias"])
    seen = backbone.embed(config, dropped, jnp.arange(40, dtype=jnp.int32)[None])[0]
    rows = np.asarray(seen / params["token_embedding"])
    assert {0.0, 2.0} == set(np.unique(rows.round(4)))
    assert (np.ptp(rows, axis=1) < 1e-4).all()
    for number in range(3):
        before, after = (one[f"blocks_{number}"] for one in (params, dropped))
        np.testing.assert_array_equal(after["inputs"]["kernel"], before["inputs"]["kernel"])
        np.testing.assert_array_equal(after["recurrent_bias"], before["recurrent_bias"])
        factors = np.asarray(after["recurrent"] / before["recurrent"]).round(4)
        assert set(np.unique(factors)) == {0.0, 2.0}
        assert 0.4 < (factors == 0).mean() < 0.6
        assert (np.ptp(factors, axis=0) > 0).all()
        assert (np.ptp(factors, axis=1) > 0).all()


def test_weight_dropout_acts_on_what_is_remembered_alone(original):
    """At the first position nothing is, so that its state is the same; at the second it differs."""
    _, params = original
    config = dataclasses.replace(CONFIG, weight_dropout=0.5)
    tokens = jnp.arange(12, dtype=jnp.int32).reshape(2, 6)
    read = jax.jit(partial(backbone.states, config))
    whole = np.asarray(read(params, tokens))
    drawn = [
        read(backbone.thinned(config, params, jax.random.key(seed, impl="rbg")), tokens)
        for seed in (1, 2)
    ]
    for dropped in map(np.asarray, drawn):
        np.testing.assert_array_equal(dropped[:, 0], whole[:, 0])
        assert (np.abs(dropped[:, 1:] - whole[:, 1:]).max(-1) > 1e-6).all()
    assert np.abs(np.asarray(drawn[0]) - drawn[1])[:, 1:].max() > 1e-3


def test_a_tokens_output_row_has_a_gradient_where_its_word_is_dropped(original):
    _, params = original
    config = dataclasses.replace(CONFIG, word_dropout=0.5)
    tokens = jnp.arange(8, dtype=jnp.int32)[None]
    problem, key = objective.lm(config), jax.random.key(5, impl="rbg")

    def loss(params):
        dropped = problem.thin(params, key)
        return backbone.logits(config, dropped, backbone.states(config, dropped, tokens)).sum()

    mask = problem.thin(params, key)["word_mask"][:8, 0]
    assert 0 < (mask == 0).sum() < 8
    gradient = np.asarray(jax.jit(jax.grad(loss))(params)["token_embedding"])
    output = gradient[39]  # not read, so it has the output's part alone, which is the same of all
    read = np.abs(gradient[:8] - output).max(-1) > 1e-6
    assert (read == np.asarray(mask > 0)).all()


@pytest.mark.parametrize("tied", [True, False])
def test_fine_tuning_reads_its_own_tokens_whatever_is_dropped(original, tied):
    config = dataclasses.replace(CONFIG, tied=tied, word_dropout=0.9, weight_dropout=0.5)
    head = TaskHeadConfig("classify", 2)
    problem = objective.task(config, head, lm_coefficient=0.5).objective
    params = jax.jit(problem.init)(jax.random.key(0))
    assert params["adapter"]["special_embedding"].shape == (3, 12 if tied else 24)
    size = sum(leaf.size for leaf in jax.tree.leaves(params["backbone"]))
    assert size == config.num_parameters()
    batch = batch_of(2)
    batch.tokens[:, :, -1] = 42  # the extract token
    key = jax.random.key(1, impl="rbg")

    def loss(params):
        return problem.loss(problem.thin(params, key), batch, key, ())[0].loss

    gradient = jax.jit(jax.grad(loss))(params)
    special = np.abs(gradient["adapter"]["special_embedding"])
    assert special[2].max() > 0
    for leaf in jax.tree.leaves(gradient):
        assert np.isfinite(leaf).all()


def test_layers_of_other_sizes_are_handed_out_padded(original):
    _, params = original
    tokens = jnp.arange(6, dtype=jnp.int32)[None]
    found = backbone.layer_states(CONFIG, params, tokens)
    assert found.shape == (4, 1, 6, CONFIG.widest) == (4, 1, 6, 20)
    np.testing.assert_array_equal(found[-1, ..., :12], backbone.states(CONFIG, params, tokens))
    assert (found[0, ..., 12:] == 0).all()
    assert (found[1] != 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layer_units": (20, 12)}, "2 numbers.*num_layers is 3"),
        ({"layer_units": (20, 20, 20)}, "20 cells.*width, 12"),
        ({"units": 20}, "set one of them"),
        ({"layer_units": (0, 20, 12)}, "at least 1"),
        ({"temporal_penalty": -1.0}, "at least 0"),
        ({"word_dropout": 1.0}, "less than 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **change)


def test_what_is_new_has_no_part_in_the_identity_of_an_old_lstm():
    old = LSTMConfig(vocabulary_size=40, num_layers=2, width=12, units=10)
    assert set(old.shape()) == {
        *("kind", "vocabulary_size", "context_length", "num_layers", "width"),
        *("num_heads", "norm", "hidden_width", "cells"),
    }
    changes = {"layer_units": (8, 12), "biases": 2, "forget_bias": 0.0, "tied": False}
    for name, value in {**changes, "output_bias": True}.items():
        other = dataclasses.replace(old, **{name: value}, units=None if "units" in name else 10)
        assert name in other.shape()
    for name, value in DROPOUTS.items():
        assert dataclasses.replace(old, **{name: value}).shape() == old.shape()


def test_bfloat16_drops_the_same_and_is_near(original):
    _, params = original
    batch, key = batch_of(4), jax.random.key(1, impl="rbg")
    found = []
    for dtype in ("float32", "bfloat16"):
        problem = objective.lm(dataclasses.replace(CONFIG, dtype=dtype, **DROPOUTS))

        def loss(params, problem=problem):
            return problem.loss(problem.thin(params, key), batch, key, ())[0].loss

        value, gradient = jax.jit(jax.value_and_grad(loss))(params)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(gradient))
        found.append((value, jnp.sqrt(sum(jnp.square(x).sum() for x in jax.tree.leaves(gradient)))))
    np.testing.assert_allclose(*found, rtol=0.01)
