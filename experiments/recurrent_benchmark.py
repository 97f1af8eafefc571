"""How fast recurrent models are trained, beside the same cells in PyTorch.

    .venv/bin/python experiments/recurrent_benchmark.py

A step is that of a language model over bytes: embedding, one recurrent layer, output, loss, the
gradients clipped, Adam. The LSTM stands beside ``torch.nn.LSTM``, the multiplicative LSTM beside a
loop over the tokens that ``torch.jit.script`` compiles. AWD-LSTM, which reads words in windows that
go on, stands beside three ``torch.nn.LSTM`` with dropout of their weights. The bidirectional model
of ELMo, over a table of words, stands beside two stacks of ``torch.nn.LSTM`` with ``proj_size``,
with ``torch.compile`` and without; these have residual sums and dropout too, and no clipping. Both
sides compute in float32 and in bfloat16, PyTorch's under ``autocast``, and its products are at
their widest (`step_benchmark.widest`). The faster type of each side counts. Each side is a process
of its own; they take turns, and the medians of the blocks are compared. The last column is what
it costs to carry the state from step to step, in float32. Needs the ``parity`` extra.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from script import start
from step_benchmark import widest
from torch import nn
from turns import Side, take_turns

from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.config import ModelConfig
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.mlstm import MLSTMConfig
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown

VOCABULARY = 256
LSTM, MLSTM, AWD, BILM = "LSTM", "multiplicative LSTM", "AWD-LSTM", "biLM"
# Of AWD-LSTM: layers, their cells, words of the vocabulary, and tokens of a row.
LAYERS, WIDTH, WORDS, WINDOW = 3, 384, 10_000, 70
WORD, INPUT, WEIGHT, HIDDEN, OUTPUT = 0.02, 0.25, 0.2, 0.15, 0.1  # what is dropped
ACTIVATION, TEMPORAL = 2.0, 1.0  # penalties
# Of the biLM: layers of a direction, their cells, their states, and what is dropped.
DEPTH, CELLS, STATE, DROPPED = 2, 384, 96, 0.1
DTYPES = ("float32", "bfloat16")


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


class TorchAWD(nn.Module):
    """AWD-LSTM: its five dropouts, its two penalties, and states that go on from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList(nn.LSTM(WIDTH, WIDTH) for _ in range(LAYERS))
        self.raw = nn.ParameterList()
        for layer in self.layers:
            self.raw.append(nn.Parameter(layer.weight_hh_l0.detach().clone()))
            del layer._parameters["weight_hh_l0"]
        self.state: list[Any] = [None] * LAYERS
        self.penalty = torch.zeros(())

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [T, B, V] of tokens [T, B]; the penalty lies in ``penalty`` then."""
        rows = nn.functional.dropout(torch.ones(WORDS, 1), WORD)
        x = _locked(self.embedding(tokens) * rows[tokens], INPUT)
        for number, layer in enumerate(self.layers):
            layer.weight_hh_l0 = nn.functional.dropout(self.raw[number], WEIGHT)
            raw, state = layer(x, self.state[number])
            self.state[number] = tuple(one.detach() for one in state)
            x = _locked(raw, HIDDEN if number < LAYERS - 1 else OUTPUT)
        change = raw.float()[1:] - raw.float()[:-1]
        self.penalty = ACTIVATION * x.float().square().mean() + TEMPORAL * change.square().mean()
        return x @ self.embedding.weight.T


class TorchBiLM(nn.Module):
    """Two stacks of projected LSTM layers over one embedding, and one output, as ELMo has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, STATE)
        self.stacks = nn.ModuleList(
            nn.ModuleList(nn.LSTM(STATE, CELLS, proj_size=STATE) for _ in range(DEPTH))
            for _ in range(2)
        )
        self.output = nn.Linear(STATE, WORDS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [T, 2 B, V] of tokens [T, 2 B]: rows as they are, and turned ones."""
        found = []
        embedded = self.embedding(tokens).chunk(2, dim=1)
        for stack, rows in zip(self.stacks, embedded, strict=True):
            x = nn.functional.dropout(rows, DROPPED)
            for number, layer in enumerate(stack):
                given, _ = layer(x)
                x = nn.functional.dropout(given + x if number else given, DROPPED)
            found.append(x)
        logits: torch.Tensor = self.output(torch.cat(found, dim=1))
        return logits


def _locked(x: torch.Tensor, rate: float) -> torch.Tensor:
    """Dropout of [T, B, D] with one mask for all positions."""
    return x * nn.functional.dropout(x.new_ones(1, *x.shape[1:]), rate)


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


def pytorch(
    name: str,
    cells: int,
    embedding: int,
    batch_size: int,
    context: int,
    dtype: str,
    compiled: bool = False,
) -> Callable[[int], None]:
    """Training for a number of steps, for a process of its own."""
    made: dict[str, Callable[[], nn.Module]] = {
        LSTM: lambda: TorchLSTM(cells),
        MLSTM: lambda: TorchMLSTM(cells, embedding),
        AWD: TorchAWD,
        BILM: TorchBiLM,
    }
    model = made[name]()
    run: Any = torch.compile(model) if compiled else model
    adam = torch.optim.Adam(model.parameters(), fused=True)
    tokens = torch.randint(WORDS if name in (AWD, BILM) else VOCABULARY, (context + 1, batch_size))
    if name == BILM:
        tokens = torch.cat([tokens, tokens.flip(0)], dim=1)

    def train(count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                logits = run(tokens[:-1])
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[1:].flatten())
            if isinstance(model, TorchAWD):
                loss = loss + model.penalty
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            adam.step()
            adam.zero_grad()

    return train


def models(config: RecurrentConfig) -> dict[str, ModelConfig]:
    """Ours, by name."""
    common: dict[str, Any] = {
        "vocabulary_size": VOCABULARY,
        "context_length": config.context,
        "num_layers": 1,
        "units": config.cells,
        "embedding_dropout": 0.0,
        "residual_dropout": 0.0,
    }
    return {
        LSTM: LSTMConfig(width=config.cells, **common),
        MLSTM: MLSTMConfig(embedding_width=config.embedding, **common),
        AWD: awd(),
        BILM: bilm(config.context),
    }


def awd() -> LSTMConfig:
    """The AWD-LSTM that is measured: that of the preset small-awd."""
    return LSTMConfig(
        vocabulary_size=WORDS,
        context_length=WINDOW,
        num_layers=LAYERS,
        width=WIDTH,
        map_back=False,
        biases=2,
        forget_bias=0.0,
        embedding_dropout=0.0,
        residual_dropout=0.0,
        word_dropout=WORD,
        input_dropout=INPUT,
        weight_dropout=WEIGHT,
        hidden_dropout=HIDDEN,
        output_dropout=OUTPUT,
        activation_penalty=ACTIVATION,
        temporal_penalty=TEMPORAL,
    )


def bilm(context: int) -> BiLMConfig:
    """The bidirectional model that is measured: the size of the preset small-bilm, with a table."""
    return BiLMConfig(
        vocabulary_size=WORDS,
        context_length=context,
        num_layers=DEPTH,
        units=CELLS,
        projection=STATE,
        tokens="table",
        embedding_dropout=DROPPED,
        residual_dropout=DROPPED,
    )


def seconds(name: str, model: ModelConfig, config: RecurrentConfig) -> dict[str, float]:
    """Of a step of each side, wall."""
    with ExitStack() as stack:
        environment = stack.enter_context(widest())
        sides = {}
        for dtype in DTYPES:
            given: dict[str, Any] = {"model": {**asdict(model), "dtype": dtype}}
            given |= {"batch_size": config.batch_size, "streams": name == AWD}
            ours = Side("our_side:training", given, keeps_memory=True)
            sides[f"ours {dtype}"] = stack.enter_context(ours)
            asked = {"name": name, "cells": config.cells, "embedding": config.embedding}
            asked |= {"batch_size": config.batch_size, "dtype": dtype}
            asked["context"] = model.context_length
            for how in ("", " compiled") if name == BILM else ("",):
                own = {**asked, "compiled": bool(how)}
                theirs = Side("recurrent_benchmark:pytorch", own, environment=environment)
                sides[f"theirs {dtype}{how}"] = stack.enter_context(theirs)
        if name not in (AWD, BILM):  # the state of the one is carried always, the other has none
            given = {"model": asdict(model), "batch_size": config.batch_size, "streams": True}
            carried = Side("our_side:training", given, keeps_memory=True)
            sides["carried"] = stack.enter_context(carried)
        turns = take_turns(sides, config.blocks, config.block_seconds)
    return {name: turn.wall for name, turn in turns.items()}


def main(config: RecurrentConfig) -> None:
    """Measure both, and print the table."""
    rows = []
    for name, model in models(config).items():
        found = seconds(name, model, config)
        ours, theirs = (
            [
                min(time for key, time in found.items() if key.startswith(f"{side} {dtype}"))
                for dtype in DTYPES
            ]
            for side in ("ours", "theirs")
        )
        times = (f"{1000 * one:.0f}" for one in (*ours, *theirs))
        carrying = f"{found['carried'] / ours[0] - 1:+.1%}" if "carried" in found else "-"
        rows.append((name, *times, f"{min(theirs) / min(ours):.2f}", carrying))
    heads = (
        *("model", "gptjax float32, ms a step", "gptjax bfloat16"),
        *("PyTorch float32", "PyTorch autocast bfloat16"),
        *("times as fast at its best", "cost of carrying the state"),
    )
    caption = (
        f"{config.cells} cells, {config.batch_size} x {config.context} tokens, vocabulary "
        f"{VOCABULARY}; of AWD-LSTM {LAYERS} x {WIDTH} cells, {config.batch_size} x {WINDOW} "
        f"tokens, vocabulary {WORDS}; of the biLM {DEPTH} x {CELLS} cells in each direction, "
        f"states of {STATE}, {config.batch_size} x {config.context} tokens, vocabulary {WORDS}; "
        f"{torch.get_num_threads()} threads, medians of {config.blocks} blocks by turns; PyTorch "
        f"{torch.__version__}."
    )
    title = "Steps of recurrent models"
    table = Table("recurrent-benchmark", title, caption, heads, tuple(rows), ("",) * len(rows))
    save(config.out, [], [table])
    print(markdown(table))


if __name__ == "__main__":
    start(main, RecurrentConfig, __doc__)
