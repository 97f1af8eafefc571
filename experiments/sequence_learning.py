"""What does a sequence autoencoder teach: Dai and Le's comparison, with a word LSTM on a task.

    .venv/bin/python experiments/sequence_learning.py --data FOLDER

``FOLDER`` has a folder of published files for each task. An LSTM of one layer is pre-trained on the
task's own texts, as a language model and as a sequence autoencoder, and each is fine-tuned. Beside
them stand the same model from scratch, and from scratch with the LM loss beside the classifier's
(joint), all of them with and without the linear gain. Each arm takes the learning rate that is best
on the validation rows with the first seed, and then has all seeds. What has finished is not run
again, so the same command goes on, and writes the table again.

The paper's model has 1,024 cells and reads 25,000 labelled reviews and 50,000 others. This one is
of a size for two cores, and says which of the arms is ahead, not how far a larger one comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from arms import (
    ArmsConfig,
    Outcome,
    bars,
    check_finished,
    data_of,
    difference,
    how,
    read_tasks,
    run_arms,
    sources,
    with_interval,
)
from script import start

from gptjax.commands.sweep import run_sweep
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown, mean_text
from gptjax.sweeps.plan import Sweep

SCRATCH, LM, SA, JOINT = "from scratch", "LM-LSTM", "SA-LSTM", "joint"
GAIN = " + gain"
PRETRAINING = "pretraining"  # in the file of tasks
SEQUENCE_TASKS = Path(__file__).with_name("sequence-tasks.toml")
# The released code's hidden layer, and the paper's dropout before the softmax.
HEAD = {"task.head_width": 30, "task.classifier_dropout": 0.5}
JOINT_COEFFICIENT = 0.5  # of the LM loss
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    LM: {"corpus.short_documents": "pack"},
    SA: {"corpus.layout": "autoencode"},
}


class Published(NamedTuple):
    """An error rate in per cent, and where it was read."""

    error: str
    source: str


TABLES, MEMORY = "digest of the paper's tables", "from memory, not verified"
# Dai and Le (2015), of all labelled rows. The digest has the gain without its arm.
PUBLISHED: Mapping[tuple[str, str], Published] = {
    ("imdb", SCRATCH): Published("13.50", TABLES),
    ("imdb", LM): Published("7.64", TABLES),
    ("imdb", SA): Published("7.24", TABLES),
    ("imdb", SA + GAIN): Published("9.17", f"{TABLES}; that it is of this arm {MEMORY}"),
    ("imdb", JOINT): Published("14.70", TABLES),
    ("mr", SCRATCH): Published("20.3 to 22", MEMORY),
    ("mr", LM): Published("21.7", TABLES),
    ("mr", SA): Published("20.3 (or 20.5)", TABLES),
}


@dataclass(frozen=True, kw_only=True)
class SequenceConfig(ArmsConfig):
    """Pre-train and fine-tune in every way, and write the table beside the published one."""

    arms: Path = Path("runs/sequence")
    """Where the runs go."""
    settings: Path = SEQUENCE_TASKS
    """How the models of each task are trained."""
    out: Path = Path("runs/sequence")
    """Where table and figure go."""
    tasks: tuple[str, ...] = ("mr", "imdb")
    """On which tasks."""


def main(config: SequenceConfig) -> None:
    """Run what is missing, and write the table."""
    tasks = read_tasks(config.settings, config.tasks)
    found = {}
    for task, settings in tasks.items():
        own = {name: value for name, value in settings.items() if name != PRETRAINING}
        tried = arms(pretrain(config, task, settings))
        found |= run_arms(config, {task: own}, tried)
    report(config, tasks, found)


def arms(models: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Settings of `gptjax finetune` by arm; ``models`` are the pre-trained runs by name."""
    fresh = {"init": "none", "like": str(models[LM])}
    plain = {
        SCRATCH: {**fresh, "lm_coefficient": 0.0},
        LM: {"init": str(models[LM]), "lm_coefficient": 0.0},
        SA: {"init": str(models[SA]), "lm_coefficient": 0.0},
        JOINT: {**fresh, "lm_coefficient": JOINT_COEFFICIENT},
    }
    found = {}
    for name, settings in plain.items():
        found[name] = {**settings, **HEAD}
        found[name + GAIN] = {**settings, **HEAD, "task.label_gain": True}
    return found


def pretrain(config: SequenceConfig, task: str, settings: Mapping[str, Any]) -> dict[str, Path]:
    """The language model and the autoencoder of a task's texts, trained where they are missing."""
    name, out = settings.get("task", task), config.arms / "pretrained"
    words = data_of(config, task, settings)
    own = {
        "corpus.data": f"task:{name}={' '.join([words] if isinstance(words, str) else words)}",
        "model.kind": "lstm",
        "model.num_layers": 1,
        "vocabulary.tokenizer": "words",
        **settings[PRETRAINING],
        "tracking.tensorboard": False,
    }
    models = {}
    # A sweep each: their metrics are of different things.
    for model, layout in LAYOUTS.items():
        folder = out / model / task
        sweep = Sweep("pretrain", folder, own, variants={task: layout}, source=str(folder))
        (point,) = run_sweep(sweep, config.jobs)
        check_finished(folder, [point])
        models[model] = folder / point.folder
    return models


def error_text(outcome: Outcome) -> str:
    """Mean and spread of the error rates of an arm, in per cent."""
    return mean_text([100 * (1 - value) for value in outcome.values], 1)


def report(
    config: SequenceConfig,
    tasks: Mapping[str, Mapping[str, Any]],
    found: Mapping[str, Mapping[str, Outcome]],
) -> None:
    """Table and figure."""
    rows, runs = [], []
    for task, outcomes in found.items():
        for name, outcome in outcomes.items():
            change = ""
            if name != SCRATCH:
                change = with_interval(difference(outcomes[SCRATCH], outcome))
            published = PUBLISHED.get((task, name), Published("", ""))
            rate = f"{outcome.learning_rate:g}"
            rows.append((task, outcome.sizes, name, error_text(outcome), change, *published, rate))
            runs.append(sources(outcome))
    title = "What a sequence autoencoder teaches"
    caption = (
        f"{how(config.seeds, tasks)} Errors are 100 - accuracy. Differences are of the accuracy, "
        f"from that of the arm {SCRATCH!r}, with the 95 % interval of a paired bootstrap over "
        "examples and seeds. Where a task has no file of validation rows, their texts are "
        "pre-trained on too, without labels. The published figures are of test rows, and of far "
        "more labelled and unlabelled text (Dai and Le 2015)."
    )
    heads = (
        *("task", "train / valid", "arm", "error, %", "difference"),
        *("published error, %", "read in", "learning rate"),
    )
    table = Table("sequence-table", title, caption, heads, tuple(rows), tuple(runs))
    figure = bars("sequence", title, caption, found)
    save(config.out, [figure], [table])
    print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


if __name__ == "__main__":
    start(main, SequenceConfig, __doc__)
