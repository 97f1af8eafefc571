"""A sequence autoencoder through the commands: trained, resumed, measured, shown, fine-tuned."""

import json
import math

import pytest

from gptjax.cli import main
from gptjax.runs import open as runs
from tests.commands.conftest import TINY, metrics

pytestmark = pytest.mark.usefixtures("own_cache")

TEXTS = ["small red house", "the old ship", "a river and the light", "winter never left"]
WORDS = ("--tokenizer", "words", "--model.vocabulary-size", "14")
SHORT = ("--train.steps", "4", "--checkpoint.every", "2", "--train.evaluate-every", "4")


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    file = tmp_path_factory.mktemp("valid") / "valid.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:2]))
    return file


@pytest.fixture(scope="module")
def options(valid, tmp_path_factory):
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 4))
    text = ("--data", str(file), "--corpus.validation", str(valid))
    return ["pretrain", *text, *TINY, *WORDS, *SHORT, "--corpus.layout", "autoencode"]


@pytest.fixture(scope="module")
def trained(options, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp("runs") / "sa"
    assert main([*options, "--out", str(out)]) == 0
    return out


def results(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_its_perplexity_has_a_name_of_its_own(trained):
    last = [record for record in metrics(trained) if record["split"] == "valid"][-1]
    assert last["reconstruction_perplexity"] == pytest.approx(math.exp(last["loss"]))
    found = results(trained)
    assert found["examples"] == found["metrics"]["tokens"] == 6
    assert found["metrics"]["end_loss"] > 0
    names = set(found["metrics"])
    assert names == {"accuracy", "end_loss", "loss", "reconstruction_perplexity", "tokens"}
    assert runs.load(trained).reconstructs
    meta = json.loads((trained / "meta.json").read_text(encoding="utf-8"))
    assert meta["data"]["train"]["predicted"] == 4 * (3 + 3 + 5 + 3 + 4)


def test_evaluate_agrees_with_the_run(trained, valid, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["evaluate", "--run", str(trained), "--data", str(valid)]
    assert main([*words, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "reconstruction perplexity" in printed
    assert "perplexity per" not in printed
    assert "bits per byte" not in printed
    for name, value in results(trained)["metrics"].items():
        assert results(out)["metrics"][name] == pytest.approx(value, rel=1e-5), name
    for option in ("--stride", "--streams"):
        assert main([*words, option, "4"]) == 2
        assert f"{option} 4: " in capsys.readouterr().err


def test_a_report_keeps_it_apart_from_language_models(trained, valid, tmp_path, capsys):
    page, out = tmp_path / "page.html", tmp_path / "out"
    assert main(["evaluate", "--run", str(trained), "--data", str(valid), "--out", str(out)]) == 0
    words = ["report", "--runs", str(trained), str(out), "--out", str(page)]
    assert main(words) == 0
    html = page.read_text(encoding="utf-8")
    assert "Sequence autoencoders" in html
    assert "Texts written once more" in html
    assert "Pre-trained runs" not in html
    assert "Perplexity of texts" not in html


def test_another_layout_is_another_run(trained, options, capsys):
    words = [*options, "--out", str(trained), "--resume", "auto"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--corpus.layout", "lm"]) == 2
    told = capsys.readouterr().err
    assert "corpus.layout was autoencode when the run was started, and is lm" in told
    assert "another data order" in told.splitlines()[-1]


def test_what_has_no_meaning_is_refused(options, tmp_path, capsys):
    words = [*options, "--out", str(tmp_path / "run")]
    assert main([*words, "--corpus.short-documents", "pack"]) == 2
    assert "corpus.short_documents pack: is for windows" in capsys.readouterr().err
    published = ["--tokenizer", "bytes", "--model.vocabulary-size", "256"]
    assert main([*words, *published]) == 2
    assert "the tokenizer has no token for the end" in capsys.readouterr().err


def test_books_are_read_at_their_end_with_a_notice(books, tmp_path, capsys):
    words = ["pretrain", "--data", str(books), *TINY, *SHORT, "--corpus.layout", "autoencode"]
    words += ["--train.batch-size", "4", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "notice: " in told
    assert "of each document only the last 7 have room" in told


@pytest.mark.slow
def test_it_writes_and_is_fine_tuned(trained, tmp_path, capsys):
    assert main(["generate", "--run", str(trained), "--prompt", "the", "--max-tokens", "4"]) == 0
    words = ["finetune", "--init", str(trained), "--task", "sst2", "--data", "sample"]
    words += ["--max-train", "16", "--max-valid", "8", "--train.epochs", "1"]
    words += ["--tracking.no-tensorboard", "--out", str(tmp_path / "tuned")]
    assert main(words) == 0
    assert results(tmp_path / "tuned")["metrics"]["accuracy"] >= 0
