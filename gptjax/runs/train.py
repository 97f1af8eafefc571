"""A run that trains: whether it may start or go on in a folder, and what it records of itself."""

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax

from gptjax import config as configs
from gptjax.runs import folder as run_folder
from gptjax.batch import Objective
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import Interrupted, NonFiniteError, UserError
from gptjax.models.config import ModelConfig
from gptjax.training import parallel
from gptjax.training.checkpoint import has_checkpoint

# What makes a model the same model; dropout, compute type and the like may change.
SHAPE = (
    "kind",
    "vocabulary_size",
    "context_length",
    "num_layers",
    "num_heads",
    "width",
    "hidden_width",
    "norm",
    "cells",
)


def say(text: str) -> None:
    """A line for people on standard error, from one process of several."""
    if parallel.is_main():
        print(text, file=sys.stderr, flush=True)


def greet() -> str:
    """Name the devices, first of all; returns their description."""
    devices = parallel.describe_devices()
    say(f"devices: {devices}")
    if warning := parallel.unused_accelerator():
        say(f"warning: {warning}")
    return devices


def fingerprint(value: Mapping[str, Any]) -> str:
    """A hash (hex) of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def shape_fingerprint(model: ModelConfig) -> str:
    """A hash of what makes a model the same model."""
    shape = {key: getattr(model, key) for key in SHAPE}
    if model.kind == "transformer":  # as it was when there was no other kind
        del shape["kind"], shape["cells"]
    return fingerprint(shape)


def check_same_shape(wanted: ModelConfig, loaded: ModelConfig, source: str) -> None:
    """A loaded model keeps its shape.

    Raises:
        UserError: the settings ask for another one than ``source`` has.
    """
    for key in SHAPE:
        asked, there = getattr(wanted, key), getattr(loaded, key)
        if asked != there:
            raise UserError(
                f"--init {source} has model.{key} {there}, and the settings ask for {asked}; "
                "a loaded model keeps its shape: leave the setting out, or start without --init"
            )


def num_parameters(objective: Objective) -> int:
    """The number of parameters, without making them."""
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def prepare_folder(
    folder: run_folder.RunFolder,
    config: Any,
    fingerprints: Mapping[str, str],
    *,
    resume: str,
    overwrite: bool,
) -> None:
    """Make the folder ready: check what is resumed, or clear what is replaced.

    Raises:
        UserError: the run was started with another model, tokenizer, text or order of it.
    """
    if resume != "never":
        folder.check_fingerprints(fingerprints)
        for difference in _differences(folder, config):
            say(f"notice: {difference}")
    elif overwrite and parallel.is_main():
        folder.clear()


def describe(
    folder: run_folder.RunFolder,
    config: Any,
    tokenizer: Tokenizer,
    *,
    fingerprints: Mapping[str, str],
    devices: str,
    data: Mapping[str, Any],
) -> None:
    """Write config.toml, the tokenizer and meta.json, when a run has been accepted.

    Of a run that goes on, meta.json keeps how it was started; `resumed` lists when it went on.
    """
    made = run_folder.provenance(devices)
    if has_checkpoint(folder.checkpoints):
        made = {"resumed": [*folder.read_meta().get("resumed", []), made]}
    configs.write(config, folder.config)
    tokenizer.save(folder.tokenizer)
    folder.update_meta(status="running", **made, fingerprints=dict(fingerprints), data=dict(data))


@contextmanager
def recorded(folder: run_folder.RunFolder) -> Iterator[None]:
    """Note in meta.json how training ended, if it did not reach its end."""
    try:
        yield
    except (Interrupted, NonFiniteError) as error:
        if parallel.is_main():
            status = "interrupted" if isinstance(error, Interrupted) else "non-finite"
            folder.update_meta(status=status)
        raise


def _differences(folder: run_folder.RunFolder, config: Any) -> Iterator[str]:
    """What is set otherwise than when the run was started, a line each."""
    before = configs.to_table(configs.read_resolved(type(config), folder.config))
    now = configs.to_table(config)
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section), now.get(section)
        if not (isinstance(old, dict) and isinstance(new, dict)):
            old, new = {"": old}, {"": new}
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                name = f"{section}.{key}".rstrip(".")
                yield f"{name} was {old.get(key)} when the run was started, and is {new.get(key)}"
