"""Checkpoints of a run that are there: which they are, and their parameters for evaluation."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from gptjax.errors import NoCheckpointError, UserError
from gptjax.training import archive
from gptjax.training.archive import Items
from gptjax.training.average import AVERAGE

PyTree = Any
LAST, BEST, CURVE = "last", "best", "curve"


def curve_steps(folder: str | Path) -> list[int]:
    """The steps of the parameters that were kept on the way, in order."""
    return archive.steps(Path(folder) / CURVE)


def has_checkpoint(folder: str | Path) -> bool:
    """Whether there is a checkpoint to resume from, good or bad."""
    return bool(archive.steps(Path(folder) / LAST))


def recorded_fingerprints(folder: str | Path) -> dict[str, str]:
    """The fingerprints in the newest checkpoint that says what it is; empty if none does."""
    for kind in (LAST, BEST, CURVE):
        for step in reversed(archive.steps(Path(folder) / kind)):
            try:
                content = archive.read_content(Path(folder) / kind / str(step))
            except archive.DamagedError:
                continue
            return dict(content.get("fingerprints", {}))
    return {}


def restore_params(
    folder: str | Path,
    target: PyTree,
    which: str,
    accepted: Mapping[str, Collection[str | None]] | None = None,
    *,
    substitute: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[PyTree, int, str]:
    """The parameters of a run, for evaluation: their average if it has one.

    Args:
        folder: holds `last/`, `best/` and `curve/`.
        target: shapes and dtypes.
        which: "best", "last", "auto" (the best where one was kept, else the last), the number of
            a step in any of them, or one of them and a step, such as "last/120".
        accepted: as of `gptjax.training.archive.read`.
        substitute: take the next one in the place of a damaged one, and ``say`` so.
        say: is told what people should know, one line each.

    Returns:
        The parameters as numpy arrays, their step, and where they were: "best", "last" or "curve".

    Raises:
        UserError: the parameters have other shapes, or there is no such checkpoint.
        NoCheckpointError: there is, but it is damaged.
    """
    folder = Path(folder)
    steps = {kind: archive.steps(folder / kind) for kind in (BEST, LAST, CURVE)}
    kind, _, number = which.partition("/")
    if which in (BEST, LAST):
        candidates = [(which, step) for step in reversed(steps[which])]
    elif which == "auto":
        candidates = [(kind, step) for kind in (BEST, LAST) for step in reversed(steps[kind])]
    elif kind in steps:
        candidates = [(kind, int(number))] if number in map(str, steps[kind]) else []
    else:
        candidates = [(kind, int(which)) for kind in steps if which in map(str, steps[kind])]
    if not candidates:
        there = ", ".join(f"{kind}/{step}" for kind in steps for step in steps[kind]) or "none"
        raise UserError(f"{folder}: no checkpoint {which!r}; there are: {there}")
    paths = {f"{kind}/{step}": folder / kind / str(step) for kind, step in candidates}
    path, items, info, damages = first_good(
        folder, paths, lambda path: {_evaluated(path): target}, accepted or {}
    )
    found = f"{path.parent.name}/{path.name}"
    if damages and not substitute and not which.isdigit():
        damaged = next(iter(paths.values()))
        raise NoCheckpointError(
            f"{folder}: {'; '.join(damages)}; give `checkpoint={found}` to take that one, which is "
            f"intact, or remove {damaged}"
        )
    for damage in damages:
        say(f"{damage}; {found} is taken in its place")
    best = info.get("history", {}).get("best_step")
    if which == "auto" and not steps[BEST] and best is not None:
        say(f"the best checkpoint, best/{best}, is no longer there; {found} is taken")
    (params,) = items.values()
    return params, int(path.name), path.parent.name


def _evaluated(path: Path) -> str:
    """The item of a checkpoint that is evaluated."""
    return AVERAGE if (path / AVERAGE).exists() else "params"


def first_good(
    folder: Path,
    paths: Mapping[str, Path],
    targets: Callable[[Path], Items],
    accepted: Mapping[str, Collection[str | None]],
) -> tuple[Path, dict[str, PyTree], dict[str, Any], list[str]]:
    """The first intact checkpoint of ``paths`` (by name), and a line for each one before it."""
    damages = []
    for name, path in paths.items():
        try:
            items, info = archive.read(path, targets(path), accepted)
        except archive.DamagedError as error:
            damages.append(f"{name} is damaged ({error})")
        else:
            return path, items, info, damages
    raise NoCheckpointError(f"{folder}: no usable checkpoint: " + "; ".join(damages))
