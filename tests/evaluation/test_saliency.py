"""Which tokens an answer depends on: compared with the gradient and with sequences without one."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.errors import UserError
from gptjax.evaluation.model import Model
from gptjax.evaluation.saliency import gradient_times_input, leave_one_out, read_row
from gptjax.models import objective
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.lstm import LSTMConfig
from gptjax.models.task_head import HeadShape
from gptjax.models.transformer import TransformerConfig
from gptjax.runs.folder import RunFolder
from gptjax.runs.head import head_config

SIZES = {"vocabulary_size": 257, "context_length": 40, "num_layers": 2, "width": 12}
TRANSFORMER = TransformerConfig(**SIZES, num_heads=2, initial_std=0.5)
USUAL = HeadShape()
RUNS = {
    "classification": (TRANSFORMER, "sst2", "fine film", USUAL),
    "entailment": (TRANSFORMER, "snli", {"premise": "abc", "hypothesis": "de"}, USUAL),
    "similarity": (TRANSFORMER, "mrpc", {"first": "abcd", "second": "ef"}, USUAL),
    "score": (TRANSFORMER, "stsb", {"first": "abcd", "second": "ef"}, USUAL),
    "choice": (
        TRANSFORMER,
        "rocstories",
        {"context": "abcd", "options": ["efg", "hi"]},
        USUAL,
    ),
    "pooled": (TRANSFORMER, "sst2", "fine film", HeadShape("mean", 5, norm=True)),
    "mixed": (TRANSFORMER, "sst2", "fine film", HeadShape(mix=True)),
    "recurrent": (LSTMConfig(**SIZES, initial_std=0.5, tied=False), "sst2", "fine film", USUAL),
    "bidirectional": (
        BiLMConfig(**SIZES, units=6, initial_std=0.5, tokens="table"),
        "sst2",
        "fine film",
        USUAL,
    ),
}


@pytest.fixture(scope="module", params=RUNS)
def case(request):
    """A run that was never trained, a row, and what it reads of the row."""
    model, name, row, shape = RUNS[request.param]
    task = TASKS[name]
    head = head_config(task, shape=shape)
    params = objective.task(model, head).objective.init(jax.random.key(1))
    maps = jax.tree.map(lambda leaf: leaf + 0.3, params["adapter"]["head"])  # no bias is 0
    params = {**params, "adapter": {**params["adapter"], "head": maps}}
    run = Model(RunFolder(Path("run")), model, ByteTokenizer(), params, 0, "best/0", task, shape)
    return run, row, read_row(run, row)


def test_probabilities_are_those_of_predict(case):
    run, row, reading = case
    expected = run.predict([row])[0]["probabilities"]
    assert list(reading.probabilities) == list(expected)
    np.testing.assert_allclose(
        list(reading.probabilities.values()), list(expected.values()), atol=1e-6
    )
    assert reading.answer == max(expected, key=expected.get)


def test_the_sequences_are_those_of_the_traversal(case):
    run, row, reading = case
    whole = np.asarray(run.sequences([row]))
    assert (reading.tokens[:, : whole.shape[1]] == whole).all()
    assert not reading.tokens[:, whole.shape[1] :].any()
    names = {257: "start", 258: "delimiter", 259: "extract"}
    for ids, pieces, kinds in zip(reading.tokens, reading.pieces, reading.kinds, strict=True):
        assert kinds == [names.get(one, "text") for one in ids[: len(kinds)].tolist()]
        assert kinds[0] == "start"
        assert kinds[-1] == "extract"
        text = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == "text"]
        assert "".join(text) == bytes(ids[ids < 257][: len(text)].tolist()).decode()
        assert all(
            bool(piece) == (kind == "text") for piece, kind in zip(pieces, kinds, strict=True)
        )


def log_probability(run, tokens, label, params=None):
    """By the module and the head of the run, as the docs show it."""
    run = run if params is None else replace(run, params=params)
    tokens = jnp.asarray(tokens)
    ask = {"method": "layer_states"} if run.head.mix else {}
    if run.model.bidirectional:
        ends = (tokens == 259).argmax(-1)
        ask["there"] = jnp.arange(tokens.shape[1])[None] <= ends[:, None]
    states = run.module.apply(run.variables, tokens, **ask)
    return jax.nn.log_softmax(run.head_logits(states, tokens))[0, label]


def test_the_gradient_times_the_input_is_that_of_the_tables(case):
    """The gradient of a table has the sum over the positions of a token."""
    run, row, reading = case
    label = 1
    found = gradient_times_input(run, reading, list(reading.probabilities)[label])
    assert [len(one) for one in found] == [len(kinds) for kinds in reading.kinds]
    tokens = np.asarray(run.sequences([row]))
    grads = jax.jit(jax.grad(partial(log_probability, run, tokens, label)))(run.params)
    width = run.params["backbone"]["token_embedding"].shape[1]
    for token in np.unique(tokens[tokens > 0]):
        if token < 257:
            table, grad = (x["backbone"]["token_embedding"] for x in (run.params, grads))
            place = token
        else:
            table, grad = (x["adapter"]["special_embedding"] for x in (run.params, grads))
            place = token - 257
        expected = float((table[place, :width] * grad[place, :width]).sum())
        own = sum(
            float(score[ids[: len(score)] == token].sum())
            for score, ids in zip(found, tokens, strict=True)
        )
        assert own == pytest.approx(expected, abs=2e-5, rel=1e-3)
    assert max(abs(one).max() for one in found) > 1e-3


def log_probability_without(run, reading, k, t, label):
    """The same of the sequences with a token taken out of one of them."""
    rows = [
        ids[: len(kinds)].tolist() for ids, kinds in zip(reading.tokens, reading.kinds, strict=True)
    ]
    del rows[k][t]
    wide = max(map(len, rows))
    tokens = np.array([[*row, *[0] * (wide - len(row))] for row in rows], np.int32)
    return float(log_probability(run, tokens, label))


def test_left_out_is_the_same_sequence_without_the_token(case):
    run, row, reading = case
    label = 0
    found = leave_one_out(run, reading, list(reading.probabilities)[label])
    whole = float(log_probability(run, run.sequences([row]), label))
    for k, kinds in enumerate(reading.kinds):
        assert (np.isnan(found[k]) == [kind != "text" for kind in kinds]).all()
    for k, t in {(0, 1), (0, 3), (len(found) - 1, 1)}:
        expected = whole - log_probability_without(run, reading, k, t, label)
        assert found[k][t] == pytest.approx(expected, abs=1e-5)


def test_an_option_that_is_missing_is_an_empty_sequence():
    task = replace(TASKS["rocstories"], labels=("1", "2", "3"), fewer_options=True)
    head = head_config(task, fewer=True)
    params = objective.task(TRANSFORMER, head).objective.init(jax.random.key(1))
    run = Model(RunFolder(Path("run")), TRANSFORMER, ByteTokenizer(), params, 0, "best/0", task)
    row = {"context": "abcd", "options": ["efg", "hi", ""]}
    reading = read_row(run, row)
    assert [len(one) > 0 for one in reading.pieces] == [True, True, False]
    assert list(reading.probabilities.values())[2] == 0
    name = next(iter(reading.probabilities))
    for scores in (gradient_times_input(run, reading, name), leave_one_out(run, reading, name)):
        assert [len(one) for one in scores] == [len(one) for one in reading.pieces]
        text = [kind == "text" for kind in reading.kinds[0]]
        assert np.isfinite(scores[0][text]).all()


def test_a_run_without_a_task_is_refused():
    params = objective.lm(TRANSFORMER).init(jax.random.key(0))
    run = Model(RunFolder(Path("run")), TRANSFORMER, ByteTokenizer(), params, 0, "best/0")
    with pytest.raises(UserError, match="has no task; fine-tune it first"):
        read_row(run, "a")
