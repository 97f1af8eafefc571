"""A training step beside PyTorch's best: the part of `benchmark.py` that measures pre-training.

The opponent is PyTorch with transformers' model, in the fastest of these variants, each tried for
two steps: eager or scaled-dot-product attention, fused or foreach AdamW, with or without
``torch.compile`` where that works. There are up to three of it, and each is a row:

- float32 as it comes;
- float32 at its widest: on AMD's processors PyTorch's library of products (MKL) takes AVX2
  alone. A preloaded library of one function, ``mkl_serv_intel_cpu_true``, makes it take AVX-512;
- bfloat16 under ``autocast``, with the same library.
"""

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import jax
from turns import Side, Turns, take_turns

from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.flops import flops_per_token
from gptjax.report.figures import Table, markdown

AS_IT_COMES, AT_ITS_WIDEST = "as it comes", "at its widest"


@dataclass(frozen=True)
class Row:
    """A side's training step."""

    side: str
    dtype: str
    how: str
    """The variant of PyTorch."""
    turns: Turns
    memory: float | None
    """Peak in GB."""


@contextmanager
def widest() -> Iterator[dict[str, str] | None]:
    """The environment in which MKL takes the widest instructions; None where it cannot be made."""
    compiler = shutil.which("cc")
    if platform.system() != "Linux" or platform.machine() != "x86_64" or compiler is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "widest.c"), Path(folder, "widest.so")
        source.write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        yield {"LD_PRELOAD": str(library)}


def pytorch(
    model: ModelConfig, batch_size: int, environment: dict[str, str] | None, wanted: Sequence[str]
) -> tuple[Side, str]:
    """PyTorch's fastest variant, ready to run, and what it is; one of ``wanted``, or of all."""

    def side(attention: str, optimizer: str, compiled: bool) -> Side:
        arguments = {"attention": attention, "optimizer": optimizer, "compiled": compiled}
        arguments |= {"model": asdict(model), "batch_size": batch_size}
        return Side("pytorch_gpt1:training", arguments, environment=environment)

    def seconds(variant: tuple[str, str, bool]) -> float:
        try:
            with side(*variant) as tried:
                tried(1)
                return tried(2)["wall"]
        except UserError as error:
            print(f"PyTorch, {name(variant)}: {error}", flush=True)
            return float("inf")

    def name(variant: tuple[str, str, bool]) -> str:
        attention, optimizer, compiled = variant
        return f"{attention}, {optimizer}" + ", compiled" * compiled

    pairs = list(product(("eager", "sdpa"), ("fused", "foreach")))
    if wanted:
        every = [(*pair, compiled) for pair in pairs for compiled in (False, True)]
        tried = {variant: seconds(variant) for variant in every if name(variant) in wanted}
    else:
        tried = {variant: seconds(variant) for variant in [(*pair, False) for pair in pairs]}
        attention, optimizer, _ = min(tried, key=tried.__getitem__)
        tried[(attention, optimizer, True)] = seconds((attention, optimizer, True))
    best = min(tried, key=tried.__getitem__)
    return side(*best), name(best)


def beside(
    model: ModelConfig,
    batch_size: int,
    blocks: int,
    seconds: float,
    compare: bool,
    variants: Sequence[str],
) -> tuple[list[Row], dict[str, Any]]:
    """The rows of one compute type, ours first, and the result of our last turn."""
    arguments = {"model": asdict(model), "batch_size": batch_size}
    on_cpu = jax.default_backend() == "cpu"
    with ExitStack() as stack:
        ours = stack.enter_context(Side("our_side:training", arguments, keeps_memory=True))
        sides, how = {"gptjax": ours}, {"gptjax": ""}
        settings = [(AS_IT_COMES, {})] if model.dtype == "float32" else []
        settings.append((AT_ITS_WIDEST, stack.enter_context(widest()) if on_cpu else None))
        for label, environment in settings if compare else []:
            if environment is None and model.dtype == "float32" and sides.keys() > {"gptjax"}:
                continue  # there is no wider one
            side, variant = pytorch(model, batch_size, environment, variants)
            sides[label] = stack.enter_context(side)
            how[label] = variant
        turns = take_turns(sides, blocks, seconds)
        memory = {name: side.peak_memory(1) for name, side in sides.items()}
        last = ours(1)["result"]
    if last["memory"] is not None:
        memory["gptjax"] = last["memory"]
    rows = []
    for name in sides:
        side = name if name == "gptjax" else f"PyTorch {name}"
        rows.append(Row(side, model.dtype, how[name], turns[name], memory[name]))
    return rows, last


def table(size: str, rows: Sequence[Row]) -> Table:
    """The rows, and how many times as fast ours of the same type is."""
    ours = {row.dtype: row for row in rows if row.side == "gptjax"}

    def line(row: Row) -> tuple[str, ...]:
        mine = ours[row.dtype].turns
        times = ("", "")
        if row.side != "gptjax":
            times = (f"{row.turns.wall / mine.wall:.2f}", f"{row.turns.cpu / mine.cpu:.2f}")
        memory = f"{row.memory:.1f}" if row.memory else ""
        wall, cpu = f"{row.turns.wall:.3f}", f"{row.turns.cpu:.3f}"
        return (row.side, row.dtype, row.how, wall, cpu, memory, *times)

    heads = ("side", "type", "its fastest", "step, s", "CPU, s", "peak, GB")
    heads += ("gptjax is times as fast", "by CPU time")
    lines = tuple(line(row) for row in rows)
    return Table("training-step", f"A training step, {size}", "", heads, lines, ("",) * len(lines))


def measure(
    size: str,
    model: ModelConfig,
    batch_size: int,
    dtypes: Sequence[str],
    *,
    blocks: int,
    block_seconds: float,
    compare: bool,
    variants: Sequence[str],
    peak: float | None,
) -> None:
    """Measure a size in each compute type, and print the table and the lines below it."""
    rows: list[Row] = []
    below: list[str] = []
    for dtype in dtypes:
        typed = replace(model, dtype=dtype)
        found, last = beside(typed, batch_size, blocks, block_seconds, compare, variants)
        rows += found
        below += list(_lines(typed, batch_size, found[0], last, blocks, block_seconds, peak))
    print(markdown(table(size, rows)))
    print("\n".join(below), flush=True)


def _lines(
    model: ModelConfig,
    batch_size: int,
    ours: Row,
    last: dict[str, Any],
    blocks: int,
    block_seconds: float,
    peak: float | None,
) -> Iterator[str]:
    speed = batch_size * model.context_length / ours.turns.wall
    say = partial("{}: {}".format, model.dtype)
    yield say(f"{speed:,.0f} tokens/s")
    if peak:
        share = speed * flops_per_token(model) / peak
        yield say(f"model FLOPs utilisation {share:.1%}")
    compiled = last["compiled"]
    yield say(f"{len(compiled)} compilations, {sum(compiled):.1f} s")
    # Many short turns: what is looked for is smaller than a shared machine's drift.
    steps = min(max(round(block_seconds / ours.turns.wall), 1), 4)
    arguments = {"model": asdict(model), "batch_size": batch_size, "steps": steps}
    with Side("our_side:looping", arguments, keeps_memory=True) as side:
        yield say(f"outside the step {side(3 * blocks)['result']:.1%} of the loop's time")
