"""`gptjax sweep`: a grid of runs or a search, with a table and plots."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from gptjax.commands import finetune_config as finetune
from gptjax.commands import pretrain
from gptjax.commands.advice import command_line
from gptjax.data.tasks.load import find_task_files
from gptjax.data.tasks.texts import check as check_corpus
from gptjax.errors import FailedRunsError, Interrupted
from gptjax.evaluation.perplexity import Reconstruction
from gptjax.runs.folder import RunFolder
from gptjax.runs.start import ABSENT, newest_run
from gptjax.runs.sweep_results import SweepPoint, SweepResults
from gptjax.sweeps import summary
from gptjax.sweeps.plan import RESULTS, Sweep, make_plan, read_sweep
from gptjax.sweeps.processes import Start, start_process
from gptjax.sweeps.runner import run_plan
from gptjax.sweeps.settings import Runnable
from gptjax.training.length import total_steps

PRETRAIN_METRICS = ("perplexity", "loss", "accuracy", "word_perplexity", "bits_per_byte")


@dataclass(frozen=True)
class SweepConfig:
    """Run every combination of settings of a file, or search among them, each in its own folder.

    What has finished is not run again: after an interruption, a failed run or an addition to the
    file, the same command goes on.
    """

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """TOML file: command = "pretrain" or "finetune"; [settings] of every run, [grid] with a list of
    values for each setting that is varied, [variants.NAME] with settings to run the grid for;
    instead of these two [search] with what is drawn and [prune] with when a point is given up;
    metric and out where the defaults do not suit. Settings have the names of the options."""
    jobs: int = 1
    """Runs at a time, each with its share of the cores."""
    out: str | None = None
    """Folder of the sweep; None is the file's own out, or runs/sweeps/NAME with the stem of the
    file as NAME."""


def _check_pretrain(config: pretrain.PretrainConfig) -> tuple[str, ...]:
    total_steps(config.train, 1)
    check_corpus(config.corpus)
    # Of an autoencoder alone, so that none is compared with a language model.
    return (Reconstruction.NAME,) if config.corpus.autoencodes else PRETRAIN_METRICS


def _check_finetune(config: finetune.FinetuneConfig) -> tuple[str, ...]:
    total_steps(config.train, 1)
    task = finetune.task_of(config, RunFolder(Path(config.out or "")))
    find_task_files(config.task.data, task, finetune.task_folder(config))
    if config.init in ABSENT and not (config.like or config.tokenizer):
        newest_run()
    return (*task.metrics, "loss")


COMMANDS = {
    "pretrain": Runnable(pretrain.PretrainConfig, pretrain.from_table, _check_pretrain),
    "finetune": Runnable(finetune.FinetuneConfig, finetune.from_table, _check_finetune),
}


def run_sweep(sweep: Sweep, jobs: int, start: Start = start_process) -> tuple[SweepPoint, ...]:
    """Check all runs of a sweep that a script made, run what is missing, and return all of them."""
    return run_plan(make_plan(sweep, COMMANDS), jobs, start).points


def run(config: SweepConfig) -> SweepResults:
    """Run what is missing and print the table."""
    plan = make_plan(read_sweep(config.file, config.out), COMMANDS)
    results = run_plan(plan, config.jobs)
    out = plan.sweep.out
    print(f"\n{summary.table(plan, results)}")
    print(f"summary: {out / RESULTS}", flush=True)
    for warning in summary.warnings(plan, results):
        print(warning, flush=True)
    # Not by what asks jax which process this is: the sweep must leave the accelerator to its runs.
    print(command_line("a page", "report", "--runs", out, "--out", "report.html"), file=sys.stderr)
    # What a search has not run, has pruned, or what another machine runs has not failed.
    failed = [point for point in results.points if point.status in ("failed", "interrupted")]
    if failed and all(point.status == "interrupted" for point in failed):
        names = ", ".join(point.folder for point in failed)
        raise Interrupted(f"{config.file}: {names}: interrupted; the same command goes on")
    if failed:
        names = ", ".join(f"{point.folder} (exit code {point.exit_code})" for point in failed)
        raise FailedRunsError(
            f"{config.file}: {len(failed)} of {len(results.points)} runs failed: {names}; their "
            f"output is in {out}/*.log, and the same command runs them again",
            [point.exit_code for point in failed if point.exit_code is not None],
        )
    return results
