"""The instruments of the benchmark: random batches, clocks, counters."""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gptjax.batch import Batch

COMPILED = "/jax/core/compile/backend_compile_duration"


class RandomBatches:
    """An endless supply of random tokens; with ``streams`` rows go on from batch to batch."""

    def __init__(
        self, vocabulary: int, batch_size: int, context: int, *, streams: bool = False
    ) -> None:
        self._streams = streams
        self.batch_size = batch_size
        self._vocabulary = vocabulary
        self._shape = (batch_size, 1, context + 1)

    def __len__(self) -> int:
        return 10**9

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        rng = np.random.default_rng(index)
        tokens = rng.integers(0, self._vocabulary, self._shape, dtype=np.int32)[rows]
        return Batch(
            tokens=tokens,
            lm_weights=np.ones(tokens.shape, np.float32),
            extract=np.zeros(tokens.shape[:2], np.int32),
            targets=np.ones(tokens.shape[:2], np.float32),
            weights=np.ones(len(tokens), np.float32),
            fresh=np.zeros(tokens[..., 1:].shape, bool) if self._streams else None,
        )

    def describe(self, epoch: int, index: int) -> str:
        return f"random batch {index}"


@contextmanager
def compilations() -> Iterator[list[float]]:
    """The seconds of every compilation that happens meanwhile."""
    seconds: list[float] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if event == COMPILED:
            seconds.append(duration)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def peak_memory(run: Callable[[], None]) -> float | None:
    """The most memory in use while something runs, in GB; None where nobody counts it.

    On an accelerator the device's own peak since the start; on a CPU the peak of the process's
    resident memory (Linux).
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and status.exists():
        reset.write_text("5")
    run()
    if not on_cpu:
        stats = jax.local_devices()[0].memory_stats()
        return stats["peak_bytes_in_use"] / 1e9 if stats else None
    match = re.search(r"VmHWM:\s*(\d+) kB", status.read_text()) if status.exists() else None
    return int(match[1]) * 1024 / 1e9 if match else None


def seconds_per_step(
    sides: Mapping[str, Callable[[int], None]], blocks: int, block_seconds: float
) -> dict[str, float]:
    """Median seconds per step of each side; they take turns of about ``block_seconds``."""
    counts, times = {}, {name: [] for name in sides}
    for name, train in sides.items():
        train(1)
        start = time.perf_counter()
        train(1)
        counts[name] = max(1, round(block_seconds / (time.perf_counter() - start)))
    for _ in range(blocks):
        for name, train in sides.items():
            start = time.perf_counter()
            train(counts[name])
            times[name].append((time.perf_counter() - start) / counts[name])
    return {name: statistics.median(values) for name, values in times.items()}
