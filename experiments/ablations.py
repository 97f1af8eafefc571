"""Which part of the method matters (table 5): pre-training, the auxiliary LM loss, the transformer.

    .venv/bin/python experiments/ablations.py --init runs/pretrain/small \\
        --lstm runs/pretrain/small-lstm --data FOLDER

``FOLDER`` has a folder of published files for each task. What has finished is not run again, so the
same command goes on, and writes the table again. Without ``--lstm`` and with ``--no-auxiliary``,
the table says only what pre-training is worth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arms import (
    PRETRAINED,
    UNTRAINED,
    ArmsConfig,
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

from gptjax.data.tasks.table import TASKS
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Table, markdown

NO_LM, LSTM = "no auxiliary LM", "LSTM"
WORDS = {PRETRAINED: "full", UNTRAINED: "no pre-training", NO_LM: NO_LM, LSTM: LSTM}
# Table 5 of the paper, test sets of 2018. Story Cloze, SNLI, SciTail and RACE have no row there.
PAPER = {
    "cola": {PRETRAINED: 45.4, UNTRAINED: 18.9, NO_LM: 47.9, LSTM: 30.3},
    "sst2": {PRETRAINED: 91.3, UNTRAINED: 84.0, NO_LM: 92.0, LSTM: 90.5},
    "mrpc": {PRETRAINED: 82.3, UNTRAINED: 79.4, NO_LM: 84.9, LSTM: 83.2},
    "stsb": {PRETRAINED: 82.0, UNTRAINED: 30.9, NO_LM: 83.2, LSTM: 71.8},
    "qqp": {PRETRAINED: 70.3, UNTRAINED: 65.5, NO_LM: 69.8, LSTM: 68.1},
    "mnli": {PRETRAINED: 81.8, UNTRAINED: 75.7, NO_LM: 81.1, LSTM: 73.7},
    "qnli": {PRETRAINED: 88.1, UNTRAINED: 71.2, NO_LM: 86.9, LSTM: 81.1},
    "rte": {PRETRAINED: 56.0, UNTRAINED: 53.8, NO_LM: 54.4, LSTM: 54.6},
}


@dataclass(frozen=True, kw_only=True)
class AblationsConfig(ArmsConfig):
    """Fine-tune in up to four ways, and write the table beside the paper's."""

    init: str
    """The pre-trained transformer."""
    lstm: str | None = None
    """The pre-trained LSTM; None leaves it out."""
    auxiliary: bool = True
    """Whether to fine-tune without the auxiliary LM loss too."""
    out: Path = Path("runs/ablations")
    """Where table and figure go."""
    tasks: tuple[str, ...] = ("rocstories", "sst2", "stsb", "cola")
    """On which tasks."""


def main(config: AblationsConfig) -> None:
    """Run what is missing, and write the table."""
    tasks = read_tasks(config.settings, config.tasks)
    arms: dict[str, Mapping[str, Any]] = {
        PRETRAINED: {"init": config.init},
        UNTRAINED: {"init": "none", "like": config.init},
    }
    methods = [config.init, "the same untrained"]
    if config.auxiliary:
        arms[NO_LM] = {"init": config.init, "lm_coefficient": 0.0}
        methods.append("the same fine-tuned without the auxiliary LM loss")
    if config.lstm is not None:
        arms[LSTM] = {"init": config.lstm}
        methods.append(config.lstm)
    found = run_arms(config, tasks, arms)
    caption = (
        f"{', '.join(methods)}. {how(config.seeds, tasks)} Differences from the full method have "
        "the 95 % interval of a paired bootstrap over examples and seeds. The paper's figures "
        "(table 5) are of GPT-1, after training on the whole sets, on the test sets."
    )
    rows, runs = [], []
    for task, outcomes in found.items():
        for name, outcome in outcomes.items():
            full = name == PRETRAINED
            change = "" if full else with_interval(difference(outcomes[PRETRAINED], outcome))
            paper, there = f"{TASKS[task].paper or ''}" if full else "", ""
            if task in PAPER:
                paper = f"{PAPER[task][name]:.1f}"
                there = "" if full else f"{PAPER[task][name] - PAPER[task][PRETRAINED]:+.1f}"
            rate = f"{outcome.learning_rate:g}"
            what = (task, outcome.sizes, metric_of(task), WORDS[name])
            rows.append((*what, outcome.text, change, paper, there, rate))
            runs.append(sources(outcome))
    title = "What each part of the method is worth"
    heads = (
        *("task", "train / valid", "metric", "method"),
        *("ours", "difference", "paper", "there", "learning rate"),
    )
    table = Table("ablations-table", title, caption, heads, tuple(rows), tuple(runs))
    figure = Figure(
        name="ablations",
        title=title,
        caption=caption,
        x_label="task",
        y_label="validation metric (×100)",
        series=tuple(
            series(WORDS[name], {task: outcomes[name] for task, outcomes in found.items()})
            for name in arms
        ),
        kind="bars",
    )
    save(config.out, [figure], [table])
    print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, AblationsConfig, __doc__)
