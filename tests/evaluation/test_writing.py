"""Text that is given while it is written: whole characters, no stop text, the same in any cut."""

import dataclasses
import random

import jax
import numpy as np
import pytest

from gptjax.cli import main
from gptjax.commands.generate import _show
from gptjax.commands.pretrain import PretrainConfig
from gptjax.commands.pretrain import run as pretrain
from gptjax.config import from_table
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.evaluation.model import load
from gptjax.evaluation.text_scores import Span, score_spans
from gptjax.evaluation.writing import Text
from gptjax.models.decode import generate, stream

PROSE = "the old house was quiet, and the garden bright. "


@pytest.fixture(scope="module")
def tokenizer():
    return train_sentencepiece([[PROSE * 40]], 330)[0]


def until_stop(text, stops):
    """A reference: character by character, until one of the stop texts is complete."""
    for end in range(1, len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, found))]
    return text


def given(tokenizer, prompt, tokens, stops, cuts):
    """All that is given, when the tokens come in these parts."""
    text, parts = Text(tokenizer, prompt, stops), []
    for begin, end in zip([0, *cuts], [*cuts, len(tokens)], strict=True):
        parts.append(text.add(tokens[begin:end], last=end == len(tokens)))
        if text.ended:
            break
    assert text.ended
    return parts


@pytest.mark.parametrize("seed", range(4))
def test_any_cut_of_the_tokens_gives_the_text_before_the_stop(tokenizer, seed):
    draw = random.Random(seed)
    (prompt,) = tokenizer.encode(["the old \U0001f600"])
    before = tokenizer.decode(prompt)
    for _ in range(60):
        letters = ["house ", "the ", ". ", "\n", "é", "\U0001f600", "ab", "a", "old"]
        added = "".join(draw.choices(letters, k=draw.randint(0, 12)))
        stops = ["".join(draw.choices("ab\n .eé", k=draw.randint(1, 3))) for _ in range(3)]
        stops = stops[: draw.randint(0, 3)]
        ids = tokenizer.encode([before + added])[0].tolist()[len(prompt) :]
        if tokenizer.decode([*prompt, *ids]) != before + added:
            continue
        cuts = sorted(draw.sample(range(len(ids)), min(len(ids), draw.randint(0, 20))))
        parts = given(tokenizer, prompt.tolist(), ids, stops, cuts)
        assert "".join(parts) == before + until_stop(added, stops)
        assert not any("\ufffd" in part for part in parts)


def test_a_character_waits_for_its_bytes(tokenizer):
    ids = tokenizer.encode(["\U0001f600x"])[0].tolist()
    assert len(ids) == 5  # four bytes and a letter: neither was in the training text
    parts = given(tokenizer, [], ids, [], [1, 2, 3, 4])
    assert parts == ["", "", "", "\U0001f600", "x"]
    # What stays broken is shown in the end.
    assert "".join(given(tokenizer, [], ids[:2], [], [1])) == tokenizer.decode(ids[:2]) != ""


def test_without_echo_only_what_is_added_is_given(tokenizer):
    """A character that the prompt only begins belongs to what is added."""
    ids = tokenizer.encode(["the \U0001f600x"])[0].tolist()
    for cut in range(len(ids) + 1):
        text = Text(tokenizer, ids[:cut], [], echo=False)
        added = text.add(ids[cut:-1]) + text.add(ids[-1:] if cut < len(ids) else [], last=True)
        before = tokenizer.decode(ids[:cut]).rstrip("\ufffd")
        assert before + added == tokenizer.decode(ids)
        assert text.ended
        assert not text.stopped
    text = Text(tokenizer, ids[:2], ["x"], echo=False)
    assert not text.add(ids[2:], last=True).endswith("x")
    assert text.stopped


def test_samples_are_shown_one_after_another(capsys):
    shown = []

    def written():
        for step in [(0, "The", 0), (1, "A", 0), (0, " end", 0), (1, " b", 1), (0, ".", 1)]:
            shown.append(capsys.readouterr().out)
            yield step
        shown.append(capsys.readouterr().out)

    assert _show(written(), 2) == ["The end.", "A b"]
    assert shown == ["", "--- sample 1 of 2\nThe", "", " end", "", ".\n--- sample 2 of 2\nA b\n"]
    assert _show(iter([(0, "x", True)]), 1) == ["x"]
    assert capsys.readouterr().out == "x\n"


@pytest.fixture(scope="module")
def by_heart(tmp_path_factory):
    """A run that has learnt documents of one sentence each."""
    folder = tmp_path_factory.mktemp("heart")
    draw, words = random.Random(0), ["red", "old", "ship", "door", "saw", "sea", "left", "hill"]
    sentences = [" ".join(draw.choices(words, k=draw.randint(2, 5))) + "." for _ in range(300)]
    lines = "\n".join(f'{{"text": "{sentence}"}}' for sentence in sentences)
    (folder / "sentences.jsonl").write_text(lines, encoding="utf-8")
    model = {"context_length": 24, "num_layers": 1, "num_heads": 2, "width": 32}
    still = dict.fromkeys(("attention_dropout", "embedding_dropout", "residual_dropout"), 0.0)
    table = {
        "model": {**model, **still, "vocabulary_size": 290, "initial_std": 0.1},
        "corpus": {
            "data": str(folder / "sentences.jsonl"),
            "short_documents": "pack",
            "cache": str(folder / "cache"),
        },
        "optimizer": {"learning_rate": 0.01, "warmup": 0.1},
        "train": {"steps": 100, "batch_size": 16, "evaluate_every": 100},
        "tracking": {"tensorboard": False, "progress": False},
    }
    config = from_table(PretrainConfig, table, where="test")
    results = pretrain(dataclasses.replace(config, out=str(folder / "run")))
    assert results.metrics["end_loss"] < 0.2
    return load(folder / "run")


def test_the_end_is_likely_after_a_whole_sentence_only(by_heart):
    tokenizer = by_heart.tokenizer
    end = np.array([tokenizer.end], np.int32)
    probability = []
    for text in ("red ship saw old.", "red ship saw old"):
        context = np.array([tokenizer.separator, *tokenizer.encode([text])[0]], np.int32)
        (score,) = score_spans(by_heart, [Span(context, end)], 4)
        probability.append(float(np.exp(score.log_probabilities[0])))
    assert probability[0] > 0.9
    assert probability[1] < 0.1


def test_generation_ends_there_and_at_a_stop(by_heart, capsys):
    path = str(by_heart.folder.path)
    samples = by_heart.generate(max_tokens=60, num_samples=8, seed=1)
    assert all(sample.endswith(".") and sample.count(".") == 1 for sample in samples)
    assert len({len(sample) for sample in samples}) > 1
    assert by_heart.generate("red", max_tokens=60, num_samples=8, stop=".", seed=3) == [
        sample.removesuffix(".")
        for sample in by_heart.generate("red", max_tokens=60, num_samples=8, seed=3)
    ]
    words = ["generate", "--run", path, "--prompt", "red", "--seed", "3", "--max-tokens", "60"]
    assert main([*words, "--stop", ".", "--stop", "no such text"]) == 0
    (whole,) = by_heart.generate("red", max_tokens=60, seed=3)
    assert capsys.readouterr().out == whole.removesuffix(".") + "\n"
    assert main([*words, "--stop", ""]) == 2
    assert "--stop" in capsys.readouterr().err
    with pytest.raises(UserError, match="`stop`"):
        by_heart.generate(stop=["a", ""])


@pytest.mark.parametrize("every", [1, 7, 100])
def test_a_stream_draws_what_generate_draws(by_heart, every):
    tokenizer = by_heart.tokenizer
    prompt, key = [tokenizer.separator], jax.random.key(5)
    options = {"max_tokens": 40, "end": tokenizer.end, "num_samples": 4, "top_k": 20}
    given = (by_heart.model, by_heart.backbone)
    (expected,) = generate(*given, [prompt], key, **options)
    rows = [[] for _ in expected]
    for new in stream(*given, prompt, key, every=every, **options):
        assert {len(tokens) for tokens in new} == {min(every, 40, 40 - len(rows[0]))}
        for row, tokens in zip(rows, new, strict=True):
            row += tokens
    assert [row[: [*row, tokenizer.end].index(tokenizer.end)] for row in rows] == expected
    whole = list(stream(*given, prompt, key, every=9, **{**options, "end": None}))
    assert sum(len(new[0]) for new in whole) == 40
