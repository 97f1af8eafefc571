"""Small models and tokenizers in others' formats."""

import pytest
from small import random_params

from gptjax.data.tokenizers.bpe import Gpt1Tokenizer, Gpt2Tokenizer
from gptjax.data.tokenizers.bpe_files import Bpe
from gptjax.models.config import ModelConfig

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="session")
def gpt1_tokenizer():
    pieces = ["<unk>", *LETTERS, *(letter + "</w>" for letter in LETTERS), "th", "the</w>"]
    pieces += ["\n</w>", ".</w>", ",</w>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return Gpt1Tokenizer(Bpe(vocabulary, [("t", "h"), ("th", "e</w>")]), "fast")


@pytest.fixture(scope="session")
def gpt2_tokenizer():
    from tokenizers.pre_tokenizers import ByteLevel

    pieces = [*sorted(ByteLevel.alphabet()), "th", "\u0120th", "<|endoftext|>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return Gpt2Tokenizer(Bpe(vocabulary, [("t", "h"), ("\u0120", "th")]))


@pytest.fixture(scope="session", params=["post", "pre"], ids=["gpt1", "gpt2"])
def published(request, gpt1_tokenizer, gpt2_tokenizer):
    """A config, its parameters (every number random) and a tokenizer of its size."""
    tokenizer = gpt1_tokenizer if request.param == "post" else gpt2_tokenizer
    config = ModelConfig(
        vocabulary_size=tokenizer.size,
        context_length=16,
        num_layers=2,
        num_heads=2,
        width=8,
        norm=request.param,
    )
    return config, random_params(config), tokenizer
