"""Fewer CPU seconds to the same perplexity: what pre-training `small` on novels can do without.

    .venv/bin/python experiments/cheaper_pretraining.py --data FOLDER --tokenizer MODEL

``FOLDER`` has the novels, ``train/*.txt`` and ``valid/*.txt``. Each variant is trained once, on
every third novel. With ``--whole "NAME" "NAME"`` these variants are trained on all novels with two
seeds. CPU seconds are those of the whole process: start, compilation, evaluations and checkpoints
are in them. What has finished is not run again.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from script import start

from gptjax.errors import UserError
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown

CLEAR = {"embedding": 0, "attention": 0, "residual": 0}
NO_DROPOUT = " ".join(f"--model.{name}-dropout {value}" for name, value in CLEAR.items())
LOW = "--model.dtype bfloat16"
MUON = f"{LOW} {NO_DROPOUT} --optimizer.update muon"
VARIANTS: Mapping[str, str] = {
    "as it is": "",
    "bfloat16": LOW,
    "no dropout": f"{LOW} {NO_DROPOUT}",
    "no dropout, 2e-3": f"{LOW} {NO_DROPOUT} --lr 2e-3",
    "Muon, 1e-3": f"{MUON}",
    "Muon, 2e-3": f"{MUON} --lr 2e-3",
    "Muon, 4e-3": f"{MUON} --lr 4e-3",
    "Muon, 16 windows, 4e-3": f"{MUON} --lr 4e-3 --train.batch-size 16",
    "Muon, 16 windows, 8e-3": f"{MUON} --lr 8e-3 --train.batch-size 16",
}
"""Options beside ``--config small``. On a third of the novels the warm-up is a third as long."""


@dataclass(frozen=True, kw_only=True)
class CheaperConfig:
    """Pre-train the variants, and write the table."""

    data: Path
    """The folder of the novels."""
    tokenizer: Path
    """Their tokenizer, of 8,000 pieces."""
    only: tuple[str, ...] = ()
    """Train these variants alone; all of them when empty."""
    whole: tuple[str, ...] = ()
    """Variants to train on all novels."""
    seeds: int = 2
    """How many seeds the runs on all novels have."""
    runs: Path = Path("runs/cheaper-pretraining")
    """Where the runs go."""


def third(books: Path, folder: Path) -> Path:
    """A folder of links to every third novel."""
    folder.mkdir(parents=True, exist_ok=True)
    for book in sorted(books.glob("*.txt"))[::3]:
        link = folder / book.name
        if not link.exists():
            link.symlink_to(book.resolve())
    return folder


def train(config: CheaperConfig, name: str, seed: int, whole: bool) -> dict[str, float]:
    """The validation perplexity, the updates and the CPU seconds of a run.

    Raises:
        UserError: the run ended with an error.
    """
    stem = name.replace(", ", "-").replace(" ", "-").lower()
    out = config.runs / f"{stem}-{'all' if whole else 'third'}-{seed}"
    kept = out / "cost.json"
    if kept.exists():
        return json.loads(kept.read_text())
    books = config.data / "train"
    if not whole:
        books = third(books, config.runs / "novels")
    words = [sys.executable, "-m", "gptjax", "pretrain", "--config", "small", "--out", str(out)]
    words += ["--data", str(books), "--corpus.validation", str(config.data / "valid")]
    words += ["--tokenizer", str(config.tokenizer), "--train.seed", str(seed)]
    words += ["--optimizer.warmup", "0.06", "--tracking.no-progress", *VARIANTS[name].split()]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(words, env={**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code:
        raise UserError(f"{name}: exit code {code}")
    found = json.loads((out / "results.json").read_text())
    cost = {
        "perplexity": found["metrics"]["perplexity"],
        "updates": found["steps"],
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }
    kept.write_text(json.dumps(cost))
    return cost


def main(config: CheaperConfig) -> None:
    """Train what has not been trained, and print the table."""
    names = config.whole or config.only or tuple(VARIANTS)
    for name in names:
        if name not in VARIANTS:
            raise UserError(f"{name}: there are {'; '.join(VARIANTS)}")
    rows = []
    for name in names:
        for seed in range(config.seeds if config.whole else 1):
            cost = train(config, name, seed, bool(config.whole))
            updates, cpu = f"{cost['updates']:,.0f}", f"{cost['cpu']:,.0f}"
            rows.append((name, str(seed), updates, f"{cost['perplexity']:.2f}", cpu))
            print(" | ".join(rows[-1]), flush=True)
    heads = ("variant", "seed", "updates", "perplexity", "CPU seconds")
    share = "All novels." if config.whole else "Every third novel."
    table = Table("cheaper", "Cheaper pre-training", share, heads, tuple(rows), ("",) * len(rows))
    save(config.runs, [], [table])
    print(markdown(table))


if __name__ == "__main__":
    start(main, CheaperConfig, __doc__)
