"""Fine-tuning from end to end: its folder, its object in Python, what a run starts from."""

import json
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gptjax as package
from gptjax import config as configs
from gptjax.cli import main
from gptjax.commands.finetune_config import FinetuneConfig
from gptjax.errors import UserError
from gptjax.evaluation.comparison import read_group
from gptjax.evaluation.text_scores import token_log_probabilities
from gptjax.runs.folder import RunFolder
from gptjax.runs.open import load
from tests import wandb_files
from tests.commands.conftest import last_step, metrics
from tests.commands.finetune.common import (
    ONE_STEP,
    QUICK,
    compilations,
    defaults_of,
    results,
    table,
)

pytestmark = pytest.mark.usefixtures("own_cache")


def test_it_learns_and_the_folder_is_complete(tuned, data):
    found = results(tuned)
    assert found["task"] == "sst2"
    assert found["split"] == "valid"
    assert found["examples"] == 21
    assert found["metrics"]["accuracy"] > 0.85
    assert found["data"]["sample"] is False
    assert found["checkpoint"].startswith("best/")
    assert found["splits"]["test"] == {"examples": 10, "left_out": 0, "metrics": {}}
    classes = found["splits"]["valid"]["classes"]
    gold = [line.split("\t")[1] for line in (data / "dev.tsv").read_text().splitlines()[1:]]
    numbers = {name: one["examples"] for name, one in classes.items()}
    assert numbers == {"negative": gold.count("0"), "positive": gold.count("1")}
    train = [r["task_loss"] for r in metrics(tuned) if r["split"] == "train"]
    assert train[-1] < 0.7 * train[0]
    meta = json.loads((tuned / "meta.json").read_text())
    assert meta["status"] == "finished"
    assert meta["data"]["train"]["examples"] == 64


def test_the_python_object(tuned, pretrained):
    model = package.load(tuned)
    answers = model.predict([{"text": "the red house"}, {"text": "walked slowly"}])
    assert [answer["prediction"] for answer in answers] == ["negative", "positive"]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert model.predict([]) == []
    assert model.predict(["the red house", "walked slowly"]) == answers
    with compilations() as compiled:  # the same shape again
        model.predict([{"text": "the house"}])
    assert not compiled
    texts = ["the old house", "", "walked slowly " * 30]
    found = package.load(pretrained).log_probability(texts)
    assert found.shape == (3,)
    assert found[1] == 0
    assert found[0] < 0
    assert found[2] < found[0]
    step = int(model.checkpoint.partition("/")[2])
    assert package.load(tuned, checkpoint=step).step == step
    assert package.load(tuned, str(step)).checkpoint == package.load(tuned, step).checkpoint
    assert package.load(pretrained).log_probability(texts[0]) == pytest.approx(found[0])


def test_log_probabilities_are_those_of_the_model(pretrained):
    run = load(pretrained)
    text = "the old house walked because the river"
    (found,) = token_log_probabilities(run, [text], 2)
    ids = run.tokenizer.encode([text])[0]
    tokens = np.concatenate([[run.tokenizer.separator], ids])[None, :33]
    inputs, params = jnp.asarray(tokens[:, :-1], jnp.int32), jax.tree.map(jnp.asarray, run.params)
    states = package.Transformer(run.model).apply({"params": params}, inputs)
    log_p = jax.nn.log_softmax(states @ params["token_embedding"].T)[0]
    expected = np.asarray(log_p)[np.arange(tokens.shape[1] - 1), tokens[0, 1:]]
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-4, atol=1e-4)
    assert len(found) == len(ids)


def test_a_fine_tuned_run_hands_on_its_learning_rate(tuned):
    assert defaults_of("--init", str(tuned)).optimizer.learning_rate == pytest.approx(0.01)


def test_a_moved_folder_works(tuned, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tuned, moved)
    (answer,) = package.load(moved).predict([{"text": "the red house"}])
    assert answer == package.load(tuned).predict([{"text": "the red house"}])[0]


def test_overwriting_forgets_the_old_predictions(tuned, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(tuned, folder)
    RunFolder(folder).clear()
    assert not list(folder.iterdir())


def test_a_model_without_any_run(data, pretrained, tmp_path):
    out = tmp_path / "run"
    words = ["finetune", "--task", "sst2", "--data", str(data), "--init", "none", *QUICK]
    words += ["--tokenizer", str(pretrained / "tokenizer"), "--model.num-layers", "1"]
    words += ["--model.width", "16", "--model.num-heads", "2", "--model.context-length", "32"]
    words += [*ONE_STEP, "--train.batch-size", "8"]
    assert main([*words, "--out", str(out)]) == 0
    assert load(out).model.vocabulary_size == load(pretrained).model.vocabulary_size


def test_a_frozen_backbone_is_the_pretrained_one(options, pretrained, tmp_path):
    out = tmp_path / "frozen"
    words = [*options, "--freeze-backbone", "--train.steps", "2", "--lm-coefficient", "0"]
    assert main([*words, "--out", str(out)]) == 0
    run, source = load(out), load(pretrained)
    jax.tree.map(np.testing.assert_array_equal, run.backbone, source.params)
    # Its adapter alone, on the pre-trained run, is the same model.
    both = package.load(pretrained, head=out / "head.safetensors")
    rows = [{"text": "the red house"}, {"text": "walked slowly"}]
    assert both.predict(rows) == package.load(out).predict(rows)


def test_an_adapter_of_another_backbone_is_refused(tuned, pretrained):
    with pytest.raises(UserError, match="trained on another backbone"):
        load(pretrained, head=tuned / "head.safetensors")


def test_from_nothing(options, pretrained, tmp_path, capsys):
    position = options.index("--init")
    words = [*options[:position], *options[position + 2 :]]
    out = tmp_path / "scratch"
    words += ["--init", "none", "--like", str(pretrained), *ONE_STEP]
    assert main([*words, "--out", str(out)]) == 0
    assert "untrained" in capsys.readouterr().err
    fresh, source = load(out).backbone, load(pretrained).params
    assert np.abs(fresh["token_embedding"] - source["token_embedding"]).max() > 0.01
    assert fresh["token_embedding"].std() == pytest.approx(0.14, rel=0.1)


def test_transferred_layers(options, pretrained, tmp_path):
    out = tmp_path / "transferred"
    words = [*options, "--transfer-layers", "0", *ONE_STEP]
    assert main([*words, "--out", str(out)]) == 0
    tuned, source = load(out).backbone, load(pretrained).params
    np.testing.assert_allclose(tuned["token_embedding"], source["token_embedding"], atol=1e-6)
    leaves = (jax.tree.leaves(params["blocks_0"]) for params in (tuned, source))
    for ours, theirs in zip(*leaves, strict=True):
        assert ours.ndim == 1 or np.abs(ours - theirs).max() > 0.01


def test_seeds_and_comparison(options, tuned, tmp_path, capsys, monkeypatch):
    out = tmp_path / "seeds"
    words = [*options, *ONE_STEP, "--seeds", "1", "2", "--out", str(out)]
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main([*words, "--tracking.wandb"]) == 0
    assert "2 seeds (1, 2)" in capsys.readouterr().out
    for seed in (1, 2):
        (shown,) = wandb_files.read(out / f"seed-{seed}")
        name = load(out / f"seed-{seed}").task.name
        assert (shown["name"], shown["group"]) == (f"{name}/seeds/{seed}", f"{name}/seeds")
        config = configs.read_resolved(FinetuneConfig, out / f"seed-{seed}/config.toml")
        assert shown["config"] == configs.to_table(config)
        assert [one["_step"] for one in shown["history"]] == [1]
    summary = results(out)
    values = summary["splits"]["valid"]["metrics"]["accuracy"]
    each = [results(out / f"seed-{seed}") for seed in (1, 2)]
    assert values["values"] == [one["metrics"]["accuracy"] for one in each]
    assert [one["seed"] for one in each] == [1, 2]
    assert values["mean"] == pytest.approx(np.mean(values["values"]))
    assert values["std"] == pytest.approx(np.std(values["values"], ddof=1))
    assert main(["predict", "--run", str(out), "--data", "x", "--out", "y"]) == 2
    assert "holds several seeds; name one of them" in capsys.readouterr().err
    assert main(["compare", str(out), str(tuned), "--resamples", "200"]) == 0
    text = capsys.readouterr().out
    assert "difference B - A" in text
    assert "mean of 2 seeds" in text
    assert main(["compare", str(tuned), str(tuned), "--resamples", "50"]) == 0
    assert "+0.00 to +0.00" in capsys.readouterr().out
    (alone,) = read_group(str(out), "predictions.tsv", seeds=[2]).predicted
    assert np.array_equal(alone, read_group(str(out), "predictions.tsv").predicted[1])
    (out / "seed-1/config.toml").unlink()
    assert main(["compare", str(out), str(tuned), "--resamples", "50"]) == 2
    assert "seed-1: is no run folder" in capsys.readouterr().err


def test_resuming_another_problem_is_refused(tuned, options, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(tuned, copy)
    words = [*options, "--out", str(copy), "--resume", "auto", "--lm-coefficient", "0.1"]
    assert main(words) == 2
    assert "another task" in capsys.readouterr().err


@pytest.mark.slow  # a kill; one of pre-training and one of a sweep are quick
def test_resumed_is_uninterrupted(options, gptjax, gptjax_until, tmp_path):
    words = [*options, "--train.epochs", "4", "--checkpoint.every", "5"]
    words += ["--train.evaluate-every", "8"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*words, "--out", str(whole)]) == 0
    words += ["--out", str(cut)]
    assert gptjax_until(words, lambda: last_step(cut) >= 13, signal.SIGKILL) == -signal.SIGKILL
    done = gptjax(*words, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert metrics(cut) == metrics(whole)
    assert (cut / "predictions.tsv").read_bytes() == (whole / "predictions.tsv").read_bytes()
    a, b = load(whole, "last").params, load(cut, "last").params
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.slow
def test_two_processes_train_as_one(options, two_processes, tmp_path):
    """Every answer is there, in file order, from whichever process it came; no dropout."""
    rates = ("embedding", "attention", "residual")
    words = [*options, "--train.steps", "3", "--task.classifier-dropout", "0"]
    words += [word for rate in rates for word in (f"--model.{rate}-dropout", "0")]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    printed = two_processes(*words, "--out", str(tmp_path / "two"))
    assert "predicted" not in printed[1]
    one, two = (table(tmp_path / name / "predictions.tsv") for name in ("one", "two"))
    assert [row[:2] for row in one] == [row[:2] for row in two]
    scores = [[list(map(float, row[3:])) for row in rows[1:]] for rows in (one, two)]
    np.testing.assert_allclose(*scores, atol=1e-4)
