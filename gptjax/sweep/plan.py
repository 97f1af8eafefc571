"""The runs that a sweep means: their settings and their folders, checked."""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptjax import config as configs
from gptjax.commands import finetune
from gptjax.commands.finetune_config import ABSENT, FinetuneConfig, task_folder, task_of
from gptjax.config import nearest
from gptjax.data.tasks.load import find_task_files
from gptjax.data.tasks.metrics import LABELS
from gptjax.data.text.corpus import open_source_of
from gptjax.errors import UserError
from gptjax.runs import start as backbone
from gptjax.runs.folder import RunFolder
from gptjax.sweep.options import COMMANDS, Option, flatten, options_of, parse
from gptjax.sweep.sweep_file import Sweep
from gptjax.training.loop import total_steps

# The files of a sweep as a whole, beside the folders of its runs.
RESULTS, SUMMARY, FIGURES = "results.json", "summary.tsv", "figures.json"
LOCK = ".lock"
OWN = {
    "out": "the sweep names the folders of its runs; give out above [settings]",
    "resume": "a sweep goes on by itself with what it finds",
    "overwrite": "a sweep never removes a run; remove its folder, or give another out",
}
PRETRAIN_METRICS = ("perplexity", "loss", "accuracy", "word_perplexity", "bits_per_byte")
LOWER_IS_BETTER = ("perplexity", "loss", "word_perplexity", "bits_per_byte")
SAFE = re.compile(r"[^A-Za-z0-9._+-]+")
LONGEST_NAME = 150  # bytes; a file system takes 255, and logs and temporary files add to it


@dataclass(frozen=True)
class PlannedPoint:
    """A run that a sweep means.

    Attributes:
        variant: its name, "" where the sweep has none.
        values: option -> value, of the grid.
        folder: its run folder.
        words: the options of its command line but for --out and --resume.
        settings: its whole config as a table, with what the options leave to defaults.
        seeds: those that it is run with; empty for one run with train.seed.
    """

    variant: str
    values: Mapping[str, Any]
    folder: Path
    words: tuple[str, ...]
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]

    @property
    def name(self) -> str:
        """What it is called, which is the name of its folder."""
        return self.folder.name

    def beside(self, suffix: str) -> Path:
        """A file of the sweep beside the folder: .log (output) or .json (settings and times)."""
        return self.folder.with_name(self.folder.name + suffix)


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, in order, and what they are judged by."""

    sweep: Sweep
    points: tuple[PlannedPoint, ...]
    axes: Mapping[str, str]
    """Option of the grid -> its short name, in order."""
    metric: str

    @property
    def lower_is_better(self) -> bool:
        """Whether the best run is the one with the lowest metric."""
        return self.metric in LOWER_IS_BETTER

    @property
    def scale(self) -> int:
        """By what the metric is multiplied for people: shares and correlations are shown × 100."""
        return 100 if self.metric in LABELS else 1

    @property
    def label(self) -> str:
        """The metric in words."""
        return LABELS[self.metric] if self.metric in LABELS else self.metric.replace("_", " ")


def make_plan(sweep: Sweep) -> Plan:
    """The runs that a sweep means, in the order of the file, each checked as far as it can be.

    Raises:
        UserError: in one line what is wrong with which part of the sweep.
    """
    try:
        return _make_plan(sweep)
    except UserError as error:
        raise UserError(f"{sweep.source}: {error}") from None


def _make_plan(sweep: Sweep) -> Plan:
    if sweep.command not in COMMANDS:
        known = nearest(sweep.command, list(COMMANDS))
        raise UserError(f"command = {sweep.command!r}; {known}")
    if not sweep.grid and not sweep.variants:
        raise UserError("has nothing to vary; write [grid] or [variants.NAME]")
    known_options = options_of(sweep.command)
    settings = _resolve(sweep.settings, known_options, "settings", sweep.command)
    grid = _resolve(sweep.grid, known_options, "grid", sweep.command)
    _check_disjoint(settings, grid, "settings")
    for name, (_, values) in grid.items():
        if not isinstance(values, list | tuple) or not values:
            raise UserError(f"grid: {name} = {values!r}: give a list of one or more values")
    variants = {}
    for name, table in sweep.variants.items():
        variants[name] = _resolve(table, known_options, f"variants.{name}", sweep.command)
        _check_disjoint(variants[name], grid, f"variants.{name}")

    axes = _short_names(grid)
    points, configs_of = [], []
    for variant in variants or ("",):
        # A variant's own settings replace those of all runs.
        own = variants[variant] if variants else {}
        replaced = {option for option, _ in own.values()}
        kept = {n: (option, v) for n, (option, v) in settings.items() if option not in replaced}
        for values in itertools.product(*(values for _, values in grid.values())):
            chosen = dict(zip(grid, values, strict=True))
            name = _folder_name(variant, {axes[key]: value for key, value in chosen.items()})
            try:
                point, config = _plan_point(
                    sweep, variant, chosen, sweep.out / name, {**kept, **own}, grid
                )
            except UserError as error:
                raise UserError(f"{name}: {error}") from None
            points.append(point)
            configs_of.append(config)
    metric = _metric(sweep, configs_of)
    _check_paths(sweep, points, metric)
    return Plan(sweep, tuple(points), axes, metric)


def _resolve(
    table: Mapping[str, Any], known: Mapping[str, Option], where: str, command: str
) -> dict[str, tuple[Option, Any]]:
    """Name -> option and value, where every name is an option of the command, and only once."""
    found: dict[str, tuple[Option, Any]] = {}
    by_option: dict[Option, str] = {}
    for name, value in flatten(table).items():
        if name in OWN:
            raise UserError(f"{where}: {name}: {OWN[name]}")
        if name.startswith("distributed."):
            raise UserError(f"{where}: {name}: the runs of a sweep are processes of one machine")
        if name not in known:
            raise UserError(
                f"{where}: gptjax {command} has no option {name!r}; {nearest(name, list(known))}"
            )
        option = known[name]
        if option in by_option:
            raise UserError(f"{where}: {by_option[option]} and {name} are the same option")
        by_option[option] = name
        found[name] = (option, value)
    return found


def _check_disjoint(
    settings: Mapping[str, tuple[Option, Any]], grid: Mapping[str, tuple[Option, Any]], where: str
) -> None:
    varied = {option for option, _ in grid.values()}
    for name, (option, _) in settings.items():
        if option in varied:
            raise UserError(f"{name} is in [{where}] and in [grid]; leave one of them out")


def _short_names(grid: Mapping[str, Any]) -> dict[str, str]:
    """Option of the grid -> the last part of its name, or all of it where that is not enough."""
    last = [name.rpartition(".")[2] for name in grid]
    return {
        name: short if last.count(short) == 1 else name
        for name, short in zip(grid, last, strict=True)
    }


def text_of(value: Any) -> str:
    """A value of the grid for people and for names of folders."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(text_of, value))
    return repr(value) if isinstance(value, float) else str(value)


def _folder_name(variant: str, values: Mapping[str, Any]) -> str:
    """`VARIANT,KEY=VALUE,…` in letters that are safe in every file system.

    It depends on nothing but the point itself, so that it stays when the sweep grows.
    """
    parts = [_safe(variant)] if variant or not values else []
    parts += [f"{key}={_safe(text_of(value))}" for key, value in values.items()]
    name = ",".join(parts)
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    return name


def _safe(text: str) -> str:
    safe = SAFE.sub("-", text)
    # A name that begins with a dot is hidden (or the folder above), and with a dash an option;
    # values may be negative numbers, and stand behind their key.
    if not safe.strip(".-"):
        raise UserError(f"{text!r}: has no letter or digit for the name of a folder")
    return safe.lstrip(".")


def _plan_point(
    sweep: Sweep,
    variant: str,
    values: Mapping[str, Any],
    folder: Path,
    settings: Mapping[str, tuple[Option, Any]],
    grid: Mapping[str, tuple[Option, Any]],
) -> tuple[PlannedPoint, Any]:
    given = [*settings.values(), *((grid[key][0], value) for key, value in values.items())]
    words = tuple(word for option, value in given for word in option.words(value))
    config = parse(sweep.command, words)
    total_steps(config.train, 1)
    own_seeds: tuple[int, ...] = ()
    if isinstance(config, FinetuneConfig):
        own_seeds = config.seeds
        finetune.check_seeds(own_seeds)
        find_task_files(config.task.data, task_of(config, RunFolder(folder)), task_folder(config))
        if config.init in ABSENT and not (config.like or config.tokenizer):
            backbone.newest_run()
    elif config.corpus.data.partition(":")[0] not in ("embedded", "hub"):
        # Only files can be missing, and only they are found without reading them.
        open_source_of(config.corpus)
    table = configs.to_table(config)
    return PlannedPoint(variant, values, folder, words, table, own_seeds), config


def _metric(sweep: Sweep, points: Sequence[Any]) -> str:
    """What the runs are judged by, which all of them have."""
    if sweep.command == "pretrain":
        known: list[tuple[str, ...]] = [PRETRAIN_METRICS]
    else:
        known = [(*task_of(c, RunFolder(sweep.out)).metrics, "loss") for c in points]
    firsts = list(dict.fromkeys(names[0] for names in known))
    if sweep.metric is None:
        if len(firsts) > 1:
            raise UserError(
                f"its tasks have different first metrics ({', '.join(firsts)}); give metric = one "
                "that all of them have, or a sweep for each"
            )
        return firsts[0]
    for names in known:
        if sweep.metric not in names:
            raise UserError(f"metric = {sweep.metric!r}; {nearest(sweep.metric, names)}")
    return sweep.metric


def _check_paths(sweep: Sweep, points: Sequence[PlannedPoint], metric: str) -> None:
    """Nothing that the sweep writes has the name of something else that it writes."""
    names = (RESULTS, SUMMARY, FIGURES, LOCK, f"{metric}.png", f"{metric}.svg")
    taken = {name.casefold(): "the sweep's own" for name in names}
    for point in points:
        for path in (point.folder, point.beside(".log"), point.beside(".json")):
            # Some file systems do not tell capital letters from small ones.
            if other := taken.get(path.name.casefold()):
                raise UserError(
                    f"{point.name}: its {path.name} would be that of {other}; values and variants "
                    "must differ in letters and digits"
                )
            taken[path.name.casefold()] = f"another {point.name}"
