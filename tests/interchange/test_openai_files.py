"""OpenAI's files: there and back bit for bit, and every way to be damaged."""

import re

import jax
import numpy as np
import pytest
from small import random_params, read_json, write_json

from gptjax.cli import main
from gptjax.errors import UserError
from gptjax.interchange import openai as openai_files
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.runs import open as runs


@pytest.fixture
def config(gpt1_tokenizer):
    return ModelConfig(
        vocabulary_size=gpt1_tokenizer.size, context_length=16, num_layers=2, num_heads=2, width=8
    )


@pytest.fixture
def folder(tmp_path, config, gpt1_tokenizer):
    folder = tmp_path / "published"
    openai_files.write(folder, random_params(config), config, gpt1_tokenizer)
    return folder


def test_parameters_come_back_bit_for_bit(folder, config, gpt1_tokenizer, tmp_path):
    read = openai_files.read_config(folder, num_heads=2)
    assert read == config
    params = openai_files.read_params(folder, read)
    jax.tree.map(np.testing.assert_array_equal, params, random_params(config))
    target = jax.eval_shape(lm(config).init, jax.random.key(0))
    assert jax.tree.structure(params) == jax.tree.structure(target)
    openai_files.write(tmp_path / "again", params, read, gpt1_tokenizer)
    for file in sorted(folder.iterdir()):
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes(), file.name
    assert len(list(folder.iterdir())) == 13


def test_the_order_is_the_released_one(folder, config):
    """Positions, tokens, then per block the attention's arrays first; kernels have a leading 1."""
    shapes = read_json(folder / "params_shapes.json")
    block = [[1, 8, 24], [24], [1, 8, 8], [8], [8], [8]]
    block += [[1, 8, 32], [32], [1, 32, 8], [8], [8], [8]]
    assert shapes == [[16, 8], [config.vocabulary_size, 8], *block, *block]
    vector = np.concatenate([np.load(folder / f"params_{n}.npy") for n in range(10)])
    params = random_params(config)
    np.testing.assert_array_equal(vector[:128], params["position_embedding"].reshape(-1))
    at = 128 + params["token_embedding"].size
    kernel = params["blocks_0"]["attention"]["qkv"]["kernel"]
    np.testing.assert_array_equal(vector[at : at + 192], kernel.reshape(-1))


def test_what_is_not_finite_is_not_written(config, gpt1_tokenizer, tmp_path):
    params = random_params(config)
    params["blocks_1"]["attention"]["qkv"]["kernel"][5, 3] = np.inf
    with pytest.raises(UserError, match=r"a: is not written, since tensor \d+ holds inf at"):
        openai_files.write(tmp_path / "a", params, config, gpt1_tokenizer)
    assert not (tmp_path / "a").exists()


def damage(folder, what):
    shapes = read_json(folder / "params_shapes.json")
    if what == "no list":
        write_json(folder / "params_shapes.json", {"a": 1})
    elif what == "shapes missing":
        (folder / "params_shapes.json").unlink()
    elif what == "part missing":
        (folder / "params_7.npy").unlink()
    elif what == "part truncated":
        content = (folder / "params_3.npy").read_bytes()
        (folder / "params_3.npy").write_bytes(content[:-16])
    elif what == "part shorter":
        np.save(folder / "params_9.npy", np.load(folder / "params_9.npy")[:-1])
    elif what == "another type":
        np.save(folder / "params_0.npy", np.load(folder / "params_0.npy").astype(np.float64))
    elif what == "infinity":
        part = np.load(folder / "params_0.npy")
        part[5] = np.inf
        np.save(folder / "params_0.npy", part)
    elif what == "several arrays":
        with (folder / "params_0.npy").open("wb") as file:
            np.savez(file, a=np.zeros(3, np.float32))
    elif what == "no archive":
        (folder / "params_0.npy").write_bytes(b"PK\x03\x04")
    elif what == "a shape without sizes":
        shapes[8] = []
        write_json(folder / "params_shapes.json", shapes)
    elif what == "a tensor less":
        write_json(folder / "params_shapes.json", shapes[:-1])
    elif what == "another shape":
        shapes[2], shapes[4] = shapes[4], shapes[2]
        write_json(folder / "params_shapes.json", shapes)


DAMAGES = {
    "no list": "is no list of shapes",
    "shapes missing": r"params_shapes\.json: no such file",
    "part missing": r"params_7\.npy: cannot be read",
    "part truncated": r"params_3\.npy: cannot be read",
    "part shorter": r"the shapes .* need [\d,]+ numbers, and .* hold [\d,]+",
    "infinity": r"number 0 \(position_embedding\) holds inf at \[0, 5\]",
    "several arrays": r"params_0\.npy: holds several arrays",
    "no archive": r"params_0\.npy: cannot be read",
    "a shape without sizes": "are not positions, tokens and 12 for each block",
    "another type": r"params_0\.npy: holds float64",
    "a tensor less": "are not positions, tokens and 12 for each block",
    "another shape": r"number 2 \(blocks_0\.attention\.qkv\.kernel\) is \[1, 8, 8\], and has to be",
}


@pytest.mark.parametrize(("what", "message"), DAMAGES.items(), ids=DAMAGES)
def test_damages_are_named(folder, what, message):
    damage(folder, what)
    with pytest.raises(UserError, match=message):
        openai_files.read_params(folder, openai_files.read_config(folder, num_heads=2))


def test_heads_have_to_be_said_where_64_does_not_divide(folder):
    with pytest.raises(UserError, match=r"no multiple of 64.*`heads`"):
        openai_files.read_config(folder)
    for heads in (3, 0):
        with pytest.raises(UserError, match=r"does not divide|must be at least 1"):
            openai_files.read_config(folder, num_heads=heads)


def test_what_others_files_do_not_have_cannot_be_asked_for(folder, config, tmp_path, capsys):
    given = ["--run", f"openai:{folder}", "--heads", "2", "--checkpoint", "last"]
    assert main(["generate", *given, "--prompt", "the"]) == 2
    assert "--checkpoint last: published weights have no checkpoints" in capsys.readouterr().err
    out = tmp_path / "run"
    assert main(["import", "--init", f"openai:{folder}", "--out", str(out), "--heads", "2"]) == 0
    assert main(["generate", "--run", str(out), "--heads", "4", "--prompt", "the"]) == 2
    assert f"--heads 4: {out} has 2 heads" in capsys.readouterr().err


def test_import_generate_and_export(folder, config, tmp_path, capsys):
    """As a user: a run folder of it, which every command takes, and the same files back."""
    out = tmp_path / "run"
    words = ["--init", f"openai:{folder}", "--out", str(out), "--heads", "2"]
    assert main(["import", *words, "--vocabulary.mode", "fast"]) == 0
    assert "GPT-1, 2,336 parameters, 2 blocks × 8, 2 heads" in capsys.readouterr().out
    loaded = runs.load(out)
    assert loaded.model == config
    assert loaded.tokenizer.mode == "fast"
    jax.tree.map(np.testing.assert_array_equal, loaded.params, random_params(config))
    assert main(["generate", "--run", str(out), "--prompt", "the", "--max-tokens", "3"]) == 0
    # There is nothing to resume, and what was imported is not trained over by mistake.
    words = ["--out", str(out), "--resume", "auto", "--train.steps", "1"]
    assert main(["pretrain", *words, "--optimizer.warmup", "0", "--train.batch-size", "4"]) == 2
    assert "was imported" in capsys.readouterr().err
    back = tmp_path / "back"
    assert main(["export", "--run", str(out), "--format", "openai", "--out", str(back)]) == 0
    for file in sorted(folder.iterdir()):
        assert file.read_bytes() == (back / file.name).read_bytes(), file.name
    assert main(["export", "--run", str(out), "--format", "openai", "--out", str(back)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.slow
def test_fine_tuning_as_released(folder, tmp_path, capsys):
    """The oddities from the command line: several seeds, resumed, and usable afterwards."""
    rows = tmp_path / "rows.tsv"
    rows.write_text("sentence\tlabel\n" + "good cat\t1\nbad dog\t0\n" * 20)
    out = tmp_path / "run"
    words = ["--task", "sst2", "--data", str(rows), "--out", str(out), "--seeds", "1"]
    words += ["--init", f"openai:{folder}", "--heads", "2", "--vocabulary.mode", "fast"]
    words += ["--train.steps", "3", "--train.batch-size", "4", "--tracking.no-tensorboard"]
    words += ["--model.fidelity", "released"]
    assert main(["finetune", *words]) == 0
    said = capsys.readouterr()
    assert "2 heads of 4 (the files do not tell)" in said.err
    assert "sst2, 1 seed (1)" in said.out
    assert re.search(r"valid +accuracy +\d+\.\d\d +- ", said.out)  # of one, no deviation
    assert main(["finetune", "--out", str(out), "--resume", "auto", "--seeds", "1", "2"]) == 0
    assert "sst2, 2 seeds (1, 2)" in capsys.readouterr().out
    loaded = runs.load(out / "seed-2")
    assert (loaded.model.fidelity, loaded.model.context_length) == ("released", 16)
    labels = ["--run", str(out / "seed-2"), "--data", str(rows), "--out", str(tmp_path / "p.tsv")]
    assert main(["predict", *labels]) == 0
    words = ["--out", str(out / "seed-1"), "--resume", "auto", "--model.fidelity", "paper"]
    assert main(["finetune", *words]) == 2
    assert "another task" in capsys.readouterr().err


def test_refusals(folder, tmp_path, capsys, published):
    assert main(["import", "--init", str(folder), "--out", str(tmp_path / "x")]) == 2
    assert "write openai:FOLDER, hf:ID_OR_FOLDER or vectors:FILE" in capsys.readouterr().err
    assert main(["import", "--init", "openai:nowhere", "--out", str(tmp_path / "x")]) == 2
    assert "openai:nowhere: no such folder" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    config, params, tokenizer = published
    if config.norm == "pre":
        with pytest.raises(UserError, match="has GPT-1's tokenizer"):
            openai_files.write(tmp_path / "y", params, config, tokenizer)
