"""A task head in a file of its own, apart from the backbone that it was trained on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import Task, as_before
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import UserError
from gptjax.finite import non_finite
from gptjax.models.backbone import row_width
from gptjax.models.config import ModelConfig
from gptjax.models.pooling import Pooling
from gptjax.models.task_head import (
    NUM_SPECIALS,
    USUAL,
    HeadModel,
    HeadShape,
    TaskHeadConfig,
    head_arrays,
)

PyTree = Any
# The file's metadata is one entry: the order of several is another one each time.
DESCRIPTION = "gptjax"
# A head's settings in a section `task`, in the order of the fields of its shape: what is usual,
# and which values, or types of them, there are.
SETTINGS: Mapping[str, tuple[Any, tuple[Any, ...]]] = {
    "pooling": (USUAL.pooling, (USUAL.pooling, *get_args(Pooling))),
    "head_width": (USUAL.width, (int, NoneType)),
    "head_norm": (USUAL.norm, (bool,)),
    "mix": (USUAL.mix, (bool,)),
    "mix_norm": (USUAL.mix_norm, (bool,)),
    "model": (USUAL.model, get_args(HeadModel)),
    "units": (USUAL.units, (int, NoneType)),
    "knowledge": (None, (str, NoneType)),  # where it was, or its digest; the shape has whether
    "knowledge_attention": (USUAL.knowledge_attention, (float,)),
    "knowledge_inference": (USUAL.knowledge_inference, (bool,)),
    "knowledge_composition": (USUAL.knowledge_composition, (bool,)),
}


class Head(NamedTuple):
    """A task head as its file has it."""

    task: Task
    shape: HeadShape
    backbone: str  # the fingerprint of its backbone
    knowledge: str | None  # the digest of the relations that it reads, if it does
    params: PyTree
    notice: str | None  # what people should know


def backbone_fingerprint(backbone: PyTree) -> str:
    """sha256 (hex) of a backbone's parameters."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(backbone):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape}\0".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def head_config(
    task: Task,
    dropout: float = TaskHeadConfig.dropout,
    fewer: bool = False,
    shape: HeadShape = USUAL,
) -> TaskHeadConfig:
    """The head that a task needs."""
    head: Literal["classify", "choose"] = "choose" if task.format == "choice" else "classify"
    return TaskHeadConfig(head, task.num_classes, dropout, fewer, shape)


def check_label_gain(task: Task, shape: HeadShape) -> None:
    """Refuse the label at every position where there is more, or less, to read than positions.

    Raises:
        UserError: several sequences, scores, or a head that pools.
    """
    if task.format in ("choice", "similarity") or task.scores is not None:
        what = "scores" if task.scores is not None else f"the format {task.format}"
        raise UserError(
            f"task.label_gain: {task.name} has {what}; it is for classes of one sequence: leave it "
            "out"
        )
    if shape.pooling != USUAL.pooling:
        raise UserError(
            f"task.label_gain: reads every position by itself, and `task.pooling={shape.pooling}` "
            "reads them together; leave one of the two out"
        )
    if shape.model != USUAL.model:
        raise UserError(
            f"task.label_gain: reads every position by itself, and `task.model={shape.model}` has "
            "read the whole text there; leave one of the two out"
        )


def read_shape(section: Mapping[str, Any], where: str) -> HeadShape:
    """The shape that a section `task` of a config asks for; ``where`` it is, for errors.

    Raises:
        UserError: a value that is none.
    """
    found = {name: section.get(name, usual) for name, (usual, _) in SETTINGS.items()}
    for name, (_, allowed) in SETTINGS.items():
        value = type(found[name]) if isinstance(allowed[0], type) else found[name]
        if value not in allowed:
            said = ", ".join(f"task.{one} = {found[one]!r}" for one in found)
            raise UserError(f"{where}: {said} are no task head")
    found["knowledge"] = found["knowledge"] is not None
    pooling, width, norm, *later = found.values()
    return HeadShape(pooling, width, norm, *later)


def write_head(
    path: Path,
    task: Task,
    backbone: PyTree,
    params: PyTree,
    shape: HeadShape = USUAL,
    knowledge: str | None = None,
) -> None:
    """Write a task head; the same head gives the same bytes.

    Args:
        path: the file.
        task: the task.
        backbone: the parameters that it was trained on.
        params: its own.
        shape: of the head.
        knowledge: the digest of the relations that it reads, if it does.
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
    if shape != USUAL:  # files of the usual one are as they were
        content["shape"] = json.dumps(shape.described())
    if knowledge is not None:
        content["knowledge"] = knowledge
    described = json.dumps({**content, "fingerprint": _fingerprint(content, flat)})
    safetensors.save_file(flat, path, {DESCRIPTION: described})


def read_head(path: str | Path, model: ModelConfig) -> Head:
    """The task head that `write_head` wrote, for a backbone of this shape.

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
    shape = _shape(content, str(path))
    wanted: dict[str, tuple[int, ...]] = {"special_embedding": (NUM_SPECIALS, row_width(model))}
    arrays = head_arrays(model, head_config(task, shape=shape))
    wanted |= {f"head.{name}": size for name, size in arrays.items()}
    if wanted != {name: array.shape for name, array in flat.items()}:
        raise UserError(f"{path}: is damaged, or of another model: its arrays do not fit")
    if fault := non_finite(flat.items()):
        raise UserError(f"{path}: cannot be used: {fault}")
    own = {name: flat[f"head.{name}"] for name in arrays}
    params = {"special_embedding": flat["special_embedding"], "head": own}
    notice = None if given else f"{path}: has no fingerprint, so that damage would not be noticed"
    return Head(task, shape, content["backbone"], content.get("knowledge"), params, notice)


def _shape(content: Mapping[str, Any], where: str) -> HeadShape:
    """The shape in a head's file, which says one where it is not the usual one."""
    if "shape" not in content:
        return USUAL
    try:
        fields = json.loads(content["shape"])
        older = {"head_width": fields.pop("width"), "head_norm": fields.pop("norm")}
        section = {"pooling": fields.pop("pooling"), **older, **fields}
        section["knowledge"] = content.get("knowledge")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{where}: is damaged (the head's shape: {error})") from error
    return read_shape(section, where)


def _fingerprint(content: dict[str, str], flat: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    for name in sorted(flat):
        digest.update(f"{name} {flat[name].dtype} {flat[name].shape}\0".encode())
        digest.update(np.ascontiguousarray(flat[name]).tobytes())
    return digest.hexdigest()
