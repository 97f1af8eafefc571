"""Sides of a comparison, each in a process of its own, that take turns on one machine.

A process has its own environment, allocator, threads and peak of memory, which two sides in one
process would share. A side waits while another runs. It is a function of a count, made by name:

    with Side("our_side:training", {...}) as ours, Side("pytorch_gpt1:training", {...}) as theirs:
        turns = take_turns({"gptjax": ours, "PyTorch": theirs}, blocks=5, seconds=5.0)
"""

import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gptjax.allocator import keep_memory
from gptjax.errors import UserError

CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class Turns:
    """What one unit of work took, medians over turns."""

    wall: float
    """Seconds of the clock."""
    cpu: float
    """Seconds of all processors, those of waiting threads included."""


class Side:
    """One side: ``maker(**arguments)`` in a process of its own gives a function of a count.

    Args:
        maker: "module:function" of this folder.
        arguments: the function's, as JSON can hold them.
        environment: variables added to the process's.
        keeps_memory: whether the allocator keeps freed memory, as in gptjax's command line.

    Raises:
        UserError: the process ended, with the last line that it wrote to standard error.
    """

    def __init__(
        self,
        maker: str,
        arguments: Mapping[str, Any],
        *,
        environment: Mapping[str, str] | None = None,
        keeps_memory: bool = False,
    ) -> None:
        spec = {"maker": maker, "arguments": arguments, "keeps_memory": keeps_memory}
        # Not a pipe: one that nobody reads fills up.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.name = maker
        self._answer()  # it is made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __call__(self, count: int) -> dict[str, Any]:
        """Do ``count`` units: "wall" and "cpu" seconds of all, and the function's own "result"."""
        assert self._process.stdin is not None
        print(count, file=self._process.stdin, flush=True)
        return self._answer()

    def peak_memory(self, count: int) -> float | None:
        """The most resident memory during ``count`` units, in GB; None outside of Linux."""
        process = Path("/proc", str(self._process.pid))
        if not process.exists():
            return None
        (process / "clear_refs").write_text("5")
        self(count)
        found = re.search(r"VmHWM:\s*(\d+) kB", (process / "status").read_text())
        return int(found[1]) * 1024 / 1e9 if found else None

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["it wrote no error"])[-1]
            raise UserError(f"{self.name} ended: {last}")
        return json.loads(line)


def take_turns(sides: Mapping[str, Side], blocks: int, seconds: float) -> dict[str, Turns]:
    """Medians over ``blocks`` turns of about so many seconds; each side's first unit is warm-up."""
    counts = {}
    for name, side in sides.items():
        side(1)
        counts[name] = max(1, round(seconds / side(1)["wall"]))
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
    for _ in range(blocks):
        for name, side in sides.items():
            taken[name].append(side(counts[name]))
    return {
        name: Turns(
            *(statistics.median(turn[clock] for turn in turns) / counts[name] for clock in CLOCKS)
        )
        for name, turns in taken.items()
    }


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _serve(spec: str) -> None:
    """The process of a side: make the function, then a line of JSON for each count."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries may print
    side = json.loads(spec)
    if side["keeps_memory"]:
        keep_memory()
    module, name = side["maker"].split(":")
    function = getattr(importlib.import_module(module), name)(**side["arguments"])
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        result = function(int(line))
        took = zip(CLOCKS, (time.perf_counter() - wall, _cpu_seconds() - cpu), strict=True)
        print(json.dumps({**dict(took), "result": result}), file=answers, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
