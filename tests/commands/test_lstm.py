"""The LSTM through the same commands: pre-trained, fine-tuned, asked and written with."""

import json
import shutil

import numpy as np
import pytest

import gptjax as package
from gptjax.cli import main
from gptjax.training.stored import curve_steps
from tests.commands.conftest import TINY

pytestmark = pytest.mark.usefixtures("own_cache")

LSTM = ("--model.kind", "lstm", "--model.units", "24", "--model.context-length", "32")


@pytest.fixture(scope="module")
def pretrained(books, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp("lstm") / "pretrained"
    words = ["pretrain", "--data", str(books), *TINY, *LSTM, "--train.steps", "20"]
    words += ["--checkpoint.per-doubling", "1", "--train.evaluate-every", "20"]
    assert main([*words, "--out", str(out)]) == 0
    return out


def test_it_learns_and_what_was_kept_on_the_way_can_be_asked(pretrained):
    assert curve_steps(pretrained / "checkpoints") == [0, 1, 2, 4, 8, 16]
    text = ["The captain found the letter."]
    first, last = (
        package.load(pretrained, step).log_probability(text)[0] for step in ("0", "auto")
    )
    assert last > first + 5  # nats
    assert set(package.load(pretrained).params) == {"token_embedding", "blocks_0"}


def test_it_is_fine_tuned_and_writes(pretrained, tmp_path, capsys):
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "64"]
    words += ["--max-valid", "32", "--train.epochs", "1", "--tracking.no-tensorboard"]
    out = tmp_path / "tuned"
    assert main([*words, "--init", str(pretrained), "--out", str(out)]) == 0
    assert json.loads((out / "results.json").read_text())["examples"] == 32
    tuned = package.load(out)
    assert len(tuned.predict([{"text": "A fine day."}])) == 1
    before = package.load(pretrained).params["blocks_0"]["recurrent"]
    assert np.abs(tuned.params["backbone"]["blocks_0"]["recurrent"] - before).max() > 0
    capsys.readouterr()
    assert main(["generate", "--run", str(pretrained), "--prompt", "The", "--max-tokens", "8"]) == 0
    assert capsys.readouterr().out.startswith("The")


def test_it_has_no_place_in_others_formats(pretrained, tmp_path, capsys):
    assert main(["export", "--run", str(pretrained), "--out", str(tmp_path / "out")]) == 2
    assert "an LSTM" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


PROJECTED = (
    *("--model.projection", "16", "--model.no-map-back", "--model.num-layers", "2"),
    *("--model.width", "16", "--model.residual"),
    *("--model.cell-clip", "3", "--model.projection-clip", "3"),
)


@pytest.mark.slow
def test_one_with_elmos_cells_goes_through_the_same_commands(books, tmp_path, capsys):
    """Pre-trained, gone on with, asked, written with and fine-tuned; no other format takes it."""
    out, tuned = tmp_path / "projected", tmp_path / "tuned"
    words = ["pretrain", "--data", str(books), *TINY, *LSTM, *PROJECTED]
    assert main([*words, "--train.steps", "4", "--out", str(out)]) == 0
    assert main([*words, "--train.steps", "6", "--out", str(out), "--resume", "auto"]) == 0
    run = package.load(out)
    assert set(run.params["blocks_1"]) == {"inputs", "recurrent", "state_projection"}
    assert run.states(["The captain"])[0].shape[-1] == 16
    capsys.readouterr()
    assert main(["generate", "--run", str(out), "--prompt", "The", "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith("The")
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "32"]
    words += ["--max-valid", "16", "--train.epochs", "1", "--tracking.no-tensorboard"]
    assert main([*words, "--init", str(out), "--out", str(tuned)]) == 0
    assert len(package.load(tuned).predict(["A fine day."])) == 1
    words = ["probe", "--task", "sst2", "--data", "sample", "--run", str(out), "--features", "cell"]
    assert main(words) == 0
    assert main(["export", "--run", str(out), "--out", str(tmp_path / "out")]) == 2
    assert "an LSTM" in capsys.readouterr().err
    assert main(["pretrain", "--out", str(out), "--resume", "auto", "--model.no-residual"])
    assert "residual" in capsys.readouterr().err


STREAMS = ("--corpus.order", "streams")


def test_streams_are_trained_and_evaluated_alike(books, tmp_path, capsys):
    """By default as the run was trained; its figure depends on no batch size."""
    valid = tmp_path / "valid"
    valid.mkdir()
    for name in ("book0.txt", "book3.txt"):
        shutil.copy(books / name, valid)
    words = ["pretrain", "--data", str(books), "--corpus.validation", str(valid), *TINY, *LSTM]
    out, measured = tmp_path / "streams", tmp_path / "measured"
    assert main([*words, *STREAMS, "--train.steps", "6", "--out", str(out)]) == 0
    assert "windows of 32 tokens; what is remembered goes on" in capsys.readouterr().err
    trained = json.loads((out / "results.json").read_text())["metrics"]

    def evaluate(*more):
        asked = ["evaluate", "--run", str(out), "--data", str(valid), "--out", str(measured)]
        assert main([*asked, *more]) == 0
        return json.loads((measured / "results.json").read_text())

    found = evaluate("--batch-size", "3")
    assert found["metrics"]["loss"] == pytest.approx(trained["loss"], rel=1e-5)
    assert found["metrics"]["end_loss"] == pytest.approx(trained["end_loss"], rel=1e-5)
    assert found["streams"] == 16
    one = evaluate("--batch-size", "8", "--context", "7")  # where windows end makes no difference
    assert one["metrics"]["loss"] == pytest.approx(trained["loss"], rel=1e-5)
    assert "each document is read from its beginning to its end" in capsys.readouterr().out
    assert main(["pretrain", "--out", str(out), "--resume", "auto", "--corpus.reset", "document"])
    assert "another data order" in capsys.readouterr().err
    assert main(["evaluate", "--run", str(out), "--data", str(valid), "--stride", "4"]) == 2
    assert "--stride: windows do not overlap where" in capsys.readouterr().err


def test_streams_of_a_model_without_state_are_refused(books, tmp_path, capsys):
    words = ["pretrain", "--data", str(books), *TINY, *STREAMS, "--train.steps", "6"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    assert "a transformer has no state that could be carried" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
