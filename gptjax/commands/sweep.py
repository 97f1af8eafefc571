"""`gptjax sweep`: a grid of runs, with a table and a plot."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from gptjax.errors import FailedRunsError, Interrupted
from gptjax.sweep import summary
from gptjax.sweep.outcome import Point
from gptjax.sweep.plan import RESULTS, make_plan
from gptjax.sweep.runner import run_plan
from gptjax.sweep.sweep_file import read_sweep


@dataclass(frozen=True)
class SweepConfig:
    """Run every combination of settings of a file, each in a run folder of its own.

    What has finished is not run again: after an interruption, a failed run or an addition to the
    file, the same command goes on.
    """

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """TOML file: command = "pretrain" or "finetune"; [settings] of every run, [grid] with a list of
    values for each setting that is searched, [variants.NAME] with settings to run the grid for;
    metric and out where the defaults do not suit. Settings have the names of the options."""
    jobs: int = 1
    """Runs at a time, each with its share of the cores."""
    out: str | None = None
    """Folder of the sweep; None is the file's own out, or runs/sweeps/NAME with the stem of the
    file as NAME."""


def run(config: SweepConfig) -> list[Point]:
    """Run what is missing and print the table.

    Raises:
        UserError: the file is refused; one line says why.
        FailedRunsError: some runs failed.
        Interrupted: the sweep, or a run of it, was asked to stop.
    """
    plan = make_plan(read_sweep(config.file, config.out))
    points = run_plan(plan, config.jobs)
    out = plan.sweep.out
    print(f"\n{summary.table(plan, points)}")
    print(f"summary: {out / RESULTS}", flush=True)
    for warning in summary.warnings(plan, points):
        print(warning, flush=True)
    failed = [point for point in points if point.status != "finished"]
    codes = [point.exit_code for point in failed if point.exit_code is not None]
    if all(point.status == "interrupted" for point in failed) and failed:
        names = ", ".join(point.name for point in failed)
        raise Interrupted(f"{config.file}: {names}: interrupted; the same command goes on")
    if failed:
        names = ", ".join(f"{point.name} (exit code {point.exit_code})" for point in failed)
        raise FailedRunsError(
            f"{config.file}: {len(failed)} of {len(points)} runs failed: {names}; their output is "
            f"in {out}/*.log, and the same command runs them again",
            codes,
        )
    return points
