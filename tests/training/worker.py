"""Trains the toy in a process of its own: worker.py WHAT FOLDER DEVICES [...].

WHAT is train, halve, interrupt, fail or differ.
"""

import os
import signal
import sys
from pathlib import Path

import jax
from toy import ToyBatches, objective

from gptjax.batch import Batch, Batches
from gptjax.errors import DifferentProcessesError, Interrupted
from gptjax.training import parallel
from gptjax.training.agreement import check_same
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.processes import DistributedConfig, end_together, initialize
from gptjax.training.tracking import Tracker, TrackingConfig

STEPS = 12


class Interrupting(ToyBatches):
    """The last process gets a SIGTERM when the sixth batch is loaded; the others do not."""

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        if (epoch, index) == (1, 0) and jax.process_count() > 1 and not parallel.is_main():
            os.kill(os.getpid(), signal.SIGTERM)
        return super().batch(epoch, index, rows)


RATE = OptimizerConfig(learning_rate=0.05, warmup=2.0)
HALVE = OptimizerConfig(learning_rate=0.6, warmup=0.0, schedule="halve")


def train(
    folder: Path,
    accumulate: int = 1,
    batches: Batches | None = None,
    rate: OptimizerConfig = RATE,
    **others: int,
) -> None:
    """The run that all layouts of devices must agree on; its rows remember."""
    problem = objective(state=True)
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        fit(
            problem,
            batches or ToyBatches(streams=True),
            TrainConfig(steps=STEPS, batch_size=8, accumulate=accumulate, log_every=1, **others),
            make_optimizer(rate, STEPS),
            evaluate=Evaluator(problem, ToyBatches(examples=13, shuffle=False, streams=True)),
            checkpoints=Checkpoints(folder / "checkpoints", CheckpointConfig(every=5), {}),
            tracker=tracker,
        )


def main() -> None:
    what, folder, devices, *others = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", int(devices))
    if others:
        coordinator, processes, index = others
        initialize(DistributedConfig(coordinator, int(processes), int(index)))
    try:
        with end_together():
            if what == "fail" and not parallel.is_main():
                raise RuntimeError("one process alone")
            if what == "differ":
                check_same({"seed": "3"})
                check_same({"seed": "3", "width": "1" * (1 + 9 * jax.process_index())})
            if what == "halve":
                train(Path(folder), rate=HALVE, evaluate_every=2)
                return
            train(Path(folder), batches=Interrupting(streams=True) if what == "interrupt" else None)
    except Interrupted as error:
        sys.exit(error.exit_code)
    except DifferentProcessesError as error:
        print(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
