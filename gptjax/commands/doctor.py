"""`gptjax doctor`: versions, devices, memory, disk, a 3-step run, and whether the hub answers."""

import os
import re
import shutil
import socket
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse

import jax
import numpy as np

from gptjax.batch import Batch
from gptjax.config import cache_folder
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.runs.folder import Provenance
from gptjax.training import parallel
from gptjax.training.evaluation import Evaluator
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer


@dataclass(frozen=True)
class DoctorConfig:
    """Look at this machine and installation, and train a tiny model for 3 steps."""

    out: str = "runs"
    """Folder whose disk is looked at: where runs are going to be written."""


class _Noise:
    """Batches of random tokens; the three steps only have to run."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def __len__(self) -> int:
        return 3

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        shape = (self.batch_size, 1, 33)
        tokens = np.random.default_rng(index).integers(0, 64, shape).astype(np.int32)[rows]
        count = len(tokens)
        return Batch(
            tokens=tokens,
            lm_weights=np.ones(tokens.shape, np.float32),
            extract=np.zeros((count, 1), np.int32),
            targets=np.ones((count, 1), np.float32),
            weights=np.ones(count, np.float32),
        )

    def describe(self, epoch: int, index: int) -> str:
        return f"random batch {index}"


def run(config: DoctorConfig) -> None:
    """Print what people ask for when something does not work."""
    devices = parallel.describe_devices()
    facts = Provenance.now(devices)
    for one in facts.versions:
        _line(one.package, one.version)
    _line("commit", facts.commit or "not a checkout")
    _line("devices", devices)
    if warning := parallel.unused_accelerator():
        _line("warning", warning)
    _line("memory", _memory())
    for what, folder in (("runs", Path(config.out)), ("cache", cache_folder())):
        whole = folder.absolute()
        there = next(path for path in (whole, *whole.parents) if path.exists())
        free = shutil.disk_usage(there).free / 1e9
        writable = "" if os.access(there, os.W_OK) else ", NOT writable"
        _line(f"disk of {what}", f"{free:.1f} GB free at {folder}{writable}")
    for extra, missing in sorted(_extras().items()):
        absent = f"absent ({', '.join(missing)}); pip install 'gptjax[{extra}]'"
        _line(f"extra {extra}", absent if missing else "installed")
    reached = "reachable" if _hub_answers() else "not reachable: use local files (--data PATH)"
    _line("dataset hub", reached)
    _line("3 steps", f"losses {', '.join(f'{loss:.3f}' for loss in _three_steps())}")


def _extras() -> dict[str, list[str]]:
    """The distributions that each extra lacks; devices tell the builds of jax for accelerators."""
    extras: dict[str, list[str]] = {}
    found = metadata.distributions(name="gptjax")
    for requirement in (line for one in found for line in one.requires or ()):
        matched = re.match(r"([\w.-]+)[^\[]*;.*extra == ['\"](.+)['\"]", requirement)
        if matched:
            name, extra = matched.groups()
            missing = extras.setdefault(extra, [])
            if not any(metadata.distributions(name=name)) and name not in missing:
                missing.append(name)
    return extras


def _three_steps() -> list[float]:
    """Train a tiny model through the ordinary path; returns the loss after each step."""
    model = ModelConfig(vocabulary_size=64, context_length=32, num_layers=2, num_heads=2, width=32)
    batches = _Noise(batch_size=2 * parallel.device_count())
    train = TrainConfig(steps=3, batch_size=batches.batch_size, evaluate_every=1)
    losses: list[float] = []
    evaluator = Evaluator(lm(model), batches)
    from_here = time.perf_counter()

    def note(params: object) -> dict[str, float]:
        means = evaluator(params)
        losses.append(means["loss"])
        return means

    fit(lm(model), batches, train, make_optimizer(OptimizerConfig(warmup=0.0), 3), evaluate=note)
    _line("3 steps took", f"{time.perf_counter() - from_here:.1f} s, compilation included")
    return losses


def _memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    parts = [f"{pages:.1f} GB of host memory"]
    for device in jax.local_devices():
        if limit := (device.memory_stats() or {}).get("bytes_limit"):
            parts.append(f"{limit / 1e9:.1f} GB on {device}")
    return ", ".join(parts)


def _hub_answers() -> bool:
    """Whether a connection to the hub's host can be opened, without waiting for its retries."""
    from huggingface_hub import constants  # slow to import, and only wanted here

    if constants.HF_HUB_OFFLINE:
        return False
    host = urlparse(constants.ENDPOINT)
    try:
        address = (host.hostname or "", host.port or (443 if host.scheme == "https" else 80))
        with socket.create_connection(address, timeout=3):
            return True
    except OSError:
        return False


def _line(name: str, value: str) -> None:
    print(f"{name:16} {value}", flush=True)
