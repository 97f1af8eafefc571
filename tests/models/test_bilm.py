"""The bidirectional language model: beside the recorded states of ELMo's authors, and by itself."""

import dataclasses
import json
import math
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.evaluation.model import load
from gptjax.interchange import elmo
from gptjax.models import backbone, objective
from gptjax.models.bilm_config import BiLMConfig
from gptjax.spelling import LENGTH, begin, spell

SHARED = os.environ.get("GPTJAX_SHARED")
ANCESTORS = Path(SHARED or ".") / "reference/ancestors"
needs_shared = pytest.mark.skipif(SHARED is None, reason="the recorded numbers are not here")
TABLE = BiLMConfig(
    vocabulary_size=20, context_length=8, num_layers=2, units=6, projection=4, tokens="table"
)
WORDS = dataclasses.replace(
    TABLE, tokens="characters", filter_widths=(1, 3), filter_counts=(2, 3), highway_layers=1
)
END = 1


def make(config, seed=0):
    """Parameters far from their initial values, over words of letters."""
    shapes = jax.eval_shape(objective.lm(config).init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32), shapes)
    if not config.reads_spelling:
        return params
    spelled = spell([chr(97 + number) * (number + 1) for number in range(config.vocabulary_size)])
    return backbone.with_spelling(config, params, spelled)


@pytest.fixture(params=[TABLE, WORDS], ids=["table", "characters"])
def model(request):
    return request.param, make(request.param)


def tokens(rows=2, length=8, seed=0):
    draw = np.random.default_rng(seed)
    return jnp.asarray(draw.integers(2, TABLE.vocabulary_size, (rows, length)), jnp.int32)


@pytest.fixture(params=[False, True], ids=["plain", "residual"])
def recorded(request):
    """What the authors' code made of four sentences: config, parameters, and the numbers."""
    folder = ANCESTORS / "bilm_fixture"
    config = elmo.read_config(folder)
    name = "bilm_residual" if request.param else "bilm_no_residual"
    config = dataclasses.replace(config, residual=request.param)
    return config, elmo.read_params(folder, config), np.load(ANCESTORS / f"{name}.npz")


def as_words(char_ids):
    """The recorded characters as words of a vocabulary: tokens, without the ends, and their
    spelling."""
    rows, length, _ = char_ids.shape
    spelled = np.maximum(char_ids - 1, 0).reshape(rows * length, -1)
    tokens = np.arange(rows * length).reshape(rows, length)[:, :-1]
    return jnp.asarray(tokens, jnp.int32), spelled


@needs_shared
def test_states_are_those_of_the_authors_code(recorded):
    config, params, numbers = recorded
    tokens, spelled = as_words(numbers["char_ids"])
    there = np.arange(tokens.shape[1]) <= numbers["lengths"][:, None]
    config = dataclasses.replace(config, vocabulary_size=len(spelled))
    params = backbone.with_spelling(config, params, spelled)
    module = backbone.make_backbone(config)
    carry = module.start(len(tokens))
    run = jax.jit(partial(module.apply, method="continued"))
    for name in ("embeddings", "embeddings_second_call"):
        found, carry = run({"params": params}, tokens, carry, None, jnp.asarray(there))
        for row, length in enumerate(numbers["lengths"]):
            own = found[:, row, 1 : 1 + length]
            expected = numbers[name][row, :, :length]
            np.testing.assert_allclose(own, expected, rtol=0, atol=1e-5)
    vectors = jax.jit(partial(backbone.embed, config))(params, tokens)
    for row, length in enumerate(numbers["lengths"]):
        expected = numbers["token_embeddings"][row, : 1 + length]
        np.testing.assert_allclose(vectors[row, : 1 + length], expected, rtol=0, atol=1e-5)


@needs_shared
def test_states_are_those_that_the_authors_recorded():
    """The first batch from nothing; the others with what is remembered of the batches before."""
    sentences = json.loads((ANCESTORS / "bilm_authors_sentences.json").read_text())
    kept = np.load(ANCESTORS / "bilm_authors.npz")
    words = sorted({word for batch in sentences for sentence in batch for word in sentence})
    spelled = np.concatenate([begin()[None], spell(words)])
    ids = {word: number for number, word in enumerate(words, 1)}
    config = elmo.read_config(ANCESTORS / "bilm_fixture")
    params = elmo.read_params(ANCESTORS / "bilm_fixture", config)
    config = dataclasses.replace(config, vocabulary_size=len(spelled))
    params = backbone.with_spelling(config, params, spelled)
    module = backbone.make_backbone(config)
    run = jax.jit(partial(module.apply, method="continued"))
    carry, longest = module.start(3), max(len(one) for batch in sentences for one in batch)
    for number, batch in enumerate(sentences):
        rows = np.zeros((3, 1 + longest), np.int32)
        for row, sentence in zip(rows, batch, strict=True):
            row[1 : 1 + len(sentence)] = [ids[word] for word in sentence]
        there = jnp.arange(1 + longest)[None] <= jnp.array([[len(one)] for one in batch])
        found, carry = run({"params": params}, jnp.asarray(rows), carry, None, there)
        for row, sentence in enumerate(batch):
            own, expected = found[-1, row, 1 : 1 + len(sentence)], kept[f"top_{number}_{row}"]
            np.testing.assert_allclose(own, expected, rtol=0, atol=1e-5)


@needs_shared
def test_a_folder_of_elmo_is_opened_like_a_run():
    run = load(f"elmo:{ANCESTORS / 'bilm_fixture'}")
    first = json.loads((ANCESTORS / "bilm_authors_sentences.json").read_text())[0]
    kept = np.load(ANCESTORS / "bilm_authors.npz")
    found = run.states([" ".join(sentence) for sentence in first])
    for row, states in enumerate(found):
        assert states.shape == (3, 1 + len(first[row]), 32)
        np.testing.assert_allclose(states[-1, 1:], kept[f"top_0_{row}"], rtol=0, atol=1e-5)
    assert run.tokens("Not a word\u00e9 of it") == ["", "Not", "a", "word\u00e9", "of", "it"]


def test_a_row_does_not_depend_on_its_padding(model):
    config, params = model
    rows, there = tokens(), jnp.arange(8)[None] < jnp.array([[5], [8]])
    read = jax.jit(partial(backbone.layer_states, config))
    found = read(params, rows, None, there)
    other = read(params, jnp.where(there, rows, 0), None, there)
    np.testing.assert_array_equal(found[:, 0, :5], other[:, 0, :5])
    alone = read(params, rows[:1, :5])
    np.testing.assert_allclose(found[:, :1, :5], alone, rtol=0, atol=1e-6)
    whole = jax.jit(partial(backbone.states, config))(params, rows, None, there)
    np.testing.assert_array_equal(whole, found[-1])


def test_residual_sums_begin_at_the_second_layer(model):
    config, params = model
    first, second = (
        backbone.layer_states(dataclasses.replace(config, residual=residual), params, tokens())
        for residual in (False, True)
    )
    np.testing.assert_array_equal(first[:2], second[:2])
    np.testing.assert_allclose(second[2], first[2] + first[1], rtol=0, atol=1e-6)


def test_each_half_of_a_state_reads_in_its_direction(model):
    config, params = model
    read, rows = jax.jit(partial(backbone.layer_states, config)), tokens(1)
    before = read(params, rows)
    changed = np.asarray(read(params, rows.at[0, 3].set(0)) != before)[:, 0]
    halves = changed.reshape(3, 8, 2, config.projection).any(-1)
    assert halves[0].tolist() == [[n == 3] * 2 for n in range(8)]
    for layer in (1, 2):
        assert halves[layer, :, 0].tolist() == [n >= 3 for n in range(8)]
        assert halves[layer, :, 1].tolist() == [n <= 3 for n in range(8)]
    np.testing.assert_array_equal(before[0, ..., :4], before[0, ..., 4:])


def batch_of(*texts, length=8):
    """Texts as rows of pre-training, each with its end predicted."""
    rows = np.full((len(texts), 1, length), END, np.int32)
    weights = np.zeros(rows.shape, np.float32)
    for row, text in enumerate(texts):
        rows[row, 0, 1 : 1 + len(text)] = text
        weights[row, 0, 1 : 2 + len(text)] = 1
    ones = np.ones((len(texts), 1), np.float32)
    return Batch(rows, weights, np.zeros((len(texts), 1), np.int32), ones, ones[:, 0])


def test_each_token_is_predicted_once_from_either_side(model):
    """Beside the logits of the two directions, summed one by one."""
    config, params = model
    texts = [[5, 9, 3], [7, 2, 2, 8, 4]]
    table, bias = (np.asarray(x, np.float64) for x in backbone.output(config, params))
    expected, ends = 0.0, 0.0
    for text in texts:
        row = jnp.asarray([[END, *text]], jnp.int32)
        both = backbone.both_ways(config, params, row, None, None)
        logs = []
        for states in both:
            logits = np.asarray(states[0], np.float64) @ table.T + bias
            logs.append(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
        forward, backward = logs
        for place, token in enumerate(text, 1):
            expected -= 0.5 * (forward[place - 1, token] + backward[place + 1, token])
        ends -= 0.5 * (forward[len(text), END] + backward[1, END])
    learnt = objective.lm(config, END)
    loss = jax.jit(learnt.loss)
    sums, _ = loss(params, batch_of(*texts), None, ())
    assert float(sums.weight) == 8
    np.testing.assert_allclose(sums.loss, expected, rtol=1e-5)
    found, weight = sums.metrics["end_loss"]
    assert float(weight) == 2
    np.testing.assert_allclose(found, ends, rtol=1e-5)
    still = dataclasses.replace(config, embedding_dropout=0.0, residual_dropout=0.0)
    key = jax.random.key(0)
    trained, _ = jax.jit(objective.lm(still, END).loss)(params, batch_of(*texts), key, ())
    np.testing.assert_allclose(trained.loss, expected + ends, rtol=1e-5)
    assert float(trained.weight) == 10


def test_every_parameter_has_a_gradient_but_the_spelling(model):
    config, params = model
    learnt = objective.lm(config, END)
    batch = batch_of([5, 9, 3], [7, 2, 2, 8, 4])
    gradient = jax.jit(jax.grad(lambda p: learnt.loss(p, batch, None, ())[0].loss))(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        assert bool(jnp.abs(leaf).max() > 0) != ("spelling" in name), name


def test_further_tokens_are_read_and_predicted(model):
    """As a task's special ones are, which have no spelling."""
    config, params = model
    rows = jnp.asarray(np.random.default_rng(1).normal(0, 1, (3, 8)), jnp.float32)
    longer = backbone.with_rows(config, params, rows)
    size = config.vocabulary_size
    wider = dataclasses.replace(config, vocabulary_size=size + 3)
    read = jnp.asarray([[size, 5, size + 2]], jnp.int32)
    vectors = jax.jit(partial(backbone.embed, wider))(longer, read)
    np.testing.assert_array_equal(vectors[0, jnp.array([0, 2])], rows[jnp.array([0, 2]), :4])
    own = jax.jit(partial(backbone.embed, config))(params, read[:, 1:2])
    np.testing.assert_allclose(vectors[0, 1], own[0, 0], rtol=0, atol=1e-6)
    table, bias = backbone.output(wider, longer)
    np.testing.assert_array_equal(table[size:], rows[:, 4:])
    assert bias.shape == (size + 3,)


@pytest.mark.parametrize("config", [TABLE, WORDS, dataclasses.replace(TABLE, predicts=False)])
def test_parameters_are_counted_without_making_them(config):
    shapes = jax.eval_shape(partial(backbone.init_backbone, config), jax.random.key(0))
    assert config.num_parameters() == sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
    assert config.width == 8
    depths = dict(
        zip(
            backbone.names_of(shapes), jax.tree.leaves(backbone.groups(config, shapes)), strict=True
        )
    )
    embedded = [name for name, depth in depths.items() if depth == 0]
    assert all(name.partition("/")[0].endswith("_embedding") for name in embedded)
    assert depths["blocks_1/backward/projection"] == 2


def test_what_it_cannot_do_is_refused():
    with pytest.raises(UserError, match="has no state that could be carried"):
        objective.lm(TABLE, streams=True)
    with pytest.raises(UserError, match="cannot write text token by token"):
        backbone.empty_cache(TABLE, 1, 4)
    with pytest.raises(UserError, match="has no output table"):
        backbone.output(dataclasses.replace(TABLE, predicts=False), {})
    for settings, message in [
        ({"filter_widths": (1, 2, 3)}, r"filter_counts: has 2 numbers; .* the 3 widths"),
        ({"filter_widths": (1, 51)}, r"filter_widths: 51 is more than the 50"),
        ({"cell_clip": 0.0}, r"model.cell_clip is 0.0: it must be above 0"),
        ({"projection": 0}, r"model.projection is 0"),
    ]:
        with pytest.raises(UserError, match=message):
            dataclasses.replace(WORDS, **settings)


def test_words_are_spelled_as_the_authors_spell_them():
    spelled = spell(["caf\u00e9", "x" * 60, ""])
    assert spelled[0, :8].tolist() == [258, 99, 97, 102, 195, 169, 259, 260]
    assert spelled[1].tolist() == [258, *[120] * 48, 259]
    assert spelled.shape == (3, LENGTH)
    assert begin()[:4].tolist() == [258, 256, 259, 260]
