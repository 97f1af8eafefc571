"""ELMo's way beside GPT's: a frozen biLM, mixed, under a BiLSTM, and a GPT in three ways.

    .venv/bin/python experiments/elmo.py --bilm runs/pretrain/small-bilm --gpt runs/pretrain/small \
        --data FOLDER

``FOLDER`` has a folder of published files for each task. Each arm takes the learning rate that is
best on the validation split with the first seed, and then has all seeds. What has finished is not
run again, so the same command goes on, and writes the table again.

The frozen arms keep the states of the backbone, so that an epoch costs the head alone. The arm
without a biLM has the same head on the same backbone as it was drawn, and stands for a baseline of
random vectors of words.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arms import (
    ArmsConfig,
    Outcome,
    bars,
    difference,
    how,
    read_tasks,
    run_arms,
    sources,
    with_interval,
)
from script import start

from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown

UNTRAINED, ELMO, TOP = "biLM untrained, mixed", "biLM, mixed (ELMo)", "biLM, last layer"
FROZEN, FINETUNED, SCRATCH = "GPT frozen, mixed", "GPT fine-tuned", "GPT from scratch"
ELMO_TASKS = Path(__file__).with_name("elmo-tasks.toml")
# Kept states need a backbone that drops nothing.
STILL = {
    "freeze_backbone": True,
    "task.freeze_special_rows": True,
    "lm_coefficient": 0.0,
    "task.model": "bilstm",
    "task.pooling": "max",
    "task.classifier_dropout": 0.5,
}
MIX = {"task.mix": True, "task.mix_l2": 0.001}
GPT_STILL = {
    "model.embedding_dropout": 0.0,
    "model.attention_dropout": 0.0,
    "model.residual_dropout": 0.0,
}
# Test accuracy with the task models of Peters et al. (2018), and GPT-1's of Radford et al. (2018).
PUBLISHED: Mapping[tuple[str, str], str] = {
    ("sst1", ELMO): "54.7 (BCN; 51.4 without)",
    ("rte", FINETUNED): "56.0",
    ("sst2_raw", FINETUNED): "91.3",
}


@dataclass(frozen=True, kw_only=True)
class ElmoConfig(ArmsConfig):
    """Train a head on a frozen biLM and a frozen GPT, fine-tune the GPT, and write the table."""

    bilm: str
    """The pre-trained biLM."""
    gpt: str
    """The pre-trained GPT."""
    arms: Path = Path("runs/elmo")
    """Where the runs go."""
    settings: Path = ELMO_TASKS
    """How each task is fine-tuned."""
    out: Path = Path("runs/elmo")
    """Where table and figure go."""
    tasks: tuple[str, ...] = ("sst1", "sst2_raw", "rte")
    """On which tasks."""


def main(config: ElmoConfig) -> None:
    """Run what is missing, and write the table."""
    tasks = read_tasks(config.settings, config.tasks)
    report(config, tasks, run_arms(config, tasks, arms(config.bilm, config.gpt)))


def arms(bilm: str, gpt: str) -> dict[str, dict[str, Any]]:
    """Settings of `gptjax finetune` by arm."""
    return {
        UNTRAINED: {"init": "none", "like": bilm, **STILL, **MIX},
        TOP: {"init": bilm, **STILL},
        ELMO: {"init": bilm, **STILL, **MIX},
        FROZEN: {"init": gpt, **STILL, **MIX, **GPT_STILL},
        SCRATCH: {"init": "none", "like": gpt},
        FINETUNED: {"init": gpt},
    }


def report(
    config: ElmoConfig,
    tasks: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Outcome]],
) -> None:
    """Table and figure."""
    rows, runs = [], []
    for task, outcomes in found.items():
        for name, outcome in outcomes.items():
            change = ""
            if name != ELMO:
                change = with_interval(difference(outcomes[ELMO], outcome))
            rate = f"{outcome.learning_rate:g}"
            published = PUBLISHED.get((task, name), "")
            rows.append((task, outcome.sizes, name, outcome.text, change, published, rate))
            runs.append(sources(outcome))
    title = "A frozen biLM beside GPT"
    caption = (
        f"{config.bilm} and {config.gpt}. {how(config.seeds, tasks)} Differences are from "
        f"{ELMO!r}, with the 95 % interval of a paired bootstrap over examples and seeds. The "
        "published figures are of test rows, of far larger models."
    )
    heads = (
        *("task", "train / valid", "arm", "accuracy"),
        *("difference from ELMo", "published", "learning rate"),
    )
    table = Table("elmo-table", title, caption, heads, tuple(rows), tuple(runs))
    figure = bars("elmo", title, caption, found)
    save(config.out, [figure], [table])
    print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, ElmoConfig, __doc__)
