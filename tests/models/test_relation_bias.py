"""Relations of words in attention: by definition, in every program, and where they cannot be."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_task_head import make_batch, make_params

from gptjax.batch import NUM_RELATIONS
from gptjax.data.knowledge.relations import NAMES
from gptjax.errors import UserError
from gptjax.models import attention, backbone, objective
from gptjax.models.config import ModelConfig
from gptjax.models.relation_bias import WEIGHTS, RelationBias, describe_weights, read_bias
from gptjax.models.task_head import HeadShape, TaskHeadConfig, init_task_head
from gptjax.models.transfer import head_only

B, H, D = 2, 3, 8
SIZES = {"vocabulary_size": 40, "context_length": 16, "num_layers": 3, "width": 16, "num_heads": 2}
OFF = {f"{name}_dropout": 0.0 for name in ("embedding", "attention", "residual")}
CONFIG = ModelConfig(**SIZES, **OFF)
PLAIN = TaskHeadConfig("classify", 3)
KNOWING = dataclasses.replace(PLAIN, shape=HeadShape(knowledge=True))
pytestmark = pytest.mark.usefixtures("strict_dtypes")


def inputs(length, seed=0):
    """Queries, keys, values, relations [B, R, T, S] of few pairs, and weights [H, R]."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(0, 1, (B, H, length, D)).astype(np.float32) for _ in range(3))
    relations = rng.random((B, NUM_RELATIONS, length, length)).astype(np.float32)
    relations *= rng.random(relations.shape[2:]) < 0.2
    return q, k, v, relations, rng.normal(0, 2, (H, NUM_RELATIONS)).astype(np.float32)


def by_definition(q, k, v, relations, weights):
    """In float64, a query at a time."""
    out = np.zeros(q.shape)
    for b, h, t in np.ndindex(q.shape[:3]):
        scores = [
            q[b, h, t].astype(np.float64) @ k[b, h, s] / D**0.5
            + weights[h].astype(np.float64) @ relations[b, :, t, s]
            for s in range(t + 1)
        ]
        powers = np.exp(np.array(scores) - max(scores))
        out[b, h, t] = (powers / powers.sum()) @ v[b, h, : t + 1]
    return out


@pytest.mark.parametrize("length", [7, 150])  # of one block of queries, and of two
def test_the_scores_have_what_the_relations_weigh(length):
    q, k, v, relations, weights = inputs(length)
    bias = RelationBias(jnp.asarray(relations), jnp.asarray(weights))
    found = attention.causal_attention(*map(jnp.asarray, (q, k, v)), None, 0.0, bias)
    expected = by_definition(q, k, v, relations, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradient_is_the_change_of_the_output(dtype):
    """Of the weights, by differences, over several blocks of queries."""
    q, k, v, relations, weights = inputs(300)
    direction = np.random.default_rng(1).normal(0, 1, (B, H, 300, D)).astype(np.float32)

    def total(weights, dtype):
        given = (jnp.asarray(x, dtype) for x in (q, k, v))
        bias = RelationBias(jnp.asarray(relations), weights)
        out = attention.causal_attention(*given, None, 0.0, bias)
        return (out.astype(jnp.float32) * direction).sum()

    found = jax.jit(jax.grad(total), static_argnums=1)(jnp.asarray(weights), dtype)
    assert found.dtype == jnp.float32
    near = jax.jit(lambda w: total(w, jnp.float32))
    for place in [(0, 0), (1, 3), (2, 4)]:
        step = np.zeros_like(weights)
        step[place] = 0.05
        change = (near(weights + step) - near(weights - step)) / 0.1
        tolerance = 1e-2 if dtype == jnp.float32 else 0.1
        np.testing.assert_allclose(found[place], change, rtol=tolerance, atol=5 * tolerance)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_the_narrow_gradients_are_those_of_float32_but_for_rounding(rate):
    """With the same decisions of dropout, of all that has a gradient."""
    q, k, v, relations, weights = inputs(300)
    q, k, v = (x.astype(jnp.bfloat16) for x in (q, k, v))
    direction = np.random.default_rng(1).normal(0, 1, q.shape).astype(np.float32)
    key = jax.random.key(0, impl="rbg")

    def total(q, k, v, weights):
        bias = RelationBias(jnp.asarray(relations), weights)
        out = attention.causal_attention(q, k, v, key, rate, bias)
        return (out.astype(jnp.float32) * direction).sum()

    gradient = jax.jit(jax.grad(total, (0, 1, 2, 3)))
    found = gradient(*map(jnp.asarray, (q, k, v, weights)))
    wide = (jnp.asarray(x, jnp.float32) for x in (q, k, v, weights))
    for one, other in zip(found, gradient(*wide), strict=True):
        error = np.asarray(one.astype(jnp.float32) - other)
        assert np.abs(error).max() < 0.01 * jnp.abs(other).max()


def knowing_batch(seed=0, **changes):
    """Rows of which some words before the middle are related to some after it."""
    batch = make_batch(1, 3, **changes)
    length = batch.tokens.shape[-1]
    rng = np.random.default_rng(seed)
    knowledge = rng.random((len(batch.tokens), length, length, 5)).astype(np.float32)
    knowledge *= rng.random(knowledge.shape[:3])[..., None] < 0.4
    middle = length // 2
    knowledge[:, middle:] = 0
    knowledge[:, :, :middle] = 0
    return batch._replace(knowledge=knowledge)


@pytest.mark.parametrize("changes", [{}, {"norm": "pre", "rematerialize": True}])
def test_a_model_that_weighs_nothing_is_the_plain_one(changes):
    config, batch = dataclasses.replace(CONFIG, **changes), knowing_batch()
    params = make_params(KNOWING, config=config)
    nothing = np.zeros_like(params["adapter"]["head"][WEIGHTS])
    assert nothing.shape == (3, 2, 5)
    params["adapter"]["head"][WEIGHTS] = nothing
    knowing = objective.task(config, KNOWING, lm_coefficient=0.5)
    plain = objective.task(config, PLAIN, lm_coefficient=0.5)
    ask = jax.jit(knowing.log_probabilities)
    without = {**params["adapter"]["head"]}
    del without[WEIGHTS]
    rest = {**params, "adapter": {**params["adapter"], "head": without}}
    expected = jax.jit(plain.log_probabilities)(rest, batch._replace(knowledge=None))
    np.testing.assert_allclose(ask(params, batch), expected, rtol=1e-5, atol=1e-6)
    # Each layer and head has a part in the answers, and a gradient from the beginning.
    (gradient,) = jax.jit(
        jax.grad(lambda w: knowing.objective.loss(put(params, w), batch, None, ())[0].loss, (0,))
    )(nothing)
    assert (np.abs(gradient).sum(-1) > 0).all()
    for layer, head in np.ndindex(3, 2):
        weights = nothing.copy()
        weights[layer, head] = 3
        assert not np.allclose(ask(put(params, weights), batch), expected, atol=1e-4)


def put(params, weights):
    head = {**params["adapter"]["head"], WEIGHTS: weights}
    return {**params, "adapter": {**params["adapter"], "head": head}}


def test_words_act_from_the_second_text_to_the_first_alone():
    """What is known of positions i and j changes the states from j on, and none before it."""
    params, tokens = make_params(KNOWING), jnp.asarray(make_batch(1, 3).tokens[:2, 0])
    i, j = 2, 7

    @jax.jit
    def ask(knowledge):
        bias = read_bias(params["adapter"]["head"], knowledge, CONFIG.width)
        return backbone.states(extended, longer, tokens, bias=bias)

    rows = params["adapter"]["special_embedding"]
    longer = backbone.with_rows(CONFIG, params["backbone"], rows)
    extended = dataclasses.replace(CONFIG, vocabulary_size=43)
    nothing = np.zeros((2, 12, 12, 5), np.float32)
    known, backwards = nothing.copy(), nothing.copy()
    known[0, i, j] = 1
    backwards[0, j, i] = 1  # no position looks at those after it
    changed = (ask(known) != ask(nothing)).any(-1)
    assert changed[0].tolist() == [position >= j for position in range(12)]
    assert not changed[1].any()
    np.testing.assert_array_equal(ask(backwards), ask(nothing))


def test_the_weights_count_by_the_root_of_the_width():
    knowledge, weights = knowing_batch().knowledge, np.ones((3, 2, 5), np.float32)
    bias = read_bias({WEIGHTS: weights}, knowledge, CONFIG.width)
    np.testing.assert_array_equal(bias.weights, 4 * weights)
    expected = 4 * knowledge.sum(-1).swapaxes(1, 2)  # by the position that looks
    np.testing.assert_allclose(bias.of_layer(1).scores()[:, 0], expected, rtol=1e-6)
    weights[0, 1, 3] = -2
    named = describe_weights({WEIGHTS: weights}, CONFIG.width, NAMES)
    assert named.startswith("hypernymy +4.00 to +4.00, ")
    assert "antonymy -8.00 to +4.00" in named


def test_the_mix_reads_states_with_the_relations():
    shape = HeadShape(knowledge=True, mix=True)
    head, batch = dataclasses.replace(PLAIN, shape=shape), knowing_batch()
    params = make_params(head)
    ask = jax.jit(objective.task(CONFIG, head).log_probabilities)
    off = put(params, jnp.zeros((3, 2, 5)))
    assert np.abs(ask(params, batch) - ask(off, batch)).max() > 1e-5


def test_the_weights_begin_at_nothing_and_belong_to_the_head():
    head = jax.jit(lambda key: init_task_head(CONFIG, KNOWING, key))(jax.random.key(0))
    assert not head["head"][WEIGHTS].any()
    params = {"backbone": {}, "adapter": head}
    assert head_only(params)["adapter"]["head"][WEIGHTS]
    same = jax.jit(lambda key: init_task_head(CONFIG, PLAIN, key))(jax.random.key(0))
    np.testing.assert_array_equal(same["head"]["kernel"], head["head"]["kernel"])


def test_a_frozen_backbone_lets_the_weights_learn():
    params, batch = make_params(KNOWING), knowing_batch()
    loss = objective.task(CONFIG, KNOWING, freeze_backbone=True).objective.loss
    found = jax.jit(jax.grad(lambda p: loss(p, batch, None, ())[0].loss))(params)
    assert not any(leaf.any() for leaf in jax.tree.leaves(found["backbone"]))
    assert (found["adapter"]["head"][WEIGHTS] != 0).all()


def test_what_a_head_does_not_read_costs_nothing():
    ask, params = jax.jit(objective.task(CONFIG, PLAIN).log_probabilities), make_params(PLAIN)
    texts = [ask.lower(params, batch).as_text() for batch in (make_batch(1, 3), knowing_batch())]
    assert texts[0] == texts[1]


def test_there_are_as_many_relations_as_the_tables_have():
    assert len(NAMES) == NUM_RELATIONS


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(kind="lstm", vocabulary_size=40), "an LSTM has no attention"),
        (ModelConfig(kind="mlstm", vocabulary_size=40), "LSTM has no attention"),
        (ModelConfig(kind="bilm", vocabulary_size=40), "has no attention"),
        (dataclasses.replace(CONFIG, attention="fused"), "model.attention fused has no place"),
    ],
)
def test_models_that_have_no_place_for_it_are_named(config, message):
    with pytest.raises(UserError, match=f"task.knowledge: .*{message}"):
        config.relation_arrays()
