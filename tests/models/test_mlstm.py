"""The multiplicative LSTM beside OpenAI's own code and autodiff, and as every other backbone."""

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
from gptjax.config import from_table, to_table
from gptjax.errors import UserError
from gptjax.interchange.openai_mlstm import from_arrays
from gptjax.models import backbone, multiplicative, objective
from gptjax.models.config import ModelConfig
from gptjax.models.decode import generate
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.multiplicative import Carry, nothing, recurrence
from gptjax.models.task_head import TaskHeadConfig, transfer

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
    hidden, cells, final = run(params["blocks_0"], x, mask, Carry(*map(jnp.asarray, found["state"])))
    every = 16 // len(found["cells"]) + (len(found["cells"]) < 16)
    np.testing.assert_allclose(cells[:, :: max(every, 1)].swapaxes(0, 1), found["cells"], atol=1e-5)
    np.testing.assert_allclose(np.stack(final), found["final"], atol=1e-5)
    logits = hidden @ params["output_table"].T + params["output_bias"]
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
    """Texts in one pass, padded on the left, and in chunks of 16 bytes as the original has them."""
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
    texts = [text.encode() for text in found["cell_texts"]]
    cells = found["cells_left_padded"]
    rows = np.zeros(cells.shape[:2], np.int32)
    mask = np.zeros(rows.shape, bool)
    for row, text in enumerate(texts):
        rows[row, -len(text) :], mask[row, -len(text) :] = list(text), True
    x = jnp.asarray(params["token_embedding"][rows])
    _, mine, _ = run(params["blocks_0"], x, jnp.asarray(mask), nothing(len(texts), 24))
    np.testing.assert_allclose(mine, cells, atol=1e-5)
