"""The lineage: GPT-1 and the methods it was measured against, on the same text, at one size.

    .venv/bin/python experiments/lineage.py --books BOOKS --data FOLDER

``BOOKS`` has the novels, train/*.txt and valid/*.txt; ``FOLDER`` a folder of published files for
each task. `lineage_models.py` says how the models are pre-trained. Each method takes the learning
rate that is best on the validation rows with the first seed, and then has all seeds. What has
finished is not run again: the same command goes on, and says how long the rest takes.
"""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arms import (
    CONTEXT,
    FROZEN_RATES,
    GPT_ULMFIT_RATES,
    RATES,
    ULMFIT_RATES,
    ArmsConfig,
    Outcome,
    bars,
    data_of,
    difference,
    metric_of,
    read_tasks,
    run_arms,
    sources,
    with_interval,
)
from elmo import GPT_STILL, MIX, STILL
from fine_tuning_methods import HEAD, MethodsConfig, language_model, methods
from lineage_models import MODELS_FILE, Trained, read_models, train_models
from script import start
from sequence_learning import HEAD as SEQUENCE_HEAD
from sequence_learning import JOINT_COEFFICIENT
from ulmfit import ADAM, ALL_OF_LM, DROPOUT, UlmfitConfig, language_models

from gptjax.commands import evaluate, probe, probe_config, zeroshot
from gptjax.data.tasks.table import find_task
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown
from gptjax.runs.own_config import load_config
from gptjax.runs.results import ProbeResults, TaskEvaluation, ZeroShot, read_as

TASKS_FILE = Path(__file__).with_name("lineage-tasks.toml")
SCRATCH, JOINT, SA, LM = "from scratch", "joint", "sequence autoencoder", "LM-LSTM"
BYTES, ELMO, AWD = "byte mLSTM, probe", "biLM, mixed, BiLSTM", "AWD-LSTM, ULMFiT"
PLAIN, GPT, GPT_ULMFIT = "GPT, no LM loss", "GPT", "GPT, ULMFiT"
FROZEN, ZERO = "GPT, frozen, mixed", "GPT, zero-shot"
ROWS = (SCRATCH, JOINT, SA, LM, BYTES, ELMO, AWD, PLAIN, GPT, GPT_ULMFIT, FROZEN, ZERO)
MODEL_OF = {
    **dict.fromkeys((SCRATCH, PLAIN, GPT, GPT_ULMFIT, FROZEN, ZERO), "gpt"),
    JOINT: "lm-lstm",
    LM: "lm-lstm",
    SA: "sa-lstm",
    BYTES: "bytes",
    ELMO: "bilm",
    AWD: "awd",
}
NOT_PRETRAINED = (SCRATCH, JOINT)
BREAKING = "breaking_nli"
# Accuracy in per cent of the authors' own models, of test rows but for ULMFiT's, and where all
# labelled rows were seen.
PUBLISHED: Mapping[tuple[str, str], str] = {
    ("imdb", SCRATCH): "86.5 (LSTM)",
    ("imdb", JOINT): "85.3",
    ("imdb", SA): "92.8",
    ("imdb", LM): "92.4",
    ("imdb", BYTES): "92.9",
    ("sst2_raw", BYTES): "91.8",
    ("imdb", AWD): "95.0",
    ("trec", AWD): "94.3",
    ("sst2_raw", GPT): "91.3",
    ("rocstories", GPT): "86.5",
    ("snli", GPT): "89.9",
    ("snli", ELMO): "88.7 (ESIM)",
    (BREAKING, GPT): "83.75",
}


@dataclass(frozen=True, kw_only=True)
class LineageConfig(ArmsConfig):
    """Pre-train, fine-tune, and write the tables and the figure."""

    books: Path
    """Folder of the novels."""
    models: Path = MODELS_FILE
    """How each model is pre-trained."""
    arms: Path = Path("runs/lineage")
    """Where the runs go."""
    settings: Path = TASKS_FILE
    """How each task is fine-tuned."""
    out: Path = Path("runs/lineage")
    """Where tables and figure go."""
    tasks: tuple[str, ...] = ("sst2_raw", "trec", "imdb", "rocstories", "snli")
    """On which tasks."""


@dataclass(frozen=True)
class Cell:
    """A method on a task: an `Outcome`, or one accuracy without seeds."""

    outcome: Outcome | None = None
    single: float | None = None
    source: str = ""

    @property
    def text(self) -> str:
        """For people, times 100."""
        if self.outcome is not None:
            return self.outcome.text
        return "–" if self.single is None else f"{100 * self.single:.1f}"


def main(config: LineageConfig) -> None:
    """Run what is missing, and write the tables and the figure."""
    tasks = read_tasks(config.settings, config.tasks)
    models = train_models(read_models(config.models), config.books, config.arms, config.jobs)
    runs = {name: str(model.run) for name, model in models.items()}
    found: dict[str, dict[str, Cell]] = {}
    clock = Clock(len(tasks))
    for task, settings in tasks.items():
        tuned = run_arms(config, {task: settings}, methods_of(config, runs, task, settings))[task]
        cells = {name: Cell(outcome, source=sources(outcome)) for name, outcome in tuned.items()}
        if find_task(settings.get("task", task)).has_classes:
            cells[BYTES] = probed(config, runs["bytes"], task, settings)
        if task == "sst2_raw":
            cells[ZERO] = asked(config, runs["gpt"])
        found[task] = cells
        clock.done(task)
    if "snli" in found:
        found[BREAKING] = broken(config, found["snli"])
    report(config, tasks, models, found)


class Clock:
    """Says how long the tasks that are left take."""

    def __init__(self, tasks: int) -> None:
        self.left, self.begun, self.past = tasks, time.monotonic(), 0

    def done(self, task: str) -> None:
        """A task has come to its end."""
        self.left, self.past = self.left - 1, self.past + 1
        minutes = (time.monotonic() - self.begun) / self.past * self.left / 60
        print(f"{task}: done; {self.left} tasks are left, about {minutes:.0f} minutes", flush=True)


def methods_of(
    config: LineageConfig, runs: Mapping[str, str], task: str, settings: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Settings of `gptjax finetune` by method; the language models of a task are trained first."""
    shared: dict[str, Any] = {"data": config.data, "seeds": config.seeds, "jobs": config.jobs}
    shared |= {"arms": config.arms / "ulmfit", "settings": config.settings}
    awd = UlmfitConfig(init=runs["awd"], **shared)
    gpt = MethodsConfig(init=runs["gpt"], **shared)
    words = language_models(awd, task, settings, only=(ALL_OF_LM,))[ALL_OF_LM]
    pieces = language_model(gpt, task, settings)
    recurrent = {"lm_coefficient": 0.0, **SEQUENCE_HEAD}
    whole = {"model.context_length": settings[CONTEXT]}  # longer than the windows of pre-training
    frozen = {RATES: settings[FROZEN_RATES], **STILL, **MIX}
    ulmfit = {RATES: settings[ULMFIT_RATES], **HEAD, **ADAM, **DROPOUT}
    return {
        SCRATCH: {"init": "none", "like": runs["gpt"], "lm_coefficient": 0.0},
        JOINT: {
            "init": "none",
            "like": runs["lm-lstm"],
            **SEQUENCE_HEAD,
            "lm_coefficient": JOINT_COEFFICIENT,
        },
        SA: {"init": runs["sa-lstm"], **recurrent},
        LM: {"init": runs["lm-lstm"], **recurrent},
        ELMO: {"init": runs["bilm"], **whole, **frozen},
        AWD: {**all_three(words), **ulmfit, **whole},
        PLAIN: {"init": runs["gpt"], "lm_coefficient": 0.0},
        GPT: {"init": runs["gpt"]},
        GPT_ULMFIT: {**all_three(pieces), RATES: settings[GPT_ULMFIT_RATES]},
        FROZEN: {"init": runs["gpt"], **frozen, **GPT_STILL},
    }


def all_three(run: Path) -> dict[str, Any]:
    """ULMFiT's classifier on a run: discriminative and slanted rates, gradual unfreezing."""
    return methods(str(run), load_config(str(run)).num_layers)["all three"]


def probed(config: LineageConfig, run: str, task: str, settings: Mapping[str, Any]) -> Cell:
    """The probe of the memory cells: L1, C chosen on the validation rows (Radford et al. 2017)."""
    out = config.arms / "probe" / task
    if not (out / "results.json").exists():
        data = data_of(config, task, settings)
        probe.run(
            probe_config.ProbeConfig(
                run=run,
                task=settings.get("task", task),
                data=(data,) if isinstance(data, str) else tuple(data),
                features="cell",
                penalty="l1",
                out=str(out),
            )
        )
    metrics = read_as(ProbeResults, out / "results.json").metrics
    return Cell(single=next(iter(metrics.values())), source=str(out))


def asked(config: LineageConfig, run: str) -> Cell:
    """SST-2 zero-shot, by the rule of GPT-1's section 5."""
    out = config.arms / "zero-shot" / "sst2_raw"
    if not (out / "results.json").exists():
        rows = str(config.data / "sst2_raw" / "dev_binary_sent.csv")
        zeroshot.run(zeroshot.ZeroShotConfig(run=run, task="sst2", data=rows, out=str(out)))
    metrics = read_as(ZeroShot, out / "results.json").metrics
    return Cell(single=metrics["accuracy"], source=str(out))


def broken(config: LineageConfig, snli: Mapping[str, Cell]) -> dict[str, Cell]:
    """Breaking NLI, of the runs on SNLI."""
    found = {}
    for name, cell in snli.items():
        if cell.outcome is None:
            continue
        values = {}
        for seed in cell.outcome.by_seed:
            out = config.arms / BREAKING / name.replace(",", "").replace(" ", "-") / f"seed-{seed}"
            if not (out / "results.json").exists():
                evaluate.run(
                    evaluate.EvaluateConfig(
                        run=str(cell.outcome.folder / f"seed-{seed}"),
                        data=str(config.data / BREAKING),
                        task=BREAKING,
                        out=str(out),
                    )
                )
            values[seed] = read_as(TaskEvaluation, out / "results.json").metrics["accuracy"]
        outcome = dataclasses.replace(cell.outcome, folder=out.parent, by_seed=values)
        found[name] = Cell(outcome, source=str(out.parent))
    return found


def report(
    config: LineageConfig,
    tasks: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, Trained],
    found: Mapping[str, Mapping[str, Cell]],
) -> None:
    """The tables and the figure."""
    tables = [accuracy_table(config, tasks, models, found), difference_table(config, found)]
    tables.append(model_table(models))
    title = "GPT-1 and its ancestors, on the same text"
    outcomes = {task: seeded(cells) for task, cells in found.items()}
    figure = bars("lineage", title, tables[0].caption, outcomes)
    save(config.out, [figure], tables)
    for table in tables:
        print(markdown(table))
    print(f"{config.out}/{figure.name}.png")


def seeded(cells: Mapping[str, Cell]) -> dict[str, Outcome]:
    """The outcomes of a task in the order of the methods; of a probe there are none."""
    there = {name: cells[name].outcome for name in ROWS if name in cells}
    return {name: outcome for name, outcome in there.items() if outcome is not None}


def accuracy_table(
    config: LineageConfig,
    tasks: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, Trained],
    found: Mapping[str, Mapping[str, Cell]],
) -> Table:
    """Every method on every task, with the published figures, and what its pre-training took."""
    rows, runs = [], []
    for name in ROWS:
        cells = []
        for task, of_task in found.items():
            published = PUBLISHED.get((task, name))
            text = of_task[name].text if name in of_task else "–"
            cells.append(text + (f" [{published}]" if published else ""))
        model = models[MODEL_OF[name]]
        cost = (
            ("–", "–")
            if name in NOT_PRETRAINED
            else (f"{model.petaflops:.3g}", f"{model.cpu:,.0f}")
        )
        rows.append((name, *cells, f"{model.weights / 1e6:.2f}", *cost))
        runs.append(
            ", ".join(of_task[name].source for of_task in found.values() if name in of_task)
        )
    counts = []
    for task, of_task in found.items():
        outcome = of_task[GPT].outcome
        assert outcome is not None
        label = "accuracy" if task == BREAKING else metric_of(task, tasks[task])
        counts.append(f"{task} {outcome.sizes} ({label})")
    caption = (
        "All models read the same novels once; the parameters of their layers, without embeddings "
        "and output, are alike within 10 %. Validation rows, × 100, mean and sample standard "
        f"deviation of {len(config.seeds)} seeds; a probe and a zero-shot answer have no seed. "
        "Learning rates: the best there with the first seed. Rows (train / valid): "
        f"{', '.join(counts)}. In brackets: published, of far larger models and more text. The "
        "last columns: millions of parameters, PFLOPs and CPU seconds of pre-training."
    )
    heads = ("method", *found, "parameters, M", "PFLOPs", "CPU s")
    title = "GPT-1 and its ancestors, on the same text"
    return Table("lineage-table", title, caption, heads, tuple(rows), tuple(runs))


def difference_table(config: LineageConfig, found: Mapping[str, Mapping[str, Cell]]) -> Table:
    """Every method minus GPT, with the paired interval."""
    rows = []
    for name in ROWS:
        cells = []
        for of_task in found.values():
            gpt = of_task[GPT].outcome
            own = of_task[name].outcome if name in of_task else None
            if name == GPT or own is None or gpt is None:
                cells.append("–")
            else:
                cells.append(with_interval(difference(gpt, own)))
        rows.append((name, *cells))
    caption = (
        "Points of accuracy above GPT (fine-tuned with its LM loss), with the 95 % interval of a "
        f"paired bootstrap over examples and {len(config.seeds)} seeds."
    )
    title = "Differences from GPT"
    sources_of = tuple(str(config.arms) for _ in rows)
    return Table("lineage-differences", title, caption, ("method", *found), tuple(rows), sources_of)


def model_table(models: Mapping[str, Trained]) -> Table:
    """The pre-trained models."""
    rows = tuple(
        (
            name,
            f"{model.rate:g}",
            f"{model.perplexity:.1f}",
            "–" if model.bits_per_byte is None else f"{model.bits_per_byte:.3f}",
            f"{model.weights / 1e6:.2f}",
            f"{model.petaflops:.3g}",
            f"{model.cpu:,.0f}",
        )
        for name, model in models.items()
    )
    heads = (
        *("model", "learning rate", "perplexity of its tokens", "bits per byte"),
        *("parameters, M", "PFLOPs", "CPU s"),
    )
    caption = (
        "One seed. Perplexities are of tokens that differ; bits per byte compare all of them. "
        "Where words are the tokens, an unknown word is one token, and cheap."
    )
    runs = tuple(str(model.run) for model in models.values())
    return Table("lineage-models", "Pre-training", caption, heads, rows, runs)


if __name__ == "__main__":
    start(main, LineageConfig, __doc__)
