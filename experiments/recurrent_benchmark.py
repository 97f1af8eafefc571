"""How fast recurrent models are trained, beside the same cells in PyTorch.

    .venv/bin/python experiments/recurrent_benchmark.py

A step is that of a language model over bytes: embedding, one recurrent layer, output, loss, the
gradients clipped, Adam. The LSTM stands beside ``torch.nn.LSTM``, the multiplicative LSTM beside a
loop over the tokens that ``torch.jit.script`` compiles. PyTorch computes in float32 and under
``autocast`` bfloat16, and the faster of the two counts. Both sides take turns in one process, with
the same threads, and the medians of the blocks are compared. The last column is what it costs to
carry the state from step to step. Needs the ``parity`` extra.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from instruments import RandomBatches, seconds_per_step
from our_side import gptjax_step
from script import start
from torch import nn

from gptjax.models.config import ModelConfig
from gptjax.models.lstm import LSTMConfig
from gptjax.models.mlstm import MLSTMConfig
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown

VOCABULARY = 256


@dataclass(frozen=True, kw_only=True)
class RecurrentConfig:
    """Measure steps of the LSTM and of the multiplicative LSTM."""

    cells: int = 512
    """Memory cells."""
    embedding: int = 64
    """Width of the multiplicative LSTM's embedding; the LSTM's is as wide as its cells are many."""
    batch_size: int = 32
    """Rows of a step."""
    context: int = 128
    """Tokens of a row."""
    blocks: int = 5
    """Turns that each side takes; medians are over them."""
    block_seconds: float = 3.0
    """About how long a turn lasts, in seconds."""
    out: Path = Path("runs/recurrent-benchmark")
    """Where the table goes."""


class TorchLSTM(nn.Module):
    """Embedding, ``torch.nn.LSTM``, a linear map, and the embedding as the output."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, cells)
        self.lstm = nn.LSTM(cells, cells)
        self.projection = nn.Linear(cells, cells)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [T, B, V] of tokens [T, B]."""
        states, _ = self.lstm(self.embedding(tokens))
        return self.projection(states) @ self.embedding.weight.T


class Normalised(nn.Module):
    """A matrix with weight normalisation, by column."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(inputs, features) / inputs**0.5)
        self.gain = nn.Parameter(torch.ones(features))

    def forward(self) -> torch.Tensor:
        return self.kernel * (self.gain / self.kernel.norm(dim=0))


def multiplicative(
    own: torch.Tensor, through: torch.Tensor, kernel: torch.Tensor, factor: torch.Tensor
) -> torch.Tensor:
    """The states [T, B, N] of inputs [T, B, 4 N] and [T, B, N]: one token after the other."""
    hidden = torch.zeros_like(through[0])
    cell = torch.zeros_like(through[0])
    states: list[torch.Tensor] = []
    for at in range(own.shape[0]):
        total = own[at] + (through[at] * (hidden @ factor)) @ kernel
        i, f, o, u = total.chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(u)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states)


class TorchMLSTM(nn.Module):
    """Embedding, a multiplicative LSTM in a scripted loop, and an output of its own."""

    def __init__(self, cells: int, embedding: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, embedding)
        self.inputs, self.input_factor = (Normalised(embedding, n) for n in (4 * cells, cells))
        self.recurrent, self.recurrent_factor = (Normalised(cells, n) for n in (4 * cells, cells))
        self.bias = nn.Parameter(torch.zeros(4 * cells))
        self.output = nn.Linear(cells, VOCABULARY)
        self.loop: Any = torch.jit.script(multiplicative)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [T, B, V] of tokens [T, B]."""
        x = self.embedding(tokens)
        own, through = x @ self.inputs() + self.bias, x @ self.input_factor()
        return self.output(self.loop(own, through, self.recurrent(), self.recurrent_factor()))


def torch_step(model: nn.Module, tokens: torch.Tensor, bfloat16: bool) -> Callable[[int], None]:
    """Train for a number of steps; tokens are [T + 1, B]."""
    adam = torch.optim.Adam(model.parameters(), fused=True)

    def train(count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = model(tokens[:-1])
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[1:].flatten())
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            adam.zero_grad()

    return train


def models(config: RecurrentConfig) -> dict[str, tuple[ModelConfig, Callable[[], nn.Module]]]:
    """By name our model, and theirs."""
    common: dict[str, Any] = {
        "vocabulary_size": VOCABULARY,
        "context_length": config.context,
        "num_layers": 1,
        "units": config.cells,
        "embedding_dropout": 0.0,
        "residual_dropout": 0.0,
    }
    return {
        "LSTM": (LSTMConfig(width=config.cells, **common), lambda: TorchLSTM(config.cells)),
        "multiplicative LSTM": (
            MLSTMConfig(embedding_width=config.embedding, **common),
            lambda: TorchMLSTM(config.cells, config.embedding),
        ),
    }


def main(config: RecurrentConfig) -> None:
    """Measure both, and print the table."""
    rows = []
    for name, (model, theirs) in models(config).items():
        sizes = (VOCABULARY, config.batch_size, config.context)
        tokens = torch.randint(VOCABULARY, (config.context + 1, config.batch_size))
        sides = {
            "ours": gptjax_step(model, RandomBatches(*sizes))[0],
            "carried": gptjax_step(model, RandomBatches(*sizes, streams=True), streams=True)[0],
            "float32": torch_step(theirs(), tokens, bfloat16=False),
            "bfloat16": torch_step(theirs(), tokens, bfloat16=True),
        }
        seconds = seconds_per_step(sides, config.blocks, config.block_seconds)
        best = min(seconds["float32"], seconds["bfloat16"])
        times = (f"{1000 * seconds[side]:.0f}" for side in ("ours", "float32", "bfloat16"))
        ratio = f"{best / seconds['ours']:.2f}"
        rows.append((name, *times, ratio, f"{seconds['carried'] / seconds['ours'] - 1:+.1%}"))
    heads = (
        *("model", "gptjax, ms a step", "PyTorch float32", "PyTorch autocast bfloat16"),
        *("times as fast as its best", "cost of carrying the state"),
    )
    caption = (
        f"{config.cells} cells, {config.batch_size} x {config.context} tokens, vocabulary "
        f"{VOCABULARY}, float32, {torch.get_num_threads()} threads, medians of {config.blocks} "
        f"blocks by turns; PyTorch {torch.__version__}."
    )
    title = "Steps of recurrent models"
    table = Table("recurrent-benchmark", title, caption, heads, tuple(rows), ("",) * len(rows))
    save(config.out, [], [table])
    print(markdown(table))


if __name__ == "__main__":
    start(main, RecurrentConfig, __doc__)
