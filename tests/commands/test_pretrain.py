"""A pre-trained run folder: what lies in it, and what the other commands make of it."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gptjax import config as configs
from gptjax.cli import main
from gptjax.commands.pretrain import PretrainConfig, defaults
from gptjax.errors import UserError
from gptjax.options import parse
from gptjax.runs import folder as run_folder
from gptjax.runs import open as runs
from gptjax.runs.train import fingerprint
from tests.commands.conftest import TINY, metrics, text

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> Path:
    """A validation text."""
    path = tmp_path_factory.mktemp("valid") / "valid.txt"
    path.write_text(text(99, 40), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def options(books, valid) -> list[str]:
    return [
        *("pretrain", "--data", str(books), "--corpus.validation", str(valid), *TINY),
        *("--train.steps", "40", "--train.evaluate-every", "20", "--checkpoint.every", "20"),
    ]


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory, own_cache) -> Path:
    out = tmp_path_factory.mktemp("runs") / "trained"
    assert main([*options, "--out", str(out)]) == 0
    return out


def results(run: Path) -> dict:
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def test_the_folder_is_complete(trained, books):
    assert {path.name for path in trained.iterdir()} == {
        *("config.toml", "meta.json", "metrics.jsonl", "results.json", "samples.txt"),
        *("tokenizer", "checkpoints"),
    }
    meta = json.loads((trained / "meta.json").read_text(encoding="utf-8"))
    assert meta["status"] == "finished"
    assert meta["versions"]["jax"]
    assert meta["command"].split()[0] == "gptjax"
    assert meta["devices"].startswith("4 ")
    assert meta["data"]["train"]["source"] == str(books)
    assert set(meta["fingerprints"]) == {"model", "tokenizer", "corpus", "data order"}
    assert (trained / "samples.txt").read_text().strip()


def test_metrics_and_results(trained):
    records = metrics(trained)
    train = [record for record in records if record["split"] == "train"]
    assert set(train[0]) == {
        *("step", "split", "loss", "accuracy", "learning_rate", "grad_norm", "epoch"),
    }
    assert train[0]["learning_rate"] == 0  # the first update of a warm-up
    last = [record for record in records if record["split"] == "valid"][-1]
    assert last["perplexity"] == pytest.approx(math.exp(last["loss"]))
    assert last["end_loss"] > 0
    found = results(trained)
    assert found["checkpoint"] == "best/40"
    assert found["metrics"]["perplexity"] == last["perplexity"]
    assert found["metrics"]["perplexity"] < found["metrics"]["unigram_perplexity"]
    meta = json.loads((trained / "meta.json").read_text(encoding="utf-8"))
    for unit in ("tokens", "words", "bytes"):
        assert found["metrics"][unit] == meta["data"]["valid"][unit]


def test_evaluate_agrees_with_the_run(trained, valid, tmp_path, capsys):
    out = tmp_path / "evaluated"
    words = ["evaluate", "--run", str(trained), "--data", str(valid), "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "context 16, stride 16" in printed
    assert "loss of the ends" in printed
    for key in ("perplexity", "word_perplexity", "bits_per_byte", "accuracy", "end_loss"):
        expected, found = results(trained)["metrics"][key], results(out)["metrics"][key]
        assert found == pytest.approx(expected, rel=1e-5), key
    assert main([*words[:5], "--stride", "4"]) == 0
    assert "stride 4" in capsys.readouterr().out


def test_a_context_beyond_the_model_is_refused(trained, valid, capsys):
    assert main(["evaluate", "--run", str(trained), "--data", str(valid), "--context", "17"]) == 2
    assert "from 1 to 16" in capsys.readouterr().err


def test_a_moved_folder_generates_the_same(trained, tmp_path, capsys):
    words = ["--prompt", "The old", "--max-tokens", "20", "--num-samples", "2", "--seed", "3"]
    assert main(["generate", "--run", str(trained), *words]) == 0
    here = capsys.readouterr().out
    assert here.count("The old") == 2
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained, moved)
    assert main(["generate", "--run", str(moved), *words]) == 0
    assert capsys.readouterr().out == here
    assert main(["generate", "--run", str(trained), *words[:-1], "4"]) == 0
    assert capsys.readouterr().out != here


def test_the_resolved_config_reads_back(trained):
    config = configs.read(PretrainConfig, trained / "config.toml")
    assert config.model == runs.load_config(trained)
    assert config.train.steps == 40
    configs.write(config, trained.parent / "again.toml")
    assert (trained.parent / "again.toml").read_text() == (trained / "config.toml").read_text()


def test_resuming_a_finished_run_changes_nothing(trained, options, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    assert main([*options, "--out", str(copy), "--resume", "auto"]) == 0
    assert metrics(copy) == metrics(trained)
    assert results(copy) == results(trained)


def test_runs_from_before_ends_were_predicted_go_on_without(options, trained, tmp_path, capsys):
    """Their config lacks the key, also where their options are given once more."""
    old = tmp_path / "old"
    words = [*options, "--corpus.predict-end", "False"]
    assert main([*words, "--out", str(old), "--train.steps", "20"]) == 0
    assert all("end_loss" not in record for record in metrics(old))
    with_ends = json.loads((trained / "meta.json").read_text(encoding="utf-8"))["fingerprints"]
    meta = json.loads((old / "meta.json").read_text(encoding="utf-8"))
    assert meta["fingerprints"]["data order"] == fingerprint({"seed": 0, "short_documents": "pad"})
    assert meta["fingerprints"] | with_ends != meta["fingerprints"]
    config = (old / "config.toml").read_text(encoding="utf-8")
    (old / "config.toml").write_text(config.replace("predict_end = false\n", ""), encoding="utf-8")
    capsys.readouterr()
    assert main([*options, "--out", str(old), "--train.steps", "21", "--resume", "auto"]) == 0
    assert "predict_end" not in capsys.readouterr().err
    assert "predict_end = false" in (old / "config.toml").read_text(encoding="utf-8")
    assert main(["evaluate", "--run", str(old), "--data", str(options[2])]) == 0
    assert "loss of the ends" not in capsys.readouterr().out
    words[-1] = "True"
    assert main([*words, "--out", str(old), "--train.steps", "22", "--resume", "auto"]) == 2
    told = capsys.readouterr().err
    assert "corpus.predict_end was False when the run was started, and is True" in told
    assert "data order" in told.splitlines()[-1]


def test_resume_takes_the_runs_own_config(trained, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    assert main(["pretrain", "--out", str(copy), "--resume", "auto"]) == 0
    assert results(copy) == results(trained)


def test_a_run_from_before_a_setting_goes_on_without_it(tmp_path, capsys):
    """Two long files: today the end of one is held back, of an older run a whole one."""
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for i in range(2):
        (data / f"{i}.txt").write_text(text(i, 900), encoding="utf-8")
    command = ["pretrain", "--data", str(data), *TINY]
    words = [*command, "--train.steps", "2", "--out", str(out)]
    assert main([*words, "--corpus.hold-back", "documents"]) == 0
    assert "1 whole document (--corpus.validation-fraction asks for 5.0%" in capsys.readouterr().err
    recorded = configs.read_table(out / "config.toml", "config")
    del recorded["corpus"]["hold_back"]
    configs.write_table(recorded, out / "config.toml")
    assert main([*words, "--resume", "auto"]) == 0
    assert "notice: corpus" not in capsys.readouterr().err
    kept = configs.read_resolved(PretrainConfig, out / "config.toml").corpus
    assert kept.hold_back == "documents"


def test_init_continues_from_the_parameters(trained, books, valid, tmp_path):
    out = tmp_path / "more"
    words = ["pretrain", "--init", str(trained), "--data", str(books), "--out", str(out)]
    words += ["--corpus.validation", str(valid), "--train.batch-size", "8", "--train.steps", "1"]
    assert main([*words, "--optimizer.warmup", "1", "--tracking.no-tensorboard"]) == 0
    # The first update of a warm-up has learning rate 0, so the parameters are still the run's.
    assert results(out)["metrics"]["loss"] == pytest.approx(results(trained)["metrics"]["loss"])
    assert runs.load_config(out) == runs.load_config(trained)
    one, other = runs.load(trained), runs.load(out)
    assert one.tokenizer.fingerprint == other.tokenizer.fingerprint


def test_init_with_another_shape_is_refused(trained, books, tmp_path, capsys):
    words = ["pretrain", "--init", str(trained), "--data", str(books)]
    words += ["--out", str(tmp_path / "more"), "--train.steps", "1", "--train.batch-size", "8"]
    words += ["--optimizer.warmup", "0"]
    assert main([*words, "--model.num-layers", "2"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "model.num_layers 1" in line
    assert "ask for 2" in line


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("model", ["--model.width", "32"]),
        ("corpus", ["--data", "VALID"]),
        ("tokenizer", ["--tokenizer", "OTHER"]),
        ("data order", ["--train.seed", "1"]),
        ("train.batch_size", ["--train.batch-size", "16"]),
        ("run ends after 39", ["--train.steps", "39"]),
        ("no checkpoint 7", ["--resume", "7"]),
    ],
)
def test_resuming_with_something_else_is_refused(
    trained, options, valid, tmp_path, capsys, what, change
):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    if "OTHER" in change:
        other = str(tmp_path / "other.model")
        assert main(["tokenizer", "--data", str(valid), "--vocab-size", "330", "--out", other]) == 0
        change = ["--tokenizer", other]
    change = [str(valid) if word == "VALID" else word for word in change]
    before = {
        path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()
    }
    code = 3 if "--resume" in change else 2
    assert main([*options, "--out", str(copy), "--resume", "auto", *change]) == code
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert what in line
    recorded = json.loads((copy / "meta.json").read_text())["fingerprints"]
    if what == "corpus":  # whose files say more than a hash
        assert "the corpus is another" in line
        assert "book1.txt was there" in line
    elif what in recorded:
        assert f"another {what}" in line
        assert recorded[what] in line
    after = {
        path.relative_to(copy): path.read_bytes() for path in copy.rglob("*") if path.is_file()
    }
    assert after == before


def test_overwrite_removes_a_runs_files_only(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "metrics.jsonl").write_text("{}\n")
    run, _ = run_folder.open_folder(folder, resume="never", overwrite=True)
    assert len(list(folder.iterdir())) == 3  # nothing is lost before the new run is accepted
    run.clear()
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    with pytest.raises(UserError, match="contradict"):
        run_folder.open_folder(folder, resume="auto", overwrite=True)


def test_a_refused_overwrite_leaves_the_run(trained, options, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    words = [*options, "--out", str(copy), "--overwrite"]
    assert main([*words, "--data", str(tmp_path / "typo")]) == 2
    assert main([*words, "--init", str(copy)]) == 2
    assert "the run of --init" in capsys.readouterr().err
    assert results(copy) == results(trained)
    assert runs.load(copy).step == 40


def test_an_accepted_overwrite_leaves_nothing_of_the_run(trained, options, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    for name in ("predictions-test.tsv", "notes.txt"):
        (copy / name).write_text("old")
    assert main([*options, "--out", str(copy), "--overwrite", "--train.steps", "20"]) == 0
    assert (copy / "notes.txt").exists()
    assert not (copy / "predictions-test.tsv").exists()
    assert [record["step"] for record in metrics(copy) if record["split"] == "train"][-1] == 20
    assert not (copy / "checkpoints/last/40").exists()


def test_a_run_killed_before_its_first_checkpoint_begins_at_init_again(
    trained, books, valid, tmp_path
):
    """`best/` alone is nothing to resume from: the parameters are those of --init, not random."""
    out = tmp_path / "more"
    words = ["pretrain", "--init", str(trained), "--data", str(books), "--out", str(out)]
    words += ["--corpus.validation", str(valid), "--train.batch-size", "8", "--train.steps", "1"]
    words += ["--optimizer.warmup", "1", "--tracking.no-tensorboard", "--resume", "auto"]
    assert main(words) == 0
    first = metrics(out)[0]["loss"]
    shutil.rmtree(out / "checkpoints" / "last")
    assert main(words) == 0
    assert metrics(out)[0]["loss"] == first


def test_changed_settings_are_named_on_resuming(trained, options, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    words = [*options, "--out", str(copy), "--resume", "auto", "--optimizer.learning-rate", "0.5"]
    assert main(words) == 0
    assert "optimizer.learning_rate was 0.01 when the run was started" in capsys.readouterr().err


def test_going_back_forgets_a_later_best(trained, options, tmp_path):
    """The results describe the checkpoint that the other commands will load."""
    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    words = [*options, "--out", str(copy), "--resume", "20", "--optimizer.learning-rate", "0.5"]
    assert main(words) == 0
    reported = results(copy)
    assert reported["checkpoint"] == runs.load(copy).checkpoint
    evaluated = ["evaluate", "--run", str(copy), "--data", words[words.index("--data") + 3]]
    assert main([*evaluated, "--out", str(tmp_path / "evaluated")]) == 0
    found = results(tmp_path / "evaluated")["metrics"]["loss"]
    assert found == pytest.approx(reported["metrics"]["loss"], rel=1e-5)


def test_a_tokenizer_file_may_be_gone_when_resuming(options, valid, tmp_path):
    file = tmp_path / "t.model"
    assert main(["tokenizer", "--data", str(valid), "--vocab-size", "330", "--out", str(file)]) == 0
    words = [*options, "--out", str(tmp_path / "run"), "--tokenizer", str(file)]
    assert main(words) == 0
    file.unlink()
    assert main([*words, "--resume", "auto"]) == 0


def test_the_file_decides_before_an_option_is_judged(tmp_path):
    """--model.width 256 is wrong above the default's 12 heads, and right above the file's 4."""
    path = tmp_path / "c.toml"
    path.write_text("[model]\nnum_heads = 4\nattention_dropout = 0.0\n")
    words = ["--config", str(path), "--model.width", "256", "--model.attention", "fused"]
    given = parse(PretrainConfig, words, prog="x", defaults=defaults)
    assert (given.model.width, given.model.attention) == (256, "fused")


def test_typed_steps_replace_the_files_epochs(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("[train]\nepochs = 3\n")
    given = parse(
        PretrainConfig, ["--config", str(path), "--train.steps", "5"], prog="x", defaults=defaults
    )
    assert (given.train.steps, given.train.epochs) == (5, None)
    given = parse(PretrainConfig, ["--config", str(path)], prog="x", defaults=defaults)
    assert (given.train.steps, given.train.epochs) == (None, 3)


@pytest.mark.parametrize("file", sorted(configs.PRESETS.glob("*.toml")), ids=lambda file: file.stem)
def test_the_presets(file):
    """Each is valid, begins with its command, and trains the model that its first lines state."""
    config = configs.read(PretrainConfig, file)
    assert (config.train.steps is None) != (config.train.epochs is None)
    head = file.read_text(encoding="utf-8").split("[", 1)[0]
    assert f"gptjax pretrain --config {file.stem}" in head
    link = Path(__file__).parents[2] / "experiments/configs" / file.name
    assert link.read_bytes() == file.read_bytes()
    if "gpt1" in file.name and config.model.kind == "transformer":
        assert dataclasses.replace(config.model, dtype="float32") == PretrainConfig().model
        assert config.train.batch_size == 64


@pytest.mark.slow
def test_two_processes_train_as_one(books, gptjax, two_processes, tmp_path):
    """Each of two processes with one device feeds it half of the batch; dropout is on."""
    words = ["pretrain", "--data", str(books), *TINY, "--train.steps", "12"]
    words += ["--train.evaluate-every", "6", "--checkpoint.every", "6"]
    alone = gptjax(*words, "--out", str(tmp_path / "one"), JAX_NUM_CPU_DEVICES="2")
    assert alone.returncode == 0, alone.stderr
    printed = two_processes(*words, "--out", str(tmp_path / "two"))
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert [(r["step"], r["split"]) for r in one] == [(r["step"], r["split"]) for r in two]
    np.testing.assert_allclose(
        [record["loss"] for record in one], [record["loss"] for record in two], rtol=1e-5
    )
    assert "2 × cpu" in printed[0]
    assert "perplexity" not in printed[1]  # process 0 alone talks
    assert os.listdir(tmp_path / "two" / "checkpoints" / "last")


def test_samples_are_written_at_each_evaluation(options, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--train.steps", "4", "--train.evaluate-every", "2", "--tracking.samples", "2"]
    assert main([*options, *words, "--out", str(run)]) == 0
    records = metrics(run)
    written = [record for record in records if record["split"] == "samples"]
    assert [record["step"] for record in written] == [2, 4]
    assert all(len(record["samples"]) == 2 for record in written)
    assert main(["report", "--runs", str(run), "--out", str(tmp_path / "page.html")]) == 0
    assert main([*options, "--tracking.samples", "-1", "--out", str(tmp_path / "no")]) == 2
    assert "tracking.samples is -1" in capsys.readouterr().err
