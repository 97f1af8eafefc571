"""OpenAI's files of the multiplicative LSTM: there and back bit for bit, and ways to be damaged."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.cli import main
from gptjax.errors import UserError
from gptjax.interchange import openai_mlstm as files
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.objective import lm
from gptjax.runs import open as runs
from gptjax.runs.published import read_config

SHARED = os.environ.get("GPTJAX_SHARED")
CONFIG = MLSTMConfig(vocabulary_size=256, context_length=4096, units=6, embedding_width=4)


def random_params(config):
    shapes = jax.eval_shape(lm(config).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes)


@pytest.fixture
def folder(tmp_path):
    files.write(tmp_path / "published", random_params(CONFIG), CONFIG)
    return tmp_path / "published"


def test_parameters_come_back_bit_for_bit(folder, tmp_path):
    assert read_config(f"openai:{folder}", None) == CONFIG
    params = files.read_params(folder, CONFIG)
    jax.tree.map(np.testing.assert_array_equal, params, random_params(CONFIG))
    files.write(tmp_path / "again", params, CONFIG)
    assert sorted(file.name for file in folder.iterdir()) == sorted(files.FILES)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name


def test_the_order_is_the_released_one(folder):
    """The four of the recurrent matrix are the columns of the gates i, f, o, u."""
    arrays = [np.load(folder / name) for name in files.FILES]
    square = (6, 6)
    shapes = [(256, 4), (4, 24), *[square] * 4, (4, 6), square, *[(24,)] * 3, (6,), (6,)]
    assert [array.shape for array in arrays] == [*shapes, (6, 256), (256,)]
    params = random_params(CONFIG)
    layer = params["blocks_0"]
    for gate in range(4):
        columns = layer["recurrent"]["kernel"][:, 6 * gate : 6 * gate + 6]
        np.testing.assert_array_equal(arrays[2 + gate], columns)
    for number, name in enumerate(("inputs", "recurrent", "input_factor", "recurrent_factor")):
        np.testing.assert_array_equal(arrays[9 + number], layer[name]["gain"])
    np.testing.assert_array_equal(arrays[8], layer["bias"])
    np.testing.assert_array_equal(arrays[13], params["output_table"].T)


@pytest.mark.skipif(SHARED is None, reason="OpenAI's arrays are not here")
def test_arrays_of_the_original_come_back_bit_for_bit(tmp_path):
    kept = np.load(Path(SHARED) / "reference/ancestors/mlstm.npz")
    for number, name in enumerate(files.FILES):
        np.save(tmp_path / name, kept[f"model_{number}"])
    config = files.read_config(tmp_path)
    assert (config.cells, config.embedding_width, config.vocabulary_size) == (24, 8, 256)
    files.write(tmp_path / "again", files.read_params(tmp_path, config), config)
    for name in files.FILES:
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_what_has_no_place_is_not_written(tmp_path):
    two = MLSTMConfig(vocabulary_size=8, num_layers=2, units=6, embedding_width=4)
    with pytest.raises(UserError, match="has one layer and this model 2"):
        files.write(tmp_path / "a", random_params(two), two)
    params = random_params(CONFIG)
    params["blocks_0"]["recurrent"]["kernel"][3, 7] = np.nan
    with pytest.raises(UserError, match=r"is not written, since 3\.npy holds nan at \[3, 1\]"):
        files.write(tmp_path / "a", params, CONFIG)
    assert not (tmp_path / "a").exists()


def damage(folder, what):
    file = folder / "7.npy"
    if what == "missing":
        file.unlink()
    elif what == "truncated":
        file.write_bytes(file.read_bytes()[:-8])
    elif what == "another type":
        np.save(file, np.load(file).astype(np.float64))
    elif what == "another shape":
        np.save(file, np.load(file)[:-1])
    elif what == "no table":
        np.save(folder / "0.npy", np.zeros(3, np.float32))
    elif what == "infinity":
        np.save(file, np.full((6, 6), np.inf, np.float32))


DAMAGES = {
    "missing": r"7\.npy: cannot be read",
    "truncated": r"7\.npy: cannot be read",
    "another type": r"7\.npy: holds float64",
    "another shape": r"7\.npy: is \[5, 6\], and a multiplicative LSTM of 6 cells .* has \[6, 6\]",
    "no table": r"0\.npy is \[3\] and 11\.npy \[6\]",
    "infinity": r"7\.npy holds inf at \[0, 0\]",
}


@pytest.mark.parametrize(("what", "message"), DAMAGES.items(), ids=DAMAGES)
def test_damages_are_named(folder, what, message):
    damage(folder, what)
    with pytest.raises(UserError, match=message):
        files.read_params(folder, files.read_config(folder))


def test_a_folder_of_neither_model_is_said_as_before(tmp_path):
    with pytest.raises(UserError, match=r"params_shapes\.json: no such file"):
        read_config(f"openai:{tmp_path}", None)


def test_heads_and_modes_are_not_for_it(folder):
    with pytest.raises(UserError, match="`heads=2`"):
        runs.load_config(f"openai:{folder}", 2)
    with pytest.raises(UserError, match=r"`vocabulary\.mode=fast`: is for GPT-1's tokenizer"):
        runs.load_own_tokenizer(f"openai:{folder}", "fast")


def test_a_folder_of_openai_writes_bytes(folder, capsys):
    words = ["--prompt", "the", "--max-tokens", "6", "--seed", "1"]
    assert main(["generate", "--run", f"openai:{folder}", *words]) == 0
    assert capsys.readouterr().out.startswith("the")
    run = runs.load(f"openai:{folder}")
    assert run.tokenizer.encode(["a b"])[0].tolist() == [32, 97, 32, 98, 32]
