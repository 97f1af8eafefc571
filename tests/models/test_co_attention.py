"""Two texts that are compared: KIM's recorded logits, the equations in numpy, what never counts."""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import forward
from test_task_head import CONFIG, log_softmax, make_batch, make_params

from gptjax.errors import UserError
from gptjax.models import co_attention, objective
from gptjax.models.co_attention import (
    NOWHERE,
    Uses,
    co_attention_arrays,
    init_co_attention,
    orthogonal,
    read_pair,
)
from gptjax.models.task_head import HeadShape, TaskHeadConfig, head_arrays, head_logits
from gptjax.runs.head import read_shape
from gptjax.runs.head_options import HeadOptions

SHARED = os.environ.get("GPTJAX_SHARED")
SETTINGS = {
    "esim": NOWHERE,
    "released_default": Uses(0.0, True, False),
    "full": Uses(1.0, True, True),
}
NAMES = {"encoder": "encoder_forward", "encoder_r": "encoder_backward"}
NAMES |= {"decoder": "composition_forward", "decoder_r": "composition_backward"}
EVERYWHERE = SETTINGS["full"]


def recorded():
    """Inputs and, by setting, parameters and logits of the authors' equations; time first."""
    if SHARED is not None:
        return dict(np.load(Path(SHARED) / "reference/ancestors/kim.npz"))
    kept = json.loads((Path(__file__).parents[1] / "golden/kim.json").read_text())
    known = np.zeros(kept.pop("kb1_shape"))
    known[tuple(np.array(kept.pop("kb1_at")).T)] = kept.pop("kb1_values")
    del kept["source"]
    return {name: np.array(value) for name, value in kept.items()} | {"kb1": known}


def ours(kept, setting):
    """The recorded parameters by our names; their gates are in the order i, f, o, c."""
    own = {n.partition("/")[2]: x for n, x in kept.items() if n.startswith(f"{setting}/")}
    found = {}
    for theirs, name in NAMES.items():
        for part, kind in zip("WUb", ("kernel", "recurrent", "bias"), strict=True):
            i, f, o, c = np.split(own[f"{theirs}/{part}"], 4, -1)
            found[f"{name}_{kind}"] = np.concatenate([i, f, c, o], -1)
    pairs = {"proj": "local_", "ff1": "hidden_", "out": "", "gate": "gate_"}
    for theirs, name in pairs.items():
        if f"{theirs}_W" in own:
            found |= {f"{name}kernel": own[f"{theirs}_W"], f"{name}bias": own[f"{theirs}_b"]}
    return {n: jnp.asarray(x, jnp.float32) for n, x in found.items()}, own["Wemb"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_logits_are_the_recorded_ones(setting):
    """In evaluation, where their dropout was off. Padding counts for their maximum."""
    kept, uses = recorded(), SETTINGS[setting]
    params, table = ours(kept, setting)
    (t, rows), (s, _) = kept["x1"].shape, kept["x2"].shape
    tokens, there, known = np.zeros((rows, 2, t), int), np.zeros((rows, 2, t), bool), 0
    tokens[:, 0], tokens[:, 1, :s] = kept["x1"].T, kept["x2"].T
    there[:, 0], there[:, 1, :s] = kept["mask1"].T > 0, kept["mask2"].T > 0
    highest = np.ones_like(there)
    highest[:, 1, s:] = False
    known = np.zeros((rows, t, t, 5), np.float32)
    known[:, :, :s] = kept["kb1"].swapaxes(0, 1)
    states = jnp.asarray(table[tokens], jnp.float32)
    found = jax.jit(read_pair, static_argnames=("uses",))(
        params, states, jnp.asarray(there), jnp.asarray(known), uses, highest=jnp.asarray(highest)
    )
    shape = HeadShape(model="co-attention")
    head = TaskHeadConfig("classify", 3, shape=shape)
    logits = head_logits(params, found[:, None], head, None, jnp.ones((rows, 1), bool))
    np.testing.assert_allclose(logits, kept[f"{setting}/logits"], atol=1e-6)
    sizes = {name: array.shape for name, array in params.items()}
    wanted = co_attention_arrays(states.shape[-1], 5, uses)
    assert wanted.items() <= sizes.items()


@pytest.mark.skipif(SHARED is None, reason="needs the recorded numbers of KIM")
def test_the_golden_part_is_of_the_recording():
    kept = recorded()
    golden = json.loads((Path(__file__).parents[1] / "golden/kim.json").read_text())
    for name, value in kept.items():
        if name in golden:
            np.testing.assert_allclose(golden[name], value, atol=1e-8)
    known = np.zeros(golden["kb1_shape"])
    known[tuple(np.array(golden["kb1_at"]).T)] = golden["kb1_values"]
    np.testing.assert_array_equal(known, kept["kb1"])
    # What is known the other way round follows from it.
    np.testing.assert_array_equal(kept["kb2"].transpose(2, 1, 0, 3), known[..., [1, 0, 2, 3, 4]])
    np.testing.assert_array_equal(kept["kb_attention"], known.any(-1))


def shape_of(uses, **more):
    """A head that uses knowledge there."""
    fields = {"knowledge_attention": uses.attention, "knowledge_inference": uses.inference}
    fields |= {"knowledge_composition": uses.composition, "knowledge": uses != NOWHERE}
    return HeadShape(model="co-attention", **fields, **more)


def knowing(batch, seed=7):
    """A batch with some relations between the positions of its texts."""
    rng = np.random.default_rng(seed)
    rows, _, length = batch.tokens.shape
    known = rng.random((rows, length, length, 5)) * (rng.random((rows, length, length, 5)) < 0.2)
    inside = np.arange(length) <= batch.extract[..., None]
    known *= inside[:, 0, :, None, None] & inside[:, 1, None, :, None]
    return batch._replace(knowledge=known.astype(np.float32))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(own, name, x):
    """Both directions over one sequence, a token at a time, side by side."""
    found = []
    for direction in ("forward", "backward"):
        kernel, bias, recurrent = (
            own[f"{name}_{direction}_{n}"] for n in ("kernel", "bias", "recurrent")
        )
        hidden = cell = np.zeros(len(recurrent))
        states = []
        for row in x if direction == "forward" else x[::-1]:
            a, f, g, o = np.split(row @ kernel + bias + hidden @ recurrent, 4)
            cell = sigmoid(f) * cell + sigmoid(a) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            states.append(hidden)
        found.append(states if direction == "forward" else states[::-1])
    return np.concatenate(found, axis=1)


def softmax(x, axis):
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def compared(own, premise, hypothesis, known, uses):
    """The logits of one pair, by the equations."""
    a, b = (lstm(own, "encoder", x) for x in (premise, hypothesis))
    e = a @ b.T + uses.attention * known.any(-1)
    beta, alpha = softmax(e, 1), softmax(e, 0)
    turned = known[..., [1, 0, 2, 3, 4]]  # r of the hypothesis's word to the premise's
    sides = (
        (a, beta @ b, np.einsum("ij,ijr->ir", beta, known)),
        (b, alpha.T @ a, np.einsum("ij,ijr->jr", alpha, turned)),
    )
    pooled, weighed = [], []
    for x, heard, k in sides:
        k_inside = k[:, : 5 * uses.inference]
        m = np.concatenate([x, heard, x * heard, x - heard, k_inside], 1)
        m = np.maximum(m @ own["local_kernel"] + own["local_bias"], 0)
        v = lstm(own, "composition", np.concatenate([m, k_inside], 1))
        pooled += [v.mean(0), v.max(0)]
        if uses.composition:
            gate = np.maximum(k @ own["gate_kernel"] + own["gate_bias"], 0)
            weighed.append((softmax(gate, 0) * v).sum(0))
    x = np.concatenate([*pooled, *weighed])
    return np.tanh(x @ own["hidden_kernel"] + own["hidden_bias"]) @ own["kernel"] + own["bias"]


def by_definition(shape, params, batch):
    """Logits, a pair at a time and without padding; the states from the reference."""
    own = {name: np.asarray(array) for name, array in params["adapter"]["head"].items()}
    rows = [params["backbone"]["token_embedding"], params["adapter"]["special_embedding"]]
    backbone = {**params["backbone"], "token_embedding": np.concatenate(rows)}
    found = []
    for tokens, extract, known in zip(batch.tokens, batch.extract, batch.knowledge, strict=True):
        read = [
            forward(backbone, ids[None, : end + 1], CONFIG.num_heads, CONFIG.norm)[0]
            for ids, end in zip(tokens, extract, strict=True)
        ]
        known = known[: extract[0] + 1, : extract[1] + 1]
        found.append(compared(own, *read, known, shape.uses))
    return np.array(found)


SHAPES = [
    shape_of(NOWHERE),
    shape_of(NOWHERE, units=5, width=7),
    shape_of(Uses(0.0, True, False), units=5),
    shape_of(EVERYWHERE, units=5),
    shape_of(Uses(2.5, False, True), units=5),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_head_is_its_definition_and_padding_never_counts(shape):
    head = TaskHeadConfig("classify", 3, shape=shape)
    params, batch = make_params(head), knowing(make_batch(2, 3))
    sizes = {name: array.shape for name, array in params["adapter"]["head"].items()}
    assert sizes == head_arrays(CONFIG, head)
    run = jax.jit(objective.task(CONFIG, head).log_probabilities)
    found, expected = run(params, batch), log_softmax(by_definition(shape, params, batch))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def pair(seed=0, rows=4, length=6, width=3):
    """States of a few pairs, where they have tokens, and relations everywhere."""
    rng = np.random.default_rng(seed)
    states = rng.standard_normal((rows, 2, length, width)).astype(np.float32)
    lengths = rng.integers(2, length + 1, (rows, 2))
    there = np.arange(length) < lengths[..., None]
    known = rng.random((rows, length, length, 5)).astype(np.float32)
    known *= rng.random((rows, length, length, 1)) < 0.5
    return tuple(map(jnp.asarray, (states, there, known)))


def drawn(uses=EVERYWHERE, width=3, units=4, seed=1):
    arrays = co_attention_arrays(width, units, uses)
    found = init_co_attention(arrays, jax.random.key(seed))
    return {name: x + 0.1 * (x.ndim == 1) for name, x in found.items()}


run_pair = jax.jit(read_pair, static_argnames=("uses", "rate"))


def test_neither_padding_nor_the_order_of_a_batch_changes_anything():
    params, (states, there, known) = drawn(), pair()
    found = run_pair(params, states, there, known, EVERYWHERE)
    more = ((0, 0), (0, 0), (0, 3))
    long = jnp.pad(states, (*more, (0, 0)), constant_values=5.0)
    wide = jnp.pad(known, ((0, 0), (0, 3), (0, 3), (0, 0)), constant_values=1.0)
    filled = jnp.where(jnp.pad(there, more)[..., None], long, 9.0)
    again = run_pair(params, filled, jnp.pad(there, more), wide, EVERYWHERE)
    np.testing.assert_allclose(again, found, rtol=1e-5, atol=1e-6)
    turned = run_pair(params, states[::-1], there[::-1], known[::-1], EVERYWHERE)
    np.testing.assert_allclose(turned[::-1], found, rtol=1e-5, atol=1e-6)


def test_no_gradient_reaches_padding_and_every_token_has_one():
    params, (states, there, known) = drawn(), pair()

    @jax.jit
    def slope(states, known):
        return jax.grad(
            lambda *given: jnp.sin(read_pair(params, given[0], there, given[1], EVERYWHERE)).sum(),
            (0, 1),
        )(states, known)

    of_states, of_known = slope(states, known)
    assert np.isfinite(of_states).all()
    np.testing.assert_array_equal((np.asarray(of_states) != 0).any(-1), there)
    both = there[:, 0, :, None] & there[:, 1, None, :]
    np.testing.assert_array_equal((np.asarray(of_known) != 0).any(-1), both)


def test_gradients_are_those_of_differences():
    params, (states, there, known) = drawn(), pair(rows=2, length=4)

    @jax.jit
    def loss(params, states):
        return jnp.sin(read_pair(params, states, there, known, EVERYWHERE)).sum()

    given = (params, states)
    gradient = jax.jit(jax.grad(loss, (0, 1)))(*given)
    rng = np.random.default_rng(0)
    way = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), given)
    step = 1e-2
    ahead, behind = (
        loss(*jax.tree.map(lambda x, d, s=sign: x + s * step * d, given, way))
        for sign in (1.0, -1.0)
    )
    along = sum(
        float((g * d).sum())
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
    )
    np.testing.assert_allclose((ahead - behind) / (2 * step), along, rtol=2e-2)


def test_knowledge_of_nothing_is_esim():
    uses = Uses(1.0, True, False)
    params, (states, there, known) = drawn(uses), pair()
    found = run_pair(params, states, there, jnp.zeros_like(known), uses)
    np.testing.assert_array_equal(run_pair(params, states, there, None, uses), found)
    plain = dict(params)
    for name in ("local_kernel", *(f"composition_{way}_kernel" for way in ("forward", "backward"))):
        plain[name] = params[name][:-5]
    expected = run_pair(plain, states, there, None, NOWHERE)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["attention", "inference", "composition"])
def test_each_switch_acts_alone(name):
    uses = replace(NOWHERE, **{name: 1.0 if name == "attention" else True})
    params, (states, there, known) = drawn(uses), pair()
    with_it = run_pair(params, states, there, known, uses)
    without = run_pair(params, states, there, jnp.zeros_like(known), uses)
    assert np.abs(with_it - without).max() > 1e-3
    stronger = replace(uses, attention=3.0)
    assert np.abs(run_pair(params, states, there, known, stronger) - with_it).max() > 1e-3


def test_what_is_dropped(monkeypatch):
    """What the encoder reads, and what is compared, each with a key of its own."""
    params, (states, there, known) = drawn(), pair()
    found, true = [], co_attention.dropout

    def noted(x, key, rate):
        found.append((x.shape[-1], rate, jax.random.key_data(key)))
        return true(x, key, rate)

    def dropped(*given):
        return read_pair(*given), [key for *_, key in found]

    monkeypatch.setattr(co_attention, "dropout", noted)
    given = (params, states, there, known, EVERYWHERE)
    run = jax.jit(dropped, static_argnums=(4, 6))
    result, keys = run(*given, jax.random.key(3), 0.5)
    assert [one[:2] for one in found] == [(3, 0.5), (4, 0.5)]
    assert not np.array_equal(*keys)
    assert np.abs(result - run_pair(*given)).max() > 1e-2


def test_pairs_that_pad_a_batch_are_harmless():
    """They have no token, their loss has no weight, and nothing becomes NaN."""
    params, (states, there, known) = drawn(), pair()

    @jax.jit
    def slope(states, there, known):
        def loss(params):
            found = read_pair(params, states, there, known, EVERYWHERE)
            return (jnp.sin(found) * there.any((1, 2))[:, None]).sum()

        return jax.grad(loss)(params)

    expected = slope(states, there, known)
    given = (jnp.concatenate([x, jnp.zeros_like(x[:2])]) for x in (states, there, known))
    for name, found in slope(*given).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_is_nearly_the_same():
    params, (states, there, known) = drawn(), pair()
    found = run_pair(params, states.astype(jnp.bfloat16), there, known, EVERYWHERE)
    assert found.dtype == jnp.float32
    exact = run_pair(params, states, there, known, EVERYWHERE)
    np.testing.assert_allclose(found, exact, atol=0.03)
    assert np.abs(found - exact).max() > 1e-4


def test_it_reads_a_mix_and_kept_states():
    shape = shape_of(Uses(1.0, True, True), mix=True, units=5)
    head = TaskHeadConfig("classify", 3, dropout=0.0, shape=shape)
    params, batch = make_params(head), knowing(make_batch(2, 3))
    functions = objective.task(CONFIG, head, freeze_backbone=True)
    params["adapter"]["head"]["mix_scale"] = jnp.ones(1)
    states = np.asarray(jax.jit(functions.states)(params, batch))
    assert states.shape == (*batch.tokens.shape, CONFIG.num_layers + 1, CONFIG.width)
    run = jax.jit(functions.log_probabilities)
    found = run(params, batch._replace(states=states))
    np.testing.assert_allclose(found, run(params, batch), atol=1e-5)
    other = jax.tree.map(jnp.zeros_like, params["backbone"])
    assert np.abs(run({**params, "backbone": other}, batch) - found).max() > 1e-3


def test_the_hidden_layer_is_as_wide_as_the_units_or_as_is_said():
    for width, expected in ((None, 5), (7, 7)):
        shape = HeadShape(model="co-attention", units=5, width=width)
        arrays = head_arrays(CONFIG, TaskHeadConfig("classify", 3, shape=shape))
        assert arrays["hidden_kernel"] == (8 * 5, expected)
        assert arrays["kernel"] == (expected, 3)


def test_orthogonal_matrices_have_no_direction():
    many = jax.vmap(partial(orthogonal, size=3))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(
        many @ many.swapaxes(1, 2), np.tile(np.eye(3), (4000, 1, 1)), atol=1e-5
    )
    np.testing.assert_allclose(many.mean(0), np.zeros((3, 3)), atol=0.05)
    np.testing.assert_allclose(jnp.square(many).mean(0), np.full((3, 3), 1 / 3), atol=0.03)


def test_fresh_arrays():
    shape = shape_of(EVERYWHERE, units=6)
    head = TaskHeadConfig("classify", 3, shape=shape)
    init = objective.task(CONFIG, head).objective.init
    own = jax.jit(init)(jax.random.key(0))["adapter"]["head"]
    assert {name: x.shape for name, x in own.items()} == head_arrays(CONFIG, head)
    for name, array in own.items():
        if name.endswith("bias"):
            assert not array.any()
        elif name.endswith("recurrent"):
            for gate in jnp.split(array, 4, axis=1):
                np.testing.assert_allclose(gate.T @ gate, np.eye(6), atol=1e-5)
    size = CONFIG.width
    assert np.std(own["encoder_forward_kernel"]) == pytest.approx(size**-0.5, rel=0.15)
    assert np.std(own["hidden_kernel"]) == pytest.approx(72**-0.5, rel=0.15)
    assert not np.array_equal(own["encoder_forward_kernel"], own["encoder_backward_kernel"])


def test_what_a_run_records_of_it():
    shape = HeadShape(model="co-attention", units=5, knowledge=True, knowledge_attention=2.0)
    options = HeadOptions(
        model="co-attention", units=5, knowledge="runs/knowledge/snli", knowledge_attention=2.0
    )
    assert options.head_shape == shape
    assert read_shape(vars(options), "here") == shape
    assert shape.uses == Uses(2.0, True, True)
    assert replace(shape, knowledge_composition=False).uses == Uses(2.0, True, False)
    assert replace(shape, knowledge=False).uses == NOWHERE
    off = replace(
        options, knowledge_attention=0.0, knowledge_inference=False, knowledge_composition=False
    )
    assert off.head_shape.uses == NOWHERE
    assert read_shape(vars(off), "here") == off.head_shape
    assert "knowledge" not in str(HeadShape(model="co-attention").described())
    assert shape.separate
    assert not shape.reads_ends


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pooling": "max"}, "task.pooling: has no part in task.model co-attention"),
        ({"head_norm": True}, "task.head_norm: has no part in task.model co-attention"),
        ({"knowledge_attention": -1.0}, "task.knowledge_attention is -1.0, but it must be"),
        (
            {"knowledge_inference": False},
            "task.knowledge_inference: is for task.model co-attention",
        ),
        (
            {"model": "linear", "knowledge": "x", "knowledge_attention": 2.0},
            "task.knowledge_attention: is for task.model co-attention with task.knowledge",
        ),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(UserError, match=message):
        HeadOptions(**{"model": "co-attention", **settings})
