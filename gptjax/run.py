"""A run folder: open it, and get config, tokenizer, model and parameters back.

    runs/pretrain/NAME/, runs/finetune/TASK/NAME/
      config.toml  meta.json  metrics.jsonl  results.json  samples.txt
      tokenizer/  tensorboard/  checkpoints/last/N  checkpoints/best/N
      of fine-tuning also: task.toml (a task of one's own)  predictions.tsv  adapter.safetensors

Nothing in it names another folder that is needed later, so it can be moved or copied.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from gptjax import __version__, config
from gptjax.data.tasks import Task, find_task, parse_task, with_columns
from gptjax.data.tokenizer import Tokenizer, load_tokenizer
from gptjax.errors import UserError
from gptjax.models import objective
from gptjax.models.adapter import AdapterConfig
from gptjax.models.objective import lm
from gptjax.models.transformer import ModelConfig
from gptjax.training.checkpoint import has_checkpoint, restore_params

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece")


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder, and its meta.json."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config; `gptjax pretrain --config` reads it back."""
        return self.path / "config.toml"

    @property
    def meta(self) -> Path:
        """Status, versions, commit, devices, fingerprints and command."""
        return self.path / "meta.json"

    @property
    def tokenizer(self) -> Path:
        """The folder of the run's own copy of its tokenizer."""
        return self.path / "tokenizer"

    @property
    def checkpoints(self) -> Path:
        """The folder of `last/N` and `best/N`."""
        return self.path / "checkpoints"

    @property
    def results(self) -> Path:
        """What the run came to: task, split, metrics, data, checkpoint, seed."""
        return self.path / "results.json"

    @property
    def samples(self) -> Path:
        """Text that the model wrote."""
        return self.path / "samples.txt"

    @property
    def predictions(self) -> Path:
        """What a fine-tuned model says to each example of a split."""
        return self.path / "predictions.tsv"

    @property
    def task_file(self) -> Path:
        """The run's own copy of the task file that it was given, if it was given one."""
        return self.path / "task.toml"

    @property
    def adapter(self) -> Path:
        """The best checkpoint's adapter, apart from its backbone."""
        return self.path / "adapter.safetensors"

    def owned(self) -> list[Path]:
        """Everything that a run writes, and all that `--overwrite` removes."""
        names = ("metrics.jsonl", "tensorboard", "wandb-id.txt")
        return [
            *(self.config, self.meta, self.tokenizer, self.checkpoints),
            *(self.results, self.samples, self.predictions, self.task_file, self.adapter),
            *(self.path / name for name in names),
        ]

    def clear(self) -> None:
        """Remove what an earlier run wrote, and nothing else."""
        for item in self.owned():
            shutil.rmtree(item) if item.is_dir() else item.unlink(missing_ok=True)

    def read_meta(self) -> dict[str, Any]:
        """The content of meta.json, empty if there is none yet."""
        return json.loads(self.meta.read_text(encoding="utf-8")) if self.meta.exists() else {}

    def check_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Refuse to go on with something else than the run was started with.

        Raises:
            UserError: a fingerprint in meta.json is another one.
        """
        started = self.read_meta().get("fingerprints", {})
        for name, value in fingerprints.items():
            if started.get(name, value) != value:
                raise UserError(
                    f"{self.path}: was started with another {name}: its fingerprint is "
                    f"{started[name]}, that of this one {value}; give the same {name}, or start "
                    "anew in another --out"
                )

    def update_meta(self, **values: Any) -> None:
        """Set keys of meta.json; the file is replaced whole, so that it is never torn."""
        write_json(self.meta, {**self.read_meta(), **values})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file by replacing it, so that a reader or a crash never sees half of it."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def open_folder(path: str | Path, *, resume: str, overwrite: bool) -> tuple[RunFolder, str]:
    """The folder of a run that is about to start or to go on. Nothing in it is touched yet.

    Args:
        path: the folder; it may be absent, empty, or an earlier run's.
        resume: "never", "auto", or a step.
        overwrite: an earlier run's files are going to be removed.

    Returns:
        The folder, and "never" if the run starts from nothing, else ``resume``.

    Raises:
        UserError: the folder is not empty and neither ``resume`` nor ``overwrite`` was given,
            or ``resume`` is none of the known words.
    """
    folder = RunFolder(Path(path))
    if resume not in ("never", "auto") and not resume.isdigit():
        raise UserError(f"--resume {resume}: known are auto, never, or the number of a step")
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: is a file; choose another folder with --out")
    occupied = folder.path.exists() and any(folder.path.iterdir())
    if occupied and overwrite and resume != "never":
        raise UserError("--overwrite and --resume contradict each other; give one of them")
    if occupied and resume == "never" and not overwrite:
        raise UserError(
            f"{folder.path}: is not empty; continue it with --resume auto, replace it with "
            "--overwrite, or choose another --out"
        )
    if resume == "auto" and not has_checkpoint(folder.checkpoints):
        resume = "never"  # nothing to go on from was ever saved
    return folder, resume


def provenance(devices: str) -> dict[str, Any]:
    """What meta.json says of where and how a run was made."""
    return {
        "command": " ".join(["gptjax", *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "gptjax": __version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
        "commit": _commit(),
        "devices": devices,
    }


def _commit() -> str | None:
    """The commit of the checkout that the package runs from, marked if it was changed."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@dataclass(frozen=True)
class Run:
    """A trained model, ready to use.

    Attributes:
        folder: where it was loaded from.
        model: the backbone's config.
        tokenizer: the tokenizer it was trained with.
        params: its parameters, numpy float32; of a fine-tuned one backbone and adapter.
        step: the number of updates that made them.
        checkpoint: which checkpoint that is, such as `best/120`.
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
        """The parameters of the backbone, without an adapter."""
        return self.params if self.task is None else self.params["backbone"]


def adapter_config(task: Task, dropout: float = AdapterConfig.dropout) -> AdapterConfig:
    """The head that a task needs."""
    head = "choose" if task.format == "choice" else "classify"
    return AdapterConfig(head, task.num_classes, dropout)  # type: ignore[arg-type]


def read_table(path: str | Path) -> Mapping[str, Any]:
    """The config.toml of a run folder, as a table.

    Raises:
        UserError: there is no run at ``path``, or its config is damaged.
    """
    folder = RunFolder(Path(path))
    if not folder.config.exists():
        raise UserError(f"{path}: no run folder (it has no config.toml)")
    try:
        table = tomllib.loads(folder.config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{folder.config}: cannot be read as TOML: {error}") from None
    if "model" not in table:
        raise UserError(f"{folder.config}: has no section [model]; it is no run's config")
    return table


def load_config(path: str | Path) -> ModelConfig:
    """The model config of a run folder.

    Raises:
        UserError: as `read_table`.
    """
    where = str(RunFolder(Path(path)).config)
    return config.from_table(ModelConfig, read_table(path)["model"], where=where)


def load_task(path: str | Path) -> Task | None:
    """The task that a run was fine-tuned on, or None.

    Raises:
        UserError: as `read_table`, or the task is unknown.
    """
    section = read_table(path).get("task")
    if section is None:
        return None
    own = RunFolder(Path(path)).task_file
    task = find_task(str(own) if own.exists() else section["name"])
    name = Path(section["name"]).stem if own.exists() else task.name
    return with_columns(replace(task, name=name), tuple(section.get("columns", ())))


def load(path: str | Path, checkpoint: str = "auto", adapter: str | Path | None = None) -> Run:
    """Open a trained run.

    Args:
        path: the run folder.
        checkpoint: "best", "last", or the number of a step; "auto" is the best where one was
            kept, else the last.
        adapter: a file `adapter.safetensors` of a run that was fine-tuned from this pre-trained
            one with its backbone frozen.

    Raises:
        UserError: no run folder, no such checkpoint, or an adapter of another backbone.
        NoCheckpointError: checkpoints exist, but none is intact.
    """
    folder = RunFolder(Path(path))
    model = load_config(path)
    task = load_task(path)
    tokenizer = load_tokenizer(folder.tokenizer)
    init = (
        lm(model).init
        if task is None
        else objective.task(model, adapter_config(task)).objective.init
    )
    target = jax.eval_shape(init, jax.random.key(0))
    params, step, kind = restore_params(folder.checkpoints, target, checkpoint)
    run = Run(folder, model, tokenizer, params, step, f"{kind}/{step}", task)
    return run if adapter is None else attach_adapter(run, adapter)


def backbone_fingerprint(backbone: Any) -> str:
    """sha256 (hex) of a backbone's parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(backbone):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape}\0".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def save_adapter(run: Run) -> None:
    """Write a fine-tuned run's adapter apart from its backbone, with its task and what it needs."""
    assert run.task is not None
    own = run.folder.task_file
    description = {
        "task": run.task.name,
        "task_file": own.read_text(encoding="utf-8") if own.exists() else "",
        "backbone": backbone_fingerprint(run.backbone),
    }
    safetensors.save_file(_flat(run.params["adapter"]), run.folder.adapter, description)


def attach_adapter(run: Run, path: str | Path) -> Run:
    """A pre-trained run with an adapter that was saved by `save_adapter`.

    Raises:
        UserError: unreadable, or of another backbone.
    """
    try:
        with safe_open(path, "numpy") as file:
            description = file.metadata()
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: no adapter can be read there ({error})") from error
    fingerprint = backbone_fingerprint(run.backbone)
    if description["backbone"] != fingerprint:
        raise UserError(
            f"{path}: this adapter was trained on another backbone: its fingerprint is "
            f"{description['backbone'][:16]}…, that of {run.folder.path} {fingerprint[:16]}…"
        )
    if description["task_file"]:
        task = parse_task(description["task_file"], description["task"], str(path))
    else:
        task = find_task(description["task"])
    adapter = {
        "special_embedding": flat["special_embedding"],
        "head": {"kernel": flat["head.kernel"], "bias": flat["head.bias"]},
    }
    return replace(run, params={"backbone": run.backbone, "adapter": adapter}, task=task)


def _flat(adapter: Any) -> dict[str, np.ndarray]:
    return {
        "special_embedding": adapter["special_embedding"],
        "head.kernel": adapter["head"]["kernel"],
        "head.bias": adapter["head"]["bias"],
    }
