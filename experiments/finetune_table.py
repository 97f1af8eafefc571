"""What pre-training is worth on each task: fine-tuning from a backbone and from nothing.

    .venv/bin/python experiments/finetune_table.py --init runs/pretrain/small --data FOLDER \\
        --out runs/finetune-table --report experiments/reports/NAME.md

``FOLDER`` has one folder of published files per task (rte, mrpc, …). Both arms have the same
architecture, tokenizer and number of updates. Each chooses its own learning rate by the task's
first metric on the validation split, with the first seed; then the other seeds run with it. What
has finished is not run again, so that a table that was cut off goes on with the same command. Every
finished task is in the report at once, those of other calls with the same ``--out`` too: one call
for each core, with other tasks, is quicker than one call with all cores.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from script import start

from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.table import TASKS
from gptjax.evaluation.comparison import compare, read_group

# Task -> further options. Large sets are cut so that a run stays under 20 minutes of one core; a
# pre-trained context of 256 tokens cuts most passages of RACE.
TASK_OPTIONS = {
    "rocstories": (),
    "cola": (),
    "rte": (),
    "snli": ("--max-train", "6000"),
    "mrpc": ("--max-train", "1000"),
    "stsb": ("--max-train", "2000"),
    "sst2": ("--max-train", "4000"),
    "qnli": ("--max-train", "2000", "--max-valid", "1000"),
    "race": ("--max-train", "1000", "--max-valid", "400", "--train.epochs", "2"),
}
ARMS = ("from-scratch", "pre-trained")
ROW = "row.json"


@dataclass(frozen=True)
class TableConfig:
    """Fine-tune every task from a backbone and from nothing, and write a table."""

    init: str
    """The pre-trained run."""
    data: Path
    """Folder with a folder of published files for each task."""
    report: Path
    """Markdown file to write."""
    out: Path = Path("runs/finetune-table")
    """Where the runs go."""
    tasks: tuple[str, ...] = tuple(TASK_OPTIONS)
    """Which tasks, in this order."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds; the first one chooses the learning rate."""
    from_scratch: tuple[float, ...] = (1e-4, 2.5e-4, 6e-4)
    """Learning rates to choose from without a backbone; one is a choice that was made before."""
    pre_trained: tuple[float, ...] = (1e-4, 2.5e-4, 6e-4)
    """Learning rates to choose from with the backbone."""


def main(config: TableConfig) -> None:
    """Run what is missing, and write the report after each task."""
    for task in config.tasks:
        chosen = {arm: choose(config, task, arm) for arm in ARMS}
        for arm, rate in chosen.items():
            for seed in config.seeds[1:]:
                train(config, task, arm, rate, seed)
        found = row(config, task, chosen)
        (config.out / task / ROW).write_text(json.dumps(found, indent=2), encoding="utf-8")
        write(config)


def folder(config: TableConfig, task: str, arm: str, rate: float) -> Path:
    """Where the seeds of an arm at a learning rate lie."""
    return config.out / task / f"{arm}-{rate:g}"


def choose(config: TableConfig, task: str, arm: str) -> float:
    """The learning rate with the best validation metric, with the first seed."""

    def metric(rate: float) -> float:
        results = train(config, task, arm, rate, config.seeds[0])
        return results["metrics"][TASKS[task].metrics[0]]

    rates = config.from_scratch if arm == ARMS[0] else config.pre_trained
    return rates[0] if len(rates) == 1 else max(rates, key=metric)


def train(config: TableConfig, task: str, arm: str, rate: float, seed: int) -> dict[str, Any]:
    """The results of one run, which is made, or continued, if it is not finished."""
    out = folder(config, task, arm, rate) / f"seed-{seed}"
    results = out / "results.json"
    if not results.exists():
        source = ["--init", config.init]
        if arm == ARMS[0]:
            source = ["--init", "none", "--like", config.init]
        command = [
            *(sys.executable, "-m", "gptjax", "finetune", "--task", task, *source),
            *("--data", str(config.data / task), "--out", str(out), "--resume", "auto"),
            *("--optimizer.learning-rate", str(rate), "--train.seed", str(seed)),
            *("--tracking.no-tensorboard", *TASK_OPTIONS[task]),
        ]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        print(f"{task} {arm} {rate:g} seed {seed}: {seconds:.0f} s", flush=True)
    return json.loads(results.read_text(encoding="utf-8"))


def row(config: TableConfig, task: str, chosen: dict[str, float]) -> dict[str, Any]:
    """What a task came to: each arm's seeds, and their difference with its interval."""
    metric = TASKS[task].metrics[0]
    found: dict[str, Any] = {"task": task, "metric": metric}
    for arm, rate in chosen.items():
        results = [train(config, task, arm, rate, seed) for seed in config.seeds]
        found[arm] = {
            "learning_rate": rate,
            "values": [result["metrics"][metric] for result in results],
            "collapsed": sum(result["majority_class_only"] for result in results),
        }
        found["valid"] = results[0]["examples"]
        meta = folder(config, task, arm, rate) / f"seed-{config.seeds[0]}" / "meta.json"
        found["train"] = json.loads(meta.read_text(encoding="utf-8"))["data"]["train"]["examples"]
    folders = [str(folder(config, task, arm, chosen[arm])) for arm in ARMS]
    groups = [read_group(path, "predictions.tsv", config.seeds) for path in folders]
    result = compare(*groups, resamples=2000, seed=0)
    found["difference"], found["interval"] = result.difference, result.interval
    return found


def write(config: TableConfig) -> None:
    """The report so far: every task that has a row under ``--out``."""
    files = [config.out / task / ROW for task in TASK_OPTIONS]
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
    lines = [
        "| task | train / valid | metric | from nothing | pre-trained "
        "| difference (95 %) | gain | paper |",
        "| --- | ---: | --- | ---: | ---: | ---: | --- | ---: |",
    ]
    for found in rows:
        low, high = found["interval"]
        gain = "yes" if low > 0 else "no: worse" if high < 0 else "none shown"
        cells = [
            found["task"],
            f"{found['train']:,} / {found['valid']:,}",
            LABELS[found["metric"]],
            *(_arm(found[arm]) for arm in ARMS),
            f"{100 * found['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})",
            gain,
            f"{TASKS[found['task']].paper}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    text = config.report.read_text(encoding="utf-8") if config.report.exists() else "# Table\n"
    head = text.partition("<!-- table -->")[0].rstrip()
    table = "\n".join(lines)
    config.report.write_text(f"{head}\n\n<!-- table -->\n\n{table}\n", encoding="utf-8")


def _arm(found: dict[str, Any]) -> str:
    values = [100 * value for value in found["values"]]
    mean = statistics.mean(values)
    spread = f"± {statistics.stdev(values):.1f}" if len(values) > 1 else "one seed"
    collapsed = f", {found['collapsed']} collapsed" if found["collapsed"] else ""
    return f"{mean:.1f} {spread} (lr {found['learning_rate']:g}{collapsed})"


if __name__ == "__main__":
    start(main, TableConfig, __doc__)
