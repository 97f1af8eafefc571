"""The hub's files: both kinds, every layout, and every way to be wrong."""

import shutil
from itertools import cycle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as safetensors
from small import read_json, write_json

import gptjax
from gptjax.cli import main
from gptjax.errors import UnreachableError, UserError
from gptjax.interchange import export as hub_export
from gptjax.interchange import hub as hub_files
from gptjax.runs import open as runs
from gptjax.runs.identity import shape_fingerprint
from gptjax.training import archive
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints

RECORDED = Path(__file__).parents[1] / "recorded"


@pytest.fixture
def folder(tmp_path, published):
    config, params, tokenizer = published
    folder = tmp_path / "published"
    hub_export.write(folder, config, params, tokenizer, None)
    return folder


def tensors_of(folder):
    return safetensors.load_file(folder / "model.safetensors")


def write_tensors(folder, tensors):
    safetensors.save_file(tensors, folder / "model.safetensors")


def test_parameters_come_back_bit_for_bit(folder, published, tmp_path):
    config, params, tokenizer = published
    assert hub_files.read_config(folder) == config
    run = runs.load(f"hf:{folder}", mode="fast" if config.norm == "post" else None)
    assert run.tokenizer.fingerprint == tokenizer.fingerprint
    jax.tree.map(np.testing.assert_array_equal, run.params, params)
    hub_export.write(tmp_path / "again", run.model, run.params, run.tokenizer, None)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_older_layouts(folder, published):
    """Without a prefix, with masks, with the output table; in shards; half precision."""
    config, params, _ = published
    tensors = {name.removeprefix("transformer."): x for name, x in tensors_of(folder).items()}
    bare = {**tensors, "h.0.attn.bias": np.ones((1, 1, 16, 16), np.float32)}
    embedding = "tokens_embed.weight" if config.norm == "post" else "wte.weight"
    bare["lm_head.weight"] = tensors[embedding]
    bare["position_ids"] = np.arange(16)[None]
    write_tensors(folder, bare)
    jax.tree.map(np.testing.assert_array_equal, hub_files.read_params(folder, config), params)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-{1 + (k % 2)}.safetensors" for k, name in enumerate(names)}
    for place in set(places.values()):
        part = {name: tensors[name] for name in names if places[name] == place}
        safetensors.save_file(part, folder / place)
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    jax.tree.map(np.testing.assert_array_equal, hub_files.read_params(folder, config), params)
    for broken in ([], {"weight_map": None}, {"weight_map": [1]}, {}):
        write_json(folder / "model.safetensors.index.json", broken)
        with pytest.raises(UserError, match="as an index of weights"):
            hub_files.read_params(folder, config)
    places["h.9.extra"] = "model-1.safetensors"
    write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    with pytest.raises(UserError, match=r"disagrees with it about the tensor h\.9\.extra"):
        hub_files.read_params(folder, config)
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-[12]\.safetensors"):
        hub_files.read_params(folder, config)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(UserError, match="no weights there"):
        hub_files.read_params(folder, config)
    half = {name: x.astype(np.float16) for name, x in tensors.items()}
    write_tensors(folder, half)
    found = hub_files.read_params(folder, config)
    assert {x.dtype for x in jax.tree.leaves(found)} == {np.dtype("float32")}


CHANGES = {
    "missing": (lambda t, n: t.pop(n), "the tensor {bare} of a GPT-. of 2 blocks .* is missing"),
    "surplus": (
        lambda t, n: t.update({"transformer.h.7.ln_1.bias": t[n]}),
        r"holds the tensor h\.7\.ln_1\.bias, which a GPT-. of 2 blocks and width 8 does not have",
    ),
    "a shape": (
        lambda t, n: t.update({n: t[n][:-1]}),
        r"the tensor {bare} is \[7, 32\], and has to be \[8, 32\]",
    ),
    "twice": (
        lambda t, n: t.update({n.removeprefix("transformer."): t[n]}),
        "holds both {bare} and transformer.{bare}",
    ),
    "quantised": (
        lambda t, n: t.update({n: t[n].astype(np.int8)}),
        "the tensor {bare} holds int8; quantised",
    ),
    "NaN": (
        lambda t, n: t[n].__setitem__((3, 1), np.nan),
        r"the tensor {bare} holds nan at \[3, 1\]; no model",
    ),
    "overflow": (
        lambda t, n: t.update({n: np.full((8, 32), -1e39)}),
        r"the tensor {bare} holds -inf at \[0, 0\]; no model",
    ),
    "another head": (
        lambda t, n: t.update({"lm_head.weight": np.zeros((2, 2), np.float32)}),
        "lm_head.weight is not the token embedding",
    ),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_wrong_tensors_are_named(folder, published, change, message):
    tensors = tensors_of(folder)
    change(tensors, "transformer.h.1.mlp.c_fc.weight")
    write_tensors(folder, tensors)
    with pytest.raises(UserError, match=message.format(bare=r"h\.1\.mlp\.c_fc\.weight")):
        hub_files.read_params(folder, published[0])


CONFIGS = {
    "another kind": ({"model_type": "llama"}, "of a model of the type 'llama'"),
    "no size": ({"n_layer": None}, "n_layer is None; it has to be a whole number"),
    "text for a size": ({"n_layer": "1"}, "n_layer is '1'"),
    "text for a rate": ({"embd_pdrop": "x"}, "embd_pdrop is 'x'; it has to be a number"),
    "a list of kinds": ({"model_type": ["gpt2"]}, "of a model of the type"),
    "another activation": ({"afn": "relu", "activation_function": "relu"}, "activation is 'relu'"),
    "scaled": (
        {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx is True",
    ),
    "another epsilon": ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
}


@pytest.mark.parametrize(("change", "message"), CONFIGS.values(), ids=CONFIGS)
def test_other_architectures_are_refused(folder, change, message):
    content = {**read_json(folder / "config.json"), **change}
    write_json(folder / "config.json", {k: v for k, v in content.items() if v is not None})
    with pytest.raises(UserError, match=message):
        hub_files.read_config(folder)


def test_damaged_files(folder, published, tmp_path, capsys):
    config = published[0]
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="missing, truncated or damaged"):
        hub_files.read_params(folder, config)
    (folder / "model.safetensors").write_bytes(content)
    smaller = {**read_json(folder / "config.json"), "vocab_size": config.vocabulary_size - 1}
    write_json(folder / "config.json", smaller)
    words = ["--init", f"hf:{folder}", "--out", str(tmp_path / "run"), "--vocabulary.mode", "fast"]
    words = words if config.norm == "post" else words[:4]
    assert main(["import", *words]) == 2
    assert "are they of the same model?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    write_json(folder / "config.json", [])
    with pytest.raises(UserError, match=r"config\.json: is no JSON object"):
        hub_files.read_config(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: is damaged, no JSON"):
        hub_files.read_config(folder)
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json: no such file"):
        hub_files.read_config(folder)


HEADS = {"single": ("good", "bad"), "choice": ("first", "second"), "sum": ("0", "1", "2")}


def arrays_of(tree, path=()):
    """Every array of a tree of dictionaries, with the keys that lead to it."""
    if not isinstance(tree, dict):
        return [(path, tree)]
    return [found for key, value in tree.items() for found in arrays_of(value, (*path, key))]


@pytest.mark.parametrize("kind", [None, *HEADS])
def test_what_is_not_finite_is_not_exported(published, tmp_path, kind):
    """In whichever array it is; nothing is written."""
    config, params, tokenizer = published
    rng, head, added = np.random.default_rng(0), None, {}
    if kind is not None:
        columns = 1 if kind == "choice" else len(HEADS[kind])
        added = {
            "special_embedding": rng.standard_normal((3, config.width)).astype(np.float32),
            "head": {
                "kernel": rng.standard_normal((config.width, columns)).astype(np.float32),
                "bias": rng.standard_normal(columns).astype(np.float32),
            },
        }
        head = hub_export.Head(kind, HEADS[kind], added, ("text",))
    arrays = [*arrays_of(params), *arrays_of(added)]
    for (keys, array), number in zip(arrays, cycle((np.nan, -np.inf)), strict=False):
        at = tuple(size // 2 for size in array.shape)
        whole, array[at] = array[at], number
        with pytest.raises(UserError) as refused:
            hub_export.write(tmp_path / "out", config, params, tokenizer, head)
        assert "out: is not written, since " in str(refused.value), keys
        assert f" holds {number} at [" in str(refused.value), keys
        assert not (tmp_path / "out").exists()
        array[at] = whole
    hub_export.write(tmp_path / "out", config, params, tokenizer, head)


@pytest.mark.parametrize("format", ["hf", "openai"])
def test_a_run_whose_best_is_not_finite_is_not_exported(tmp_path, monkeypatch, capsys, format):
    shutil.copytree(RECORDED / "pretrained", tmp_path / "run")
    run = runs.load(tmp_path / "run")
    run.params["blocks_0"]["attention"]["qkv"]["kernel"][2, 1] = np.nan
    best = Checkpoints(
        run.folder.checkpoints,
        CheckpointConfig(),
        {"model": shape_fingerprint(run.model), "tokenizer": run.tokenizer.fingerprint},
    )
    monkeypatch.setattr(archive, "non_finite", lambda arrays: None)
    best.save_best(run.step + 1, run.params, {})
    best.wait()
    monkeypatch.undo()
    words = ["export", "--run", str(run.folder.path), "--out", str(tmp_path / "out")]
    assert main([*words, "--format", format]) == 3
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "params['blocks_0']['attention']['qkv']['kernel'] holds nan at [2, 1]" in line
    assert not (tmp_path / "out").exists()


def test_from_the_hub(folder, monkeypatch):
    """The production call, answered by a folder; and nobody there."""
    import huggingface_hub

    asked = []

    def answer(name, revision, allow_patterns):
        asked.append((name, revision, "config.json" in allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    assert hub_files.locate("some/model@abc") == folder
    assert asked == [("some/model", "abc", True)]

    def nobody(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nobody)
    with pytest.raises(UnreachableError, match=r"hf:some/model: no such folder.*no route"):
        hub_files.locate("some/model")


@pytest.mark.slow
def test_training_from_others_weights(folder, published, tmp_path, capsys):
    """Continue pre-training; fine-tune, with the learning rate and the name that follow."""
    config, params, _ = published
    book = tmp_path / "book.txt"
    book.write_text("the cat sat on the mat.\nthe dog, then.\n" * 200)
    quick = ["--train.steps", "2", "--train.batch-size", "4", "--tracking.no-tensorboard"]
    quick += ["--init", f"hf:{folder}"]
    quick += ["--vocabulary.mode", "fast"] if config.norm == "post" else []
    out = tmp_path / "pretrained"
    words = ["--data", str(book), "--out", str(out), "--optimizer.warmup", "0"]
    assert main(["pretrain", *quick, *words]) == 0
    loaded = runs.load(out, "last")
    assert loaded.model == config
    moved = np.abs(loaded.params["token_embedding"] - params["token_embedding"]).max()
    assert 0 < moved < 1e-3
    if config.norm == "pre":  # what follows knows no difference, and takes its time
        return
    rows = tmp_path / "rows.tsv"
    rows.write_text("sentence\tlabel\n" + "good cat\t1\nbad dog\t0\n" * 20)
    out = tmp_path / "tuned"
    words = ["--task", "sst2", "--data", str(rows), "--out", str(out)]
    assert main(["finetune", *quick, *words]) == 0
    assert "published" in capsys.readouterr().err
    table = runs.read_table(out)
    assert table["optimizer"]["learning_rate"] == 6.25e-5
    assert runs.load(out).model == config
    shutil.rmtree(folder)  # A run does not need what it was made from.
    assert (
        main(["predict", "--run", str(out), "--data", str(rows), "--out", str(tmp_path / "p")]) == 0
    )


@pytest.mark.parametrize(
    "place", ["../other.safetensors", "/tmp/other.safetensors", "a/b.safetensors", "..", "", "a\\b"]
)
def test_an_index_names_files_of_its_folder_alone(published, tmp_path, place):
    """Also where there is such a file, with those very tensors."""
    config, params, tokenizer = published
    folder = tmp_path / "model"
    hub_export.write(folder, config, params, tokenizer, None)
    tensors = safetensors.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(tmp_path / "other.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, place)}
    write_json(folder / "model.safetensors.index.json", index)
    with pytest.raises(UserError, match=r"index\.json: names .*, which is no file of its folder"):
        hub_files.read_params(folder, config)


def test_parameters_can_be_closed_over(published, tmp_path):
    """Those that `gptjax.load` gives, every one, in jit and in grad, by the module and by hand."""
    config, params, tokenizer = published
    hub_export.write(tmp_path, config, params, tokenizer, None)
    mode = "fast" if config.norm == "post" else None
    run = gptjax.load(f"hf:{tmp_path}", mode=mode)
    tokens = jnp.arange(6, dtype=jnp.int32)[None]

    def total(params, tokens, factor):
        states = gptjax.Transformer(run.model).apply({"params": params}, tokens)
        logits = states @ params["token_embedding"].T
        by_hand = jax.tree.map(lambda leaf: leaf[tokens[0, :1]].sum(), params)
        return factor * logits.sum() + sum(jax.tree.leaves(by_hand))

    whole = jax.value_and_grad(total, argnums=2)(params_of(run), tokens, 2.0)
    closed = jax.jit(jax.value_and_grad(lambda factor, ids: total(run.params, ids, factor)))
    np.testing.assert_allclose(closed(2.0, tokens), whole, rtol=1e-4)
    for found, given in zip(jax.tree.leaves(run.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(found, given)


def params_of(run):
    return jax.tree.map(jnp.asarray, run.params)
