"""What is pre-trained for experiments/context_or_knowledge.py, and what may be compared."""

import dataclasses
import json

import context_or_knowledge as script
import pytest

from gptjax import config as configs
from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.sweep import run_sweep
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.runs.folder import RunFolder
from gptjax.runs.results import Data, LanguageModelling, write_results
from tests.sweep.conftest import config_of

pytestmark = pytest.mark.usefixtures("no_pictures")

PROSE = "She walked to the house. He did not. They said it again, and the river was cold.\n\n"
MODEL = ModelConfig(vocabulary_size=300, num_layers=2, width=32, num_heads=2)


@pytest.fixture(scope="module")
def tokenizers():
    return [train_sentencepiece([[PROSE * 20]], size)[0] for size in (285, 290)]


@pytest.fixture
def played(monkeypatch, player):
    monkeypatch.setattr(script, "run_sweep", lambda sweep, jobs: run_sweep(sweep, jobs, player))
    return player


@pytest.fixture
def options(tmp_path, tokenizers):
    """Of the script, with books on the disk."""
    for name in ("books", "validation"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.txt").write_text(PROSE * 30, encoding="utf-8")
    tokenizers[0].save(tmp_path / "tokenizer")
    return script.ContextConfig(
        data=tmp_path,
        books=str(tmp_path / "books"),
        validation=str(tmp_path / "validation"),
        tokenizer=str(tmp_path / "tokenizer"),
        out=tmp_path / "context",
    )


def make_run(folder, tokenizer, model=MODEL, text="abc"):
    """As much of a pre-trained run as is compared."""
    folder.mkdir()
    configs.write(PretrainConfig(model=model), folder / "config.toml")
    tokenizer.save(RunFolder(folder).tokenizer)
    results = LanguageModelling(
        split="valid",
        examples=1,
        metrics={},
        data=Data(fingerprint=text),
        checkpoint="best/1",
        steps=1,
        seed=0,
    )
    write_results(RunFolder(folder).results, results)
    return folder


def test_all_three_are_trained_alike_but_for_their_text(options, played):
    models = script.pretrained(options)
    assert list(models) == [script.PRETRAINED, script.SHUFFLED, script.SNIPPETS]
    assert played.started == ["books", "shuffled-sentences", "snippets"]
    assert [models[name].name for name in models] == played.started
    made = [config_of(launch.words) for launch in played.launches]
    for section, name, value in (
        ("corpus", "validation", options.validation),
        ("vocabulary", "tokenizer", options.tokenizer),
        ("model", "num_layers", 4),
        ("optimizer", "learning_rate", 0.001),
    ):
        assert [one[section][name] for one in made] == [value] * 3
    assert ["short_documents" in one["corpus"] for one in made] == [False, False, True]
    books, shuffled, snippets = (one["corpus"]["data"] for one in made)
    assert books == options.books
    for file in (shuffled, snippets):
        with open(file, encoding="utf-8") as lines:
            text = " ".join(json.loads(line)["text"] for line in lines)
        assert sorted(text.split()) == sorted((PROSE * 30).split())

    assert script.pretrained(options) == models
    assert len(played.launches) == 3


def test_what_is_given_is_not_trained(options, played, tmp_path):
    given = dataclasses.replace(options, full=tmp_path / "a", snippets=tmp_path / "b")
    models = script.pretrained(given)
    assert played.started == ["shuffled-sentences"]
    assert models[script.PRETRAINED] == tmp_path / "a"
    assert models[script.SNIPPETS] == tmp_path / "b"


def test_other_books_have_other_texts(options, played, tmp_path):
    script.pretrained(options)
    (tmp_path / "books" / "two.txt").write_text("Another book.\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"shuffled-sentences: was made with corpus\.data"):
        script.pretrained(options)
    assert len(played.launches) == 3


@pytest.mark.parametrize("other", ["validation text", "tokenizer", "model", None])
def test_only_what_is_alike_is_compared(tmp_path, tokenizers, other):
    wide = dataclasses.replace(MODEL, width=64)
    full = make_run(tmp_path / "full", tokenizers[0])
    cut = make_run(
        tmp_path / "cut",
        tokenizers[other == "tokenizer"],
        wide if other == "model" else MODEL,
        "abd" if other == "validation text" else "abc",
    )
    models = {script.PRETRAINED: full, script.SNIPPETS: cut}
    measured = {name: script.results(run) for name, run in models.items()}
    if other is None:
        script.check_comparable(models, measured)
        return
    with pytest.raises(UserError, match=f"{full} and {cut} have another {other}"):
        script.check_comparable(models, measured)


def test_an_unfinished_run_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: is no finished run"):
        script.results(tmp_path)


@pytest.mark.parametrize(
    ("one", "lost"), [(0.6, "50 %"), (0.7, "0 %"), (0.7004, "0 %"), (0.8, "-50 %"), (0.5, "100 %")]
)
def test_the_part_of_the_gain_that_is_lost(one, lost):
    assert script.share_lost(0.7, 0.5, one) == lost
