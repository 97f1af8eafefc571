"""The label at every position: the recorded gain, and the loss against its definition."""

import dataclasses
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward
from test_task_head import CLASSIFY, CONFIG, log_softmax, make_batch, make_params

from gptjax.models import objective
from gptjax.models.task_head import HeadShape, linear_gain

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def recorded():
    """Weights of each position of some sequences, of the released code."""
    kept = Path(__file__).parents[1] / "golden/dai_le.json"
    if shared := os.environ.get("GPTJAX_SHARED"):
        kept = Path(shared) / "reference/ancestors/dai_le.json"
    return [case["gain_weights"] for case in json.loads(kept.read_text())["cases"]]


def test_the_recorded_gains():
    for wanted in recorded():
        extract = jnp.array([len(wanted) - 1], jnp.int32)
        (gain,) = linear_gain(extract, len(wanted) + 3)
        np.testing.assert_allclose(gain, [*wanted, 0, 0, 0], rtol=1e-6)


def by_definition(params, batch):
    """In numpy, a sequence at a time: the loss of each example's label."""
    table = np.concatenate(
        [params["backbone"]["token_embedding"], params["adapter"]["special_embedding"]]
    )
    backbone = {**params["backbone"], "token_embedding": table}
    kernel, bias = (np.asarray(params["adapter"]["head"][name]) for name in ("kernel", "bias"))
    losses = []
    for (tokens,), (last,), target in zip(batch.tokens, batch.extract, batch.targets, strict=True):
        (states,) = forward(backbone, tokens[None, : last + 1], CONFIG.num_heads, CONFIG.norm)
        each = -(target * log_softmax(states @ kernel + bias)).sum(-1)
        gain = np.arange(last + 1) / last
        losses.append((gain * each).sum() / gain.sum())
    return np.array(losses)


def test_the_loss_is_its_definition_and_predictions_are_of_the_end():
    params, batch = make_params(CLASSIFY), make_batch(1, 3)
    plain = objective.task(CONFIG, CLASSIFY, lm_coefficient=0.5)
    gained = objective.task(CONFIG, CLASSIFY, lm_coefficient=0.5, label_gain=True)
    before, sums = (
        jax.jit(lambda p, f=f: f.objective.loss(p, batch, None, ())[0])(params)
        for f in (plain, gained)
    )
    wanted = (batch.weights * by_definition(params, batch)).sum()
    np.testing.assert_allclose(sums.metrics["task_loss"], wanted, rtol=1e-4)
    np.testing.assert_allclose(sums.metrics["lm_loss"], before.metrics["lm_loss"], rtol=1e-6)
    np.testing.assert_allclose(sums.loss, wanted + 0.5 * sums.metrics["lm_loss"], rtol=1e-4)
    assert sums.metrics["accuracy"] == before.metrics["accuracy"]
    assert sums.weight == before.weight
    ours, theirs = (jax.make_jaxpr(f.log_probabilities)(params, batch) for f in (gained, plain))
    assert str(ours) == str(theirs)


def test_padding_and_what_fills_the_batch_change_nothing():
    params, batch = make_params(CLASSIFY), make_batch(1, 3)
    tokens = np.pad(batch.tokens, ((0, 0), (0, 0), (0, 4)), constant_values=7)
    weights = np.pad(batch.lm_weights, ((0, 0), (0, 0), (0, 4)))
    longer = batch._replace(tokens=tokens, lm_weights=weights)
    assert batch.weights[-1] == 0
    nothing = batch._replace(extract=batch.extract * (batch.weights > 0).astype(np.int32)[:, None])
    task = objective.task(CONFIG, CLASSIFY, label_gain=True).objective
    gradient = jax.jit(jax.value_and_grad(lambda p, b: task.loss(p, b, None, ())[0].loss))
    expected = gradient(params, batch)
    for other in (longer, nothing):
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
            gradient(params, other),
            expected,
        )


@pytest.mark.slow
def test_a_hidden_layer_and_dropout_are_read_everywhere():
    """All positions share their dropout, so that the end is what it is without gain."""
    shape = HeadShape("extract", 6, True)
    head = dataclasses.replace(CLASSIFY, shape=shape, dropout=0.5)
    params, batch = make_params(head), make_batch(1, 3)
    # The label of one example at its end alone: a sequence of two tokens.
    short = batch._replace(
        tokens=batch.tokens[..., :2],
        lm_weights=batch.lm_weights[..., :2],
        extract=np.ones_like(batch.extract),
    )
    key = jax.random.key(3)
    plain, gained = (
        objective.task(CONFIG, head, label_gain=gain).objective.loss(params, short, key, ())[0].loss
        for gain in (False, True)
    )
    np.testing.assert_allclose(gained, plain, rtol=1e-5)


def test_without_gain_it_is_the_same_program():
    params, batch = make_params(CLASSIFY), make_batch(1, 3)
    key, programs = jax.random.key(0), []
    for how in ({}, {"label_gain": False}, {"label_gain": True}):
        loss = objective.task(CONFIG, CLASSIFY, **how).objective.loss
        programs.append(str(jax.make_jaxpr(loss)(params, batch, key, ())))
    assert programs[0] == programs[1] != programs[2]
