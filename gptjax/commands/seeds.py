"""Several seeds of one fine-tuning run, and what they have in common."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gptjax.commands import finetune
from gptjax.commands.finetune import FinetuneResult
from gptjax.commands.finetune_config import FinetuneConfig, default_out, task_of
from gptjax.commands.finetune_config import defaults as defaults
from gptjax.data.tasks.load import SAMPLE_WARNING
from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.runs import folder as run_folder
from gptjax.runs import train as job
from gptjax.training import parallel


def run(config: FinetuneConfig) -> Sequence[FinetuneResult]:
    """Fine-tune once, or once for each of the seeds and summarise them.

    Raises:
        UserError: a seed twice; and whatever `gptjax.commands.finetune.run` raises.
    """
    if not config.seeds:
        return [finetune.run(config)]
    parallel.initialize(config.distributed)
    with parallel.end_together():
        return _run(config)


def _run(config: FinetuneConfig) -> Sequence[FinetuneResult]:
    check(config.seeds)
    out = Path(config.out) if config.out is not None else default_out(config)
    task = task_of(config, run_folder.RunFolder(out / f"seed-{config.seeds[0]}"))
    if run_folder.RunFolder(out).config.exists():
        raise UserError(f"{out}: holds a run of one seed; choose another --out for several")
    if config.overwrite and parallel.is_main():
        for folder in out.glob("seed-*"):
            run_folder.RunFolder(folder).clear()
            if not any(folder.iterdir()):
                folder.rmdir()
    parallel.barrier("cleared")
    outcomes = []
    for seed in config.seeds:
        job.say(f"seed {seed}")
        one = dataclasses.replace(
            config,
            seeds=(),
            out=str(out / f"seed-{seed}"),
            train=dataclasses.replace(config.train, seed=seed),
        )
        outcomes.append(finetune.run(one))
    if parallel.is_main():
        summary = summarise(task, config.seeds, outcomes)
        run_folder.write_json(out / "results.json", summary)
        _show(summary, task, out)
    parallel.barrier("summarised")
    return outcomes


def check(seeds: Sequence[int]) -> None:
    """Refuse seeds that cannot have a run each.

    Raises:
        UserError: a seed twice.
    """
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {' '.join(map(str, seeds))}: a seed occurs twice")


def summarise(
    task: Task, seeds: Sequence[int], outcomes: Sequence[FinetuneResult]
) -> dict[str, Any]:
    """Mean, sample standard deviation, median and best of every metric on every split."""
    splits: dict[str, Any] = {}
    for name, scores in outcomes[0].scores.items():
        metrics = {}
        for metric in scores.metrics:
            values = [outcome.scores[name].metrics[metric] for outcome in outcomes]
            metrics[metric] = _spread(values, min if metric == "loss" else max)
        splits[name] = {"examples": scores.num_examples, "metrics": metrics}
    collapsed = [
        seed
        for seed, outcome in zip(seeds, outcomes, strict=True)
        if outcome.scores["valid"].collapsed
    ]
    return {
        "task": task.name,
        "split": "valid",
        "examples": outcomes[0].scores["valid"].num_examples,
        "metrics": {
            metric: spread["mean"] for metric, spread in splits["valid"]["metrics"].items()
        },
        "seeds": list(seeds),
        "majority_class_only": collapsed,
        "data": {"sample": outcomes[0].sample},
        "paper": {"metric": task.metrics[0], "value": task.paper},
        "splits": splits,
    }


def _spread(values: Sequence[float], best: Any) -> dict[str, Any]:
    return {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "median": statistics.median(values),
        "best": best(values),
        "values": list(values),
    }


def _show(summary: Mapping[str, Any], task: Task, out: Path) -> None:
    seeds = summary["seeds"]
    several = len(seeds) > 1
    how_many = f"{len(seeds)} seed{'s' if several else ''}"
    print(f"\n{task.name}, {how_many} ({', '.join(map(str, seeds))})")
    print(f"  {'split':16} {'metric':22} {'mean':>7} {'std':>6} {'median':>7} {'best':>7}")
    for name, split in summary["splits"].items():
        for number, metric in enumerate(task.metrics):
            if metric not in split["metrics"]:
                continue
            spread = split["metrics"][metric]
            mean, std, median, best = (
                100 * spread[key] for key in ("mean", "std", "median", "best")
            )
            paper = ""
            if number == 0 and task.paper is not None and not summary["data"]["sample"]:
                paper = f"   (paper: {task.paper:.1f}, {task.paper_split})"
            deviation = f"{std:6.2f}" if several else f"{'-':>6}"
            print(
                f"  {name:16} {LABELS[metric]:22} {mean:7.2f} {deviation} {median:7.2f} {best:7.2f}"
                f"{paper}"
            )
    for seed in summary["majority_class_only"]:
        print(f"  seed {seed} collapsed: every prediction is the same class")
    print(f"summary: {out / 'results.json'}", flush=True)
    if summary["data"]["sample"]:
        print(SAMPLE_WARNING.format(task=task.name), flush=True)
