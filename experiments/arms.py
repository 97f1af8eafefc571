"""Several ways to the same task, compared: each arm with its own learning rate, over seeds.

Arms of one name are one and the same run for all scripts that share an ``--out``.
"""

import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax.commands.sweep import run_sweep
from gptjax.data.tasks.metrics import LABELS
from gptjax.data.tasks.table import find_task
from gptjax.errors import NonFiniteError, UserError
from gptjax.evaluation.comparison import Comparison, compare, read_group
from gptjax.report.figures import Figure, Series, mean_text, over_seeds
from gptjax.runs.folder import RunFolder
from gptjax.runs.sweep_results import SweepPoint
from gptjax.sweeps.plan import Sweep

RESAMPLES = 2000
TASKS_FILE = Path(__file__).with_name("small-tasks.toml")
# In the file of tasks; all else there are settings of fine-tuning.
RATES, LM_RATE, LM_VOCABULARY, FILES = (
    "learning_rates",
    "lm_learning_rate",
    "lm_vocabulary",
    "files",
)
FROZEN_RATES, ULMFIT_RATES, GPT_ULMFIT_RATES = "frozen_rates", "ulmfit_rates", "gpt_ulmfit_rates"
CONTEXT = "recurrent_context"
OWN = (RATES, LM_RATE, LM_VOCABULARY, FILES, FROZEN_RATES, ULMFIT_RATES, GPT_ULMFIT_RATES, CONTEXT)
PRETRAINED, UNTRAINED = "pre-trained", "untrained"

Arms = Mapping[str, Mapping[str, Any]]
"""Name -> settings of `gptjax finetune`, those of the task left out."""


@dataclass(frozen=True, kw_only=True)
class ArmsConfig:
    """What every script that compares arms asks for."""

    data: Path
    """Folder with a folder of published files for each task."""
    arms: Path = Path("runs/arms")
    """Where the fine-tuned runs go; scripts that share it share what is the same."""
    settings: Path = TASKS_FILE
    """How each task is fine-tuned."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Of fine-tuning: of what is not pre-trained and of the order of the data."""
    jobs: int = 1
    """Runs of fine-tuning at a time."""


@dataclass(frozen=True)
class Outcome:
    """What an arm came to.

    Attributes:
        folder: of its seeds.
        learning_rate: the one that it was run with.
        by_seed: the task's first metric of each.
        train, valid: how many examples.
    """

    folder: Path
    learning_rate: float
    by_seed: Mapping[int, float]
    train: int
    valid: int

    @property
    def values(self) -> list[float]:
        """Of the task's first metric."""
        return list(self.by_seed.values())

    @property
    def sizes(self) -> str:
        """On how much it was trained, and validated, for people."""
        return f"{self.train:,} / {self.valid:,}"

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def text(self) -> str:
        """Mean and spread for people, times 100."""
        return mean_text([100 * value for value in self.values], 1)


def read_tasks(path: Path, wanted: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of some tasks from the file of tasks.

    Raises:
        UserError: no such file, or it has none for one of them.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML: {error}") from None
    for task in wanted:
        if task not in table:
            raise UserError(f"{path}: has no [{task}]; it has {', '.join(table)}")
    return {task: table[task] for task in wanted}


def run_arms(
    config: ArmsConfig, tasks: Mapping[str, Mapping[str, Any]], arms: Arms
) -> dict[str, dict[str, Outcome]]:
    """Run what is missing of every arm on every task; the first seed chooses its learning rate.

    The choice is by the task's first metric on the validation split. A rate at which training does
    not stay finite is not chosen.

    Args:
        config: where and how often.
        tasks: their settings by name, of `read_tasks`.
        arms: by name; one with ``learning_rates`` of its own tries these.

    Returns:
        Task -> arm -> outcome.

    Raises:
        UserError: a run failed; its log is in ``config.arms``.
    """
    return {task: _run_task(config, task, settings, arms) for task, settings in tasks.items()}


def _run_task(
    config: ArmsConfig, task: str, settings: Mapping[str, Any], arms: Arms
) -> dict[str, Outcome]:
    out, rates = config.arms / task, settings[RATES]
    shared = {key: value for key, value in settings.items() if key not in OWN}
    shared = {"task": task, **shared, "data": data_of(config, task, settings)}
    shared |= {"tracking.tensorboard": False}

    def run(chosen: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> dict[str, SweepPoint]:
        variants = {
            _name(name, rate): {**plain[name], "optimizer.learning_rate": rate}
            for name, values in chosen.items()
            for rate in values
        }
        own = {**shared, "seeds": list(seeds)}
        sweep = Sweep("finetune", out, own, variants=variants, source=str(out))
        return {point.variant: point for point in run_sweep(sweep, config.jobs)}

    plain = {name: {k: v for k, v in arm.items() if k != RATES} for name, arm in arms.items()}
    rates_of = {name: arm.get(RATES, rates) for name, arm in arms.items()}
    tried = run(rates_of, config.seeds[:1])
    check_finished(out, [p for p in tried.values() if p.exit_code != NonFiniteError.exit_code])

    def metric(name: str, rate: float) -> float:
        mean = tried[_name(name, rate)].mean
        return float("-inf") if mean is None else mean

    best = {name: max(rates_of[name], key=lambda rate: metric(name, rate)) for name in arms}
    points = run({name: (rate,) for name, rate in best.items()}, config.seeds)
    check_finished(out, list(points.values()))
    outcomes = {}
    for name, rate in best.items():
        point = points[_name(name, rate)]
        folder = out / point.folder
        by_seed = {one.seed: one.value for one in point.values_by_seed}
        first = RunFolder(folder / f"seed-{config.seeds[0]}")
        sizes = [first.read_meta()["data"][split]["examples"] for split in ("train", "valid")]
        outcomes[name] = Outcome(folder, rate, by_seed, *sizes)
    return outcomes


def data_of(config: ArmsConfig, task: str, settings: Mapping[str, Any]) -> str | list[str]:
    """The folder of a task, or each of the files that its settings name there, as SPLIT=FILE."""
    folder = config.data / task
    if FILES not in settings:
        return str(folder)
    pairs = (word.split("=", 1) for word in settings[FILES])
    return [f"{split}={folder / file}" for split, file in pairs]


def _name(arm: str, rate: float) -> str:
    return f"{arm} at {rate:g}"


def check_finished(out: Path, points: Sequence[SweepPoint]) -> None:
    """Go on only where all runs of a sweep have come to their end.

    Raises:
        UserError: some have not; names them.
    """
    if failed := [point.folder for point in points if point.status != "finished"]:
        raise UserError(f"{out}: not finished: {', '.join(failed)}; their logs lie beside them")


def difference(before: Outcome, after: Outcome) -> Comparison:
    """after - before, with the paired bootstrap of `gptjax compare` over examples and seeds."""
    groups = [
        read_group(str(arm.folder), "predictions.tsv", arm.by_seed) for arm in (before, after)
    ]
    return compare(*groups, resamples=RESAMPLES, seed=0)


def with_interval(comparison: Comparison) -> str:
    """A difference and its interval for people, times 100."""
    low, high = comparison.interval
    return f"{100 * comparison.difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def metric_of(task: str, settings: Mapping[str, Any] | None = None) -> str:
    """The name of a task's first metric; its ``settings`` may name a task file."""
    return LABELS[find_task((settings or {}).get("task", task)).metrics[0]]


def series(label: str, outcomes: Mapping[Any, Outcome]) -> Series:
    """Means over seeds and their spread, times 100, over numbers or names."""
    values = {x: [100 * value for value in arm.values] for x, arm in outcomes.items()}
    return over_seeds(label, values, sources(*outcomes.values()))


def bars(name: str, title: str, caption: str, found: Mapping[str, Mapping[str, Outcome]]) -> Figure:
    """The accuracy of each arm on each task: task -> arm -> outcome."""
    names = list(dict.fromkeys(arm for outcomes in found.values() for arm in outcomes))
    by_arm = {
        arm: {task: outcomes[arm] for task, outcomes in found.items() if arm in outcomes}
        for arm in names
    }
    return Figure(
        name=name,
        title=title,
        caption=caption,
        x_label="task",
        y_label="validation accuracy (×100)",
        series=tuple(series(arm, outcomes) for arm, outcomes in by_arm.items()),
        kind="bars",
    )


def sources(*outcomes: Outcome) -> str:
    """The runs, for a figure or a table."""
    return ", ".join(str(outcome.folder) for outcome in outcomes)


def how(seeds: Sequence[int], tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """What a caption has to say of how the numbers were made."""
    rates = sorted({rate for settings in tasks.values() for rate in settings[RATES]})
    several = len(seeds) > 1
    spread = f"mean and sample standard deviation of {len(seeds)} seeds" if several else "1 seed"
    rate = f"the learning rate {rates[0]:g}"
    if len(rates) > 1:
        rate = (
            f"the learning rate out of {', '.join(f'{rate:g}' for rate in rates)} that was best "
            f"there with seed {seeds[0]}"
        )
    return (
        f"Validation split, × 100, {spread}. Each arm took {rate}, and its best epoch there, so "
        "that all are flattered alike."
    )
