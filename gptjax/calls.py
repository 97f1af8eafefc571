"""The commands as functions: `gptjax.pretrain`, `finetune`, `evaluate` and `sweep`.

Settings have the names and the defaults of the command line. Those with a point are given in a
mapping: ``gptjax.pretrain("tiny", **{"optimizer.learning_rate": 1e-3})``.
"""

import dataclasses
import hashlib
import os
import typing
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gptjax import config as configs
from gptjax.data.tables.given import as_path
from gptjax.errors import UserError
from gptjax.evaluation.model import Model, load
from gptjax.files import make_folder
from gptjax.help import short_names
from gptjax.runs.open import Run
from gptjax.runs.sweep_results import SweepResults

T = TypeVar("T")
Table = Mapping[str, Any]
Source = str | os.PathLike[str] | Run


def pretrain(
    config: str | os.PathLike[str] | Table | None = None,
    *,
    data: Any = None,
    out: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Model:
    """Train a language model on text, as `gptjax pretrain` does.

    Args:
        config: a preset such as "tiny", a TOML file, or a table of settings.
        data: where the text is (`corpus.data`), a list of texts, rows with a column ``text``, a
            DataFrame or a `datasets.Dataset`; or a mapping of splits to these.
        out: the run's folder; None is the command's.
        **settings: options of the command line, such as ``resume="auto"`` or
            ``**{"train.steps": 100}``. A section may be a mapping: ``train={"steps": 100}``.

    Returns:
        The run with its best checkpoint. ``run.folder.path`` is where it lies.

    Raises:
        UserError: a setting that the command would refuse.
        NonFiniteError, Interrupted, NoCheckpointError: as of the command.
    """
    from gptjax.commands import pretrain as command

    text = _text(data)
    made = _config("pretrain", command, config, {**settings, **text, "out": _path(out)})
    command.run(made)
    return load(command.default_out(made) if made.out is None else made.out)


def finetune(
    run: Source | None = None,
    task: str | os.PathLike[str] | Table | None = None,
    data: Any = None,
    *,
    config: str | os.PathLike[str] | Table | None = None,
    out: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> Any:
    """Train a pre-trained model on a task, as `gptjax finetune` does.

    Args:
        run: the pre-trained run (`init`), opened or its name; None is the newest one. It is opened
            anew at its best checkpoint: other parameters of an opened one are not taken.
        task: the name of a task, a task file, or the table of one.
        data: where the task's files are, rows, a DataFrame or a `datasets.Dataset`; or a mapping of
            splits to these.
        config: a TOML file, or a table of settings.
        out: the run's folder; None is the command's.
        **settings: options of the command line, as of `pretrain`; short ones too, such as
            ``max_train=500``.

    Returns:
        The fine-tuned run; with ``seeds`` a list of them, and with ``train_sizes`` a
        `gptjax.evaluation.learning_curve.LearningCurve`.

    Raises:
        UserError: a setting that the command would refuse.
        NonFiniteError, Interrupted, NoCheckpointError: as of the command.
    """
    from gptjax.commands import finetune as command
    from gptjax.commands.finetune_config import default_out
    from gptjax.runs.folder import RunFolder

    typed: dict[str, Any] = {"init": _source(run), "out": _path(out)}
    typed |= {} if task is None else {"task.name": _task_file(task)}
    typed |= {} if data is None else {"task.data": [as_path(data)]}
    made = _config("finetune", command, config, {**settings, **typed})
    result = command.run(made)
    folder = Path(made.out) if made.out is not None else default_out(made)
    if made.train_sizes:
        return result
    if made.seeds:
        return [load(one.path) for one in RunFolder(folder).seeds()]
    return load(folder)


def evaluate(run: Source, data: Any, **settings: Any) -> dict[str, float]:
    """Metrics of a run, as `gptjax evaluate` measures them.

    Args:
        run: the run, opened or its name. Opened, its own parameters are measured.
        data: of a pre-trained run a text, of a fine-tuned one its task: a path, rows, a DataFrame
            or a `datasets.Dataset`.
        **settings: options of the command line, such as ``stride=128``.

    Returns:
        By name the metrics: ``perplexity``, ``bits_per_byte`` and others, or the task's.
    """
    from gptjax.commands import evaluate as command

    typed = {**settings, "run": _source(run), "data": as_path(data)}
    table = _nested(command.EvaluateConfig, typed, "gptjax.evaluate")
    made = configs.finite(
        configs.from_table(command.EvaluateConfig, table, where="gptjax.evaluate")
    )
    found = command.measure(made, run if isinstance(run, Run) else made.open())
    metrics = found.metrics
    return dict(metrics() if callable(metrics) else metrics)


def sweep(
    file: str | os.PathLike[str] | Table,
    *,
    out: str | os.PathLike[str] | None = None,
    jobs: int = 1,
) -> SweepResults:
    """Runs of every combination of settings, as `gptjax sweep` makes them.

    Args:
        file: the sweep's TOML file, or its table, which needs ``out``.
        out: the sweep's folder; None is what the file says.
        jobs: runs at a time.

    Returns:
        What each point came to.
    """
    from gptjax.commands import sweep as command

    if isinstance(file, Mapping):
        if out is None and "out" not in file:
            raise UserError("gptjax.sweep: a table has no name for its folder; give `out`")
        file = _written(file, "sweep")
    return command.run(command.SweepConfig(os.fspath(file), jobs=jobs, out=_path(out)))


def _config(name: str, command: Any, config: Any, settings: Table) -> Any:
    """The config that the command line makes of a file and options."""
    where = f"gptjax.{name}"
    hints = typing.get_type_hints(command.defaults)
    chooses, cls = (hints[key] for key in (*(set(hints) - {"return"}), "return"))
    table = _nested(cls, settings, where)
    if isinstance(config, Mapping):
        table = _merged(_nested(cls, config, where), table)
        config = None
    once = {field.name for field in dataclasses.fields(cls) if not field.metadata.get("toml", True)}
    own = {key: _as_tuple(table.pop(key)) for key in once & set(table)}
    own |= {} if config is None else {"config": os.fspath(config)}
    choosing = {field.name for field in dataclasses.fields(chooses)}
    given = configs.from_table(
        chooses, {key: value for key, value in table.items() if key in choosing}, where=where
    )
    given = replace(given, **{key: value for key, value in own.items() if key in choosing})
    made = configs.from_table(cls, table, where=where, base=command.defaults(given))
    return configs.finite(replace(made, **own))


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _nested(cls: type[Any], settings: Table, where: str) -> dict[str, Any]:
    """Settings by dotted or short name, as a table of sections; None is a setting left alone."""
    short = _short_names(cls)
    table: dict[str, Any] = {}
    for name, value in settings.items():
        *sections, key = short.get(name.replace("_", "-"), name).split(".")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise UserError(f"{where}: {section!r} is given twice")
        if isinstance(value, Mapping):
            value = {**place.get(key, {}), **value}
        if value is not None:
            place[key] = _plain(value)
    return table


def _plain(value: Any) -> Any:
    """As a TOML file would have it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, tuple):
        return list(value)
    return {key: _plain(one) for key, one in value.items()} if isinstance(value, Mapping) else value


def _short_names(cls: type[Any], prefix: str = "") -> dict[str, str]:
    """The short options of the command line and what they are short for."""
    found: dict[str, str] = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            found |= _short_names(typing.cast(type[Any], hint), f"{prefix}{name}.")
        found |= {option.lstrip("-"): f"{prefix}{name}" for option in short_names(hint)}
    return found


def _merged(below: Table, above: Table) -> dict[str, Any]:
    merged = {**below, **above}
    for key in set(below) & set(above):
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = _merged(below[key], above[key])
    lengths = ("steps", "epochs")  # the one that is given takes the other's place
    if any(key in above for key in lengths):
        merged = {key: merged[key] for key in merged if key not in lengths or key in above}
    return merged


def _text(data: Any) -> dict[str, Any]:
    if data is None:
        return {}
    if isinstance(data, Mapping) and "train" in data:
        valid = data.get("valid", data.get("validation"))
        more = {} if valid is None else {"corpus.validation": as_path(valid)}
        return {"corpus.data": as_path(data["train"]), **more}
    return {"corpus.data": as_path(data)}


def _path(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else os.fspath(path)


def _source(run: Source | None) -> str | None:
    return run.source if isinstance(run, Run) else _path(run)


def _task_file(task: str | os.PathLike[str] | Table) -> str:
    return _written(task, "task") if isinstance(task, Mapping) else os.fspath(task)


def _written(table: Table, name: str) -> str:
    """A file of the cache with this table, under the hash of its content."""
    folder = configs.cache_folder() / "tables"
    make_folder(folder)
    draft = folder / f"{name}.{os.getpid()}"
    configs.write_table(_plain(table), draft)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()[:16]
    made = folder / f"{name}-{digest}.toml"
    os.replace(draft, made)
    return str(made)
