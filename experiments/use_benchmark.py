"""How fast everyday work is beside transformers and datasets, at GPT-1's size.

    .venv/bin/python experiments/use_benchmark.py --gpt1-tokenizer FOLDER --text book.txt

A GPT-1 of random weights with the published tokenizer is written once, in the hub's format, and
both sides open it. Each side is a process of its own; they take turns. PyTorch's products are at
their widest (`step_benchmark.widest`). Needs the ``parity`` extra.
The last rows have no opponent: they are what a user waits for.
"""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import their_use
from script import start
from step_benchmark import widest
from turns import Side, take_turns

from gptjax.models.config import ModelConfig
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown

Work = Literal["perplexity", "scoring", "predicting", "encoding", "first-step"]
WORKS: tuple[Work, ...] = ("perplexity", "scoring", "predicting", "encoding", "first-step")
SMALL = ModelConfig(vocabulary_size=8000, context_length=256, num_layers=4, num_heads=4, width=256)


@dataclass(frozen=True, kw_only=True)
class UseConfig:
    """Measure everyday work."""

    gpt1_tokenizer: Path
    """Folder with GPT-1's published BPE files."""
    text: Path
    """A .txt file, a book: its first part is measured, and its paragraphs are scored."""
    work: tuple[Work, ...] = WORKS
    """What to measure."""
    characters: int = 100_000
    """Length of the part whose perplexity is measured."""
    stride: int = 256
    """Tokens by which the window moves on."""
    rows: int = 1000
    """Paragraphs that are scored and labelled."""
    megabytes: int = 40
    """Text to encode: the file as often as it takes."""
    blocks: int = 3
    """Turns that each side takes; medians are over them."""
    out: Path = Path("runs/use-benchmark")
    """Where the table goes."""


def arguments(config: UseConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """What each piece of work is done with; files that it needs are written."""
    text = config.text.read_text(encoding="utf-8")
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]
    part, large = folder / "part.txt", folder / "large.txt"
    part.write_text(text[: config.characters], encoding="utf-8")
    once = "\n".join(paragraphs) + "\n"
    times = -(-config.megabytes * 1_000_000 // len(once.encode()))
    large.write_text(once * times, encoding="utf-8")
    rows = [line[:400] for line in paragraphs[: config.rows]]
    return {
        "perplexity": {"text": str(part), "stride": config.stride},
        "scoring": {"texts": rows},
        "predicting": {"texts": rows},
        "encoding": {"text": str(large)},
    }


def compare(work: str, given: Mapping[str, Any], blocks: int) -> tuple[str, ...]:
    """The row of a piece of work."""
    with ExitStack() as stack:
        ours = Side(f"our_use:{work}", given, keeps_memory=True)
        theirs = Side(f"their_use:{work}", given, environment=stack.enter_context(widest()))
        sides = {"ours": stack.enter_context(ours), "theirs": stack.enter_context(theirs)}
        turns = take_turns(sides, blocks, seconds=0)
    mine, other = turns["ours"], turns["theirs"]
    seconds = (f"{mine.wall:.1f}", f"{other.wall:.1f}")
    return (work, *seconds, f"{other.wall / mine.wall:.2f}", f"{other.cpu / mine.cpu:.2f}")


def first_steps(blocks: int) -> Iterator[tuple[str, ...]]:
    """From the start of a process to the end of the first training step, compiled or kept."""
    arguments = {"model": asdict(SMALL), "batch_size": 16}
    pytorch = {**arguments, "attention": "sdpa", "optimizer": "fused", "compiled": False}
    with tempfile.TemporaryDirectory() as cache:
        kept = {"JAX_COMPILATION_CACHE_DIR": cache}
        kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        off = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
        ours: dict[str, dict[str, str]] = {"cold": off, "warm": kept}
        _first_step("our_side:training", arguments, kept)
        seconds: dict[str, list[float]] = {name: [] for name in ("cold", "warm", "theirs")}
        for _ in range(blocks):
            for name, environment in ours.items():
                seconds[name].append(_first_step("our_side:training", arguments, environment))
            seconds["theirs"].append(_first_step("pytorch_gpt1:training", pytorch, {}))
    other = sorted(seconds["theirs"])[blocks // 2]
    for name in ours:
        mine = sorted(seconds[name])[blocks // 2]
        what = f"start to first step, {name}"
        yield (what, f"{mine:.1f}", f"{other:.1f}", f"{other / mine:.2f}", "")


def _first_step(maker: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> float:
    begun = time.perf_counter()
    with Side(maker, given, environment=environment, keeps_memory=maker.startswith("our")) as side:
        side(1)
        return time.perf_counter() - begun


def main(config: UseConfig) -> None:
    """Measure one thing after the other, and print the table."""
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Path(name) / "gpt1"
        their_use.make_model(str(model), str(config.gpt1_tokenizer))
        given = arguments(config, folder)
        for work in config.work:
            if work == "first-step":
                rows += first_steps(config.blocks)
            else:
                rows.append(compare(work, {"model": str(model), **given[work]}, config.blocks))
            print(" | ".join(rows[-1]), flush=True)
    heads = ("what", "gptjax, s", "opponent, s", "times as fast", "by CPU time")
    caption = f"Medians of {config.blocks} turns."
    table = Table("use-benchmark", "Everyday work", caption, heads, tuple(rows), ("",) * len(rows))
    save(config.out, [], [table])
    print(markdown(table))


if __name__ == "__main__":
    start(main, UseConfig, __doc__)
