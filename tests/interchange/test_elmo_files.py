"""The files of ELMo's authors: what the options say, where arrays go, and ways to be damaged."""

import json

import h5py
import jax
import numpy as np
import pytest

from gptjax.errors import UserError
from gptjax.interchange import elmo as files
from gptjax.models.objective import lm
from gptjax.runs.open import load
from gptjax.runs.spelled import for_texts

OPTIONS = {
    "lstm": {
        "cell_clip": 3,
        "proj_clip": 2.5,
        "use_skip_connections": True,
        "n_layers": 2,
        "dim": 6,
        "projection_dim": 4,
    },
    "char_cnn": {
        "embedding": {"dim": 3},
        "filters": [[1, 2], [3, 5]],
        "n_highway": 1,
        "n_characters": 262,
        "max_characters_per_token": 50,
        "activation": "tanh",
    },
}


@pytest.fixture
def folder(tmp_path):
    """Random weights of these options, as they are published."""
    (tmp_path / "options.json").write_text(json.dumps(OPTIONS))
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "weights.hdf5", "w") as file:
        for name, shape in files._shapes(files.read_config(tmp_path)):
            file[name] = rng.standard_normal(shape).astype(np.float32)
    return tmp_path


def test_config_and_parameters_are_those_of_the_files(folder):
    config = files.read_config(folder)
    assert (config.units, config.projection, config.width, config.num_layers) == (6, 4, 8, 2)
    assert (config.filter_widths, config.filter_counts) == ((1, 3), (2, 5))
    assert (config.cell_clip, config.projection_clip, config.residual) == (3.0, 2.5, True)
    assert (config.activation, config.predicts) == ("tanh", False)
    params = files.read_params(folder, config)
    shapes = jax.eval_shape(lm(config).init, jax.random.key(0))
    jax.tree.map(lambda x, y: np.testing.assert_equal(x.shape, y.shape), params, shapes)
    backward = params["blocks_1"]["backward"]
    with h5py.File(folder / "weights.hdf5") as file:
        cell = file["RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell"]
        matrix, bias = cell["W_0"][:], cell["B"][:]
        np.testing.assert_array_equal(backward["projection"], cell["W_P_0"][:])
    # TensorFlow's gates are add, new, forget, out; ours add, forget, new, out.
    for own, theirs in enumerate((0, 2, 1, 3)):
        mine, other = slice(6 * own, 6 * own + 6), slice(6 * theirs, 6 * theirs + 6)
        np.testing.assert_array_equal(backward["inputs"]["kernel"][:, mine], matrix[:4, other])
        np.testing.assert_array_equal(backward["recurrent"][:, mine], matrix[4:, other])
        np.testing.assert_array_equal(backward["inputs"]["bias"][mine], bias[other])


def test_its_vocabulary_is_that_of_the_texts_at_hand(folder):
    run = load(f"elmo:{folder}")
    with pytest.raises(UserError, match="has no vocabulary"):
        run.tokenizer.encode(["a word"])
    own = for_texts(run, ["two words", "words two more"])
    assert own.tokenizer.encode(["more two"])[0].tolist() == [3, 1]
    assert own.tokenizer.decode([0, 3, 1]) == "more two"
    many = for_texts(run, [" ".join(map(str, range(300)))])
    assert (own.tokenizer.size, many.tokenizer.size, many.model.vocabulary_size) == (256, 512, 512)
    with pytest.raises(UserError, match="no list of words that could be written"):
        own.tokenizer.save(folder)


def damage(folder, what):
    weights, options = folder / "weights.hdf5", json.loads(json.dumps(OPTIONS))
    if what == "no weights":
        weights.unlink()
    elif what == "two weights":
        (folder / "more.hdf5").write_bytes(weights.read_bytes())
    elif what == "truncated":
        weights.write_bytes(weights.read_bytes()[:-500])
    elif what == "no HDF5":
        weights.write_bytes(b"nothing of the kind")
    elif what in ("missing", "shape", "infinity"):
        with h5py.File(weights, "r+") as file:
            array = file["CNN_proj/W_proj"][:]
            del file["CNN_proj/W_proj"]
            if what == "shape":
                file["CNN_proj/W_proj"] = array[:-1]
            elif what == "infinity":
                array[1, 2] = np.inf
                file["CNN_proj/W_proj"] = array
    elif what == "characters":
        options["char_cnn"]["max_characters_per_token"] = 40
    elif what == "filters":
        options["char_cnn"]["filters"] = [[1, 0]]
    elif what == "cells":
        options["lstm"]["dim"] = "many"
    elif what == "no option":
        del options["lstm"]
    (folder / "options.json").write_text(json.dumps(options))


DAMAGES = {
    "no weights": r"there is no file \*\.hdf5",
    "two weights": r"there are 2 files \*\.hdf5",
    "truncated": r"weights\.hdf5: cannot be read",
    "no HDF5": r"weights\.hdf5: cannot be read",
    "missing": r"has no array CNN_proj/W_proj",
    "shape": r"CNN_proj/W_proj is float32 \[6, 4\]; by the options it is float32 \[7, 4\]",
    "infinity": r"CNN_proj/W_proj holds inf at \[1, 2\]",
    "characters": r"max_characters_per_token is 40; this model has 50",
    "filters": r"filters is no list of pairs",
    "cells": r"dim is 'many'; it has to be a whole number",
    "no option": r"has no lstm; is this the option file of an ELMo",
}


@pytest.mark.parametrize(("what", "message"), DAMAGES.items(), ids=DAMAGES)
def test_damages_are_named(folder, what, message):
    damage(folder, what)
    with pytest.raises(UserError, match=message):
        files.read_params(folder, files.read_config(folder))
