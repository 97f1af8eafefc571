"""How fast ESIM is trained on pairs of texts, beside the same model in PyTorch.

    .venv/bin/python experiments/co_attention_benchmark.py

A step is that of `--task.model co-attention` on word vectors that are trained: table, an LSTM in
both directions, attention between the two texts, a second LSTM, pooling, loss, the gradients
clipped, Adam. All texts have the same length, so that PyTorch need not pack them. Both
sides compute in float32 and in bfloat16, PyTorch's under ``autocast``, compiled and not, and its
products are at their widest (`step_benchmark.widest`). The fastest of each side counts. Each side
is a process of its own; they take turns, and the medians of the blocks are compared. Needs the
``parity`` extra.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from script import start
from step_benchmark import widest
from torch import nn
from turns import Side, take_turns

from gptjax.errors import UserError
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown

CLASSES, DROPOUT, CLIP = 3, 0.5, 10.0


@dataclass(frozen=True, kw_only=True)
class CoAttentionConfig:
    """Measure steps of ESIM."""

    width: int = 300
    """Size of a vector, of the LSTMs in each direction, and of the hidden layer."""
    vocabulary: int = 36_000
    """Words of the table, about as many as SNLI has."""
    batch_size: int = 32
    """Pairs of a step."""
    length: int = 25
    """Tokens of a text, start and end included."""
    blocks: int = 5
    """Turns that each side takes; medians are over them."""
    block_seconds: float = 3.0
    """About how long a turn lasts, in seconds."""
    out: Path = Path("runs/co-attention-benchmark")
    """Where the table goes."""

    @property
    def sizes(self) -> dict[str, int]:
        """What both sides are told."""
        names = ("width", "vocabulary", "batch_size", "length")
        return {name: getattr(self, name) for name in names}


class TorchESIM(nn.Module):
    """The model of Chen et al. (2017)."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.encoder = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.local = nn.Linear(8 * width, width)
        self.composition = nn.LSTM(width, width, batch_first=True, bidirectional=True)
        self.hidden = nn.Linear(8 * width, width)
        self.output = nn.Linear(width, CLASSES)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of tokens [2 B, T]: all premises, then all hypotheses."""
        read = self.encoder(self.dropout(self.embedding(tokens)))[0]
        premise, hypothesis = read.chunk(2)
        scores = premise @ hypothesis.transpose(1, 2)
        aligned = torch.cat(
            [scores.softmax(2) @ hypothesis, scores.softmax(1).transpose(1, 2) @ premise]
        )
        joined = torch.cat([read, aligned, read * aligned, read - aligned], dim=-1)
        found = self.composition(self.dropout(torch.relu(self.local(joined))))[0]
        pooled = torch.cat([found.mean(1), found.max(1).values], dim=-1)
        x = torch.cat(pooled.chunk(2), dim=-1)
        return self.output(self.dropout(torch.tanh(self.hidden(self.dropout(x)))))


def pytorch(
    width: int, vocabulary: int, batch_size: int, length: int, dtype: str, compiled: bool
) -> Callable[[int], None]:
    """Training for a number of steps, for a process of its own."""
    model = TorchESIM(width, vocabulary)
    run: Any = torch.compile(model) if compiled else model
    adam = torch.optim.Adam(model.parameters(), fused=True)
    tokens = torch.randint(vocabulary, (2 * batch_size, length))
    targets = torch.randint(CLASSES, (batch_size,))

    def train(count: int) -> None:
        for _ in range(count):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
                logits = run(tokens)
            nn.functional.cross_entropy(logits.float(), targets).backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            adam.step()
            adam.zero_grad()

    return train


def main(config: CoAttentionConfig) -> None:
    """Measure both, and print the table."""
    with ExitStack() as stack:
        environment = stack.enter_context(widest())
        sides = {}
        for dtype in ("float32", "bfloat16"):
            given = {**config.sizes, "dtype": dtype}
            how = {"classes": CLASSES, "dropout": DROPOUT, "clip_norm": CLIP}
            ours = Side("our_side:comparing", {**given, **how}, keeps_memory=True)
            sides[f"gptjax {dtype}"] = stack.enter_context(ours)
            for compiled in (False, True):
                name = f"PyTorch {dtype}" + ", compiled" * compiled
                maker = "co_attention_benchmark:pytorch"
                theirs = Side(maker, {**given, "compiled": compiled}, environment=environment)
                try:
                    theirs(1)
                except UserError as error:
                    print(f"{name}: {error}", flush=True)
                    theirs.close()
                else:
                    sides[name] = stack.enter_context(theirs)
        turns = take_turns(sides, config.blocks, config.block_seconds)
    best = {
        side: min(turn.wall for name, turn in turns.items() if name.startswith(side))
        for side in ("gptjax", "PyTorch")
    }
    rows = tuple(
        (name, f"{1000 * turn.wall:.0f}", f"{1000 * turn.cpu:.0f}") for name, turn in turns.items()
    )
    caption = (
        f"Width {config.width}, {config.batch_size} pairs of 2 x {config.length} tokens, "
        f"vocabulary {config.vocabulary:,}; {torch.get_num_threads()} threads, medians of "
        f"{config.blocks} blocks by turns; PyTorch {torch.__version__}. gptjax is "
        f"{best['PyTorch'] / best['gptjax']:.2f} times as fast, each side at its best."
    )
    heads = ("side", "ms a step", "ms of all processors")
    table = Table(
        "co-attention-benchmark", "Steps of ESIM", caption, heads, rows, ("",) * len(rows)
    )
    save(config.out, [], [table])
    print(markdown(table))


if __name__ == "__main__":
    start(main, CoAttentionConfig, __doc__)
