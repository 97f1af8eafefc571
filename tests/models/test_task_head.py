"""Fine-tuning's objective against its definition, and the properties of its heads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.backbone import init_backbone
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import TaskHeadConfig, init_task_head
from gptjax.models.transfer import head_only, transfer

CONFIG = ModelConfig(
    vocabulary_size=40,
    context_length=16,
    num_layers=3,
    num_heads=2,
    width=16,
    embedding_dropout=0.0,
    attention_dropout=0.0,
    residual_dropout=0.0,
)
CLASSIFY = TaskHeadConfig("classify", 3)
CHOOSE = TaskHeadConfig("choose", 4)
pytestmark = pytest.mark.usefixtures("strict_dtypes")


init = jax.jit(init_backbone, static_argnums=0)


def make_params(adapter, seed=0, config=CONFIG):
    """Parameters far from their initial values."""
    init = objective.task(config, adapter).objective.init
    shapes = jax.eval_shape(init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(0.2 * rng.standard_normal(x.shape), jnp.float32), shapes
    )


def make_batch(k, classes, examples=5, length=12, seed=0):
    rng = np.random.default_rng(seed)
    tokens = np.zeros((examples, k, length), np.int32)
    lm_weights = np.zeros((examples, k, length), np.float32)
    extract = np.zeros((examples, k), np.int32)
    for b in range(examples):
        for i in range(k):
            n = rng.integers(4, length)
            body = rng.integers(0, CONFIG.vocabulary_size, n - 2)
            tokens[b, i, :n] = [CONFIG.vocabulary_size, *body, CONFIG.vocabulary_size + 2]
            lm_weights[b, i, 1:n] = 1
            extract[b, i] = n - 1
    targets = rng.dirichlet(np.ones(classes), examples).astype(np.float32)
    weights = np.ones(examples, np.float32)
    weights[-1] = 0
    weights[:2] = 0.5, 1.5  # of classes
    return Batch(tokens, lm_weights, extract, targets, weights)


def log_softmax(x):
    return (
        x
        - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))
        - x.max(-1, keepdims=True)
    )


def by_definition(adapter, params, batch):
    """In numpy, a sequence at a time, without padding: (logits [B, C], LM loss of each example)."""
    table = np.concatenate(
        [params["backbone"]["token_embedding"], params["adapter"]["special_embedding"]]
    )
    backbone = {**params["backbone"], "token_embedding": table}
    kernel, bias = (np.asarray(params["adapter"]["head"][name]) for name in ("kernel", "bias"))
    logits, lm_losses = [], []
    for tokens, extract in zip(batch.tokens, batch.extract, strict=True):
        extracted, nll = [], []
        for ids, last in zip(tokens, extract, strict=True):
            ids = ids[: last + 1]
            (states,) = forward(backbone, ids[None], CONFIG.num_heads, CONFIG.norm)
            log_p = log_softmax(states[:-1] @ table.T)
            nll.append(-log_p[np.arange(last), ids[1:]].mean())
            extracted.append(states[-1])
        if adapter.head == "classify":
            logits.append(np.sum(extracted, axis=0) @ kernel + bias)
        else:
            logits.append((np.array(extracted) @ kernel + bias)[:, 0])
        lm_losses.append(np.mean(nll))
    return np.array(logits), np.array(lm_losses)


@pytest.mark.parametrize(("adapter", "k"), [(CLASSIFY, 1), (CLASSIFY, 2), (CHOOSE, 4)])
def test_the_loss_is_its_definition(adapter, k):
    params, batch = make_params(adapter), make_batch(k, adapter.num_classes)
    logits, lm_losses = by_definition(adapter, params, batch)
    per_example = -(batch.targets * log_softmax(logits)).sum(-1)
    functions = objective.task(CONFIG, adapter, lm_coefficient=0.5)
    sums = jax.jit(lambda p: functions.objective.loss(p, batch, None, ())[0])(params)
    w = batch.weights
    np.testing.assert_allclose(sums.metrics["task_loss"], (w * per_example).sum(), rtol=1e-4)
    np.testing.assert_allclose(sums.metrics["lm_loss"], (w * lm_losses).sum(), rtol=1e-4)
    np.testing.assert_allclose(sums.loss, (w * (per_example + 0.5 * lm_losses)).sum(), rtol=1e-4)
    hits = logits.argmax(-1) == batch.targets.argmax(-1)
    np.testing.assert_allclose(sums.metrics["accuracy"], (w * hits).sum())
    assert float(sums.weight) == 4
    log_p = jax.jit(functions.log_probabilities)(params, batch)
    np.testing.assert_allclose(log_p, log_softmax(logits), rtol=1e-4, atol=1e-4)


def test_without_the_auxiliary_loss():
    params, batch = make_params(CLASSIFY), make_batch(1, 3)
    loss = objective.task(CONFIG, CLASSIFY).objective.loss
    sums = jax.jit(lambda p: loss(p, batch, None, ())[0])(params)
    assert sums.loss == sums.metrics["task_loss"]
    assert "lm_loss" not in sums.metrics


@pytest.mark.parametrize(("adapter", "k"), [(CLASSIFY, 2), (CHOOSE, 4)])
def test_padding_changes_nothing(adapter, k):
    params, batch = make_params(adapter), make_batch(k, adapter.num_classes)
    functions = objective.task(CONFIG, adapter, lm_coefficient=0.5)

    def padded(fill):
        grow = ((0, 0), (0, 0), (0, 3))
        tokens = np.where(
            np.arange(15) > batch.extract[..., None], fill, np.pad(batch.tokens, grow)
        ).astype(np.int32)
        return batch._replace(tokens=tokens, lm_weights=np.pad(batch.lm_weights, grow))

    loss = jax.jit(lambda b: functions.objective.loss(params, b, None, ())[0].loss)
    losses = [loss(b) for b in (batch, padded(0), padded(7))]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    assert losses[1] == losses[2]


def test_order_of_sequences():
    """Both orders of a similarity are added; options keep their own logits."""
    both = make_batch(2, 3)
    predict = jax.jit(objective.task(CONFIG, CLASSIFY).log_probabilities)
    turned = both._replace(tokens=both.tokens[:, ::-1], extract=both.extract[:, ::-1])
    params = make_params(CLASSIFY)
    np.testing.assert_allclose(predict(params, both), predict(params, turned), rtol=1e-5)
    four = make_batch(4, 4)
    predict = jax.jit(objective.task(CONFIG, CHOOSE).log_probabilities)
    order = [2, 0, 3, 1]
    turned = four._replace(tokens=four.tokens[:, order], extract=four.extract[:, order])
    params = make_params(CHOOSE)
    np.testing.assert_allclose(
        predict(params, four)[:, jnp.array(order)], predict(params, turned), rtol=1e-5
    )


def test_missing_options_are_as_if_they_were_not_there():
    """A question with fewer options has the losses of a model for so many; rows of padding, which
    have none, are finite, and full questions have the same bits as without any mask."""
    config = dataclasses.replace(CONFIG, num_layers=1)
    counts, params, whole = [2, 3, 4, 4, 0], make_params(CHOOSE, config=config), make_batch(4, 4)
    there = np.arange(4)[None] < np.array(counts)[:, None]
    batch = whole._replace(
        tokens=whole.tokens * there[..., None],
        lm_weights=whole.lm_weights * there[..., None].astype(np.float32),
        extract=whole.extract * there,
        targets=np.eye(4, dtype=np.float32)[[1, 2, 3, 0, 0]] * there,
        weights=np.array([1, 1, 0, 0, 0], np.float32),
    )
    functions = objective.task(config, dataclasses.replace(CHOOSE, fewer=True), lm_coefficient=0.5)
    predict, loss = jax.jit(functions.log_probabilities), functions.objective.loss
    log_p = np.asarray(predict(params, batch))
    graded = jax.grad(lambda p: ((found := loss(p, batch, None, ())[0]).loss, found), has_aux=True)
    gradient, sums = jax.jit(graded)(params)
    expected = dict.fromkeys(("task_loss", "lm_loss", "accuracy"), 0.0)
    for row, count in enumerate(counts[:2]):
        alone = jax.tree.map(lambda array, row=row: array[row : row + 1], batch)
        weights, alone = alone.weights, alone._replace(weights=np.zeros((1, 1)))
        alone = jax.tree.map(lambda array, count=count: array[:, :count], alone)
        alone = alone._replace(weights=weights)
        own = objective.task(config, TaskHeadConfig("choose", count), lm_coefficient=0.5)
        found, probabilities = jax.jit(
            lambda b, own=own: (
                own.objective.loss(params, b, None, ())[0],
                own.log_probabilities(params, b),
            )
        )(alone)
        expected = {name: value + found.metrics[name] for name, value in expected.items()}
        np.testing.assert_allclose(log_p[row, :count], probabilities[0], rtol=1e-5)
        assert (np.exp(log_p[row, count:]) == 0).all()
    for name, value in expected.items():
        np.testing.assert_allclose(sums.metrics[name], value, rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.isfinite(log_p).all()
    unmasked = jax.jit(objective.task(config, CHOOSE).log_probabilities)
    np.testing.assert_array_equal(predict(params, whole), unmasked(params, whole))


def test_the_choices_of_a_question_share_their_dropout():
    batch = make_batch(4, 4)
    same = batch._replace(
        tokens=np.repeat(batch.tokens[:, :1], 4, 1), extract=np.repeat(batch.extract[:, :1], 4, 1)
    )
    adapter = dataclasses.replace(CHOOSE, dropout=0.5)
    params = make_params(CHOOSE)
    loss = jax.jit(
        lambda b, k: objective.task(CONFIG, adapter).objective.loss(params, b, k, ())[0].loss
    )
    # Equal options have equal logits, whatever was dropped: each has probability 1/4.
    values = [float(loss(same, jax.random.key(seed))) for seed in range(3)]
    np.testing.assert_allclose(values, np.log(4) * 4, rtol=1e-5)
    assert len({float(loss(batch, jax.random.key(seed))) for seed in range(3)}) == 3


@pytest.mark.parametrize("freeze", [False, True])
def test_what_is_trained(freeze):
    params, batch = make_params(CLASSIFY), make_batch(1, 3)
    functions = objective.task(CONFIG, CLASSIFY, lm_coefficient=0.5, freeze_backbone=freeze)
    gradients = jax.jit(
        jax.grad(lambda p: functions.objective.loss(p, batch, jax.random.key(0), ())[0].loss)
    )(params)
    moved = {
        part: [bool(jnp.any(x != 0)) for x in jax.tree.leaves(gradients[part])]
        for part in gradients
    }
    assert all(moved["adapter"])
    assert any(moved["backbone"]) != freeze


def test_initial_adapter():
    config = dataclasses.replace(CONFIG, width=128, initial_std=0.05)
    adapter = init_task_head(config, TaskHeadConfig("classify", 40), jax.random.key(0))
    assert adapter["special_embedding"].shape == (3, 128)
    assert adapter["head"]["kernel"].std() == pytest.approx(0.05, rel=0.05)
    assert not adapter["head"]["bias"].any()


def test_transfer():
    fresh, loaded = (jax.device_get(init(CONFIG, jax.random.key(seed))) for seed in (0, 1))
    everything = transfer(CONFIG, fresh, loaded, None)
    jax.tree.map(np.testing.assert_array_equal, everything, loaded)
    two = transfer(CONFIG, fresh, loaded, 2)
    for name in fresh:
        source = fresh if name == "blocks_2" else loaded
        jax.tree.map(np.testing.assert_array_equal, two[name], source[name])


def test_mismatches_are_refused_by_name():
    fresh = jax.device_get(init(CONFIG, jax.random.key(0)))
    missing = {name: x for name, x in fresh.items() if name != "position_embedding"}
    with pytest.raises(UserError, match=r"lacks the parameter .*position_embedding"):
        transfer(CONFIG, fresh, missing, None)
    with pytest.raises(UserError, match=r"the model lacks: .*blocks_3"):
        transfer(CONFIG, fresh, {**fresh, "blocks_3": fresh["blocks_2"]}, None)
    with pytest.raises(UserError, match=r"token_embedding.* is \[41, 16\] .* and \[40, 16\]"):
        transfer(CONFIG, fresh, {**fresh, "token_embedding": np.zeros((41, 16), np.float32)}, None)


@pytest.mark.parametrize(("kind", "columns"), [("classify", 4), ("choose", 1)])
def test_the_head_has_a_column_for_each_class_or_one_for_all_choices(kind, columns):
    config = ModelConfig(vocabulary_size=20, context_length=8, num_layers=1, width=8, num_heads=2)
    fresh = init_task_head(config, TaskHeadConfig(kind, 4), jax.random.key(0))
    shapes = jax.tree.map(jnp.shape, fresh)
    assert shapes == {
        "special_embedding": (3, 8),
        "head": {"kernel": (8, columns), "bias": (columns,)},
    }
    assert head_only({"backbone": {"x": 1}, "adapter": {"head": {"bias": 2}}}) == {
        "backbone": {"x": False},
        "adapter": {"head": {"bias": True}},
    }
