"""AWD-LSTM through the commands: ULMFiT's three stages, another vocabulary, the average."""

import json

import numpy as np
import pytest

import gptjax as package
from gptjax.cli import main
from gptjax.runs.own_config import read_table
from gptjax.training.archive import steps
from tests.commands.conftest import TINY

pytestmark = pytest.mark.usefixtures("own_cache")

AWD = [
    *("--model.kind", "lstm", "--model.num-layers", "2", "--model.layer-units", "24", "16"),
    *("--model.no-map-back", "--model.biases", "2", "--model.forget-bias", "0"),
    *("--model.output-bias", "--model.embedding-dropout", "0", "--model.residual-dropout", "0"),
    *("--model.word-dropout", "0.1", "--model.weight-dropout", "0.2"),
    *("--model.input-dropout", "0.1", "--model.hidden-dropout", "0.1"),
    *("--model.output-dropout", "0.1"),
    *("--model.activation-penalty", "2", "--model.temporal-penalty", "1"),
]
STREAMS = ["--corpus.order", "streams", "--tracking.no-tensorboard"]
SAMPLE = ["--data", "task:sst2=sample"]


@pytest.fixture(scope="module")
def pretrained(books, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp("awd") / "pretrained"
    words = ["pretrain", "--data", str(books), *TINY, *AWD, *STREAMS, "--train.steps", "24"]
    words += ["--tokenizer", "words", "--model.vocabulary-size", "28"]
    words += ["--optimizer.average-from", "20", "--checkpoint.every", "8"]
    assert main([*words, "--train.evaluate-every", "12", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def adapted(pretrained, own_cache):
    out = pretrained.parent / "adapted"
    words = ["pretrain", "--init", str(pretrained), *SAMPLE, *STREAMS, "--tokenizer", "words"]
    words += ["--model.vocabulary-size", "34", "--train.batch-size", "8", "--train.epochs", "1"]
    words += ["--optimizer.schedule", "slanted", "--optimizer.layer-decay", "0.3846"]
    assert main([*words, "--checkpoint.per-doubling", "1", "--out", str(out)]) == 0
    return out


def test_it_learns_and_its_average_is_what_is_opened(pretrained):
    (best,) = steps(pretrained / "checkpoints/best")
    assert best == 24
    tables = [package.load(pretrained, which).params for which in ("best", "last/24")]
    np.testing.assert_array_equal(*(one["token_embedding"] for one in tables))
    assert set(tables[0]) == {"token_embedding", "output_bias", "blocks_0", "blocks_1"}
    records = [json.loads(one) for one in (pretrained / "metrics.jsonl").read_text().splitlines()]
    assert all(("penalty" in one) == (one["split"] == "train") for one in records)


def test_it_goes_on_with_the_average_it_began_with(pretrained, tmp_path, capsys):
    words = ["pretrain", "--out", str(pretrained), "--resume", "auto"]
    assert main([*words, "--optimizer.average-from", "3"]) == 2
    assert "optimizer.average_from was 20" in capsys.readouterr().err
    words = ["pretrain", *SAMPLE, *TINY, "--train.steps", "5", "--optimizer.average-from", "6"]
    assert main([*words, "--out", str(tmp_path / "other")]) == 2
    assert "5 updates" in capsys.readouterr().err


def test_words_of_another_vocabulary_keep_their_rows(pretrained, adapted):
    """The others begin with the mean; all else is as it was."""
    before, after = package.load(pretrained), package.load(adapted, "curve/0")
    old, new = before.tokenizer.words, after.tokenizer.words
    assert (len(old), len(new)) == (28, 34)
    common = [word for word in new if word in old]
    assert {"<unk>", "<|separator|>", "the"} <= set(common) < set(new)
    for name in ("token_embedding", "output_bias"):
        rows, there = after.params[name], before.params[name]
        for number, word in enumerate(new):
            expected = there[old.index(word)] if word in old else there.mean(0)
            np.testing.assert_allclose(rows[number], expected, rtol=1e-6)
    np.testing.assert_array_equal(
        after.params["blocks_1"]["recurrent"], before.params["blocks_1"]["recurrent"]
    )
    last = package.load(adapted, "last").params["token_embedding"]
    assert np.abs(last - after.params["token_embedding"]).max() > 0


@pytest.mark.slow
def test_a_classifier_with_the_methods_of_the_paper_reads_longer_texts(adapted, tmp_path):
    out = tmp_path / "tuned"
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "32"]
    words += ["--max-valid", "16", "--train.batch-size", "8", "--tracking.no-tensorboard"]
    words += ["--task.pooling", "concat", "--task.head-width", "10", "--task.head-norm"]
    words += ["--optimizer.schedule", "slanted", "--optimizer.layer-decay", "0.3846"]
    words += ["--train.epochs", "3", "--train.unfreeze", "head", "2:", "0:"]
    words += ["--lm-coefficient", "0", "--model.context-length", "64"]
    words += ["--model.weight-dropout", "0.5", "--model.word-dropout", "0.05"]
    assert main([*words, "--init", str(adapted), "--out", str(out)]) == 0
    tuned = package.load(out)
    assert len(tuned.predict([{"text": "A fine day. " * 15}])) == 1
    model = read_table(out)["model"]
    assert (model["context_length"], model["weight_dropout"]) == (64, 0.5)
    assert model["activation_penalty"] == 2.0
    before = package.load(adapted).params["blocks_0"]["recurrent"]
    after = package.load(out, "last").params["backbone"]["blocks_0"]["recurrent"]
    assert np.abs(after - before).max() > 0


def test_a_vocabulary_that_is_not_of_words_stays(books, tmp_path, capsys):
    out = tmp_path / "bytes"
    words = ["pretrain", "--data", str(books), *TINY, "--train.steps", "2", "--tokenizer", "bytes"]
    assert main([*words, "--model.vocabulary-size", "257", "--out", str(out)]) == 0
    capsys.readouterr()
    words = ["pretrain", "--init", str(out), "--data", str(books), "--train.epochs", "1"]
    assert main([*words, "--tokenizer", "words", "--out", str(tmp_path / "other")]) == 2
    assert "are no words" in capsys.readouterr().err
