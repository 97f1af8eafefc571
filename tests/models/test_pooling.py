"""Pooled states against recorded ones and a loop, and heads of other shapes by definition."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward
from test_task_head import CONFIG, log_softmax, make_batch, make_params

from gptjax.models import objective
from gptjax.models.pooling import pool, pooled_width
from gptjax.models.task_head import HeadShape, TaskHeadConfig, head_arrays
from gptjax.models.transfer import head_only, maps_only

SHARED = os.environ.get("GPTJAX_SHARED")


def recorded():
    """States, their padding, and the pooled states, of fastai's own code."""
    names = ("pool_in", "pool_mask", "pool_out")
    if SHARED is not None:
        arrays = np.load(Path(SHARED) / "reference/ancestors/awd_classifier.npz")
        return [arrays[name] for name in names]
    kept = json.loads((Path(__file__).parents[1] / "golden/pooling.json").read_text())
    return [np.array(kept[name]) for name in names]


def test_pooled_states_are_as_recorded():
    states, padding, expected = recorded()
    found = pool(jnp.asarray(states, jnp.float32), jnp.asarray(~padding.astype(bool)), "concat")
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("how", ["last", "mean", "max", "concat"])
def test_positions_that_do_not_count_never_do(how):
    """Neither their states nor their number change a bit, wherever they stand."""
    rng = np.random.default_rng(0)
    states = jnp.asarray(rng.standard_normal((2, 3, 6, 5)), jnp.float32)
    counts = rng.random((2, 3, 6)) < 0.5
    counts[0, 0], counts[1, 1] = False, True
    found = np.asarray(pool(states, jnp.asarray(counts), how))
    assert found.shape == (2, 3, pooled_width(5, how))
    assert (found[0, 0] == 0).all()
    other = jnp.where(counts[..., None], states, jnp.nan)
    np.testing.assert_array_equal(pool(other, jnp.asarray(counts), how), found)
    wider = jnp.pad(states, ((0, 0), (0, 0), (0, 3), (0, 0)), constant_values=9.0)
    longer = np.pad(counts, ((0, 0), (0, 0), (0, 3)))
    np.testing.assert_allclose(pool(wider, jnp.asarray(longer), how), found, rtol=1e-6)
    for b, k in np.ndindex(2, 3):
        own = np.asarray(states)[b, k][counts[b, k]]
        if how != "concat" and len(own):
            plain = {"last": own[-1], "mean": own.mean(0), "max": own.max(0)}[how]
            np.testing.assert_allclose(found[b, k], plain, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_a_sequence_without_text_is_finite():
    counts = jnp.zeros((1, 4), bool)
    for how in ("last", "mean", "max"):
        gradient = jax.grad(lambda x, how=how: pool(x, counts, how).sum())(jnp.ones((1, 4, 3)))
        assert (np.asarray(gradient) == 0).all()


SHAPES = [
    HeadShape("mean"),
    HeadShape("concat", 7),
    HeadShape("last", 7, norm=True),
    HeadShape("extract", None, norm=True),
]


def norm(x, scale, bias):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale + bias


def by_definition(head, params, batch):
    """Logits, an example and a sequence at a time, of the text without any special token."""
    own = {name: np.asarray(array) for name, array in params["adapter"]["head"].items()}
    table = (params["backbone"]["token_embedding"], params["adapter"]["special_embedding"])
    longer = {**params["backbone"], "token_embedding": np.concatenate(table)}
    found = []
    for tokens, extract in zip(batch.tokens, batch.extract, strict=True):
        read = []
        for ids, last in zip(tokens, extract, strict=True):
            (all_states,) = forward(longer, ids[None, : last + 1], CONFIG.num_heads, CONFIG.norm)
            text = all_states[ids[: last + 1] < CONFIG.vocabulary_size]
            parts = {"last": text[-1], "max": text.max(0), "mean": text.mean(0)}
            parts |= {"concat": np.concatenate(list(parts.values()))}
            parts |= {"extract": all_states[-1]}
            read.append(parts[head.shape.pooling])
        x = np.array(read) if head.head == "choose" else np.sum(read, axis=0, keepdims=True)
        for prefix in ("hidden_", "") if head.shape.width else ("",):
            if head.shape.norm:
                x = norm(x, own[f"{prefix}norm_scale"], own[f"{prefix}norm_bias"])
            x = x @ own[f"{prefix}kernel"] + own[f"{prefix}bias"]
            x = np.maximum(x, 0) if prefix else x
        found.append(x[:, 0] if head.head == "choose" else x[0])
    return np.array(found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kind", "k", "classes"), [("classify", 2, 3), ("choose", 4, 4)])
def test_a_head_of_another_shape_is_its_definition(shape, kind, k, classes):
    head = TaskHeadConfig(kind, classes, shape=shape)
    params, batch = make_params(head), make_batch(k, classes)
    sizes = {name: array.shape for name, array in params["adapter"]["head"].items()}
    assert sizes == head_arrays(CONFIG, head)
    log_p = jax.jit(objective.task(CONFIG, head).log_probabilities)(params, batch)
    expected = log_softmax(by_definition(head, params, batch))
    np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-4)


def test_what_is_trained_of_a_head():
    params = make_params(TaskHeadConfig("classify", 3, shape=HeadShape("concat", 7, norm=True)))
    alone, rows = maps_only(params)["adapter"], head_only(params)["adapter"]
    assert all(alone["head"].values())
    assert not alone["special_embedding"]
    assert all(rows["head"].values())
    assert rows["special_embedding"]
    for mask in (maps_only(params), head_only(params)):
        assert not any(jax.tree.leaves(mask["backbone"]))
