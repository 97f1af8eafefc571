"""What a run's config.toml says of its model and its task, before its parameters are read."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from gptjax import config
from gptjax.data.tables.options import TableOptions
from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import ClassWeights, Task, as_settled, with_columns
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import HeadShape
from gptjax.runs import identity, published
from gptjax.runs.folder import RunFolder
from gptjax.runs.head import read_shape
from gptjax.runs.published import is_published

LEARNING_RATE_SHARE = 0.25
"""Of the pre-training's learning rate, for fine-tuning: 6.25e-5 of 2.5e-4 in the paper."""

T = TypeVar("T")
VECTORS = "vectors:"
"""Before a file of vectors, or a run whose table is meant: `gptjax import` makes a run of it."""


def read_table(path: str | Path) -> Mapping[str, Any]:
    """The config.toml of a run folder, as a table; a UserError where there is no run."""
    if str(path).startswith(VECTORS):
        raise UserError(f"{path}: is no run yet; `gptjax import` makes one of it")
    folder = RunFolder(Path(path))
    if seeds := folder.seeds():
        raise UserError(f"{path}: holds several seeds; name one of them, such as {seeds[0].path}")
    if not folder.config.exists():
        raise UserError(f"{path}: no run folder (it has no config.toml)")
    table = config.read_table(folder.config, "config file")
    if "model" not in table:
        raise UserError(f"{folder.config}: has no section [model]; it is no run's config")
    return table


def load_config(path: str | Path, num_heads: int | None = None) -> ModelConfig:
    """The model config of a run folder, or of others' files.

    Of OpenAI's files, which do not tell their ``num_heads``, None is GPT-1's heads of 64. Of all
    others a number that is not the model's is refused.
    """
    if is_published(path):
        model = published.read_config(path, num_heads)
    else:
        folder = RunFolder(Path(path))
        model = config.from_table(ModelConfig, read_table(path)["model"], where=str(folder.config))
        identity.check(folder, "model", (identity.shape_fingerprint(model),), model.shape())
    if num_heads not in (None, model.num_heads):
        raise UserError(
            f"`heads={num_heads}`: {path} has {model.num_heads} heads; this is for openai:FOLDER"
        )
    return model


def load_task(path: str | Path) -> Task | None:
    """The task that a run was fine-tuned on, or None."""
    folder, table = RunFolder(Path(path)), read_table(path)
    section = table.get("task")
    if section is None:
        identity.check(folder, "task", ())
        return None
    name = _setting(folder, section, "name", str)
    own = folder.task_file
    task = find_task(str(own) if own.exists() else name)
    task = replace(task, name=Path(name).stem if own.exists() else task.name)
    columns, none = (tuple(map(str, section.get(key, ()))) for key in ("columns", "unlabelled"))
    task = with_columns(task, columns, none)
    if "class_weights" in section:
        task = replace(task, class_weights=_class_weights(folder, section["class_weights"]))
    _check_task(folder, table, task)
    exact, detect = bool(section.get("exact_columns")), bool(section.get("detect"))
    return as_settled(_as_read(task, section), exact_columns=exact, detect=detect)


def _as_read(task: Task, section: Mapping[str, Any]) -> Task:
    """With how the run's files were read, which its new rows are likely to be as well."""
    options = TableOptions(
        delimiter=tuple(section.get("delimiter", ())),
        header=section.get("header"),
        quoting=section.get("quoting"),
        encoding=section.get("encoding"),
        sheet=section.get("sheet"),
    )
    return replace(task, reading=options.reading(task.reading))


def _class_weights(folder: RunFolder, value: Any) -> ClassWeights:
    if value == "balanced":
        return "balanced"
    if isinstance(value, list) and all(isinstance(number, float) for number in value):
        return tuple(value)
    raise UserError(f"{folder.config}: task.class_weights = {value!r} are no weights")


def _check_task(folder: RunFolder, table: Mapping[str, Any], task: Task) -> None:
    """Refuse a task that is another than the run recorded."""
    released = table["model"].get("fidelity") == "released"
    # The longest sequence is part of the hash where the released code's oddities are asked for.
    longest = range(1, load_config(folder.path).context_length + 1) if released else (None,)
    values = [
        identity.task_identity(
            task,
            lm_coefficient=_setting(folder, table["task"], "lm_coefficient", float),
            freeze_backbone=_setting(folder, table["task"], "freeze_backbone", bool),
            freeze_special_rows=bool(table["task"].get("freeze_special_rows")),
            label_gain=bool(table["task"].get("label_gain")),
            shape=load_head_shape(folder.path),
            mix_l2=_setting(folder, {"mix_l2": 0.0, **table["task"]}, "mix_l2", float),
            positions=positions,
        )
        for positions in longest
    ]
    identity.check(folder, "task", [*map(identity.fingerprint, values)], values[0])


def _setting(folder: RunFolder, section: Any, name: str, kind: type[T]) -> T:
    """A setting of the section `task` of a run's config."""
    value = section.get(name) if isinstance(section, Mapping) else None
    if type(value) is not kind:
        raise UserError(f"{folder.config}: task.{name} = {value!r} is no {kind.__name__}")
    return value


def load_head_shape(path: str | Path) -> HeadShape:
    """The shape of a fine-tuned run's task head; older runs have the usual one."""
    return read_shape(read_table(path)["task"], str(RunFolder(Path(path)).config))


def fine_tuning_rate(source: str, default: float) -> float:
    """A quarter of the pre-training's rate, or that of a run that was fine-tuned already."""
    table = {} if is_published(source) else read_table(source)
    if "optimizer" not in table:  # Others' models, whose settings are not known.
        return default
    share = 1 if "task" in table else LEARNING_RATE_SHARE
    return float(table["optimizer"]["learning_rate"] * share)
