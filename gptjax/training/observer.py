"""Updates that are done: their numbers are checked and recorded, and their speed is measured."""

import time
from typing import Any

import jax

from gptjax.batch import Batches
from gptjax.errors import NonFiniteError
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.profile import peak_flops
from gptjax.training.tracking import Tracker


class Observer:
    """Looks at each update one step late, so that the devices always have the next one queued.

    Args:
        batches: the training data, which say where an update took its examples from.
        total: updates of the run.
        log_every: updates between lines of metrics.
        checkpoints: where the run is saved, or None.
        tracker: where metrics go, or None.
        flops_per_token: of the model, or None.

    Attributes:
        stop_agreed: whether a process has asked all of them to stop.
    """

    def __init__(
        self,
        batches: Batches,
        total: int,
        log_every: int,
        checkpoints: Checkpoints | None,
        tracker: Tracker | None,
        flops_per_token: float | None,
    ) -> None:
        self._batches, self._total, self._log_every = batches, total, log_every
        self._checkpoints, self._tracker = checkpoints, tracker
        peak = peak_flops()
        self._flops = flops_per_token and peak and flops_per_token / peak
        self._pending: tuple[int, dict[str, Any]] | None = None
        self.stop_agreed = False
        self.restart_clock()

    def settle(self, pending: tuple[int, dict[str, Any]] | None = None) -> None:
        """Wait for the update in flight and look at it; ``pending`` is in flight from now on.

        An update in flight is its step and its metrics, which are still on the devices.

        Raises:
            NonFiniteError: its loss or gradient was not finite.
        """
        before, self._pending = self._pending, pending
        if before is not None:
            self._look_at(*before)

    def trace(self, step: int) -> None:
        """Begin or end the trace of the tracker where it is due, after ``step`` updates."""
        if self._tracker is None or not self._tracker.trace.changes(step):
            return
        self.settle()
        if (said := self._tracker.trace.change()) is not None:
            self._tracker.message(said)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Measure the speed anew: what the run has just waited for was no update."""
        self._since = time.perf_counter()
        self._tokens = 0

    def _look_at(self, step: int, device_metrics: dict[str, Any]) -> None:
        metrics = jax.device_get(device_metrics)
        if not metrics["finite"]:
            epoch, index = divmod(step - 1, len(self._batches))
            raise NonFiniteError(
                f"step {step}: loss {metrics['loss']:g}, gradient norm {metrics['grad_norm']:g} "
                f"in {self._batches.describe(epoch, index)}; the update was not made, nor any "
                "after it; try a lower optimizer.learning_rate, or look at these examples"
            )
        self.stop_agreed = self.stop_agreed or bool(metrics["votes"] > 0)
        self._tokens += int(metrics["tokens"])
        if self._tracker is None:
            return
        tokens_per_second = self._tokens / max(time.perf_counter() - self._since, 1e-9)
        self._tracker.progress(step, float(metrics["loss"]), tokens_per_second)
        if step == 1 or step == self._total or step % self._log_every == 0:
            if self._checkpoints is not None:
                self._checkpoints.check_place()
            # A dictionary that has been on a device is sorted by key.
            numbers = {
                key: float(x)
                for key, x in sorted(metrics.items(), key=lambda item: item[0] != "loss")
                if key not in ("votes", "tokens", "finite")
            }
            pace = {"tokens_per_second": tokens_per_second, "epoch": step / len(self._batches)}
            if self._flops is not None:
                pace["utilisation"] = tokens_per_second * self._flops
            self._tracker.log({"step": step, "split": "train", **numbers, **pace})
            self.restart_clock()
