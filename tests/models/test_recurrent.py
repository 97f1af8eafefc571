"""State that is carried: windows that go on, positions where nothing is remembered, gradients."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.errors import UserError
from gptjax.models import backbone, lstm, multiplicative
from gptjax.models.config import ModelConfig
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.recurrent import Carry

pytestmark = pytest.mark.usefixtures("strict_dtypes")

CONFIGS = {
    "lstm": ModelConfig(
        kind="lstm", vocabulary_size=50, context_length=24, num_layers=2, width=12, units=10
    ),
    "mlstm": MLSTMConfig(
        vocabulary_size=50, context_length=24, num_layers=2, units=10, embedding_width=6
    ),
}
ROWS, WINDOW = 3, 6


def make(config):
    """Parameters far from their initial values."""
    shapes = jax.eval_shape(partial(backbone.init_backbone, config), jax.random.key(0))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 0.5, a.shape), a.dtype), shapes)


def tokens(length):
    return jnp.asarray(np.random.default_rng(2).integers(0, 50, (ROWS, length)), jnp.int32)


@pytest.mark.parametrize("kind", CONFIGS)
def test_windows_that_go_on_are_one_scan_over_all_of_them(kind):
    config, params, rows = CONFIGS[kind], make(CONFIGS[kind]), tokens(4 * WINDOW)
    advance = jax.jit(partial(backbone.advance, config))
    carry, found = backbone.empty_carry(config, ROWS), []
    for at in range(0, 4 * WINDOW, WINDOW):
        states, carry = advance(params, rows[:, at : at + WINDOW], None, carry, None)
        found.append(states)
    whole = jax.jit(partial(backbone.states, config))(params, rows)
    np.testing.assert_allclose(np.concatenate(found, axis=1), whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_is_remembered_where_a_row_begins_anew(kind):
    """Also in the middle of a window; the other rows remember."""
    config, params, rows = CONFIGS[kind], make(CONFIGS[kind]), tokens(2 * WINDOW)
    advance = jax.jit(partial(backbone.advance, config))
    fresh = np.zeros((ROWS, WINDOW), bool)
    fresh[0, 0] = fresh[1, 4] = True
    _, carry = advance(params, rows[:, :WINDOW], None, backbone.empty_carry(config, ROWS), None)
    found, after = advance(params, rows[:, WINDOW:], None, carry, jnp.asarray(fresh))
    going_on, _ = advance(params, rows[:, WINDOW:], None, carry, None)
    np.testing.assert_array_equal(found[2], going_on[2])
    np.testing.assert_array_equal(found[1, :4], going_on[1, :4])
    for row, begin in ((0, 0), (1, 4)):
        own = rows[row : row + 1, WINDOW + begin :]
        alone, last = advance(params, own, None, backbone.empty_carry(config, 1), None)
        np.testing.assert_allclose(found[row, begin:], alone[0], rtol=0, atol=1e-6)
        assert np.abs(found[row, begin:] - going_on[row, begin:]).max() > 1e-3
        for one, other in zip(jax.tree.leaves(after), jax.tree.leaves(last), strict=True):
            np.testing.assert_allclose(one[row], other[0], rtol=0, atol=1e-6)


def test_a_transformer_has_no_state():
    config = ModelConfig(
        kind="transformer",
        vocabulary_size=50,
        context_length=8,
        width=12,
        num_layers=1,
        num_heads=2,
    )
    with pytest.raises(UserError, match=r"model.kind transformer: .* has no state that could be"):
        backbone.empty_carry(config, 2)
    with pytest.raises(UserError, match="has no state"):
        backbone.advance(config, make(config), tokens(4), None, (), None)


@pytest.mark.parametrize(
    ("masks", "dtype"),
    [
        *(("none", "float32"), ("mask", "float32"), ("fresh", "float32")),
        *(("none", "bfloat16"), ("both", "bfloat16")),
    ],
)
@pytest.mark.parametrize("kind", ["lstm", "mlstm"])
def test_the_written_gradients_are_those_of_autodiff(kind, masks, dtype):
    """Of the states and of what is remembered last, to all that they depend on."""
    rng = np.random.default_rng(0)
    shapes = {"lstm": [(2, 7, 20), (5, 20)], "mlstm": [(2, 7, 25), (5, 20), (5, 5)]}[kind]
    arguments = [
        jnp.asarray(rng.normal(0, 0.8, shape), jnp.float32) for shape in (*shapes, (2, 5), (2, 5))
    ]
    weights = [jnp.asarray(rng.normal(0, 1, s), jnp.float32) for s in ((2, 7, 5), (2, 5), (2, 5))]
    mask = jnp.asarray(rng.random((2, 7)) < 0.6) if masks in ("mask", "both") else None
    # The other row depends on what it remembers before its first position.
    begins = jnp.zeros((2, 7), bool).at[0, jnp.array([0, 3])].set(True)
    fresh = begins if masks in ("fresh", "both") else None
    recurrence = {"lstm": lstm.recurrence, "mlstm": multiplicative.recurrence}[kind]

    def total(function, *given):
        found = jax.tree.leaves(function(*given[:-2], mask, fresh, Carry(*given[-2:])))
        return sum((a.astype(jnp.float32) * b).sum() for a, b in zip(found, weights, strict=True))

    every = tuple(range(len(arguments)))
    # Autodiff's own: the function without the gradients that are written out.
    plain = partial(total, recurrence.__wrapped__)
    expected = jax.jit(jax.grad(plain, argnums=every))(*arguments)
    wide = (*range(1, len(shapes)), len(arguments) - 2)  # matrices and cells are float32 always
    given = [x if n in wide else x.astype(dtype) for n, x in enumerate(arguments)]
    found = jax.jit(jax.grad(partial(total, recurrence), argnums=every))(*given)
    assert [x.dtype for x in found] == [x.dtype for x in given]
    # In bfloat16 a step of rounding apart, so compared with float32 throughout.
    tolerance = {"float32": 1e-5, "bfloat16": 0.15}[dtype]
    for one, other in zip(found, expected, strict=True):
        assert jnp.abs(other).max() > 0.1
        np.testing.assert_allclose(one.astype(jnp.float32), other, rtol=0, atol=tolerance)
