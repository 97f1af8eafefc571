"""Which way of fine-tuning is best: ULMFiT's table of methods, on any pre-trained run.

    .venv/bin/python experiments/fine_tuning_methods.py --init runs/pretrain/small --data FOLDER

``FOLDER`` has a folder of published files for each task. Each method takes the learning rate that
is best on the validation split with the first seed, and then has all seeds. What has finished is
not run again, so the same command goes on, and writes the table again.

The methods are those of table 7 of Howard and Ruder (2018), and of its table 6 the training of the
language model on the task's own text. All of them have the same head: last, max and mean of the
states of the text, a hidden layer and LayerNorm. The last rows have GPT-1's head, which reads the
extract token: while the rows of the special tokens are frozen, that token is as it was drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arms import (
    ArmsConfig,
    Outcome,
    check_finished,
    difference,
    how,
    metric_of,
    read_tasks,
    run_arms,
    series,
    sources,
    with_interval,
)
from script import start

from gptjax.commands.sweep import run_sweep
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Table, markdown
from gptjax.runs.own_config import load_config
from gptjax.sweeps.plan import Sweep

SCRATCH, FULL, LAST, CHAIN = "from scratch", "full", "last", "chain-thaw"
DISCR, STLR, COS = "discr", "stlr", "cos"
LM = "all three, LM fine-tuned before"
GPT1 = "full, GPT-1 head and loss"
HEAD = {"task.pooling": "concat", "task.head_width": 50, "task.head_norm": True}
DECAY = 1 / 2.6
METHODS_TASKS = Path(__file__).with_name("methods-tasks.toml")
# Error on the validation data of TREC-6, in per cent: tables 6 and 7 of Howard and Ruder (2018).
PUBLISHED = {
    SCRATCH: 13.36,
    FULL: 6.86,
    "full + discr": 6.21,
    LAST: 16.09,
    CHAIN: 6.71,
    "freez": 6.86,
    "freez + discr": 5.86,
    "freez + stlr": 6.02,
    "freez + cos": 6.38,
    "all three": 6.38,  # without LM fine-tuning
    LM: 5.69,
}


@dataclass(frozen=True, kw_only=True)
class MethodsConfig(ArmsConfig):
    """Fine-tune in every way, and write the table beside the published one."""

    init: str
    """The pre-trained run."""
    arms: Path = Path("runs/methods")
    """Where the runs go."""
    settings: Path = METHODS_TASKS
    """How each task is fine-tuned."""
    out: Path = Path("runs/methods")
    """Where table and figure go."""
    tasks: tuple[str, ...] = ("sst2_raw", "trec", "rocstories")
    """On which tasks."""
    lm_epochs: int = 5
    """Of the training of the language model on the task's text; 0 leaves it out."""


def main(config: MethodsConfig) -> None:
    """Run what is missing, and write the table."""
    tasks = read_tasks(config.settings, config.tasks)
    blocks = load_config(config.init).num_layers
    found = {}
    for task, settings in tasks.items():
        arms = methods(config.init, blocks)
        if config.lm_epochs:
            tuned = language_model(config, task, settings)
            arms[LM] = {**arms["all three"], "init": str(tuned)}
        found |= run_arms(config, {task: settings}, arms)
    report(config, tasks, found)


def methods(init: str, blocks: int) -> dict[str, dict[str, Any]]:
    """Settings of `gptjax finetune` by method, for a model of so many blocks.

    Where a method says nothing of it, the learning rate is constant, nothing is frozen, and there
    is no auxiliary LM loss.
    """
    constant = {"optimizer.schedule": "constant", "optimizer.warmup": 0.0}
    own_head = {"init": init, "lm_coefficient": 0.0, **constant}
    plain = {**own_head, **HEAD}
    slant = {"init": init, "lm_coefficient": 0.0, "optimizer.schedule": "slanted"}
    slanted = {**slant, **HEAD}
    thaw = ["head", *(f"{depth}:" for depth in range(blocks, -1, -1))]
    chain = ["head", *(f"{depth}:{depth + 1}" for depth in range(blocks + 1)), "0:"]
    by_depth = {"optimizer.layer_decay": DECAY}
    freez = {"train.unfreeze": thaw}
    scratch = {name: value for name, value in plain.items() if name != "init"}
    return {
        SCRATCH: {**scratch, "init": "none", "like": init},
        FULL: plain,
        "full + discr": {**plain, **by_depth},
        LAST: {**plain, "train.unfreeze": ["head"]},
        CHAIN: {**plain, "train.unfreeze": chain},
        "freez": {**plain, **freez},
        "freez + discr": {**plain, **freez, **by_depth},
        "freez + stlr": {**slanted, **freez},
        "freez + cos": {**plain, **freez, "optimizer.schedule": "cosine"},
        "all three": {**slanted, **freez, **by_depth},
        GPT1: {"init": init},
        "last, GPT-1 head": {**own_head, "train.unfreeze": ["head"]},
        "freez, GPT-1 head": {**own_head, **freez},
        "all three, GPT-1 head": {**slant, **freez, **by_depth},
    }


def language_model(config: MethodsConfig, task: str, settings: Mapping[str, Any]) -> Path:
    """The run trained further on the task's text, with ULMFiT's rates (section 3.2)."""
    name, out = settings.get("task", task), config.arms / "language-models"
    own = {
        "init": config.init,
        "corpus.short_documents": "pack",
        "optimizer.schedule": "slanted",
        "optimizer.layer_decay": DECAY,
        "optimizer.learning_rate": settings["lm_learning_rate"],
        "train.epochs": config.lm_epochs,
        "train.batch_size": 16,
        "tracking.tensorboard": False,
    }
    variants = {task: {"corpus.data": f"task:{name}={config.data / task}"}}
    sweep = Sweep("pretrain", out / task, own, variants=variants, source=str(out / task))
    (point,) = run_sweep(sweep, config.jobs)
    check_finished(out / task, [point])
    return out / task / point.folder


def report(
    config: MethodsConfig,
    tasks: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Outcome]],
) -> None:
    """Table and figure."""
    rows, runs = [], []
    for task, outcomes in found.items():
        for name, outcome in outcomes.items():
            change = ""
            if name != FULL:
                change = with_interval(difference(outcomes[FULL], outcome))
            published = there = ""
            if task == "trec" and name in PUBLISHED:
                published = f"{100 - PUBLISHED[name]:.2f}"
                there = "" if name == FULL else f"{PUBLISHED[FULL] - PUBLISHED[name]:+.2f}"
            rate = f"{outcome.learning_rate:g}"
            what = (task, outcome.sizes, metric_of(task, tasks[task]), name)
            rows.append((*what, outcome.text, change, published, there, rate))
            runs.append(sources(outcome))
    title = "Ways of fine-tuning"
    caption = (
        f"{config.init}. {how(config.seeds, tasks)} Differences from full have the 95 % interval "
        "of a paired bootstrap over examples and seeds. The published figures are 100 - error on "
        "validation data of TREC-6 (Howard and Ruder 2018, tables 6 and 7), of AWD-LSTM. There all "
        "methods but from scratch and all three begin with LM fine-tuning."
    )
    heads = (
        *("task", "train / valid", "metric", "method"),
        *("ours", "difference", "published", "there", "learning rate"),
    )
    table = Table("methods-table", title, caption, heads, tuple(rows), tuple(runs))
    figure = Figure(
        name="methods",
        title=title,
        caption=caption,
        x_label="method",
        y_label="validation metric (×100)",
        series=tuple(series(task, outcomes) for task, outcomes in found.items()),
        kind="bars",
    )
    save(config.out, [figure], [table])
    print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, MethodsConfig, __doc__)
