"""A made-up language, and a tokenizer that has learnt it."""

import random
from pathlib import Path

import pytest

from gptjax.data.tokenizers.sentencepiece import SentencePieceTokenizer
from gptjax.data.tokenizers.train import train_sentencepiece

VOCABULARY = """
the of and a to in house river morning never walked slowly under bright old stone garden
she he they said looked again because window light quiet, letter. Mary John?
"""


def make_prose(words: int, seed: int = 0) -> str:
    """So many words in lines of about ten, reproducibly."""
    draw = random.Random(seed)
    lines = []
    while words > 0:
        count = min(words, draw.randint(1, 20))
        lines.append(" ".join(draw.choices(VOCABULARY.split(), k=count)))
        words -= count
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def prose():
    return make_prose


@pytest.fixture(scope="session")
def tokenizer() -> SentencePieceTokenizer:
    return train_sentencepiece([[make_prose(3000, seed=9)]], 400)[0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GPTJAX_CACHE", str(folder))
    return folder
