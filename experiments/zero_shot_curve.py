"""What a language model can do without training on a task, along its pre-training (figure 2).

    .venv/bin/python experiments/zero_shot_curve.py --run runs/pretrain/small --data FOLDER

The run was trained with ``--checkpoint.per-doubling N``, which keeps parameters on the way.
``FOLDER`` has the published files: folders cola, sst2 and race, winograd/WSCollection.xml,
winograd/dpr/train.c.txt and lambada/lambada_test.jsonl. What was measured is not measured again, so
the same command goes on, and draws again.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from script import start

from gptjax.commands import zeroshot
from gptjax.config import nearest
from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.zero_shot import Name
from gptjax.errors import UserError
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Series, Table
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.results import LanguageModelling, ZeroShot, read_as
from gptjax.training.stored import curve_steps

# Name -> the task of `gptjax zeroshot`, its files below the folder of data, and how many questions
# are drawn (RACE's passages take most of the time).
TASKS: dict[str, tuple[Name, str, int | None]] = {
    "cola": ("cola", "cola", None),
    "sst2": ("sst2", "sst2", None),
    "race": ("race", "race", 300),
    "winograd": ("winograd", "winograd/WSCollection.xml", None),
    "dpr": ("winograd", "winograd/dpr/train.c.txt", None),
    "lambada": ("lambada", "lambada/lambada_test.jsonl", 1000),
}
Found = dict[str, dict[int, ZeroShot]]  # by task and step
Value = Callable[[ZeroShot], float]
LAMBADA = "lambada"  # of which no word is right for long, so its curve is its perplexity


@dataclass(frozen=True)
class CurveConfig:
    """Ask every kept checkpoint of a run, and draw the normalised curves."""

    run: Path
    """The pre-trained run."""
    data: Path
    """Folder of the published files."""
    out: Path | None = None
    """Where answers and figures go; None is runs/zero-shot-curve/NAME with the name of the run."""
    tasks: tuple[str, ...] = tuple(TASKS)
    """Which of them."""
    first: int = 1
    """The first step to ask, besides step 0."""


def main(config: CurveConfig) -> None:
    """Ask what was not asked yet, and draw."""
    for task in config.tasks:
        if task not in TASKS:
            raise UserError(f"--tasks {task}: {nearest(task, list(TASKS))}")
        if not (config.data / TASKS[task][1]).exists():
            raise UserError(f"--data {config.data}: has no {TASKS[task][1]}, or leave {task} out")
    folder = RunFolder(config.run)
    kept = curve_steps(folder.checkpoints)
    if not kept:
        raise UserError(
            f"{config.run}: kept nothing on the way; train it with --checkpoint.per-doubling"
        )
    if not folder.results.exists():
        raise UserError(f"{config.run}: is not finished; go on with it first")
    last = read_as(LanguageModelling, folder.results).steps
    steps = sorted({0, *(step for step in kept if step >= config.first), last})
    out = config.out or Path("runs/zero-shot-curve") / config.run.resolve().name
    found: Found = {task: {} for task in config.tasks}
    for step in steps:
        loaded: runs.Run | None = None
        for task in config.tasks:
            answers = out / task / str(step)
            if not is_measured(config, folder, task, answers):
                loaded = loaded or runs.load(config.run, str(step))
                ask(config, loaded, task, step, answers)
            found[task][step] = read_as(ZeroShot, RunFolder(answers).results)
    save(out, draw(config, found), [tabulate(config, found)])
    print(out)


def is_measured(config: CurveConfig, folder: RunFolder, task: str, answers: Path) -> bool:
    """Whether answers are there, of this run and to these questions.

    Raises:
        UserError: they are of another run.
    """
    if not RunFolder(answers).results.exists():
        return False
    known = read_as(ZeroShot, RunFolder(answers).results)
    if known.run != str(config.run):
        raise UserError(f"{answers}: is of {known.run}; give another --out")
    started = folder.read_meta()["started"]
    if known.run_started not in (None, started):  # trained anew in the same place
        return False
    return str(known.data.source).startswith(str(config.data / TASKS[task][1]))


def ask(config: CurveConfig, loaded: runs.Run, task: str, step: int, out: Path) -> None:
    """Ask a checkpoint a task's questions."""
    kind, files, most = TASKS[task]
    asked = zeroshot.ZeroShotConfig(
        run=str(config.run),
        task=kind,
        data=str(config.data / files),
        checkpoint=str(step),
        max_examples=most,
        batch_size=64,
        out=str(out),
    )
    zeroshot.measure(loaded, asked)


def counts(found: Found) -> str:
    """On how many questions each task was measured."""
    first = {task: next(iter(steps.values())) for task, steps in found.items()}
    return ", ".join(f"{task} {results.examples:,}" for task, results in first.items())


def draw(config: CurveConfig, found: Found) -> list[Figure]:
    """The normalised curves, the accuracy of what has nothing to be normalised by, and LAMBADA."""

    def figure(
        name: str,
        title: str,
        caption: str,
        y_label: str,
        tasks: Sequence[str],
        value: Value,
        levels: tuple[tuple[str, float], ...] = (),
    ) -> Figure:
        shown = {task: found[task] for task in tasks}
        return Figure(
            name=name,
            title=title,
            caption=f"{config.run}, {caption} Questions: {counts(shown)}.",
            x_label="updates",
            y_label=y_label,
            series=tuple(
                Series(
                    label=task,
                    x=tuple(step for step in steps if step > 0),
                    y=tuple(value(results) for step, results in steps.items() if step > 0),
                    source=str(config.run),
                )
                for task, steps in shown.items()
            ),
            log_x=True,
            levels=levels,
        )

    normalised: list[str] = []
    others: list[str] = []
    for task in found:
        if task != LAMBADA:
            has = found[task][0].normalised is not None
            (normalised if has else others).append(task)
    figures = []
    if normalised:
        caption = (
            "(metric - guessing) / (GPT-1 after fine-tuning - guessing), like figure 2 of the "
            "paper, which divides by the best result of its time."
        )
        figures.append(
            figure(
                "zero-shot",
                "Without training on the task, along pre-training",
                caption,
                "share of the way to fine-tuned GPT-1",
                normalised,
                lambda results: float(results.normalised or 0),
                levels=(("guessing", 0.0),),
            )
        )
    if others:
        figures.append(
            figure(
                "zero-shot-winograd",
                "Winograd schemas, along pre-training",
                "accuracy, × 100.",
                "accuracy, %",
                others,
                lambda results: 100 * results.metrics["accuracy"],
                levels=(("guessing", 50.0),),
            )
        )
    if LAMBADA in found:
        figures.append(
            figure(
                "zero-shot-lambada",
                "LAMBADA's last word, along pre-training",
                "nats of the last word given the passage.",
                "nats per word",
                [LAMBADA],
                log_perplexity,
            )
        )
    return figures


def tabulate(config: CurveConfig, found: Found) -> Table:
    """Every metric at every step."""
    steps = list(next(iter(found.values())))
    heads = [(task, name) for task in found for name in found[task][0].metrics]
    return Table(
        name="zero-shot-table",
        title="Without training on the task, along pre-training",
        caption=f"{config.run}; metrics × 100. Questions: {counts(found)}.",
        columns=("updates", *(f"{task}: {label(name)}" for task, name in heads)),
        rows=tuple(
            (f"{step:,}", *(cell(name, found[task][step].metrics[name]) for task, name in heads))
            for step in steps
        ),
        sources=tuple(str(config.run) for _ in steps),
    )


def log_perplexity(results: ZeroShot) -> float:
    """Nats of the last word."""
    return math.log(results.metrics["perplexity"])


def label(name: str) -> str:
    """What a column is called; a perplexity per word of many millions is read better as nats."""
    return "nats per word" if name == "perplexity" else LABELS.get(name, name)


def cell(name: str, value: float) -> str:
    """A metric for people."""
    return f"{math.log(value):.2f}" if name == "perplexity" else f"{100 * value:.1f}"


if __name__ == "__main__":
    start(main, CurveConfig, __doc__)
