"""What the Python object tells from the inside, against the module itself."""

import dataclasses
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gptjax as package
from gptjax.data.tasks.table import TASKS
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.runs.head import head_config

TEXTS = ["the old house", "", "walked slowly"]
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(scope="module")
def run(pretrained):
    return package.load(pretrained)


@pytest.fixture(scope="module")
def inside(run):
    """Tokens of the longest text, and what the module makes of them."""
    (ids,) = run.tokenizer.encode([TEXTS[2]])
    tokens = jnp.asarray([[run.tokenizer.separator, *ids]])
    states = run.module.apply(run.variables, tokens)
    return tokens, states


def test_logits_are_the_modules(run, inside):
    _, states = inside
    found = run.logits(TEXTS)
    assert [len(one) for one in found] == [len(run.tokens(text)) for text in TEXTS]
    assert len(found[1]) == 1  # the separator alone
    expected = states[0] @ run.params["token_embedding"].T
    np.testing.assert_allclose(found[2], expected, **CLOSE)
    np.testing.assert_allclose(run.logits(TEXTS[2]), expected, **CLOSE)


def test_the_log_probability_is_that_of_the_logits(run):
    logits = run.logits(TEXTS[2])
    (ids,) = run.tokenizer.encode([TEXTS[2]])
    chosen = jax.nn.log_softmax(logits)[np.arange(len(ids)), ids]
    np.testing.assert_allclose(run.log_probability(TEXTS[2]), chosen.sum(), rtol=1e-5)
    expected = np.exp(-np.asarray(chosen).mean())
    np.testing.assert_allclose(run.perplexity(TEXTS)[2], expected, rtol=1e-5)
    assert np.isnan(run.perplexity(""))


def test_states_by_layer(run, inside):
    _, states = inside
    whole = run.states(TEXTS)
    assert whole[2].shape == (run.model.num_layers + 1, *states[0].shape)
    np.testing.assert_allclose(whole[2][-1], states[0], **CLOSE)
    np.testing.assert_allclose(run.states(TEXTS[2], 0), whole[2][0], **CLOSE)
    np.testing.assert_allclose(run.states(TEXTS[2], [1, 0]), whole[2][[1, 0]], **CLOSE)
    with pytest.raises(UserError, match=r"`layer=9`: the layers are 0 \(the embeddings\) to 1"):
        run.states(TEXTS, [0, 9])


def test_texts_at_once_change_nothing(run):
    for one, other in zip(run.states(TEXTS, batch_size=1), run.states(TEXTS), strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_attention_is_causal_and_adds_to_one(run):
    found = run.attention(TEXTS)
    size = len(run.tokens(TEXTS[2]))
    assert found[2].shape == (run.model.num_layers, run.model.num_heads, size, size)
    np.testing.assert_allclose(found[2].sum(-1), 1, rtol=1e-5)
    assert not np.triu(found[2], 1).any()
    assert found[1].shape[2:] == (1, 1)


def test_features_are_pooled_states(run):
    states = run.states(TEXTS[2])
    np.testing.assert_allclose(run.features(TEXTS)[2], states[-1][-1], **CLOSE)
    mean = run.features(TEXTS[2], "mean", layer=1)
    np.testing.assert_allclose(mean, states[1][1:].mean(0), **CLOSE)
    with pytest.raises(UserError, match="no memory cells"):
        run.features(TEXTS, "cell")


def test_a_long_text_is_refused_or_cut(run):
    long = "house " * 200
    message = r"`texts\[1\]`: has [\d,]+ tokens, and the model reads 31 after the separator"
    for method in (run.logits, run.states, run.attention, run.features):
        with pytest.raises(UserError, match=message):
            method(["a", long])
    assert len(run.logits(long, truncate=True)) == run.model.context_length


@pytest.mark.parametrize("texts", [[1, 2], ["a", None]])
def test_what_is_no_text_is_refused(run, texts):
    with pytest.raises(UserError, match="`texts`: give a text or a list of them"):
        run.logits(one for one in texts)


def test_no_texts_are_no_answers(run):
    assert run.logits([]) == []
    assert run.attention([]) == []


def test_a_stream_is_what_is_generated(run):
    options = {"max_tokens": 20, "seed": 3, "temperature": 0.9}
    pieces = list(run.stream("The", **options))
    assert len(pieces) > 2
    assert ["".join(pieces)] == run.generate("The", **options)


def test_a_run_is_shown_in_a_line(run, tuned):
    for one in (run, package.load(tuned)):
        assert len(repr(one)) < 400
        assert str(one.folder.path) in repr(one)
        assert "<td" in one._repr_html_()
    assert "task: sst2" in repr(package.load(tuned))


def test_the_head_of_a_fine_tuned_run(tuned):
    model = package.load(tuned)
    rows = ["the red house", "walked slowly"]
    tokens = model.sequences(rows)
    states = model.module.apply(model.variables, tokens)
    probabilities = jax.nn.softmax(model.head_logits(states, tokens))
    answers = model.predict(rows)
    expected = [list(answer["probabilities"].values()) for answer in answers]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    assert model.predict(rows[0])["prediction"] == answers[0]["prediction"]
    assert model.predict({"text": rows[0]})["prediction"] == answers[0]["prediction"]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "stsb",
            [
                {"first": "the red house", "second": "a house"},
                {"first": "the river", "second": "walked along the river"},
            ],
        ),
        (
            "rocstories",
            [
                {"context": "the house", "options": ["was red", "river"]},
                {"context": "the river", "options": ["walked", "old"]},
            ],
        ),
    ],
)
def test_the_head_of_several_sequences(run, name, rows):
    """Of a model that was not trained, which has answers all the same."""
    task = TASKS[name]
    functions = objective.task(run.model, head_config(task))
    params = functions.objective.init(jax.random.key(1))
    params["backbone"] = run.params
    model = dataclasses.replace(run, task=task, params=params)
    tokens = model.sequences(rows)
    assert len(tokens) == 4
    states = model.module.apply(model.variables, tokens)
    found = jax.nn.softmax(model.head_logits(states, tokens))
    expected = [list(answer["probabilities"].values()) for answer in model.predict(rows)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_pre_trained_run_has_no_head(run):
    with pytest.raises(UserError, match="has no head; fine-tune it first"):
        run.head_logits(jnp.zeros((1, 2, 3)), jnp.zeros((1, 2), int))
    with pytest.raises(UserError, match="has no task; fine-tune it first"):
        run.sequences(["a"])


def test_a_model_without_attention_says_so():
    config = ModelConfig(kind="lstm", vocabulary_size=9, context_length=4, num_layers=1, width=4)
    from gptjax.models import backbone

    params = backbone.init_backbone(config, jax.random.key(0))
    with pytest.raises(UserError, match="an LSTM has no attention to look at"):
        backbone.attention_weights(config, params, jnp.zeros((1, 2), int))


def test_the_blocks_of_the_docs_run(run, tuned):
    """Those that need no data; each goes on with the names of the ones before."""
    page = (Path(__file__).parents[3] / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(
        r"```python\n(.*?)```", page[page.index("## The model itself") :], re.DOTALL
    )
    assert len(blocks) == 4
    names = {"gptjax": package, "run": run, "tuned": package.load(tuned)}
    first, head, silenced, bridge = blocks
    exec(first, names)
    expected = names["states"]
    assert names["logits"].shape[-1] == run.model.vocabulary_size
    exec(bridge, names)
    np.testing.assert_allclose(names["states"], expected, **CLOSE)
    exec(silenced, names)
    assert not np.allclose(names["silenced"].logits("The"), run.logits("The"))
    exec(head, names)
    assert names["logits"].shape == (2, 2)
