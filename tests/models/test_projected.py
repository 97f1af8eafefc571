"""The projected LSTM beside a loop in numpy, and its gradients beside autodiff's."""

import base64
import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.lstm_recurrence import recurrence as plain
from gptjax.models.projected import Settings, nothing, recurrence
from gptjax.models.recurrent import Carry

pytestmark = pytest.mark.usefixtures("strict_dtypes")

ROWS, LENGTH, CELLS, WIDTH = 2, 7, 5, 3
CLIPPED = Settings(1.0, 0.5, 0.3)


def arguments(dtype="float32", seed=0):
    """Gates, kernel, projection, and what is remembered before."""
    rng = np.random.default_rng(seed)
    shapes = [(ROWS, LENGTH, 4 * CELLS), (WIDTH, 4 * CELLS), (CELLS, WIDTH)]
    shapes += [(ROWS, CELLS), (ROWS, WIDTH)]
    types = [dtype, "float32", "float32", "float32", dtype]
    return [
        jnp.asarray(rng.normal(0, 0.8, s), jnp.float32).astype(d)
        for s, d in zip(shapes, types, strict=True)
    ]


def masks(which):
    rng = np.random.default_rng(1)
    mask = jnp.asarray(rng.random((ROWS, LENGTH)) < 0.6) if which != "none" else None
    fresh = jnp.zeros((ROWS, LENGTH), bool).at[0, jnp.array([0, 3])].set(True)
    return mask, fresh if which == "both" else None


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(settings, gates, kernel, projection, mask, cell, hidden):
    """A row, a step at a time, in float64; the gates are add, forget, new, out."""
    states = []
    for z, is_token in zip(gates, mask, strict=True):
        a, f, g, o = np.split(z + hidden @ kernel, 4)
        if is_token:
            cell = sigmoid(f + settings.forget_bias) * cell + sigmoid(a) * np.tanh(g)
            cell = np.clip(cell, -settings.cell_clip, settings.cell_clip)
            hidden = (sigmoid(o) * np.tanh(cell)) @ projection
            hidden = np.clip(hidden, -settings.projection_clip, settings.projection_clip)
        states.append(hidden)
    return np.stack(states), cell, hidden


@pytest.mark.parametrize("settings", [CLIPPED, Settings(0.0, 100.0, 100.0)], ids=["clip", "free"])
def test_equals_the_reference_step_by_step(settings):
    gates, kernel, projection, cell, hidden = arguments()
    mask, _ = masks("mask")
    given = (gates, kernel, projection, mask, None, Carry(cell, hidden))
    states, last = jax.jit(partial(recurrence, settings))(*given)
    for row in range(ROWS):
        wide = [np.asarray(x, np.float64) for x in (gates[row], kernel, projection)]
        own = np.asarray(cell[row], np.float64), np.asarray(hidden[row], np.float64)
        expected = reference(settings, *wide, np.asarray(mask[row]), *own)
        each = (states[row], last.cell[row], last.hidden[row])
        for found, other in zip(each, expected, strict=True):
            np.testing.assert_allclose(found, other, rtol=0, atol=1e-6)
    bites = (jnp.abs(states) == settings.projection_clip).any()
    assert bites == (settings is CLIPPED)
    assert (jnp.abs(last.cell) == settings.cell_clip).any() == (settings is CLIPPED)


@pytest.mark.parametrize(
    ("which", "dtype"),
    [("none", "float32"), ("mask", "float32"), ("both", "float32"), ("both", "bfloat16")],
)
@pytest.mark.parametrize("settings", [Settings(), CLIPPED], ids=["free", "clip"])
def test_the_written_gradients_are_those_of_autodiff(settings, which, dtype):
    """Of the states and of what is remembered last, to all that they depend on."""
    rng = np.random.default_rng(2)
    shapes = (ROWS, LENGTH, WIDTH), (ROWS, CELLS), (ROWS, WIDTH)
    weights = [jnp.asarray(rng.normal(0, 1, shape), jnp.float32) for shape in shapes]
    mask, fresh = masks(which)

    def total(function, gates, kernel, projection, cell, hidden):
        carry = Carry(cell, hidden)
        found = function(settings, gates, kernel, projection, mask, fresh, carry)
        pairs = zip(jax.tree.leaves(found), weights, strict=True)
        return sum((a.astype(jnp.float32) * b).sum() for a, b in pairs)

    every = tuple(range(5))
    plain = partial(total, recurrence.__wrapped__)  # without the gradients that are written out
    expected = jax.jit(jax.grad(plain, argnums=every))(*arguments())
    given = arguments(dtype)
    found = jax.jit(jax.grad(partial(total, recurrence), argnums=every))(*given)
    assert [x.dtype for x in found] == [x.dtype for x in given]
    # In bfloat16 a step of rounding apart, so compared with float32 throughout.
    tolerance = {"float32": 1e-5, "bfloat16": 0.15}[dtype]
    for one, other in zip(found, expected, strict=True):
        assert jnp.abs(other).max() > 0.05
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("settings", [Settings(), CLIPPED], ids=["free", "clip"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_without_a_projection_the_cells_outputs_are_the_state(settings, dtype):
    """Free of clips it is the plain LSTM; its written gradients are those of autodiff."""
    rng = np.random.default_rng(3)
    shapes = [(ROWS, LENGTH, 4 * CELLS), (CELLS, 4 * CELLS), (ROWS, CELLS), (ROWS, CELLS)]
    gates, kernel, cell, hidden = (jnp.asarray(rng.normal(0, 0.8, s), jnp.float32) for s in shapes)
    weights = jnp.asarray(rng.normal(0, 1, (ROWS, LENGTH, CELLS)), jnp.float32)
    mask, fresh = masks("both")

    def total(function, gates, kernel, cell, hidden):
        states, last = function(gates, kernel, Carry(cell, hidden))
        return (states.astype(jnp.float32) * weights).sum() + last.cell.sum()

    def written(gates, kernel, carry):
        return recurrence(settings, gates, kernel, None, mask, fresh, carry)

    def automatic(gates, kernel, carry):
        return recurrence.__wrapped__(settings, gates, kernel, None, mask, fresh, carry)

    def of_the_plain(gates, kernel, carry):
        return plain(gates, kernel, mask, fresh, carry, settings.forget_bias)

    every = (gates, kernel, cell, hidden)
    given = (gates.astype(dtype), kernel, cell, hidden.astype(dtype))
    found = jax.jit(jax.grad(partial(total, written), argnums=(0, 1, 2, 3)))(*given)
    assert [x.dtype for x in found] == [x.dtype for x in given]
    others = [automatic] if settings is CLIPPED else [automatic, of_the_plain]
    for other in others:
        expected = jax.jit(jax.grad(partial(total, other), argnums=(0, 1, 2, 3)))(*every)
        for one, two in zip(found, expected, strict=True):
            tolerance = {"float32": 1e-5, "bfloat16": 0.15}[dtype]
            np.testing.assert_allclose(one.astype(jnp.float32), two, rtol=0, atol=tolerance)
    states, _ = written(gates, kernel, Carry(cell, hidden))
    if settings is CLIPPED:
        assert (jnp.abs(states) == settings.projection_clip).any()
    else:
        expected, _ = of_the_plain(gates, kernel, Carry(cell, hidden))
        np.testing.assert_allclose(states, expected, rtol=0, atol=1e-6)


def test_a_layer_of_the_original_gives_the_recorded_states():
    """The first forward layer of the authors' fixture, of what their code made."""
    file = Path(__file__).parents[1] / "golden/bilm.json"
    kept = {
        name: np.frombuffer(base64.b64decode(one["float32"]), "<f4").reshape(one["shape"])
        for name, one in json.loads(file.read_text()).items()
    }
    x, width = jnp.asarray(kept["x"])[None], kept["projection"].shape[1]
    inputs, kernel = jnp.asarray(kept["matrix"][:width]), jnp.asarray(kept["matrix"][width:])
    carry = nothing(1, len(kept["projection"]), width)
    settings = Settings(1.0, 3.0, 3.0)
    gates = x @ inputs + jnp.asarray(kept["bias"])[None, None]
    given = (gates, kernel, jnp.asarray(kept["projection"]), None, None, carry)
    states, _ = jax.jit(partial(recurrence, settings))(*given)
    np.testing.assert_allclose(states[0, 1:], kept["states"], rtol=0, atol=1e-5)
