"""How fast text is written: the part of `benchmark.py` that measures generation.

Greedy, from a short prompt, all rows together, beside transformers' ``generate`` with MKL at its
widest (`step_benchmark.widest`). Its GPT-1 keeps no key-value cache, its GPT-2 does. In bfloat16
transformers' parameters are bfloat16 as well; ours stay float32 and are rounded once a text.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from step_benchmark import widest
from turns import Side, take_turns

from gptjax.models.config import ModelConfig
from gptjax.report.figures import Table, markdown

GPT1 = ModelConfig()
GPT2 = ModelConfig(norm="pre", vocabulary_size=50257, context_length=1024)
PROMPT = 16


def line(
    name: str, model: ModelConfig, rows: int, count: int, blocks: int, compare: bool
) -> tuple[str, ...]:
    """A line of the table: ``count`` new tokens in each of ``rows`` rows."""
    arguments = {"model": asdict(model), "rows": rows, "prompt": PROMPT, "count": count}
    with ExitStack() as stack:
        ours = Side("our_side:generating", arguments, keeps_memory=True)
        sides = {"ours": stack.enter_context(ours)}
        if compare:
            environment = stack.enter_context(widest())
            theirs = Side("pytorch_gpt1:generating", arguments, environment=environment)
            sides["theirs"] = stack.enter_context(theirs)
        turns = take_turns(sides, blocks, seconds=0)
    speeds = {side: rows * count / turn.wall for side, turn in turns.items()}
    beside = ("", "")
    if compare:
        beside = (f"{speeds['theirs']:.1f}", f"{speeds['ours'] / speeds['theirs']:.2f}")
    return (name, model.dtype, str(rows), f"{speeds['ours']:.1f}", *beside)


def measure(
    models: Sequence[tuple[str, ModelConfig]],
    dtypes: Sequence[str],
    rows: Sequence[int],
    *,
    count: int,
    blocks: int,
    compare: bool,
) -> None:
    """Measure each model in each type with each number of rows, and print the table."""
    lines = [
        line(name, replace(model, dtype=dtype), number, count, blocks, compare)
        for name, model in models
        for dtype in dtypes
        for number in rows
    ]
    heads = ("model", "type", "rows", "tokens/s", "transformers", "times as fast")
    caption = f"{count} tokens after {PROMPT}, medians of {blocks} turns."
    unmarked = ("",) * len(lines)
    print(markdown(Table("generation", "Generation", caption, heads, tuple(lines), unmarked)))
