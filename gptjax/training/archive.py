"""One checkpoint on the disk: written by orbax, and checked, which orbax does not do.

A checkpoint has the items `params`, `optimizer`, of a run that averages its parameters `average`,
of a model that carries a state `carry` (in `best/` only the first, and `optimizer` where a run goes
back to it), and `info`: the latter says what the caller wants remembered, and the CRC-32, dtype and
shape of every array, and carries a CRC-32 of its own.
"""

import json
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from gptjax.errors import NonFiniteError, UserError
from gptjax.finite import non_finite

PyTree = Any
Items = Mapping[str, PyTree]  # trees of arrays by name: params, optimizer
Json = Mapping[str, Any]
GOING = ".removed-"  # begins the name of a checkpoint that is being removed
HALF = ".orbax-checkpoint-tmp"  # ends the name of one that is being written


class DamagedError(Exception):
    """A checkpoint does not read back as it was written, or holds NaN or infinity."""


class OtherError(UserError):
    """A checkpoint is intact, but of something else: of another ``name``, such as the model."""

    def __init__(self, path: Path, name: str, stored: str | None, value: str) -> None:
        super().__init__(
            f"{path}: is a checkpoint of another {name}: its fingerprint is {stored}, "
            f"that of this run {value}; give the same {name}, or start anew in another `out`"
        )
        self.name, self.stored = name, stored


def write(
    folder: Path, step: int, items: Items, content: Json, *, keep: int | None, remove: list[int]
) -> None:
    """Write the checkpoint ``folder/step``; it appears there when it is whole.

    ``content`` is ``info`` and ``fingerprints``. The checkpoints to ``remove`` go first; the new
    one must be later than the others. The latest ``keep`` stay, or all if it is None. Where it
    fails, the room of what was written is given back.

    Raises:
        NonFiniteError: an array holds NaN or infinity; nothing is written.
    """
    if fault := non_finite(_leaves(items)):
        raise NonFiniteError(
            f"{folder / str(step)}: is not saved, since {fault} after {step} updates; try a lower "
            "optimizer.learning_rate; earlier checkpoints are intact"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder, GOING)  # what a process left that was killed while it removed a checkpoint
    for other in remove:
        delete(folder, other)
    content = {**content, "arrays": {name: _describe(tree) for name, tree in items.items()}}
    arguments = ocp.args.Composite(
        info=ocp.args.JsonSave({"content": content, "crc32": _crc_of_json(content)}),
        **{name: ocp.args.PyTreeSave(tree) for name, tree in items.items()},
    )
    try:
        with _manager(folder) as manager:
            saved = manager.save(step, args=arguments)
    except BaseException:
        _clear(folder, f"{step}{HALF}")
        raise
    if not saved or step not in steps(folder):
        raise RuntimeError(f"{folder}: orbax declined to save checkpoint {step}")
    for other in steps(folder)[: -keep if keep else 0]:
        delete(folder, other)


def delete(folder: Path, step: int) -> None:
    """Remove a checkpoint: whole from its place first, so that half of one is never seen."""
    _clear(folder, GOING)
    gone = folder / f"{GOING}{step}"
    os.replace(folder / str(step), gone)
    shutil.rmtree(gone)


def _clear(folder: Path, prefix: str) -> None:
    """Remove what is no checkpoint, as far as it can be removed."""
    for path in folder.iterdir():
        if path.name.startswith(prefix):
            shutil.rmtree(path, ignore_errors=True)


def read(
    path: Path, targets: Items, accepted: Mapping[str, Collection[str | None]]
) -> tuple[dict[str, PyTree], dict[str, Any]]:
    """Items of the checkpoint at ``path``, checked, and its info.

    ``accepted`` has the fingerprints that it may have, by name; None among them: it may lack it.

    Raises:
        DamagedError: something does not read back as it was written.
        OtherError: it is intact, but has another fingerprint.
        UserError: it is intact, but its arrays have other names or shapes.
    """
    own = _own_process()
    content = read_content(path)
    stored = content.get("fingerprints", {})
    for name, values in accepted.items():
        if stored.get(name) not in values:
            raise OtherError(path, name, stored.get(name), str(next(iter(values))))
    items = {}
    for name, target in targets.items():
        _check_shapes(path, name, content["arrays"].get(name, {}), target)
        try:
            handler = _array_handler(own)
            kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target)
            arguments = ocp.args.PyTreeRestore(target, restore_args=kinds)
            with ocp.Checkpointer(handler, multiprocessing_options=own) as reader:
                items[name] = reader.restore((path / name).absolute(), args=arguments)
            found = _describe(items[name])
            fault = non_finite(_leaves({name: items[name]}))
        except Exception as error:  # as above
            raise DamagedError(one_line(error)) from error
        for leaf, description in content["arrays"][name].items():
            if found[leaf] != description:
                raise DamagedError(f"checksum of {name}{leaf}")
        if fault:
            raise DamagedError(fault)
    return items, content["info"]


def read_content(path: Path) -> dict[str, Any]:
    """What the checkpoint at ``path`` says of itself: info, fingerprints, and its arrays.

    Raises:
        DamagedError: it does not read back as it was written.
    """
    own = _own_process()
    try:
        handler = ocp.JsonCheckpointHandler(multiprocessing_options=own)
        with ocp.Checkpointer(handler, multiprocessing_options=own) as reader:
            stored = reader.restore((path / "info").absolute())
        content: dict[str, Any] = stored["content"]
        intact = stored["crc32"] == _crc_of_json(content)
    except Exception as error:  # whatever a damaged file makes of its reader
        raise DamagedError(one_line(error)) from error
    if not intact:
        raise DamagedError("checksum of info")
    return content


def _check_shapes(path: Path, name: str, stored: Json, target: PyTree) -> None:
    wanted = {
        jax.tree_util.keystr(key): (str(np.dtype(leaf.dtype)), list(leaf.shape))
        for key, leaf in jax.tree.leaves_with_path(target)
    }
    for leaf in sorted(wanted.keys() | stored.keys()):
        there = f"{stored[leaf]['dtype']}{stored[leaf]['shape']}" if leaf in stored else "absent"
        here = "{}{}".format(*wanted[leaf]) if leaf in wanted else "absent"
        if there != here and name == "carry":
            raise UserError(
                f"{path}: what the rows remember is {there} there and {here} here; give the "
                "`train.batch_size` it was trained with"
            )
        if there != here:
            raise UserError(
                f"{path}: belongs to another model: {leaf} is {there} there and {here} here; give "
                "the config it was trained with"
            )


def _manager(folder: Path) -> ocp.CheckpointManager:
    own = _own_process()
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None,  # orbax removes file by file; `delete` does it
        create=False,
        cleanup_tmp_directories=True,  # what a killed process left half-written
        enable_async_checkpointing=False,  # this already runs in a thread of its own
        save_root_metadata=False,
        multiprocessing_options=own,
    )
    info = ocp.JsonCheckpointHandler(multiprocessing_options=own)
    names = ("params", "optimizer", "average", "carry")
    arrays = {name: _array_handler(own) for name in names}
    handlers = {**arrays, "info": info}
    return ocp.CheckpointManager(folder.absolute(), options=options, item_handlers=handlers)


def _array_handler(own: ocp.options.MultiprocessingOptions) -> ocp.PyTreeCheckpointHandler:
    # Compression takes three times as long, and trained float32 barely shrinks.
    return ocp.PyTreeCheckpointHandler(use_compression=False, multiprocessing_options=own)


_HOOKS: list[Callable[[Any], Any]] = []  # what shows an exception that nobody can catch


def _without_late_ones(unraisable: Any) -> None:
    """Show an exception, but not those of tensorstore's threads about a save that has failed."""
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
        _HOOKS[0](unraisable)


def _own_process() -> ocp.options.MultiprocessingOptions:
    # Orbax logs the traceback of every error before it raises it; one report is enough. So is one
    # for the other arrays of a checkpoint that has failed already.
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if sys.unraisablehook is not _without_late_ones:
        _HOOKS[:] = [sys.unraisablehook]
        sys.unraisablehook = _without_late_ones
    # It would otherwise wait for all processes of the run; here one works for itself.
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, good or bad, in order."""
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def _leaves(items: Items) -> Iterator[tuple[str, np.ndarray]]:
    """Every array, with its item and path as its name."""
    for name, tree in items.items():
        for key, leaf in jax.tree.leaves_with_path(tree):
            yield name + jax.tree_util.keystr(key), np.asarray(leaf)


def _describe(tree: PyTree) -> dict[str, dict[str, Any]]:
    """CRC-32, dtype and shape of each array of a tree, by its path."""
    return {
        jax.tree_util.keystr(key): {
            "crc32": zlib.crc32(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data),
            "dtype": str(leaf.dtype),
            "shape": list(leaf.shape),
        }
        for key, leaf in jax.tree.leaves_with_path(tree)
    }


def _crc_of_json(content: Any) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def size(tree: PyTree) -> int:
    """Bytes of the arrays of a tree."""
    leaves = jax.tree.leaves(tree)
    return sum(int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def one_line(error: Exception) -> str:
    """The kind of an error and its message, cut in the middle: the cause is often at the end."""
    message = " ".join(str(error).split())
    if len(message) > 240:
        message = f"{message[:120]} … {message[-120:]}"
    return f"{type(error).__name__}: {message}"
