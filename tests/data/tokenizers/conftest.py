"""Small encodings of the kinds of GPT-1's and GPT-2's."""

import json

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from gptjax.data.tokenizers.bpe import END_OF_TEXT
from gptjax.data.tokenizers.open import load_tokenizer


@pytest.fixture(scope="session")
def gpt1_folder(tmp_path_factory, prose):
    """A small encoding of the kind of GPT-1's, as OpenAI names its files."""
    folder = tmp_path_factory.mktemp("gpt1")
    words = [word.lower() for word in prose(2000, seed=1).split()]
    trained = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    trainer = trainers.BpeTrainer(
        vocab_size=150, special_tokens=["<unk>", "\n</w>"], end_of_word_suffix="</w>"
    )
    trained.train_from_iterator(([word] for word in words), trainer)
    model = json.loads(trained.to_str())["model"]
    (folder / "encoder_bpe_40000.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "vocab_40000.bpe").write_text(f"#version: 0.2\n{merges}\n")
    return folder


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory, prose):
    """A small encoding of bytes, as OpenAI names its files."""
    folder = tmp_path_factory.mktemp("gpt2")
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    trained.train_from_iterator([prose(2000, seed=2) + "\n\n\n  the"], trainer)
    model = json.loads(trained.to_str())["model"]
    (folder / "encoder.json").write_text(json.dumps(model["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "vocab.bpe").write_text(f"#version: 0.2\n{merges}\n")
    return folder


@pytest.fixture(scope="session")
def gpt1(gpt1_folder):
    return load_tokenizer(gpt1_folder)


@pytest.fixture(scope="session")
def gpt2(gpt2_folder):
    return load_tokenizer(gpt2_folder)
