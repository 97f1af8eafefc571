"""What transformers and datasets do in `use_benchmark.py`, as their documentation does it.

Each function makes one side of a comparison for `turns.Side`.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    OpenAIGPTConfig,
    OpenAIGPTForSequenceClassification,
    OpenAIGPTLMHeadModel,
    OpenAIGPTTokenizer,
)
from transformers.utils import logging

BATCH = 32
logging.set_verbosity_error()


def make_model(folder: str, tokenizer: str) -> None:
    """Write a GPT-1 of random weights with the published tokenizer, as the hub has it.

    Args:
        folder: where it goes.
        tokenizer: folder of the published BPE files.
    """
    torch.manual_seed(0)
    OpenAIGPTLMHeadModel(OpenAIGPTConfig()).save_pretrained(folder)
    files = Path(tokenizer)
    merges = (files / "vocab_40000.bpe").read_text(encoding="utf-8").splitlines()[1:]
    (Path(folder) / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    vocabulary = (files / "encoder_bpe_40000.json").read_bytes()
    (Path(folder) / "vocab.json").write_bytes(vocabulary)


def _tokenizer(folder: str) -> OpenAIGPTTokenizer:
    files = Path(folder)
    return OpenAIGPTTokenizer(str(files / "vocab.json"), str(files / "merges.txt"))


def perplexity(model: str, text: str, stride: int) -> Callable[[int], float]:
    """The perplexity of a book, by the loop of transformers' guide to fixed-length models."""
    words = _tokenizer(model)

    def run(count: int) -> float:
        for _ in range(count):
            network = AutoModelForCausalLM.from_pretrained(model).eval()
            ids = words(Path(text).read_text(encoding="utf-8"), return_tensors="pt").input_ids
            context, length = network.config.n_positions, ids.size(1)
            total, predicted, before = 0.0, 0, 0
            for begin in range(0, length, stride):
                end = min(begin + context, length)
                window = ids[:, begin:end]
                targets = window.clone()
                targets[:, : -(end - before)] = -100
                with torch.inference_mode():
                    loss = network(window, labels=targets).loss
                tokens = int((targets[:, 1:] != -100).sum())
                total, predicted, before = total + float(loss) * tokens, predicted + tokens, end
                if end == length:
                    break
        return float(torch.tensor(total / predicted).exp())

    return run


def scoring(model: str, texts: Sequence[str]) -> Callable[[int], float]:
    """The log-probability of each text, in padded batches as they come."""
    words = _tokenizer(model)
    network = AutoModelForCausalLM.from_pretrained(model).eval()

    def run(count: int) -> float:
        for _ in range(count):
            total = 0.0
            for begin in range(0, len(texts), BATCH):
                rows = [words(text).input_ids for text in texts[begin : begin + BATCH]]
                longest = max(map(len, rows))
                ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
                there = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
                with torch.inference_mode():
                    logits = network(ids, attention_mask=there).logits[:, :-1]
                    found = torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0]
                total += float((found * there[:, 1:]).sum())
        return total

    return run


def predicting(model: str, texts: Sequence[str]) -> Callable[[int], int]:
    """Labels of rows by transformers' pipeline for text classification."""
    words = _tokenizer(model)
    words.pad_token = words.unk_token
    network = OpenAIGPTForSequenceClassification.from_pretrained(
        model, num_labels=2, pad_token_id=words.pad_token_id
    )
    classify = transformers.pipeline(
        "text-classification", model=network.eval(), tokenizer=words, batch_size=BATCH
    )

    def run(count: int) -> int:
        for _ in range(count):
            answers = classify(list(texts))
        return len(answers)

    return run


def encoding(model: str, text: str) -> Callable[[int], int]:
    """The tokens of a file of paragraphs, by ``datasets.map`` with two processes."""
    words = _tokenizer(model)
    datasets.disable_progress_bars()

    def run(count: int) -> int:
        for _ in range(count):
            with tempfile.TemporaryDirectory() as cache:
                rows = datasets.load_dataset(
                    "text", data_files=text, split="train", cache_dir=cache
                )
                encoded = rows.map(
                    lambda batch: {"ids": words(batch["text"]).input_ids},
                    batched=True,
                    num_proc=2,
                    remove_columns=["text"],
                )
                total = sum(map(len, encoded["ids"]))
        return total

    return run
