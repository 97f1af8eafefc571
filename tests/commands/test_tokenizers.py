"""Bytes and words through the same commands: pre-trained, resumed, measured, written with."""

import json

import pytest

import gptjax as package
from gptjax.cli import main
from gptjax.commands.pretrain import PretrainConfig, defaults, from_table
from gptjax.options import parse
from tests.commands.conftest import TINY

pytestmark = pytest.mark.usefixtures("own_cache")

SHORT = ("--train.steps", "4", "--checkpoint.every", "2", "--train.evaluate-every", "4")
KINDS = {
    "bytes": ("--tokenizer", "bytes", "--model.vocabulary-size", "257"),
    "published": ("--tokenizer", "bytes", "--model.vocabulary-size", "256", "--unescape-html"),
    "words": ("--tokenizer", "words", "--model.vocabulary-size", "25"),
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request, books, tmp_path_factory, own_cache):
    out = tmp_path_factory.mktemp(request.param) / "run"
    words = ["pretrain", "--data", str(books), *TINY, *SHORT, *KINDS[request.param]]
    assert main([*words, "--out", str(out)]) == 0
    return request.param, out


def test_it_is_measured_and_writes(trained, books, tmp_path, capsys):
    kind, run = trained
    out = str(tmp_path / "out")
    assert main(["evaluate", "--run", str(run), "--data", str(books), "--out", out]) == 0
    assert ("not kept" in capsys.readouterr().out) == (kind != "bytes")
    found = json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]
    assert found["bits_per_byte"] > 0
    assert ("end_loss" in found) == (kind != "published")
    assert main(["generate", "--run", str(run), "--prompt", "The", "--max-tokens", "8"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the" if kind == "words" else "The")
    assert written != "The\n"


@pytest.mark.parametrize("trained", ["words"], indirect=True)
def test_it_goes_on_with_its_own_words(trained, capsys):
    _, run = trained
    kept = (run / "tokenizer" / "words.json").read_bytes()
    assert main(["pretrain", "--out", str(run), "--resume", "2"]) == 0
    assert "resuming after step 2" in capsys.readouterr().err
    assert (run / "tokenizer" / "words.json").read_bytes() == kept


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["published"], indirect=True)
def test_its_special_rows_follow_the_bytes(trained, tmp_path):
    _, run = trained
    words = ["finetune", "--task", "sst2", "--data", "sample", "--max-train", "16"]
    words += ["--max-valid", "8", "--train.epochs", "1", "--tracking.no-tensorboard"]
    out = tmp_path / "tuned"
    assert main([*words, "--init", str(run), "--out", str(out)]) == 0
    tuned = package.load(out)
    assert tuned.params["backbone"]["token_embedding"].shape[0] == 256
    assert tuned.params["adapter"]["special_embedding"].shape[0] == 3
    assert len(tuned.predict([{"text": "A fine day."}])) == 1


@pytest.mark.parametrize("form", ["hf", "openai"])
def test_it_has_no_place_in_others_formats(trained, form, tmp_path, capsys):
    _, run = trained
    out = tmp_path / "out"
    assert main(["export", "--run", str(run), "--out", str(out), "--format", form]) == 2
    assert "tokenizer" in capsys.readouterr().err
    assert not out.exists()


def size(*words):
    return parse(PretrainConfig, words, prog="x", defaults=defaults).model.vocabulary_size


def test_the_size_of_bytes_unless_another_is_said(tmp_path):
    typed = ("--tokenizer", "bytes")
    assert size(*typed) == 257
    assert size(*typed, "--model.vocabulary-size", "256") == 256
    assert size("--vocabulary.tokenizer=bytes", "--config", "tiny") == 257
    assert size(*typed, "--model.kind", "lstm") == 257
    assert size("--tokenizer", "words", "--config", "tiny") == 4096
    file = tmp_path / "own.toml"
    file.write_text('[model]\nvocabulary_size = 256\n[vocabulary]\ntokenizer = "bytes"\n')
    assert size("--config", str(file)) == size("--config", str(file), *typed) == 256
    bytes_alone = {"vocabulary": {"tokenizer": "bytes"}}
    assert from_table(bytes_alone, "x").model.vocabulary_size == 257
    # A file that says both is taken at its word, and refused later.
    both = from_table({**bytes_alone, "model": {"vocabulary_size": 4096}}, "x")
    assert both.model.vocabulary_size == 4096


def test_another_size_is_refused_in_one_line(books, tmp_path, capsys):
    words = ["pretrain", "--data", str(books), *TINY, *SHORT, "--tokenizer", "bytes"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("gptjax: --model.vocabulary-size 330: with --vocabulary.tokenizer bytes")
