"""The bidirectional model through the same commands: pre-trained, measured, probed, fine-tuned."""

import json

import numpy as np
import pytest

import gptjax as package
from gptjax.cli import main
from gptjax.spelling import begin, spell
from tests.commands.conftest import TINY

pytestmark = pytest.mark.usefixtures("own_cache")

BILM = ("--model.kind", "bilm", "--model.units", "12", "--model.projection", "8")
FILTERS = ("--model.filter-widths", "1", "3", "--model.filter-counts", "4", "8")
WORDS = ("--tokenizer", "words", "--model.highway-layers", "1", "--model.character-width", "4")


@pytest.fixture(scope="module")
def pretrained(books, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp("bilm") / "pretrained"
    words = ["pretrain", "--data", str(books), *TINY, *BILM, *FILTERS, *WORDS]
    words += ["--model.context-length", "16", "--model.vocabulary-size", "31"]
    words += ["--train.steps", "20", "--train.evaluate-every", "20", "--out", str(out)]
    words += ["--optimizer.learning-rate", "1e-2", "--optimizer.weight-decay", "0.1"]
    assert main(words) == 0
    return out


def test_it_is_measured_both_ways(pretrained, books, capsys):
    metrics = json.loads((pretrained / "results.json").read_text())["metrics"]
    assert metrics["perplexity"] < 31
    assert not (pretrained / "samples.txt").exists()
    capsys.readouterr()
    assert main(["evaluate", "--run", str(pretrained), "--data", str(books)]) == 0
    said = capsys.readouterr().out
    assert "bits per byte" in said
    assert "generate" not in said


def test_its_words_are_spelled_and_no_training_changes_that(pretrained):
    run = package.load(pretrained)
    expected = spell(run.tokenizer.words)
    expected[run.tokenizer.separator] = begin()
    found = np.asarray(run.backbone["word_embedding"]["spelling"]).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)
    names = {"word_embedding", "blocks_0", "output_table", "output_bias"}
    assert set(run.params) == names
    one, other = "The captain found the letter.", "The captain"
    both = run.states([one, other])
    np.testing.assert_allclose(both[1], run.states(other), rtol=0, atol=1e-6)
    assert run.features(one, "mean").shape == (16,)


REFUSED = {
    "generate": (("--prompt", "The"), "cannot write text, since its states know of the tokens"),
    "zeroshot": (("--task", "sst2", "--data", "sample"), "cannot answer without training"),
    "evaluate": (("--data", "embedded", "--stride", "4"), "reads a window from its end, too"),
}


@pytest.mark.parametrize("command", REFUSED)
def test_what_needs_a_next_token_is_refused_in_one_line(pretrained, command, capsys):
    words, message = REFUSED[command]
    assert main([command, "--run", str(pretrained), *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert len([line for line in said if line.startswith("gptjax:")]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--corpus.short-documents", "pack"), "reads each document by itself"),
        (("--corpus.layout", "autoencode"), "would see what it is to write"),
        (("--corpus.order", "streams"), "has no state that could be carried"),
        (("--tokenizer", "bytes", "--model.vocabulary-size", "257"), "are those of words"),
    ],
)
def test_rows_that_it_cannot_read_are_refused(books, tmp_path, words, message, capsys):
    given = ["pretrain", "--data", str(books), *TINY, *BILM, *FILTERS, "--train.steps", "5"]
    assert main([*given, *words, "--out", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_it_is_fine_tuned_and_probed(pretrained, tmp_path, capsys):
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "32"]
    words += ["--max-valid", "16", "--train.epochs", "1", "--tracking.no-tensorboard"]
    given = [*words, "--init", str(pretrained), "--out", str(tmp_path / "tuned")]
    assert main([*given, "--task.lm-coefficient", "0.5"]) == 2
    assert "set task.lm_coefficient 0" in capsys.readouterr().err
    assert main([*given, "--task.pooling", "mean"]) == 0
    assert "no auxiliary LM loss: a bidirectional" in capsys.readouterr().err
    assert len(package.load(tmp_path / "tuned").predict([{"text": "A fine day."}])) == 1
    words = ["probe", "--run", str(pretrained), "--task", "sst2", "--data", "sample"]
    assert main([*words, "--layer", "all", "--out", str(tmp_path / "probe")]) == 0
