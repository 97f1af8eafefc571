"""How fast it is: `make bench` prints tables for a training step, generation and tokenising.

Options follow ARGS, for example ``make bench ARGS="--sizes 12x768x12x40478@4x512 --blocks 3"``.
With the ``parity`` extra installed (``make bench-parity``) the same steps are done by PyTorch
with transformers, and the ratio is printed: the sides take turns, a block of steps each, and the
medians of the blocks are compared. PyTorch is at its best there: `step_benchmark.py` says how.

On an accelerator whose peak is known, or with ``--peak-flops``, there is the model FLOPs
utilisation: tokens per second × FLOPs per token / peak FLOPs per second of all devices
(`gptjax.models.flops.flops_per_token`).
"""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

import finetune_benchmark
import generation_benchmark
import interchange_benchmark
import jax
import step_benchmark
import tyro

from gptjax.data.text.embedded import embedded_documents
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.training import parallel
from gptjax.training.profile import peak_flops


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measure the speed of this machine."""

    sizes: tuple[str, ...] = ("12x768x12x40478@4x512", "4x256x4x8000@16x256")
    """Models, and the batches to train them with: LAYERSxWIDTHxHEADSxVOCABULARY@BATCHxCONTEXT.
    The default is GPT-1 with 4 sequences of 512 tokens, and a small model."""

    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    """Types of the computation of training steps; PyTorch's bfloat16 is autocast."""

    attention: Literal["einsum", "fused"] = "einsum"
    """How attention is computed; fused needs a dropout of 0."""

    dropout: float = 0.1
    """Probability of dropping, on the embedding, the attention weights and the residual
    branches."""

    rematerialize: bool = False
    """Compute each block again in the backward pass."""

    blocks: int = 5
    """Turns that each side takes; medians are over them."""

    block_seconds: float = 5.0
    """About how long a turn lasts, in seconds; at least one step."""

    new_tokens: int = 64
    """Length of a generated text, in tokens, written by GPT-1's and GPT-2's sizes; 0 leaves
    generation out."""

    rows: tuple[int, ...] = (1, 16)
    """Texts that are generated together."""

    tokenizer: bool = True
    """Whether to measure tokenising."""

    finetune: bool = True
    """Whether to measure fine-tuning too, with the auxiliary LM loss on."""

    pretrain: bool = True
    """Whether to measure pre-training steps."""

    interchange: bool = True
    """Whether to measure loading others' models and GPT-1's tokenizer."""

    gpt1_tokenizer: str | None = None
    """Folder with GPT-1's published BPE files; None leaves its tokenizer out."""

    pytorch: bool = True
    """Whether to compare with PyTorch where it is installed."""

    variants: tuple[str, ...] = ()
    """PyTorch's variants to try, such as "sdpa, fused, compiled"; none: all of them."""

    peak_flops: float | None = None
    """Peak FLOPs per second of all devices, for the utilisation (None: from a table by name)."""


def parse_size(text: str, config: BenchmarkConfig) -> tuple[ModelConfig, int]:
    """The model and the batch size of a ``--sizes`` entry.

    Raises:
        UserError: the text is no size, or the model is impossible.
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)x(\d+)@(\d+)x(\d+)", text)
    if match is None:
        raise UserError(f"--sizes {text}: expected LAYERSxWIDTHxHEADSxVOCABULARY@BATCHxCONTEXT")
    layers, width, heads, vocabulary, batch, context = map(int, match.groups())
    parallel.check_batch_size(batch, 1, f"--sizes {text}")
    model = ModelConfig(
        vocabulary_size=vocabulary,
        context_length=context,
        num_layers=layers,
        num_heads=heads,
        width=width,
        embedding_dropout=config.dropout,
        attention_dropout=config.dropout,
        residual_dropout=config.dropout,
        attention=config.attention,
        rematerialize=config.rematerialize,
    )
    return model, batch


def tokenizing_speed() -> float:
    """Tokens per second of encoding the embedded corpus with a vocabulary of 8,000."""
    texts = [text for _, text in embedded_documents()]
    tokenizer, _ = train_sentencepiece(([text] for text in texts), 8000)
    start = time.perf_counter()
    count = sum(len(ids) for ids in tokenizer.encode(texts))
    return count / (time.perf_counter() - start)


def measure(size: str, config: BenchmarkConfig, compare: bool) -> None:
    """A training step of a size, printed."""
    model, batch_size = parse_size(size, config)
    step_benchmark.measure(
        size,
        model,
        batch_size,
        config.dtypes,
        blocks=config.blocks,
        block_seconds=config.block_seconds,
        compare=compare,
        variants=config.variants,
        peak=config.peak_flops or peak_flops(),
    )


def comparable(config: BenchmarkConfig) -> bool:
    """Whether PyTorch is wanted, installed, and able to use the same kind of device."""
    if not config.pytorch:
        return False
    if find_spec("torch") is None or find_spec("transformers") is None:
        print("PyTorch is not compared: install the parity extra")
        return False
    import pytorch_gpt1

    if (pytorch_gpt1.device().type == "cpu") != (jax.default_backend() == "cpu"):
        print(f"PyTorch is not compared: it would run on {pytorch_gpt1.device().type}")
        return False
    return True


def show(row: Mapping[str, Any]) -> None:
    """Print a row as a table, a line per quantity."""

    def text(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"
        return "-" if value is None else str(value)

    for name, value in row.items():
        print(f"{name:24s}{text(value):>26s}", flush=True)


def run(config: BenchmarkConfig) -> None:
    """Measure and print."""
    # Several processes share an accelerator.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    print(parallel.describe_devices())
    compare = comparable(config)
    for size in config.sizes:
        if config.pretrain:
            measure(size, config, compare)
        if config.finetune:
            model, _ = parse_size(size, config)
            for dtype in config.dtypes:
                typed = replace(model, dtype=dtype)
                show(finetune_benchmark.measure(typed, compare, config.blocks))
    if config.finetune:
        seconds, count = finetune_benchmark.preparing_seconds()
        print(f"preparing {count:,} rows for fine-tuning: {seconds:.1f} s")
    if config.tokenizer:
        print(f"tokenising: {tokenizing_speed():,.0f} tokens/s")
    if config.interchange:
        for line in interchange_benchmark.lines(config.gpt1_tokenizer):
            print(line, flush=True)
    if config.new_tokens:
        generation_benchmark.measure(
            (("GPT-1", generation_benchmark.GPT1), ("GPT-2", generation_benchmark.GPT2)),
            config.dtypes,
            config.rows,
            count=config.new_tokens,
            blocks=config.blocks,
            compare=compare,
        )


if __name__ == "__main__":
    try:
        run(tyro.cli(BenchmarkConfig, description=__doc__))
    except UserError as error:
        raise SystemExit(f"benchmark: {error}") from error
