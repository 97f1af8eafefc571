"""From the file of a sweep to its runs: for each a table of settings and a folder, checked."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptjax import config as configs
from gptjax.config import nearest
from gptjax.data.tasks.metrics import LABELS
from gptjax.errors import UserError
from gptjax.sweeps.settings import Given, Option, Runnable, Settings, configured, resolve
from gptjax.sweeps.space import Search, read_search

# The files of a sweep as a whole, beside the folders of its runs.
RESULTS, SUMMARY, FIGURES = "results.json", "summary.tsv", "figures.json"
LOCK = ".lock"
JOURNAL, STUDY_LOCK = "journal.log", ".journal.lock"  # of a search: what was tried
LOWER_IS_BETTER = (
    *("perplexity", "loss", "word_perplexity", "bits_per_byte", "reconstruction_perplexity"),
)
SAFE = re.compile(r"[^A-Za-z0-9._+-]+")
LONGEST_NAME = 150  # bytes; a file system takes 255, and logs and temporary files add to it


@dataclass(frozen=True)
class Sweep:
    """A grid of runs, or a search, as a file or a script gives it.

    Attributes:
        command: "pretrain" or "finetune".
        out: the folder of the sweep.
        settings: option -> value, of every run; names as on the command line with _ or -, nested
            or with dots.
        grid: option -> values; every combination is run.
        variants: name -> settings; the grid is run for each of them.
        search: option -> how it is drawn, and when the search ends; instead of grid and variants.
        prune: when a point of a search is given up; None never gives one up.
        metric: what the runs are judged by; None is the task's first metric, or the perplexity.
        source: what to call it in errors.
    """

    command: str
    out: Path
    settings: Settings = field(default_factory=dict)
    grid: Settings = field(default_factory=dict)
    variants: Mapping[str, Settings] = field(default_factory=dict)
    search: Settings = field(default_factory=dict)
    prune: Settings | None = None
    metric: str | None = None
    source: str = "sweep"


def read_sweep(path: str | Path, out: str | Path | None = None) -> Sweep:
    """A sweep from its TOML file; ``out`` is where its runs go instead of where the file says."""
    table = configs.read_table(path, "file of a sweep")
    texts = ("command", "out", "metric")
    sections = ("settings", "grid", "variants", "search", "prune")
    for key, value in table.items():
        if key not in texts + sections:
            raise UserError(f"{path}: unknown key {key!r}; {nearest(key, texts + sections)}")
        if not isinstance(value, str if key in texts else dict):
            wanted = "a text" if key in texts else f"a section; write [{key}]"
            raise UserError(f"{path}: {key!r} is {wanted}")
    for name, variant in table.get("variants", {}).items():
        if not isinstance(variant, dict):
            raise UserError(f"{path}: variants: {name!r} is a section; write [variants.{name!r}]")
    chosen = Path(out or table.get("out") or Path("runs/sweeps") / Path(path).stem)
    return Sweep(**{"command": "", **table, "out": chosen, "source": str(path)})


@dataclass(frozen=True)
class PlannedPoint:
    """A run that a sweep means."""

    variant: str  # its name, "" where the sweep has none
    values: Settings  # option -> value, of the grid or the search
    folder: Path  # its run folder
    table: Settings  # the content of its config file
    settings: Settings  # its whole config as a table, with what its file leaves to defaults
    seeds: tuple[int, ...]  # those that it is run with; empty for one run with train.seed

    @property
    def name(self) -> str:
        """What it is called, which is the name of its folder."""
        return self.folder.name

    def beside(self, suffix: str) -> Path:
        """A file beside the folder: .toml (its config), .log (output), .json (`Note`)."""
        return self.folder.with_name(self.name + suffix)


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, in order, and what they are judged by.

    The points of a search are those that were tried so far.
    """

    sweep: Sweep
    command: Runnable
    points: tuple[PlannedPoint, ...]
    axes: Mapping[str, str]  # option of the grid or the search -> its short name, in order
    metric: str
    search: Search | None = None
    # Of a search: the point with these values; a UserError if they cannot be together.
    point: Callable[[Settings], PlannedPoint] | None = None

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
        return LABELS.get(self.metric, self.metric.replace("_", " "))


def make_plan(sweep: Sweep, commands: Mapping[str, Runnable]) -> Plan:
    """The runs that a sweep means, in the order of the file, each checked as far as it can be."""
    with _named(sweep.source):
        return _make_plan(sweep, commands)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Errors begin with the part of the sweep that they are about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _make_plan(sweep: Sweep, commands: Mapping[str, Runnable]) -> Plan:
    if not sweep.command:
        raise UserError(f"has no command; write command = {' or '.join(map(repr, commands))}")
    if sweep.command not in commands:
        raise UserError(f"command = {sweep.command!r}; {nearest(sweep.command, list(commands))}")
    command = commands[sweep.command]
    if sweep.search:
        return _plan_search(sweep, command)
    if sweep.prune is not None:
        raise UserError("[prune] is for the points of a [search]; leave it out")
    if not sweep.grid and not sweep.variants:
        raise UserError("has nothing to vary; write [grid], [variants.NAME] or [search]")
    return _plan_grid(sweep, command)


def _resolved(sweep: Sweep, command: Runnable, tables: Settings) -> dict[str, Given]:
    """The settings of each of these sections of the file."""
    sections: dict[str, Given] = {}
    for where, table in tables.items():
        with _named(where):
            sections[where] = resolve(table, sweep.command, command.config)
    return sections


def _check_apart(sections: Mapping[str, Given], varied: Mapping[Option, Any], where: str) -> None:
    """What is varied is given nowhere else."""
    for section, given in sections.items():
        if both := [given[option][0] for option in given if option in varied]:
            raise UserError(f"{both[0]} is in [{section}] and in [{where}]; leave one of them out")


def _plan_grid(sweep: Sweep, command: Runnable) -> Plan:
    tables = {"grid": sweep.grid, "settings": sweep.settings}
    tables |= {f"variants.{name}": table for name, table in sweep.variants.items()}
    sections = _resolved(sweep, command, tables)
    grid = sections.pop("grid")
    for name, values in grid.values():
        if not isinstance(values, list | tuple) or not values:
            raise UserError(f"grid: {name} = {values!r}: give a list of one or more values")
    _check_apart(sections, grid, "grid")
    settings = sections.pop("settings")
    others = list(sections.values())  # of the variants, in their order
    axes = _short_names([name for name, _ in grid.values()])
    points, metrics = [], []
    for variant, own in zip(sweep.variants or [""], others or [{}], strict=True):
        for values in itertools.product(*(values for _, values in grid.values())):
            shown = dict(zip(axes, values, strict=True))
            given = {**settings, **own, **dict(zip(grid, shown.items(), strict=True))}
            point, known = _checked(_point(sweep, command, axes, variant, shown, given), command)
            points.append(point)
            metrics.append(known)
    metric = _metric(sweep, metrics)
    _check_paths(points, metric)
    return Plan(sweep, command, tuple(points), axes, metric)


def _plan_search(sweep: Sweep, command: Runnable) -> Plan:
    for name in ("grid", "variants"):
        if getattr(sweep, name):
            advice = "write OPTION = {choice = […]} under [search] instead"
            raise UserError(f"has [search] and [{name}]; leave one of them out, or {advice}")
    settings = _resolved(sweep, command, {"settings": sweep.settings})["settings"]
    search = read_search(sweep.search, sweep.prune, sweep.command, command.config)
    varied = {axis.option: axis.name for axis in search.axes}
    _check_apart({"settings": settings}, varied, "search")
    axes = _short_names(list(varied.values()))

    def make(values: Settings) -> tuple[PlannedPoint, Any]:
        given = {option: (name, values[name]) for option, name in varied.items()}
        return _point(sweep, command, axes, "", values, {**settings, **given})

    ends = [_checked(make(values), command) for values in search.corners()]
    for values in search.first:
        _checked(make(values), command)
    metric = _metric(sweep, [known for _, known in ends])
    _check_paths([point for point, _ in ends], metric)
    return Plan(sweep, command, (), axes, metric, search, lambda values: make(values)[0])


def _point(
    sweep: Sweep,
    command: Runnable,
    axes: Mapping[str, str],
    variant: str,
    values: Settings,
    given: Given,
) -> tuple[PlannedPoint, Any]:
    """A point and its config; ``values`` are those that its folder is named by."""
    name = _folder_name(variant, {axes[key]: value for key, value in values.items()})
    with _named(name):
        table, seeds, config = configured(command, given)
    whole = configs.to_table(config)
    return PlannedPoint(variant, values, sweep.out / name, table, whole, seeds), config


def _checked(
    made: tuple[PlannedPoint, Any], command: Runnable
) -> tuple[PlannedPoint, tuple[str, ...]]:
    """A point whose run can start, and the metrics of its results."""
    point, config = made
    with _named(point.name):
        return point, command.check(config)


def _short_names(names: Sequence[str]) -> dict[str, str]:
    """Option of the grid -> the last part of its name, or all of it where that is not enough."""
    last = [name.rpartition(".")[2] for name in names]
    pairs = zip(names, last, strict=True)
    return {name: short if last.count(short) == 1 else name for name, short in pairs}


def text_of(value: Any) -> str:
    """A value of the grid for people and for names of folders."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(text_of, value))
    return repr(value) if isinstance(value, float) else str(value)


def _folder_name(variant: str, values: Settings) -> str:
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


def _metric(sweep: Sweep, known: Sequence[tuple[str, ...]]) -> str:
    """What the runs are judged by, which all of them have."""
    first, *others = dict.fromkeys(names[0] for names in known)
    if sweep.metric is None and others:
        different = f"its runs have different first metrics ({', '.join([first, *others])})"
        advice = "give metric = one that all of them have, or a sweep for each"
        raise UserError(f"{different}; {advice}")
    metric = first if sweep.metric is None else sweep.metric
    for names in known:
        if metric not in names:
            raise UserError(f"metric = {metric!r}; {nearest(metric, names)}")
    return metric


def _check_paths(points: Sequence[PlannedPoint], metric: str) -> None:
    """Nothing that the sweep writes has the name of something else that it writes."""
    names = (RESULTS, SUMMARY, FIGURES, LOCK, f"{metric}.png", f"{metric}.svg")
    taken = {name.casefold(): "the sweep's own" for name in names}
    for point in points:
        for path in (point.folder, *map(point.beside, (".toml", ".log", ".json"))):
            # Some file systems do not tell capital letters from small ones.
            if other := taken.get(path.name.casefold()):
                clash = f"its {path.name} would be that of {other}"
                advice = "values and variants must differ in letters and digits"
                raise UserError(f"{point.name}: {clash}; {advice}")
            taken[path.name.casefold()] = f"another {point.name}"
