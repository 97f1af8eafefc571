"""A table of vectors through the frame that the transformer runs in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import from_table, to_table
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.backbone import (
    depth,
    empty_cache,
    extend,
    groups,
    init_backbone,
    layer_states,
    states,
)
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import HeadShape, TaskHeadConfig
from gptjax.models.vectors import VectorsConfig
from tests.models.test_task_head import make_batch, make_params

TINY = VectorsConfig(vocabulary_size=40, context_length=16, width=6)
TOKENS = jnp.asarray([[3, 1, 4], [1, 5, 9]], jnp.int32)


def test_a_state_is_the_vector_of_its_token():
    params = init_backbone(TINY, jax.random.key(0))
    assert list(params) == ["token_embedding"]
    table = np.asarray(params["token_embedding"])
    assert table.shape == (40, 6)
    assert table.std() == pytest.approx(0.01, rel=0.15)
    expected = table[np.asarray(TOKENS)]
    np.testing.assert_array_equal(states(TINY, params, TOKENS, jax.random.key(1)), expected)
    np.testing.assert_array_equal(layer_states(TINY, params, TOKENS), expected[None])
    cache = empty_cache(TINY, 2, 3)
    found, _ = extend(TINY, params, TOKENS, cache, jnp.int32(0), jnp.zeros(2, jnp.int32))
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UserError, match=r"longer than model\.context_length 16"):
        states(TINY, params, jnp.zeros((1, 17), jnp.int32))


def test_it_has_no_blocks_whatever_is_said_of_them():
    assert TINY.num_layers == 0
    table = {**to_table(TINY), "num_layers": 12, "num_heads": 3}
    assert from_table(ModelConfig, table, where="here") == TINY
    assert TINY.num_parameters() == 240
    assert not TINY.has_dropout
    assert depth(TINY, "token_embedding") == 0
    head = TaskHeadConfig("classify", 3, shape=HeadShape(model="co-attention", units=5))
    found = groups(TINY, make_params(head, config=TINY))
    assert set(jax.tree.leaves(found["backbone"])) == {0}
    assert set(jax.tree.leaves(found["adapter"]["head"])) == {1}
    with pytest.raises(UserError, match=r"model.num_layers is 0, but it must be at least 1"):
        ModelConfig(num_layers=0)


def test_it_is_fine_tuned_without_a_loss_of_its_own():
    head = TaskHeadConfig("classify", 3, shape=HeadShape(model="co-attention", units=5))
    params, batch = make_params(head, config=TINY), make_batch(2, 3)
    loss = objective.task(TINY, head).objective.loss
    gradient = jax.jit(jax.grad(lambda p: loss(p, batch, None, ())[0].loss))(params)
    moved = np.asarray(gradient["backbone"]["token_embedding"]).any(-1)
    counted = batch.tokens[batch.weights > 0]
    assert set(np.flatnonzero(moved)) == set(counted[counted < 40].tolist()) - unread(batch)
    with pytest.raises(UserError, match="a table of vectors has no such loss beside a task's"):
        objective.task(TINY, head, lm_coefficient=0.5)


def unread(batch):
    """Token 0, where it pads sequences only."""
    inside = np.arange(batch.tokens.shape[-1]) <= batch.extract[..., None]
    inside &= (batch.weights > 0)[:, None, None]
    return {0} - set(batch.tokens[inside].tolist())
