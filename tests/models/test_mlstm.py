"""The multiplicative LSTM beside OpenAI's own code and autodiff, and as every other backbone."""

import base64
import dataclasses
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.config import from_table, to_table
from gptjax.errors import UserError
from gptjax.interchange.openai_mlstm import from_arrays
from gptjax.models import backbone, multiplicative, objective
from gptjax.models.config import ModelConfig
from gptjax.models.decode import generate
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.recurrent import Carry, nothing
from gptjax.models.task_head import TaskHeadConfig
from gptjax.models.transfer import transfer

SHARED = os.environ.get("GPTJAX_SHARED")
SIZES = {"vocabulary_size": 50, "context_length": 16, "units": 10, "embedding_width": 6}
TINY = MLSTMConfig(**SIZES, num_layers=2)
NEVER = 49

states = jax.jit(backbone.states, static_argnums=0)
run = jax.jit(multiplicative.run)


def make(config=TINY, seed=0):
    """Parameters far from their initial values."""
    shapes = jax.eval_shape(objective.lm(config).init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.8, x.shape), jnp.float32), shapes)


def tokens(rows, length, seed=0):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.integers(0, TINY.vocabulary_size, (rows, length)), jnp.int32)


def recorded():
    """OpenAI's arrays by their names, and what their code made of them, in TensorFlow.

    A part of the numbers lies here: the embedding of the bytes in the rows, four of the 256
    columns of the output, and the cells of every fifth position.
    """
    if SHARED is not None:
        folder = Path(SHARED) / "reference/ancestors"
        return {**np.load(folder / "mlstm.npz"), **json.loads((folder / "mlstm.json").read_text())}
    kept = json.loads((Path(__file__).parents[1] / "golden/mlstm.json").read_text())
    rows = np.array(kept.pop("rows"), np.int32)
    found = {name: decoded(array) for name, array in kept.items()}
    table = np.zeros((256, 8), np.float32)
    table[np.unique(rows)] = found["model_0"]
    return {**found, "rows": rows, "model_0": table}


def decoded(array):
    numbers = np.frombuffer(base64.b64decode(array["float32"]), np.float32)
    return numbers.reshape(array["shape"])


@pytest.fixture(scope="module")
def original():
    found = recorded()
    return found, from_arrays([found[f"model_{number}"] for number in range(15)])


def test_cells_final_states_and_logits_are_as_recorded(original):
    """Of rows that begin with a given state, one of them padded on the left."""
    found, params = original
    x = jnp.asarray(params["token_embedding"][found["rows"]])
    mask = jnp.asarray(found["mask"][..., 0] > 0)
    assert not mask.all()
    hidden, cells, final = run(
        params["blocks_0"], x, mask, Carry(*map(jnp.asarray, found["state"]))
    )
    cells = cells.swapaxes(0, 1)[:: 1 if SHARED else 5]
    np.testing.assert_allclose(cells, found["cells"], atol=1e-5)
    np.testing.assert_allclose(np.stack(final), found["final"], atol=1e-5)
    logits = np.asarray(hidden) @ params["output_table"].T + params["output_bias"]
    np.testing.assert_allclose(logits.reshape(48, -1), found["logits"], atol=1e-5)


def test_chunks_that_carry_the_state_are_as_recorded(original):
    found, params = original
    x = jnp.asarray(params["token_embedding"][found["rows"]])
    mask = jnp.asarray(found["mask"][..., 0] > 0)
    carry = Carry(*map(jnp.asarray, found["state"]))
    for start, end in ((0, 7), (7, 8), (8, 16)):
        _, _, carry = run(params["blocks_0"], x[:, start:end], mask[:, start:end], carry)
    np.testing.assert_allclose(np.stack(carry), found["final"], atol=1e-5)


@pytest.mark.skipif(SHARED is None, reason="the texts' numbers are not here")
@pytest.mark.parametrize("length", [None, 16])
def test_the_cell_after_each_text_is_as_recorded(original, length):
    """In one pass over texts that are padded on the left, and in the original's chunks."""
    found, params = original
    texts = found["bytes"]
    longest = -(-max(map(len, texts)) // 16) * 16
    rows = np.zeros((len(texts), longest), np.int32)
    mask = np.zeros(rows.shape, bool)
    for row, text in enumerate(texts):
        rows[row, -len(text) :], mask[row, -len(text) :] = text, True
    x, carry = jnp.asarray(params["token_embedding"][rows]), nothing(len(texts), 24)
    size = longest if length is None else length
    for at in range(0, longest, size):
        part = slice(at, at + size)
        _, _, carry = run(params["blocks_0"], x[:, part], jnp.asarray(mask[:, part]), carry)
    np.testing.assert_allclose(carry.cell, found["features"], atol=1e-5)


@pytest.mark.skipif(SHARED is None, reason="the texts' numbers are not here")
def test_all_cells_of_padded_texts_are_as_recorded(original):
    found, params = original
    texts = [f"\n {text} ".encode() for text in found["cell_texts"]]
    cells = found["cells_left_padded"]
    rows = np.zeros(cells.shape[:2], np.int32)
    mask = np.zeros(rows.shape, bool)
    for row, text in enumerate(texts):
        rows[row, -len(text) :], mask[row, -len(text) :] = list(text), True
    x = jnp.asarray(params["token_embedding"][rows])
    _, mine, _ = run(params["blocks_0"], x, jnp.asarray(mask), nothing(len(texts), 24))
    np.testing.assert_allclose(mine, cells, atol=1e-5)


def test_equals_the_equations_step_by_step():
    """Two layers, in numpy and float64."""
    params, rows = make(), tokens(2, 9)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def matrix(layer, name):
        kernel, gain = layer[name]["kernel"], layer[name]["gain"]
        return gain * kernel / np.sqrt((kernel**2).sum(0))

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    x = p["token_embedding"][np.asarray(rows)]
    for layer in (p["blocks_0"], p["blocks_1"]):
        h = c = np.zeros((2, 10))
        states_of = []
        for t in range(9):
            back = h @ matrix(layer, "recurrent_factor")
            m = (x[:, t] @ matrix(layer, "input_factor")) * back
            z = x[:, t] @ matrix(layer, "inputs") + m @ matrix(layer, "recurrent") + layer["bias"]
            i, f, o, u = np.split(z, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(u)
            h = sigmoid(o) * np.tanh(c)
            states_of.append(h)
        x = np.stack(states_of, axis=1)
    np.testing.assert_allclose(states(TINY, params, rows), x, atol=2e-5)


def test_a_column_of_zeros_gives_zeros_and_a_gradient():
    kernel, gain = jnp.ones((3, 2)).at[:, 1].set(0.0), jnp.full(2, 5.0)
    found = multiplicative.normalised(kernel, gain)
    np.testing.assert_allclose(found, [[5 / 3**0.5, 0]] * 3, rtol=1e-6)
    slope = jax.grad(lambda kernel: multiplicative.normalised(kernel, gain)[0, 1])(kernel)
    np.testing.assert_allclose(slope[:, 1], [5e6, 0, 0], rtol=1e-6)


def test_steps_with_what_is_remembered_equal_the_whole():
    params, rows, pads = make(), tokens(3, 16), (0, 3, 5)
    extend = jax.jit(backbone.extend, static_argnums=0)
    cache, found = backbone.empty_cache(TINY, 3, 16), []
    for start, end in ((0, 6), (6, 7), (7, 8), (8, 16)):
        first = jnp.asarray(pads, jnp.int32)
        new, cache = extend(TINY, params, rows[:, start:end], cache, jnp.int32(start), first)
        found.append(new)
    whole = np.concatenate(found, axis=1)
    for row, pad in enumerate(pads):
        expected = states(TINY, params, rows[row : row + 1, pad:])[0]
        np.testing.assert_allclose(whole[row, pad:], expected, rtol=1e-5, atol=1e-6)


def test_greedy_generation_past_the_context_equals_full_passes():
    params = make()
    # So that it says several things: without biases, and with rows of one length.
    for layer in ("blocks_0", "blocks_1"):
        params[layer]["bias"] = jnp.zeros(40)
    table = params["output_table"]
    params["output_table"] = table / jnp.linalg.norm(table, axis=1, keepdims=True)
    params["output_bias"] = jnp.zeros(50).at[NEVER].set(-100.0)
    options = {"max_tokens": 20, "end": NEVER, "temperature": 0.0}
    ((got,),) = generate(TINY, params, [[4, 5, 6]], jax.random.key(0), **options)
    window, expected = [4, 5, 6], []
    for _ in range(20):
        padded = window + [0] * (TINY.context_length - len(window))
        last = states(TINY, params, jnp.asarray([padded], jnp.int32))[0, len(window) - 1]
        expected.append(int((params["output_table"] @ last + params["output_bias"]).argmax()))
        if len(window) == TINY.context_length:
            window = window[-TINY.context_length // 2 :]
        window.append(expected[-1])
    assert got == expected
    assert len(set(got)) > 5


def test_layer_states_begin_with_the_embeddings_padded_to_the_width():
    params, rows = make(), tokens(2, 5)
    found = backbone.layer_states(TINY, params, rows)
    assert found.shape == (3, 2, 5, 10)
    np.testing.assert_allclose(found[-1], states(TINY, params, rows), atol=1e-6)
    np.testing.assert_array_equal(found[0][..., :6], params["token_embedding"][rows])
    np.testing.assert_array_equal(found[0][..., :6], backbone.embed(TINY, params, rows))
    np.testing.assert_array_equal(found[0][..., 6:], np.zeros((2, 5, 4)))
    one = dataclasses.replace(TINY, num_layers=1)
    shallow = {name: value for name, value in params.items() if name != "blocks_1"}
    np.testing.assert_allclose(found[1], states(one, shallow, rows), atol=1e-6)
    with pytest.raises(UserError, match="17 tokens"):
        states(TINY, params, tokens(1, 17))


def test_a_further_token_is_read_by_its_embedding_and_predicted_by_its_output():
    params = make()
    assert backbone.row_width(TINY) == 16
    rows = jnp.asarray(np.random.default_rng(3).normal(size=(3, 16)), jnp.float32)
    longer, config = (
        backbone.with_rows(TINY, params, rows),
        dataclasses.replace(TINY, vocabulary_size=53),
    )
    special = jnp.asarray([[51]], jnp.int32)
    np.testing.assert_array_equal(backbone.embed(config, longer, special)[0, 0], rows[1, :6])
    state = jnp.asarray(np.random.default_rng(4).normal(size=(1, 10)), jnp.float32)
    logits = backbone.logits(config, longer, state)[0]
    np.testing.assert_allclose(logits[50:], rows[:, 6:] @ state[0], rtol=1e-5)
    np.testing.assert_array_equal(logits[:50], backbone.logits(TINY, params, state)[0])


def test_fine_tuning_takes_it_and_every_parameter_has_a_gradient():
    functions = objective.task(TINY, TaskHeadConfig("classify", 3), lm_coefficient=0.5)
    params = jax.jit(functions.objective.init)(jax.random.key(0))
    assert params["adapter"]["special_embedding"].shape == (3, 16)
    assert params["adapter"]["head"]["kernel"].shape == (10, 3)
    params["backbone"] = make()
    rows = np.array(tokens(4, 8))
    rows[:, 0], rows[:, 4], rows[:, 7] = 50, 51, 52
    batch = Batch(
        rows[:, None],
        np.ones((4, 1, 8), np.float32),
        np.array([[3], [7], [5], [2]], np.int32),
        np.eye(3, dtype=np.float32)[[0, 1, 2, 0]],
        np.ones(4, np.float32),
    )
    gradient = jax.jit(jax.grad(lambda p: functions.objective.loss(p, batch, None, ())[0].loss))(
        params
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert jnp.abs(leaf).max() > 0, path
    special = gradient["adapter"]["special_embedding"]
    # The end of a text is only predicted; the other two are read and predicted.
    assert (jnp.abs(special[:, 6:]).max(1) > 0).all()
    assert (jnp.abs(special[:2, :6]).max(1) > 0).all()


def test_depths_and_transfer():
    init = objective.task(TINY, TaskHeadConfig("classify", 3)).objective.init
    names = backbone.names_of(jax.eval_shape(init, jax.random.key(0))["backbone"])
    depths = {name.partition("/")[0]: backbone.depth(TINY, name) for name in names}
    expected = {"token_embedding": 0, "blocks_0": 1, "blocks_1": 2}
    assert depths == {**expected, "output_table": 3, "output_bias": 3}
    fresh, loaded = make(seed=1), make(seed=2)
    taken = transfer(TINY, fresh, loaded, 1)
    for name, depth in depths.items():
        source = loaded if depth <= 1 else fresh
        jax.tree.map(np.testing.assert_array_equal, taken[name], source[name])
    whole = transfer(TINY, fresh, loaded, None)
    jax.tree.map(np.testing.assert_array_equal, whole, loaded)


def test_dropout_acts_on_input_and_output_where_it_is_asked_for():
    rows, key, params = tokens(2, 8), jax.random.key(0, impl="rbg"), make()
    whole = states(TINY, params, rows)
    np.testing.assert_array_equal(states(TINY, params, rows, key), whole)
    for change in ({"embedding_dropout": 0.5}, {"residual_dropout": 0.5}):
        dropped = np.asarray(states(dataclasses.replace(TINY, **change), params, rows, key))
        assert (dropped == 0).any() == ("residual_dropout" in change)
        assert (dropped != whole).any()


def test_bfloat16_states_are_near_and_the_cell_stays_float32(strict_dtypes):
    config, params, rows = dataclasses.replace(TINY, dtype="bfloat16"), make(), tokens(2, 16)
    found = states(config, params, rows)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(jnp.float32), states(TINY, params, rows), atol=0.1)
    carry = backbone.empty_cache(config, 2, 16)[0]
    assert (carry.cell.dtype, carry.hidden.dtype) == (jnp.float32, jnp.bfloat16)


def test_sizes():
    for config in (TINY, MLSTMConfig(**SIZES)):
        assert config.num_parameters() == objective.num_parameters(objective.lm(config))
    published = MLSTMConfig(vocabulary_size=256, units=4096)
    assert round(published.num_parameters() / 1e6, 1) == 86.3
    assert (published.width, published.context, published.num_heads) == (4096, 512, None)
    assert dataclasses.replace(published, num_layers=2).width == 4096
    assert from_table(ModelConfig, to_table(published), where="a file") == published
    other = dataclasses.replace(published, embedding_width=32)
    assert other.shape() != published.shape()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 0}, "units"),
        ({"embedding_width": 11}, "at most the number of cells"),
        ({"embedding_width": 0}, "embedding_width"),
        ({"norm": "pre"}, "a multiplicative LSTM has no such thing"),
        ({"fidelity": "released"}, "fidelity"),
        ({"kind": "lstm"}, "embedding_width"),
    ],
)
def test_settings_that_do_not_fit_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        from_table(ModelConfig, {**to_table(TINY), **change}, where="a file")


def test_a_preset_of_transformers_can_be_given_this_kind():
    table = {"num_layers": 4, "num_heads": 4, "width": 128, "attention_dropout": 0.0}
    config = from_table(ModelConfig, {**table, "kind": "mlstm"}, where="a file")
    assert (config.cells, config.num_layers) == (128, 4)
    assert dataclasses.replace(config, units=96).width == 96
