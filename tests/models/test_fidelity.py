"""The released code's two oddities: position rows in the softmax, dropout on the tables."""

import dataclasses

import jax
import numpy as np
import pytest
from reference import forward
from test_objective import log_softmax, make_batch
from test_transformer import make

from gptjax.models.backbone import for_loss
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm

PAPER = ModelConfig(vocabulary_size=40, context_length=8, num_layers=1, num_heads=2, width=16)
RELEASED = dataclasses.replace(PAPER, fidelity="released")


def test_the_softmax_runs_over_the_positions_too():
    params, batch = make(RELEASED), make_batch()
    sums = jax.jit(lm(RELEASED).loss)(params, batch, None, ())[0]
    rows = batch.tokens.reshape(-1, 9)
    states = forward(params, rows[:, :-1], 2, "post")
    table = np.concatenate([params["token_embedding"], params["position_embedding"]])
    logits = states @ table.astype(np.float64).T
    weights = (batch.lm_weights * batch.weights[:, None, None]).reshape(-1, 9)[:, 1:]
    nll = -np.take_along_axis(log_softmax(logits), rows[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(sums.loss, (weights * nll).sum(), rtol=1e-5)
    paper = jax.jit(lm(PAPER).loss)(params, batch, None, ())[0]
    assert float(paper.loss) < float(sums.loss)


def test_one_dropped_table_is_read_and_predicted_with():
    params, rate = make(RELEASED), RELEASED.embedding_dropout
    dropped, table, _ = for_loss(RELEASED, params, jax.random.key(3))
    whole = np.concatenate([params["token_embedding"], params["position_embedding"]])
    there = np.asarray(table) != 0
    np.testing.assert_allclose(np.asarray(table)[there], (whole / (1 - rate))[there], rtol=1e-6)
    assert there.mean() == pytest.approx(1 - rate, abs=0.03)
    np.testing.assert_array_equal(dropped["token_embedding"], table[:40])
    np.testing.assert_array_equal(dropped["position_embedding"], table[40:])
    assert dropped["blocks_0"] is params["blocks_0"]
    again, _, _ = for_loss(RELEASED, params, jax.random.key(4))
    assert (np.asarray(again["token_embedding"]) != np.asarray(table[:40])).any()


def test_the_paper_s_tables_are_left_alone():
    params = make(PAPER)
    same, table, _ = for_loss(PAPER, params, jax.random.key(3))
    assert same is params
    assert table is params["token_embedding"]
    _, released, _ = for_loss(RELEASED, params, None)
    assert released.shape == (48, 16)


def test_fewer_positions():
    """As many as the longest sequence has: the others are neither predicted nor dropped."""
    params = make(RELEASED)
    dropped, table, _ = for_loss(RELEASED, params, jax.random.key(0), 5)
    assert table.shape == (45, 16)
    np.testing.assert_array_equal(dropped["position_embedding"][:5], table[40:])
    np.testing.assert_array_equal(
        dropped["position_embedding"][5:], params["position_embedding"][5:]
    )


def test_every_place_has_its_own_dropout(monkeypatch):
    """No key of a step is used for two masks."""
    from gptjax.models import attention, dropout, transformer

    used = []
    real = dropout.key_words

    def words(key):
        used.append(np.asarray(jax.random.key_data(key)).tolist())
        return real(key)

    for room in (dropout, attention):
        monkeypatch.setattr(room, "key_words", words, raising=False)
    assert transformer.dropout is dropout.dropout
    for config in (PAPER, RELEASED):
        used.clear()
        lm(config).loss(make(config), make_batch(), jax.random.key(0), ())[0]
        assert len(used) >= 3
        assert len({str(key) for key in used}) == len(used)


def test_nothing_is_dropped_twice():
    """With dropout on the tables alone, the loss is that of the dropped tables without dropout."""
    config = dataclasses.replace(RELEASED, attention_dropout=0.0, residual_dropout=0.0)
    params, batch, key = make(config), make_batch(), jax.random.key(0)
    with_key = jax.jit(lm(config).loss)(params, batch, key, ())[0]
    dropped, _, _ = for_loss(config, params, jax.random.split(key)[1])
    without = jax.jit(lm(config).loss)(dropped, batch, None, ())[0]
    np.testing.assert_allclose(with_key.loss, without.loss, rtol=1e-6)
