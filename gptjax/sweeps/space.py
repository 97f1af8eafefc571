"""What `[search]` and `[prune]` of a sweep's file say: what is drawn for each option, and until
when."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptjax import config as configs
from gptjax.config import nearest
from gptjax.errors import UserError, check_counts, check_settings
from gptjax.sweeps.settings import Given, Option, Settings, flatten, options_of, resolve

KINDS = ("log_uniform", "uniform", "integer", "choice")
EXAMPLE = "{log_uniform = [LOW, HIGH]}, or uniform, integer, or {choice = [VALUE, …]}"
DIGITS = 4  # of a number that is drawn: what more would say is lost between two seeds


@dataclass(frozen=True)
class Axis:
    """An option that is searched."""

    option: Option
    name: str  # as the file gives it
    kind: str  # one of `KINDS`
    values: tuple[Any, ...]  # lowest and highest, both included, or the choices

    def rounded(self, drawn: float) -> float:
        """A drawn number as people can read it, within the bounds."""
        low, high = self.values
        if self.kind == "log_uniform":
            # A narrow range needs more digits, or many draws would be the same number.
            close = float(f"{drawn:.{DIGITS if high >= 2 * low else 3 * DIGITS}g}")
        else:
            close = round(drawn, DIGITS - math.ceil(math.log10(high - low)))
        return float(min(max(close, low), high))

    def accepts(self, value: Any) -> bool:
        """Whether a value could have been drawn."""
        if self.kind == "choice":
            return plain(value) in map(plain, self.values)
        whole = type(value) is int
        fits = whole if self.kind == "integer" else whole or isinstance(value, float)
        return fits and self.values[0] <= value <= self.values[1]


def plain(value: Any) -> str:
    """A choice as text, which tells 1 from "1", 1.0 and true."""
    return json.dumps(value, default=str)


@dataclass(frozen=True)
class Limits:
    """When a search ends: whichever comes first."""

    trials: int | None = None  # points in all, whoever runs them
    minutes: float | None = None  # after which a command starts none; those that run go on

    def check(self) -> "Limits":
        """These limits, if they can be meant."""
        check_counts(self, "search", "trials")
        check_settings(self, "search", "minutes", lambda x: 0 < x < math.inf, "a positive number")
        if self.trials is None and self.minutes is None:
            raise UserError("search: has no end; write trials = 30, or minutes = 60")
        return self


@dataclass(frozen=True)
class Prune:
    """When a point is given up: its first seed is worse than others were at the same step.

    Attributes:
        points: so many others must have come to the end of their first seed.
        step: nothing is given up before this step.
        keep: the share of the others that it must be among.
    """

    points: int = 5
    step: int = 0
    keep: float = 0.5

    def check(self) -> "Prune":
        """This rule, if it can be meant."""
        check_counts(self, "prune", "points")
        check_counts(self, "prune", "step", least=0)
        check_settings(self, "prune", "keep", lambda x: 0 < x < 1, "between 0 and 1")
        return self

    def gives_up(self, own: float, others: Sequence[float], lower_is_better: bool) -> bool:
        """Whether a value, at one step, is too bad beside those of others; NaN always is."""
        if len(others) < self.points:
            return False
        kept = sorted((x for x in others if x == x), reverse=not lower_is_better)
        worst = kept[: math.ceil(self.keep * len(others))][-1:]
        return not worst or not (own <= worst[0] if lower_is_better else own >= worst[0])


@dataclass(frozen=True)
class Search:
    """What is searched."""

    axes: tuple[Axis, ...]
    limits: Limits
    first: tuple[Settings, ...] = ()  # points that are tried before any is drawn
    prune: Prune | None = None

    def corners(self) -> list[dict[str, Any]]:
        """Points at the ends: if these can run, hardly any that is drawn cannot."""
        begin = {axis.name: axis.values[0] for axis in self.axes}
        ends = ({**begin, axis.name: value} for axis in self.axes for value in axis.values)
        unique = {plain(list(point.values())): point for point in (begin, *ends)}
        return list(unique.values())

    def size(self) -> float:
        """The number of different points."""
        return math.prod(_size(axis) for axis in self.axes)

    def all_points(self) -> Iterator[dict[str, Any]]:
        """Every point of a search whose size is finite."""
        names = [axis.name for axis in self.axes]
        for values in itertools.product(*map(_all_values, self.axes)):
            yield dict(zip(names, values, strict=True))


def _all_values(axis: Axis) -> Sequence[Any]:
    low, high = axis.values[0], axis.values[-1]
    return range(low, high + 1) if axis.kind == "integer" else axis.values


def _size(axis: Axis) -> float:
    return float(len(_all_values(axis))) if axis.kind in ("integer", "choice") else math.inf


def read_search(table: Settings, prune: Settings | None, command: str, config: type[Any]) -> Search:
    """The sections of the file; ``prune`` is None where there is none."""
    limits = {name: table[name] for name in ("trials", "minutes") if name in table}
    first = table.get("first", ())
    axes = _axes({k: v for k, v in table.items() if k not in (*limits, "first")}, command, config)
    if not isinstance(first, list | tuple) or not all(isinstance(one, Mapping) for one in first):
        raise UserError("search: first is a list of tables, each with a value for every option")
    return Search(
        axes,
        configs.from_table(Limits, limits, where="search").check(),
        tuple(_first(axes, one, command, config) for one in first),
        None if prune is None else configs.from_table(Prune, prune, where="prune").check(),
    )


def _axes(table: Settings, command: str, config: type[Any]) -> tuple[Axis, ...]:
    known, given = dict(options_of(config)), dict[str, tuple[str, Any]]()
    for name, value in flatten(table).items():
        option, _, kind = name.rpartition(".")
        if name in known:
            raise UserError(f"search: {name} = {value!r}: say how it is drawn: {EXAMPLE}")
        if option not in known and kind not in KINDS:
            option = name  # nothing there is known: the error names all of it
        elif kind not in KINDS:
            what = f"search: {option}: unknown distribution {kind!r}"
            raise UserError(f"{what}; {nearest(kind, KINDS)}")
        if option in given:
            raise UserError(f"search: {option} has two distributions; leave one of them out")
        given[option] = (kind, value)
    if not given:
        raise UserError(f"search: names no option; write OPTION = {EXAMPLE}")
    found = _resolve(given, "search", command, config)
    return tuple(_axis(option, name, *drawn) for option, (name, drawn) in found.items())


def _resolve(table: Settings, where: str, command: str, config: type[Any]) -> Given:
    try:
        return resolve(table, command, config)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _axis(option: Option, name: str, kind: str, value: Any) -> Axis:
    where = f"search: {name}: {kind} = {value!r}"
    if kind == "choice":
        if not isinstance(value, list | tuple) or not value:
            raise UserError(f"{where}: give a list of one or more values")
        texts = list(map(plain, value))
        if twice := [text for text in texts if texts.count(text) > 1]:
            raise UserError(f"{where}: has {twice[0]} twice")
        return Axis(option, name, kind, tuple(value))
    types: tuple[type, ...] = (int,) if kind == "integer" else (int, float)
    wanted = "whole numbers" if kind == "integer" else "finite numbers"
    pair = isinstance(value, list | tuple) and len(value) == 2
    if not pair or not all(type(x) in types and math.isfinite(x) for x in value):
        raise UserError(f"{where}: give two {wanted}, [LOWEST, HIGHEST]")
    low, high = value
    if low >= high:
        raise UserError(f"{where}: the lowest comes first, and the highest is larger")
    if kind == "log_uniform" and low <= 0:
        raise UserError(f"{where}: the logarithm is of positive numbers")
    return Axis(option, name, kind, (low, high))


def _first(axes: Sequence[Axis], table: Settings, command: str, config: type[Any]) -> Settings:
    """A point that is to be tried first; it must be one that could be drawn."""
    given = _resolve(table, "search: first", command, config)
    for option, (name, _) in given.items():
        if option not in [axis.option for axis in axes]:
            raise UserError(f"search: first: {name} is not searched; give it under [settings]")
    point = {}
    for axis in axes:
        if axis.option not in given:
            raise UserError(f"search: first: a point lacks {axis.name}; give all that is searched")
        value = given[axis.option][1]
        if not axis.accepts(value):
            which = "none of its choices" if axis.kind == "choice" else "not within its bounds"
            raise UserError(f"search: first: {axis.name} = {value!r} is {which}")
        real = axis.kind in ("log_uniform", "uniform")
        point[axis.name] = float(value) if real else value
    return point
