"""Features are the model's own states, whatever they are computed beside, and computed once."""

import html
import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.data.tasks.splits import Example
from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.evaluation import array_files, features
from gptjax.evaluation.features import features_of
from gptjax.interchange.openai_mlstm import FILES
from gptjax.models import backbone, cells
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.transformer import TransformerConfig
from gptjax.runs.folder import RunFolder
from gptjax.runs.open import Run, load

SHARED = os.environ.get("GPTJAX_SHARED")
SIZES = {"vocabulary_size": 330, "context_length": 12, "num_layers": 2, "width": 16}
MODELS = [TransformerConfig(**SIZES, num_heads=2, norm="pre"), LSTMConfig(**SIZES)]
WORDS = ["the", "old", "house", "was", "very", "quiet", "and", "bright"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_sentencepiece([["the old house was very quiet and bright. " * 40]], 330)[0]


@pytest.fixture
def run(tokenizer, tmp_path):
    params = backbone.init_backbone(MODELS[0], jax.random.key(0))
    return Run(RunFolder(tmp_path / "run"), MODELS[0], tokenizer, params, 1, "last/1")


def texts(count, seed=0):
    """Texts of several lengths, some of them longer than the context."""
    rng = np.random.default_rng(seed)
    found = [" ".join(rng.choice(WORDS, rng.integers(1, 12))) for _ in range(count)]
    return [Example((text,), 0, "", row) for row, text in enumerate(found)]


states_of = jax.jit(backbone.layer_states, static_argnums=0)


def own_states(run, text):
    """The states of a text alone, without padding, [L + 1, T, D]; the separator's are left out."""
    (ids,) = run.tokenizer.encode([text])
    tokens = np.concatenate([[run.tokenizer.separator], ids])[: run.model.context_length]
    return np.asarray(states_of(run.model, run.backbone, jnp.asarray(tokens[None])))[:, 0, 1:]


@pytest.mark.parametrize("model", MODELS, ids=["transformer", "lstm"])
def test_features_are_the_states_of_the_text_alone(run, model):
    params = backbone.init_backbone(model, jax.random.key(1))
    run = replace(run, model=model, params=params)
    examples = texts(9)
    own = [own_states(run, example.texts[0]) for example in examples]
    wanted = {"last": lambda x: x[:, -1], "mean": lambda x: x.mean(1), "max": lambda x: x.max(1)}
    for how, pooled in wanted.items():
        found = features_of(run, examples, TASKS["sst2"], layers=[0, 2, 1], how=how, batch_size=8)
        for number, states in enumerate(own):
            for layer, expected in enumerate(pooled(states)):
                np.testing.assert_allclose(found.layers[layer][number], expected, atol=2e-5)
    mixed = features_of(run, examples, TASKS["sst2"], layers=[2], how="mix", batch_size=8)
    means = np.array([states.mean(1).reshape(-1) for states in own])
    np.testing.assert_allclose(mixed.layers[2], means, atol=2e-5)
    lengths = [len(ids) for ids in run.tokenizer.encode([one.texts[0] for one in examples])]
    assert found.lengths.tolist() == lengths
    assert found.cut == sum(length > 11 for length in lengths) > 0
    assert found.tokens == [min(length + 1, 12) for length in lengths]


def test_memory_cells_are_of_whole_texts(run):
    """Of texts that are longer than the context too, whatever is beside them."""
    model = replace(MODELS[1], units=7)
    params = backbone.init_backbone(model, jax.random.key(1))
    run = replace(run, model=model, params=params)
    examples = texts(9)
    found = features_of(run, examples, TASKS["sst2"], layers=[2, 1], how="cell", batch_size=4)
    read = jax.jit(backbone.extend, static_argnums=0)
    start, zero = backbone.empty_cache(model, 1, 1), jnp.zeros(1, jnp.int32)
    for number, example in enumerate(examples):
        (ids,) = run.tokenizer.encode([example.texts[0]])
        tokens = np.concatenate([[run.tokenizer.separator], ids])[None]
        _, cache = read(model, run.backbone, jnp.asarray(tokens), start, zero[0], zero)
        for layer in (1, 2):
            own = cells.cells_of(cache)[layer - 1, 0]
            np.testing.assert_allclose(found.layers[layer][number], own, atol=1e-5)
    assert found.cut == 0
    assert max(found.tokens) == max(found.lengths) + 1 > model.context_length
    assert not features_of(run, examples, TASKS["sst2"], layers=[1], how="cell").computed


@pytest.mark.skipif(SHARED is None, reason="OpenAI's features are not here")
def test_memory_cells_are_those_of_the_original_code(tmp_path, monkeypatch):
    """With OpenAI's files, and texts of which the longest took several of its chunks."""
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))
    kept = Path(SHARED) / "reference/ancestors"
    arrays, recorded = np.load(kept / "mlstm.npz"), json.loads((kept / "mlstm.json").read_text())
    for number, name in enumerate(FILES):
        np.save(tmp_path / name, arrays[f"model_{number}"])
    run = load(f"openai:{tmp_path}")
    own = [html.unescape(text) for text in recorded["texts"]]
    examples = [Example((text,), 0, "", row) for row, text in enumerate(own)]
    found = features_of(run, examples, TASKS["imdb"], layers=[1], how="cell")
    np.testing.assert_allclose(found.layers[1], arrays["features"], atol=1e-5)
    assert found.tokens == [len(one) for one in recorded["bytes"]]


def test_a_transformer_has_no_memory_cells(run):
    with pytest.raises(UserError, match="`features=cell`: a transformer has no memory cells"):
        features_of(run, texts(2), TASKS["sst2"], layers=[1], how="cell")


def test_neither_the_batch_nor_the_neighbours_change_a_feature(run):
    examples = texts(30)
    task, layers = TASKS["sst2"], [2]
    whole = features_of(run, examples, task, layers=layers, batch_size=32).layers[2]
    part = features_of(run, examples[5:9], task, layers=layers, batch_size=4).layers[2]
    np.testing.assert_allclose(part, whole[5:9], atol=1e-5)


def test_features_are_computed_once_and_by_what_decides_them(run, monkeypatch):
    examples, task = texts(9), TASKS["sst2"]
    first = features_of(run, examples, task, layers=[1], batch_size=4)
    assert first.computed
    files = sorted(run.folder.features.glob("*.npy"))
    assert len(files) == 2  # the layer, and the lengths
    asked = []
    compute = features._compute
    monkeypatch.setattr(features, "_compute", lambda *a: (asked.append(list(a[2])), compute(*a)))
    again = features_of(run, examples, task, layers=[1], batch_size=8)
    assert (again.computed, asked) == (False, [])
    np.testing.assert_array_equal(again.layers[1], first.layers[1])
    assert (again.cut, again.tokens) == (first.cut, first.tokens)
    # Of several layers those that are missing; other texts, parameters and kinds are others.
    features_of(run, examples, task, layers=[0, 1, 2])
    other = jax.tree.map(lambda leaf: leaf + 0.1, run.params)
    tuned = replace(run, params={"backbone": other, "adapter": {}}, task=task)
    features_of(tuned, examples, task, layers=[1])
    features_of(run, examples[:8], task, layers=[1])
    features_of(run, examples, task, layers=[1], how="mean")
    causes = replace(run.model, dtype="bfloat16")
    features_of(replace(run, model=causes), examples, task, layers=[1])
    assert asked == [[0, 2], [1], [1], [1], [1]]
    # A torn file is made again. (What is mapped of it would be gone.)
    before = np.array(first.layers[1])
    files[0].write_bytes(files[0].read_bytes()[:90])
    files[1].write_bytes(b"")
    found = features_of(run, examples, task, layers=[1])
    assert found.computed
    np.testing.assert_allclose(found.layers[1], before, atol=1e-5)


def test_damaged_features_are_computed_again(run):
    examples = texts(9)
    before = features_of(run, examples, TASKS["sst2"], layers=[1]).layers[1].copy()
    for file in run.folder.features.glob("*.npy"):
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(bytes(content))
    again = features_of(run, examples, TASKS["sst2"], layers=[1])
    assert again.computed
    np.testing.assert_array_equal(again.layers[1], before)


def test_where_a_run_cannot_be_written_the_cache_is_used(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))
    examples, task = texts(4), TASKS["sst2"]
    features_of(replace(run, checkpoint="published"), examples, task, layers=[1])
    assert not run.folder.path.exists()
    assert len(list((tmp_path / "cache" / "features").glob("*.npy"))) == 2
    run.folder.path.write_text("no folder")
    assert not features_of(run, examples, task, layers=[1]).computed
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="GPTJAX_CACHE"):
        features_of(run, examples, task, layers=[1])


def test_a_pass_that_fails_leaves_nothing_half_written(run, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(array_files.os, "posix_fallocate", fail)
    with pytest.raises(OSError, match="No space") as raised:
        features_of(run, texts(4), TASKS["sst2"], layers=[0, 1])
    assert raised.value.filename == str(run.folder.features)
    assert len(list(run.folder.features.glob("*.npy"))) == 1  # the lengths, which are whole


def test_a_pair_is_one_document_with_a_line_end(run):
    pair = [Example(("the old", "house was"), 0, "", 0)]
    joined = [Example(("the old\nhouse was",), 0, "", 0)]
    found = features_of(run, pair, TASKS["mrpc"], layers=[2]).layers[2]
    np.testing.assert_array_equal(
        found, features_of(run, joined, TASKS["sst2"], layers=[2]).layers[2]
    )


@pytest.mark.parametrize(("task", "kind"), [("race", "choices"), ("stsb", "scores")])
def test_choices_and_scores_are_refused(run, task, kind):
    with pytest.raises(UserError, match=f"`task={task}`: has {kind}"):
        features_of(run, texts(2), TASKS[task], layers=[0])


def test_they_go_with_the_run(run):
    run.folder.path.mkdir()
    features_of(run, texts(2), TASKS["sst2"], layers=[0])
    run.folder.clear()
    assert not run.folder.features.exists()
