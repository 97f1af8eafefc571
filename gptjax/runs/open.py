"""A trained model, opened: config, tokenizer, task and parameters.

It is a run folder, or what others published (see `gptjax.runs.published`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from gptjax import config
from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import Task, as_before, with_columns
from gptjax.data.tasks.task_file import parse_task
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Mode, ModeConfig, Tokenizer
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.models.task_head import TaskHeadConfig
from gptjax.runs import published
from gptjax.runs.folder import RunFolder
from gptjax.runs.published import is_published, published_folder
from gptjax.training.checkpoint import restore_params


@dataclass(frozen=True)
class Run:
    """A trained model, ready to use.

    Attributes:
        folder: where it was loaded from; only of a run folder more than the path is there.
        model: the backbone's config.
        tokenizer: the tokenizer it was trained with.
        params: its parameters, numpy float32; of a fine-tuned one backbone and task head.
        step: the number of updates that made them.
        checkpoint: which checkpoint that is, such as `best/120`; of others' files `published`.
        task: what it was fine-tuned on, or None.
    """

    folder: RunFolder
    model: ModelConfig
    tokenizer: Tokenizer
    params: Any
    step: int
    checkpoint: str
    task: Task | None = None

    @property
    def backbone(self) -> Any:
        """The parameters of the backbone, without a task head."""
        return self.params if self.task is None else self.params["backbone"]


def sample_notice(run: Run) -> str | None:
    """What to say of a run that was fine-tuned on the offline sample, or None."""
    if not run.folder.read_meta().get("data", {}).get("sample"):
        return None
    return f"{run.folder.path} WAS FINE-TUNED ON THE OFFLINE SAMPLE, not on a published task"


def head_config(task: Task, dropout: float = TaskHeadConfig.dropout) -> TaskHeadConfig:
    """The head that a task needs."""
    head: Literal["classify", "choose"] = "choose" if task.format == "choice" else "classify"
    return TaskHeadConfig(head, task.num_classes, dropout)


def read_table(path: str | Path) -> Mapping[str, Any]:
    """The config.toml of a run folder, as a table; a UserError where there is no run."""
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
        where = str(RunFolder(Path(path)).config)
        model = config.from_table(ModelConfig, read_table(path)["model"], where=where)
    if num_heads not in (None, model.num_heads):
        raise UserError(
            f"`heads={num_heads}`: {path} has {model.num_heads} heads; this is for openai:FOLDER"
        )
    return model


def load_task(path: str | Path) -> Task | None:
    """The task that a run was fine-tuned on, or None."""
    section = read_table(path).get("task")
    if section is None:
        return None
    own = RunFolder(Path(path)).task_file
    task = find_task(str(own) if own.exists() else section["name"])
    name = Path(section["name"]).stem if own.exists() else task.name
    task = with_columns(replace(task, name=name), tuple(section.get("columns", ())))
    return task if section.get("exact_columns") else as_before(task)


def load_own_tokenizer(path: str | Path, mode: Mode | None = None) -> Tokenizer:
    """The tokenizer that a model was trained with."""
    if is_published(path):
        return load_tokenizer(published_folder(path, weights=False), mode=mode)
    return load_tokenizer(RunFolder(Path(path)).tokenizer, mode=mode)


def load(
    path: str | Path,
    checkpoint: str = "auto",
    head: str | Path | None = None,
    *,
    num_heads: int | None = None,
    mode: Mode | None = None,
) -> Run:
    """Open a trained model; arguments and errors as of `gptjax.load`."""
    model = load_config(path, num_heads)
    if is_published(path):
        if checkpoint != "auto":
            raise UserError(
                f"`checkpoint={checkpoint}`: published weights have no checkpoints to choose from"
            )
        files, tokenizer, params = published.read(path, model, mode)
        run = Run(RunFolder(files), model, tokenizer, params, 0, "published")
    else:
        folder, task = RunFolder(Path(path)), load_task(path)
        tokenizer = load_tokenizer(folder.tokenizer, mode=mode)
        learnt = lm(model) if task is None else objective.task(model, head_config(task)).objective
        target = jax.eval_shape(learnt.init, jax.random.key(0))
        params, step, kind = restore_params(folder.checkpoints, target, checkpoint)
        run = Run(folder, model, tokenizer, params, step, f"{kind}/{step}", task)
    return run if head is None else attach_head(run, head)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The options of a command that opens a trained model."""

    run: str
    """Run folder, openai:FOLDER or hf:ID_OR_FOLDER."""
    checkpoint: str = "auto"
    """best, last, or a step; auto is the best where one was kept, else the last."""
    heads: int | None = None
    """Attention heads of openai:FOLDER, whose files do not tell; None: heads of 64."""

    def open(self, head: str | None = None, mode: Mode | None = None) -> Run:
        """See `load`."""
        return load(self.run, self.checkpoint, head, num_heads=self.heads, mode=mode)


@dataclass(frozen=True, kw_only=True)
class Reading(Opening):
    """The options of a command that opens a trained model and reads text with it."""

    vocabulary: ModeConfig = field(default_factory=ModeConfig)

    def open(self, head: str | None = None, mode: Mode | None = None) -> Run:
        """See `load`; without a ``mode`` it is the option's."""
        return super().open(head, mode or self.vocabulary.mode)


def backbone_fingerprint(backbone: Any) -> str:
    """sha256 (hex) of a backbone's parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(backbone):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape}\0".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def save_head(run: Run) -> None:
    """Write a fine-tuned run's task head apart from its backbone, with its task."""
    assert run.task is not None
    own, adapter = run.folder.task_file, run.params["adapter"]
    description = {
        "task": run.task.name,
        "task_file": own.read_text(encoding="utf-8") if own.exists() else "",
        "backbone": backbone_fingerprint(run.backbone),
        "exact_columns": "" if run.task.share_columns else "yes",
    }
    head = {f"head.{name}": array for name, array in adapter["head"].items()}
    flat = {"special_embedding": adapter["special_embedding"], **head}
    safetensors.save_file(flat, run.folder.head, description)


def attach_head(run: Run, path: str | Path) -> Run:
    """A pre-trained run with a task head that `save_head` wrote for the same backbone."""
    try:
        with safe_open(path, "numpy") as file:
            description = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: no task head can be read there ({error})") from error
    if not {"task", "task_file", "backbone"} <= description.keys():
        raise UserError(f"{path}: is no task head of `gptjax finetune`")
    fingerprint = backbone_fingerprint(run.backbone)
    if description["backbone"] != fingerprint:
        raise UserError(
            f"{path}: this task head was trained on another backbone (fine-tuning keeps its "
            "backbone only with `task.freeze_backbone`): its fingerprint is "
            f"{description['backbone'][:16]}…, that of {run.folder.path} {fingerprint[:16]}…"
        )
    if description["task_file"]:
        task = parse_task(description["task_file"], description["task"], str(path))
    else:
        task = find_task(description["task"])
    if not description.get("exact_columns"):  # of a run from before columns were exact
        task = as_before(task)
    adapter = {
        "special_embedding": flat["special_embedding"],
        "head": {"kernel": flat["head.kernel"], "bias": flat["head.bias"]},
    }
    return replace(run, params={"backbone": run.backbone, "adapter": adapter}, task=task)
