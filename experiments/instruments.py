"""The instruments of the benchmark: random batches, clocks, counters."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
