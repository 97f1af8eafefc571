"""Trains the toy in a process of its own: worker.py FOLDER DEVICES [COORDINATOR PROCESSES ID]."""

import sys
from pathlib import Path

import jax
from toy import ToyBatches, objective

from gptjax.training import parallel
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.loop import Evaluator, TrainConfig, fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.tracking import Tracker, TrackingConfig

STEPS = 12


def train(folder: Path, accumulate: int = 1) -> None:
    """The run that all layouts of devices must agree on."""
    problem = objective()
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        fit(
            problem,
            ToyBatches(),
            TrainConfig(steps=STEPS, batch_size=8, accumulate=accumulate, log_every=1),
            make_optimizer(OptimizerConfig(learning_rate=0.05, warmup=2), STEPS),
            evaluate=Evaluator(problem, ToyBatches(examples=13, shuffle=False)),
            checkpoints=Checkpoints(folder / "checkpoints", CheckpointConfig(every=5), {}),
            tracker=tracker,
        )


def main() -> None:
    folder, devices, *others = sys.argv[1:]
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", int(devices))
    if others:
        coordinator, processes, index = others
        parallel.initialize(parallel.DistributedConfig(coordinator, int(processes), int(index)))
    with parallel.end_together():
        if "fail" in Path(folder).name and not parallel.is_main():
            raise RuntimeError("one process alone")
        train(Path(folder))


if __name__ == "__main__":
    main()
