"""The benchmark's other side: the same training step by PyTorch and transformers."""

import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    OpenAIGPTConfig,
    OpenAIGPTForSequenceClassification,
    OpenAIGPTLMHeadModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.models.openai.modeling_openai import Attention
from transformers.utils import logging

from gptjax.models.config import ModelConfig


def device() -> torch.device:
    """The accelerator that this PyTorch can use, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def make_model(config: ModelConfig, attention: str) -> OpenAIGPTLMHeadModel:
    """``OpenAIGPTLMHeadModel`` of the same size and dropouts, from random weights."""
    logging.set_verbosity_error()
    model = OpenAIGPTLMHeadModel(make_config(config)).to(device())
    return with_attention(model, attention)


def make_config(config: ModelConfig, **more: Any) -> OpenAIGPTConfig:
    """The same shape and dropouts in transformers' words."""
    return OpenAIGPTConfig(
        n_positions=config.context_length,
        n_embd=config.width,
        n_layer=config.num_layers,
        n_head=config.num_heads,
        embd_pdrop=config.embedding_dropout,
        attn_pdrop=config.attention_dropout,
        resid_pdrop=config.residual_dropout,
        **{"vocab_size": config.vocabulary_size, **more},
    )


def with_attention(model: Any, attention: str) -> Any:
    """The model with transformers' own attention ("eager") or PyTorch's fused one ("sdpa")."""
    if attention == "sdpa":
        # transformers has no scaled-dot-product attention for this model: exchange that part.
        for module in model.modules():
            if isinstance(module, Attention):
                module._attn = _sdpa(module)
    return model


def make_trainer(
    config: ModelConfig, rows: list[dict[str, Any]], batch_size: int, attention: str
) -> Callable[[int], float]:
    """A function that fine-tunes with transformers' Trainer for a number of steps.

    ``OpenAIGPTForSequenceClassification`` with three labels, batches padded to their longest row,
    Trainer's own optimiser, schedule and clipping.

    Args:
        config: the model's shape; three special tokens and one for padding are added.
        rows: ``input_ids`` and ``labels``.
        batch_size: rows per step.
        attention: "eager" or "sdpa".

    Returns:
        steps -> seconds per step, from the beginning of the first to the end of the last.
    """
    logging.set_verbosity_error()
    padding = config.vocabulary_size + 3
    model = with_attention(
        OpenAIGPTForSequenceClassification(
            make_config(config, vocab_size=padding + 1, pad_token_id=padding, num_labels=3)
        ),
        attention,
    )

    def collate(chosen: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in chosen)
        ids = [row["input_ids"] + [padding] * (longest - len(row["input_ids"])) for row in chosen]
        tokens = torch.tensor(ids)
        return {
            "input_ids": tokens,
            "attention_mask": (tokens != padding).long(),
            "labels": torch.tensor([row["labels"] for row in chosen]),
        }

    class Clock(TrainerCallback):
        begun = 0.0
        seconds = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if not self.begun:
                self.begun = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.seconds = time.perf_counter() - self.begun

    def run(steps: int) -> float:
        clock = Clock()
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model,
                TrainingArguments(
                    folder,
                    per_device_train_batch_size=batch_size,
                    max_steps=steps,
                    save_strategy="no",
                    logging_strategy="no",
                    report_to=[],
                    disable_tqdm=True,
                    use_cpu=not torch.cuda.is_available(),
                    bf16=config.dtype == "bfloat16",
                    seed=time.monotonic_ns() % 2**31,
                ),
                data_collator=collate,
                train_dataset=rows,
                callbacks=[clock],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
        return clock.seconds / steps

    return run


def training(
    model: Mapping[str, Any], batch_size: int, attention: str, optimizer: str, compiled: bool
) -> Callable[[int], None]:
    """`make_step` of a config's settings, for a process of its own."""
    return make_step(ModelConfig(**model), batch_size, attention, optimizer, compiled)


def make_step(
    config: ModelConfig,
    batch_size: int,
    attention: str,
    optimizer: str,
    compiled: bool = False,
) -> Callable[[int], None]:
    """A function that trains for a number of steps and waits for the last to end.

    Args:
        config: the model's shape; with ``dtype`` bfloat16 the step runs under autocast.
        batch_size: sequences of ``context_length`` tokens.
        attention: "eager" (transformers' own) or "sdpa".
        optimizer: AdamW's "fused" or "foreach" implementation.
        compiled: whether the model is compiled (``torch.compile``).
    """
    model = make_model(config, attention).train()
    forward = torch.compile(model) if compiled else model
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    adam = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}],
        lr=1e-4,
        **{optimizer: True},
    )
    shape = (batch_size, config.context_length)
    tokens = torch.randint(0, config.vocabulary_size, shape, device=device())
    low = torch.autocast(device().type, torch.bfloat16, enabled=config.dtype == "bfloat16")

    def step(count: int) -> None:
        for _ in range(count):
            adam.zero_grad(set_to_none=True)
            with low:
                loss = forward(tokens, labels=tokens).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            loss.item()

    return step


def generating(
    model: Mapping[str, Any], rows: int, prompt: int, count: int
) -> Callable[[int], None]:
    """Greedy generation, all rows together; GPT-2 where the config's norms come first.

    transformers keeps no key-value cache for GPT-1: each token costs a full forward pass.
    """
    logging.set_verbosity_error()
    config = ModelConfig(**model)
    network: Any = OpenAIGPTLMHeadModel(make_config(config))
    if config.norm == "pre":
        shape = {"n_embd": config.width, "n_layer": config.num_layers, "n_head": config.num_heads}
        shape |= {"vocab_size": config.vocabulary_size, "n_positions": config.context_length}
        network = GPT2LMHeadModel(GPT2Config(**shape))
    network = network.to(device(), getattr(torch, config.dtype)).eval()
    tokens = torch.ones((rows, prompt), dtype=torch.long, device=device())
    options = {"do_sample": False, "pad_token_id": 0, "eos_token_id": None}

    def run(texts: int) -> None:
        with torch.inference_mode():
            for _ in range(texts):
                mask = torch.ones_like(tokens)
                network.generate(tokens, attention_mask=mask, max_new_tokens=count, **options)

    return run


def _sdpa(module: Attention) -> Callable[..., list[Any]]:
    def attend(q: Any, k: Any, v: Any, mask: Any = None, output_attentions: bool = False) -> Any:
        rate = module.attn_dropout.p if module.training else 0.0
        # transformers hands the keys over transposed.
        out = nn.functional.scaled_dot_product_attention(
            q, k.transpose(-1, -2), v, dropout_p=rate, is_causal=True
        )
        return [out]

    return attend
