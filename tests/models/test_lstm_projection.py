"""The LSTM's projection, clipping and residual sums: beside a loop in numpy and ELMo's numbers."""

import dataclasses
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.config import from_table, to_table
from gptjax.errors import UserError
from gptjax.interchange import elmo
from gptjax.models import backbone, cells, objective
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.config import ModelConfig
from gptjax.models.decode import generate
from gptjax.models.dropout import dropout
from gptjax.models.lstm_config import LSTMConfig

pytestmark = pytest.mark.usefixtures("strict_dtypes")

SHARED = os.environ.get("GPTJAX_SHARED")
ANCESTORS = Path(SHARED or ".") / "reference/ancestors"
ELMO = LSTMConfig(
    vocabulary_size=20,
    context_length=12,
    num_layers=3,
    width=4,
    units=7,
    map_back=False,
    projection=4,
    cell_clip=0.5,
    projection_clip=0.3,
    residual=True,
    embedding_dropout=0.0,
    residual_dropout=0.0,
)
MAPPED = dataclasses.replace(ELMO, width=6, projection=5, map_back=True, biases=2, forget_bias=0.5)
UNPROJECTED = dataclasses.replace(ELMO, projection=None, layer_units=(4, 4, 4), units=None)
ALL = pytest.mark.parametrize("config", [ELMO, MAPPED, UNPROJECTED], ids=["elmo", "mapped", "none"])


def make(config, seed=0):
    """Parameters far from their initial values."""
    shapes = jax.eval_shape(objective.lm(config).init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.7, x.shape), jnp.float32), shapes)


def tokens(rows, length, seed=0):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.integers(0, ELMO.vocabulary_size, (rows, length)), jnp.int32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(config, params, row):
    """States of one row at each depth, a step and a layer at a time, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    sizes = zip(config.layer_cells, config.fed_back, strict=True)
    memory = [(np.zeros(state), np.zeros(own)) for own, state in sizes]
    found, bites = [], set()
    for token in row:
        depths = [p["token_embedding"][token]]
        for number in range(config.num_layers):
            layer, (h, c) = p[f"blocks_{number}"], memory[number]
            z = depths[-1] @ layer["inputs"]["kernel"] + layer["inputs"]["bias"]
            z = z + h @ layer["recurrent"]
            if config.biases == 2:
                z = z + layer["recurrent_bias"]
            a, f, g, o = np.split(z, 4)
            c = sigmoid(f + config.forget_bias) * c + sigmoid(a) * np.tanh(g)
            bites |= {"cell"} if np.abs(c).max() > config.cell_clip else set()
            c = np.clip(c, -config.cell_clip, config.cell_clip)
            h = sigmoid(o) * np.tanh(c)
            if config.projection is not None:
                h = h @ layer["state_projection"]
            bites |= {"state"} if np.abs(h).max() > config.projection_clip else set()
            h = np.clip(h, -config.projection_clip, config.projection_clip)
            memory[number] = (h, c)
            given = h
            if config.map_back:
                given = h @ layer["projection"]["kernel"] + layer["projection"]["bias"]
            depths.append(given + depths[-1] if number > 0 else given)
        found.append(depths)
    assert bites == {"cell", "state"}, "a clip does not bite"
    return [np.stack(depth) for depth in zip(*found, strict=True)]


@ALL
def test_equals_the_reference_step_by_step(config):
    params, rows = make(config), tokens(2, 12)
    found = jax.jit(partial(backbone.layer_states, config))(params, rows)
    for row in range(2):
        for depth, expected in zip(found, reference(config, params, rows[row]), strict=True):
            np.testing.assert_allclose(depth[row], expected, rtol=0, atol=1e-5)


@ALL
def test_windows_that_go_on_are_one_long_scan(config):
    """And so are tokens that are written one by one, behind padding of any length."""
    params, rows = make(config), tokens(3, 12)
    whole = jax.jit(partial(backbone.states, config))(params, rows)
    carry, parts = backbone.empty_carry(config, 3), []
    for window in (rows[:, :5], rows[:, 5:6], rows[:, 6:]):
        states, carry = backbone.advance(config, params, window, None, carry, None)
        parts.append(states)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, rtol=0, atol=1e-5)
    assert [one.cell.shape for one in carry] == [(3, size) for size in config.layer_cells]
    assert [one.hidden.shape for one in carry] == [(3, size) for size in config.fed_back]

    first = jnp.array([0, 2, 5], jnp.int32)
    cache = backbone.empty_cache(config, 3, 12)
    one = jax.jit(partial(backbone.extend, config))
    written = []
    for slot in range(12):
        now, cache = one(params, rows[:, slot : slot + 1], cache, jnp.int32(slot), first)
        written.append(now)
    written = jnp.concatenate(written, 1)
    for row, begin in enumerate(first):
        alone = backbone.states(config, params, rows[row : row + 1, begin:])
        np.testing.assert_allclose(written[row, begin:], alone[0], rtol=0, atol=1e-5)


@ALL
def test_a_fresh_position_remembers_nothing(config):
    params, rows = make(config), tokens(2, 12)
    fresh = jnp.zeros((2, 12), bool).at[0, 4].set(True)
    carry = backbone.empty_carry(config, 2)
    found, _ = backbone.advance(config, params, rows, None, carry, fresh)
    np.testing.assert_allclose(
        found[:1, 4:], backbone.states(config, params, rows[:1, 4:]), rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
        found[1], backbone.states(config, params, rows)[1], rtol=0, atol=1e-5
    )


@pytest.mark.slow
@ALL
def test_the_last_cells_are_those_of_one_row_and_it_writes(config):
    params, rows = make(config), tokens(2, 12)
    lengths = jnp.array([12, 7], jnp.int32)
    found = cells.after_rows(config, params, rows, lengths)
    for row, length in enumerate(lengths):
        carry = backbone.empty_carry(config, 1)
        _, carry = backbone.advance(config, params, rows[row : row + 1, :length], None, carry, None)
        np.testing.assert_allclose(found[:, row], cells.cells_of(carry)[:, 0], rtol=0, atol=1e-5)
    given = {"max_tokens": 4, "end": None, "temperature": 0.0}
    ((written,),) = generate(config, params, [[4, 5, 6]], jax.random.key(0), **given)
    row = [4, 5, 6]
    for token in written:
        states = backbone.states(config, params, jnp.asarray([row], jnp.int32))
        assert token == int(backbone.logits(config, params, states)[0, -1].argmax())
        row.append(token)


def test_residual_sums_come_before_dropout():
    """And after the clip, so that a state may be larger than it."""
    config = dataclasses.replace(ELMO, residual_dropout=0.4, num_layers=2)
    params, rows, key = make(config), tokens(2, 12), jax.random.key(3)
    found = backbone.layer_states(config, params, rows, key)
    still = dataclasses.replace(config, residual=False)
    keys = jax.random.split(key, 3)
    one = backbone.layer_states(dataclasses.replace(still, residual_dropout=0.0), params, rows)[1]
    first = dropout(one, keys[0], 0.4)
    np.testing.assert_allclose(found[1], first, rtol=0, atol=1e-5)
    without = backbone.layer_states(still, params, rows, key)[2]
    added = dropout(first, keys[1], 0.4)
    np.testing.assert_allclose(found[2], without + added, rtol=0, atol=1e-5)
    assert jnp.abs(found[2]).max() > config.projection_clip / 0.6


@ALL
def test_every_parameter_learns_from_streams(config):
    learnt = objective.lm(config, streams=True)
    params, rows = make(config), tokens(2, 9)
    ones = np.ones((2, 1, 9), np.float32)
    fresh = np.zeros((2, 1, 8), bool)
    zeros = np.zeros((2, 1), np.int32)
    batch = Batch(np.asarray(rows)[:, None], ones, zeros, ones[..., 0], ones[:, 0, 0], fresh)
    carry = learnt.init_carry(2)

    def loss(params):
        sums, after = learnt.loss(params, batch, None, carry)
        return sums.loss, after

    gradient, after = jax.jit(jax.grad(loss, has_aux=True))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.abs(leaf).max() > 0, jax.tree_util.keystr(path)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, carry)


@pytest.mark.parametrize("config", [ELMO, MAPPED])
def test_dropped_elements_are_of_the_matrix_that_is_fed_back(config):
    config = dataclasses.replace(config, weight_dropout=0.5)
    params = make(config)
    thinned = backbone.thinned(config, params, jax.random.key(0))
    for number in range(config.num_layers):
        own, kept = (one[f"blocks_{number}"]["recurrent"] for one in (params, thinned))
        assert 0.2 < np.mean(np.asarray(kept) == 0) < 0.8
        np.testing.assert_allclose(np.where(kept == 0, 0, 2 * own), kept, rtol=1e-6)
        same = thinned[f"blocks_{number}"]["state_projection"]
        assert same is params[f"blocks_{number}"]["state_projection"]


@ALL
def test_parameters_are_counted_and_a_table_gives_the_config_back(config):
    params = make(config)
    assert config.num_parameters() == sum(x.size for x in jax.tree.leaves(params))
    assert from_table(ModelConfig, to_table(config), where="a table") == config


def test_an_lstm_from_before_these_settings_has_the_identity_it_had():
    plain = LSTMConfig(vocabulary_size=20, width=4, num_layers=2)
    names = {"projection", "cell_clip", "projection_clip", "residual"}
    assert not names & set(plain.shape())
    assert names <= set(ELMO.shape())
    each = [dataclasses.replace(MAPPED, **change).shape() for change in CHANGES]
    assert len({tuple(sorted(one.items())) for one in each}) == len(CHANGES)
    old = {key: x for key, x in to_table(plain).items() if key not in names}
    assert from_table(ModelConfig, old, where="a table") == plain


CHANGES = [
    {},
    {"projection": 4},
    {"cell_clip": 1.0},
    {"cell_clip": None},
    {"projection_clip": 1.0},
    {"projection_clip": None},
    {"residual": False},
]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projection": 5}, r"model\.projection is 5: it must be model\.width, 4"),
        ({"projection": 0}, r"model\.projection is 0"),
        ({"cell_clip": 0.0}, r"model\.cell_clip is 0\.0: it must be above 0"),
        ({"projection_clip": -1.0}, r"model\.projection_clip is -1\.0"),
        (
            {"projection": None, "units": None, "layer_units": (5, 5, 4)},
            r"model\.residual: the layers give 5, 5, 4 numbers",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(ELMO, **change)


def test_settings_that_both_kinds_have_are_kept_in_a_change_of_kind():
    """What is None here is left to the other kind, which may need a number."""
    two = BiLMConfig(units=8, projection=6, residual=False, cell_clip=None)
    one = two.as_kind("lstm")
    shared = ("units", "projection", "residual", "cell_clip", "projection_clip", "width")
    assert [getattr(one, name) for name in shared] == [8, 6, False, None, 3.0, 12]
    back = dataclasses.replace(one, projection=None, units=None).as_kind("bilm")
    assert (back.units, back.projection, back.cell_clip) == (4096, 512, 3.0)
    transformer = ModelConfig()
    for name, value in (("projection", None), ("projection", 512), ("residual", True)):
        assert type(transformer).without_others({name: value}) == {}
    with pytest.raises(UserError, match=r"projection .*take model\.kind bilm or lstm"):
        type(transformer).without_others({"projection": 7})


def half(config, params, table):
    """The forward half of a biLM as an LSTM that reads these vectors."""
    blocks = {}
    for number in range(config.num_layers):
        own = params[f"blocks_{number}"]["forward"]
        moved = {"state_projection" if k == "projection" else k: x for k, x in own.items()}
        blocks[f"blocks_{number}"] = moved
    made = LSTMConfig(
        vocabulary_size=len(table),
        context_length=64,
        num_layers=config.num_layers,
        width=config.projection,
        units=config.units,
        map_back=False,
        projection=config.projection,
        cell_clip=config.cell_clip,
        projection_clip=config.projection_clip,
        residual=config.residual,
    )
    return made, {"token_embedding": table, **blocks}


def test_it_is_the_forward_half_of_a_bilm():
    config = BiLMConfig(
        vocabulary_size=20, context_length=12, units=7, projection=4, tokens="table"
    )
    config = dataclasses.replace(config, cell_clip=0.5, projection_clip=0.3)
    params, rows = make(config), tokens(2, 12)
    one, own = half(config, params, params["token_embedding"])
    both = backbone.layer_states(config, params, rows)[..., : config.projection]
    np.testing.assert_allclose(backbone.layer_states(one, own, rows), both, rtol=0, atol=1e-5)


@pytest.mark.skipif(SHARED is None, reason="the recorded numbers are not here")
@pytest.mark.parametrize("name", ["bilm_residual", "bilm_no_residual"])
def test_with_the_parameters_of_elmos_authors_it_gives_their_forward_states(name):
    """Also in the second call, which goes on with what was remembered after the first."""
    numbers = np.load(ANCESTORS / f"{name}.npz")
    config = elmo.read_config(ANCESTORS / "bilm_fixture")
    config = dataclasses.replace(config, residual=name == "bilm_residual")
    params = jax.tree.map(jnp.asarray, elmo.read_params(ANCESTORS / "bilm_fixture", config))
    rows, length, _ = numbers["char_ids"].shape
    spelled = np.maximum(numbers["char_ids"] - 1, 0).reshape(rows * length, -1)
    words = jnp.arange(rows * length).reshape(rows, length)
    config = dataclasses.replace(config, vocabulary_size=len(spelled))
    params = backbone.with_spelling(config, params, spelled)
    table = jax.jit(partial(backbone.embed, config))(params, words).reshape(rows * length, -1)
    one, own = half(config, params, table)
    for row, size in enumerate(numbers["lengths"]):
        # With both ends: the next call remembers the end of the sentence, too.
        read, carry = words[row : row + 1, : size + 2], backbone.empty_carry(one, 1)
        first = backbone.layer_states(one, own, read)[:, 0]
        _, carry = backbone.advance(one, own, read, None, carry, None)
        again, _ = backbone.advance(one, own, read, None, carry, None)
        forward = slice(config.projection)
        expected = numbers["embeddings"][row, :, :size, forward]
        np.testing.assert_allclose(first[:, 1 : 1 + size], expected, rtol=0, atol=1e-5)
        second = numbers["embeddings_second_call"][row, -1, :size, forward]
        np.testing.assert_allclose(again[0, 1 : 1 + size], second, rtol=0, atol=1e-5)
        assert np.abs(second - expected[-1]).max() > 1e-3
