"""A sweep as a file or a script gives it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptjax.config import nearest
from gptjax.errors import UserError
from gptjax.sweep.options import COMMANDS


@dataclass(frozen=True)
class Sweep:
    """A grid of runs, as a file or a script gives it.

    Attributes:
        command: "pretrain" or "finetune".
        out: the folder of the sweep.
        settings: option -> value, of every run; names as on the command line with _ or -, nested
            or with dots.
        grid: option -> values; every combination is run.
        variants: name -> settings; the grid is run for each of them.
        metric: what the runs are judged by; None is the task's first metric, or the perplexity.
        source: what to call it in errors.
    """

    command: str
    out: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metric: str | None = None
    source: str = "sweep"


def read_sweep(path: str | Path, out: str | Path | None = None) -> Sweep:
    """A sweep from its TOML file.

    Args:
        path: the file.
        out: where its runs go instead of where the file says.

    Raises:
        UserError: no such file, no TOML, an unknown key, or a value of another type.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file of a sweep; gptjax sweep --help says what one has"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML: {error}") from None
    kinds = {
        "command": str,
        "out": str,
        "metric": str,
        "settings": Mapping,
        "grid": Mapping,
        "variants": Mapping,
    }
    for key, value in table.items():
        if key not in kinds:
            raise UserError(f"{path}: unknown key {key!r}; {nearest(key, list(kinds))}")
        if not isinstance(value, kinds[key]):
            wanted = "a text" if kinds[key] is str else f"a section; write [{key}]"
            raise UserError(f"{path}: {key!r} is {wanted}")
    if "command" not in table:
        raise UserError(
            f"{path}: has no command; write command = {' or '.join(map(repr, COMMANDS))}"
        )
    if out is None:
        out = table["out"] if "out" in table else Path("runs/sweeps") / path.stem
    given = {key: value for key, value in table.items() if key != "out"}
    for name, variant in given["variants"].items() if "variants" in given else ():
        if not isinstance(variant, Mapping):
            raise UserError(f"{path}: variants: {name!r} is a section; write [variants.{name!r}]")
    return Sweep(**given, out=Path(out), source=str(path))
