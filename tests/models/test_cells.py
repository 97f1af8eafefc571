"""Memory cells: the same in chunks of any size, beside any neighbours, and token by token."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models import backbone, cells
from gptjax.models.lstm import LSTMConfig
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.transformer import TransformerConfig

SIZES = {"vocabulary_size": 20, "context_length": 5, "num_layers": 2}
MODELS = [
    LSTMConfig(**SIZES, width=6, units=7),
    MLSTMConfig(**SIZES, units=7, embedding_width=3, initial_std=0.8),
]
LENGTHS = [23, 1, 8, 17]


@pytest.fixture(params=MODELS, ids=lambda model: model.kind)
def made(request):
    """A model, rows that are longer than its context, and their cells in one pass, row by row."""
    params = backbone.init_backbone(request.param, jax.random.key(0))
    tokens = np.random.default_rng(0).integers(0, 20, (4, 23)).astype(np.int32)
    start = backbone.empty_cache(request.param, 1, 23)
    read = jax.jit(partial(backbone.extend, request.param))
    rows = [jnp.asarray(row[None, :n]) for row, n in zip(tokens, LENGTHS, strict=True)]
    zero = jnp.zeros(1, jnp.int32)
    found = [cells.cells_of(read(params, row, start, zero[0], zero)[1])[:, 0] for row in rows]
    return request.param, params, jnp.asarray(tokens), np.stack(found, axis=1)


@pytest.mark.parametrize("chunk", [4, 6, 64])
def test_any_chunks_leave_the_cells_of_one_pass(made, chunk, monkeypatch):
    model, params, tokens, expected = made
    monkeypatch.setattr(cells, "CHUNK", chunk)
    found = jax.jit(partial(cells.after_rows, model))(params, tokens, jnp.asarray(LENGTHS))
    assert found.shape == (2, 4, 7)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_after_its_last_token_a_cell_is_what_it_is_after_the_row(made):
    model, params, tokens, expected = made
    for layer, unit in ((0, 6), (1, 2)):
        found = cells.along(model, params, tokens[3, :17], jnp.int32(layer), jnp.int32(unit))
        assert found.shape == (17,)
        assert float(found[-1]) == pytest.approx(float(expected[layer, 3, unit]), abs=1e-6)
        before = cells.along(model, params, tokens[3, :16], jnp.int32(layer), jnp.int32(unit))
        np.testing.assert_allclose(found[:-1], before, atol=1e-6)


def test_a_family_says_how_many_there_are():
    assert [cells.count(model) for model in MODELS] == [7, 7]
    assert cells.count(TransformerConfig(**SIZES, width=6, num_heads=2)) is None
