"""A task head in a file of its own, apart from the backbone that it was trained on."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import Task, as_before
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError
from gptjax.finite import non_finite
from gptjax.models.task_head import NUM_SPECIALS

PyTree = Any
# The file's metadata is one entry: the order of several is another one each time.
DESCRIPTION = "gptjax"


class Head(NamedTuple):
    """A task head as its file has it."""

    task: Task
    backbone: str  # the fingerprint of its backbone
    params: PyTree
    notice: str | None  # what people should know


def backbone_fingerprint(backbone: PyTree) -> str:
    """sha256 (hex) of a backbone's parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(backbone):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape}\0".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def write_head(path: Path, task: Task, backbone: PyTree, params: PyTree) -> None:
    """Write a task head; the same head gives the same bytes.

    Args:
        path: the file.
        task: the task.
        backbone: the parameters that it was trained on.
        params: its own.
    """
    head = {f"head.{name}": np.asarray(array) for name, array in params["head"].items()}
    flat = {"special_embedding": np.asarray(params["special_embedding"]), **head}
    if fault := non_finite(flat.items()):
        raise UserError(f"{path}: is not written, since {fault}")
    content = {
        "task": task.name,
        "task_file": task.file_text,
        "backbone": backbone_fingerprint(backbone),
        "exact_columns": "" if task.share_columns else "yes",
        "detect": "yes" if task.detect else "",
    }
    described = json.dumps({**content, "fingerprint": _fingerprint(content, flat)})
    safetensors.save_file(flat, path, {DESCRIPTION: described})


def read_head(path: str | Path, width: int) -> Head:
    """The task head that `write_head` wrote, for a backbone of this width.

    Raises:
        UserError: no head there, or a damaged one.
    """
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in list(file.keys())}
        content = json.loads(metadata[DESCRIPTION]) if DESCRIPTION in metadata else metadata
    except Exception as error:  # whatever a damaged file makes of its reader
        if isinstance(error, OSError | SafetensorError):
            raise UserError(f"{path}: no task head can be read there ({error})") from error
        raise UserError(f"{path}: is damaged ({type(error).__name__}: {error})") from error
    names = ("task", "task_file", "backbone")
    if not isinstance(content, dict) or any(type(content.get(name)) is not str for name in names):
        raise UserError(f"{path}: is no task head of `gptjax finetune`")
    given = content.get("fingerprint")
    content = {name: text for name, text in content.items() if name != "fingerprint"}
    if given is not None and given != _fingerprint(content, flat):
        raise UserError(f"{path}: is damaged (its fingerprint is another); take a copy of it")
    if content["task_file"]:
        task = parse_task(content["task_file"], content["task"], str(path))
    else:
        task = find_task(content["task"])
    if not content.get("exact_columns"):  # of a run from before columns were exact
        task = as_before(task)
    task = replace(task, detect=bool(content.get("detect")))
    columns = 1 if task.format == "choice" else task.num_classes
    wanted: dict[str, tuple[int, ...]] = {"special_embedding": (NUM_SPECIALS, width)}
    wanted |= {"head.kernel": (width, columns), "head.bias": (columns,)}
    if wanted != {name: array.shape for name, array in flat.items()}:
        raise UserError(f"{path}: is damaged, or of another model: its arrays do not fit")
    if fault := non_finite(flat.items()):
        raise UserError(f"{path}: cannot be used: {fault}")
    params = {
        "special_embedding": flat["special_embedding"],
        "head": {"kernel": flat["head.kernel"], "bias": flat["head.bias"]},
    }
    notice = None if given else f"{path}: has no fingerprint, so that damage would not be noticed"
    return Head(task, content["backbone"], params, notice)


def _fingerprint(content: dict[str, str], flat: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(flat):
        digest.update(f"{name} {flat[name].dtype} {flat[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(flat[name]).tobytes())
    return digest.hexdigest()
