"""A trace of some updates, and the share of a chip's peak that training reaches."""

import re
from pathlib import Path

import jax

from gptjax.errors import UserError

# Dense bfloat16 FLOPs per second of one device, from the makers' data sheets.
PEAK_FLOPS = {
    "A100": 312e12,
    "H100": 989e12,
    "H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
}


def peak_flops() -> float | None:
    """The peak of all devices together, FLOPs per second; None where it is not known."""
    kind = jax.local_devices()[0].device_kind
    found = (peak for name, peak in PEAK_FLOPS.items() if name in kind)
    one = next(found, None)
    return None if one is None else one * jax.device_count()


def read_window(text: str) -> range:
    """The updates of ``FROM:TO``, counted from 0, with TO excluded.

    Raises:
        UserError: it is none.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    window = range(int(found[1]), int(found[2])) if found else range(0)
    if not window:
        raise UserError(
            f"tracking.profile is {text!r}; write FROM:TO, such as 20:25 for five updates after "
            "the 20th"
        )
    return window


class Trace:
    """`jax.profiler` at work in some updates of a run.

    Args:
        folder: where the trace goes.
        window: which updates, from 0; an empty one is none.
    """

    def __init__(self, folder: Path, window: range) -> None:
        self._folder, self._window = folder, window
        self._running = False

    def changes(self, step: int) -> bool:
        """Whether the trace begins or ends where ``step`` updates are done."""
        return self._running != (step in self._window)

    def change(self) -> str | None:
        """Begin, or end and say where the trace is."""
        if not self._running:
            jax.profiler.start_trace(self._folder)
            self._running = True
            return None
        jax.profiler.stop_trace()
        self._running = False
        return f"profile: the trace is in {self._folder}"

    def close(self) -> None:
        """End what still runs, as where a run is interrupted."""
        if self._running:
            self.change()
