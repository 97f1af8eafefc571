"""The files of ELMo's authors as the beginning of a fine-tuned run."""

import json

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gptjax as package
from gptjax.cli import main
from gptjax.interchange import elmo
from gptjax.models import backbone
from gptjax.runs.own_config import read_table
from gptjax.spelling import begin, spell

pytestmark = pytest.mark.usefixtures("own_cache")
OPTIONS = {
    "lstm": {"cell_clip": 3, "proj_clip": 3, "use_skip_connections": True}
    | {"n_layers": 2, "dim": 6, "projection_dim": 4},
    "char_cnn": {"embedding": {"dim": 3}, "filters": [[1, 2], [3, 5]], "n_highway": 1}
    | {"max_characters_per_token": 50, "activation": "relu"},
}
FROZEN = ["--freeze-backbone", "--task.freeze-special-rows", "--task.mix"]
STILL = ["--model.embedding-dropout", "0", "--model.residual-dropout", "0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights, as they are published."""
    found = tmp_path_factory.mktemp("elmo")
    (found / "options.json").write_text(json.dumps(OPTIONS))
    rng = np.random.default_rng(0)
    with h5py.File(found / "weights.hdf5", "w") as file:
        for name, shape in elmo._shapes(elmo.read_config(found)):
            file[name] = rng.normal(0, 0.5, shape).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def tuned(folder, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp("tuned") / "run"
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "32"]
    words += ["--max-valid", "16", "--train.epochs", "2", "--tracking.no-tensorboard"]
    words += [*FROZEN, *STILL, "--task.model", "bilstm", "--task.units", "3"]
    words += ["--task.pooling", "max", "--init", f"elmo:{folder}", "--out", str(out)]
    assert main(words) == 0
    return out


def test_it_has_the_words_of_the_task_and_the_states_of_the_files(folder, tuned):
    """Frozen, so that each word has the vector that its characters have in the files."""
    run, source = package.load(tuned), package.load(f"elmo:{folder}")
    words = run.tokenizer.words
    assert words[2:] == tuple(sorted(words[2:]))
    spelled = spell(words)
    spelled[run.tokenizer.separator] = begin()
    found = np.asarray(run.backbone["word_embedding"]["spelling"]).reshape(spelled.shape)
    np.testing.assert_array_equal(found, spelled)
    known = [word for word in words[2:] if word.isalpha()][:5]
    (theirs,) = source.states([" ".join(known)])
    ids = [run.tokenizer.separator, *run.tokenizer.encode([" ".join(known)])[0]]
    params = jax.tree.map(jnp.asarray, run.backbone)
    ours = backbone.layer_states(run.model, params, jnp.asarray([ids], jnp.int32))[:, 0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_it_predicts_texts_with_new_words_and_goes_on(tuned, capsys):
    run = package.load(tuned)
    assert len(run.predict(["A zyxxywub of a film.", "A fine day."])) == 2
    table = read_table(tuned)
    assert table["task"]["lm_coefficient"] == 0.0
    assert table["model"]["vocabulary_size"] == run.tokenizer.size
    words = ["finetune", "--out", str(tuned), "--resume", "auto", "--train.epochs", "3"]
    capsys.readouterr()
    assert main(words) == 0
    assert "resuming after step" in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_trained_whole(folder, tmp_path, capsys):
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "16"]
    words += ["--max-valid", "8", "--train.steps", "1", "--tracking.no-tensorboard"]
    words += ["--init", f"elmo:{folder}", "--out", str(tmp_path / "run")]
    assert main([*words, "--task.lm-coefficient", "0.5"]) == 2
    assert "set task.lm_coefficient 0" in capsys.readouterr().err
    assert main([*words, "--optimizer.warmup", "0", "--overwrite"]) == 0
    said = capsys.readouterr().err
    assert "words of the task's texts, which are read by their characters" in said
    assert "no auxiliary LM loss" in said
    before = elmo.read_params(folder, elmo.read_config(folder))
    after = package.load(tmp_path / "run", "last").backbone
    for direction in elmo.DIRECTIONS:
        one, other = (x["blocks_1"][direction]["recurrent"] for x in (before, after))
        assert np.abs(one - other).max() > 0
