"""Memory cells: the same in chunks of any size and token by token; held while a model writes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models import backbone, cells
from gptjax.models.decode import generate
from gptjax.models.lstm_config import LSTMConfig
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


def written(model, params, prompt, count, units):
    """A reference: greedy, a token at a time, in windows of which the next has half of the last."""
    read = jax.jit(partial(backbone.extend, model))
    logits_of = jax.jit(partial(backbone.logits, model))
    zero, tokens, base = jnp.zeros(1, jnp.int32), list(prompt), 0
    slots = min(model.context_length, len(prompt) + count)

    def go_on(new, cache, slot):
        states, cache = read(params, jnp.asarray([new], jnp.int32), cache, jnp.int32(slot), zero)
        layers = [carry.cell for carry in cache]
        for layer, unit, value in units:
            layers[layer] = layers[layer].at[0, unit].set(value)
        held = [c._replace(cell=cell) for c, cell in zip(cache, layers, strict=True)]
        return logits_of(params, states[:, -1])[0], tuple(held)

    logits, cache = go_on(tokens, backbone.empty_cache(model, 1, slots), 0)
    for _ in range(count):
        if len(tokens) - base == slots:
            base += slots - slots // 2
            _, cache = go_on(tokens[base:], cache, 0)
        tokens.append(int(logits.argmax()))
        logits, cache = go_on(tokens[-1:], cache, len(tokens) - 1 - base)
    return tokens[len(prompt) :]


def test_cells_are_held_after_the_prompt_and_after_every_token(made):
    """Beyond the context too, where the model reads the later half of its window again."""
    model, params, *_ = made
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    found = []
    for units in ([(0, 3, 4.0), (1, 6, -5.0)], [(0, 3, -4.0), (1, 6, 5.0)], []):
        held = cells.held(model, units) if units else None
        key = jax.random.key(0)
        ((new,),) = generate(
            model, params, [[1, 2]], key, max_tokens=12, end=None, temperature=0.0, held=held
        )
        assert new == written(model, params, [1, 2], 12, units)
        found.append(new)
    assert found[0] != found[1]
    assert found[0] != found[2]
