"""A run folder: its paths and its meta.json, whether a run may start in it, and where it was made.

    runs/pretrain/NAME/, runs/finetune/TASK/NAME/
      config.toml  meta.json  metrics.jsonl  results.json  samples.txt
      tokenizer/  tensorboard/  checkpoints/last/N  checkpoints/best/N  checkpoints/curve/N
      of fine-tuning also: task.toml (a task of one's own)  predictions.tsv  most_wrong.tsv
        head.safetensors  knowledge/ (relations of words, where it was given some)
      of a run that was probed: features/

Nothing in it names another folder that is needed later, so it can be moved or copied.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from gptjax import __version__, finite
from gptjax.errors import UserError
from gptjax.files import read_json
from gptjax.runs.lock import LOCK
from gptjax.runs.records import keyed
from gptjax.training.stored import has_checkpoint

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece")

SPLITS = ("predictions", "most_wrong")  # files of which each split has its own

CHECKSUM = "checksum"  # of meta.json's other content


# What is read of meta.json, and its types.
_META: dict[str, Any] = {
    **dict.fromkeys(("status", "started", "command", "devices", "imported"), str),
    **dict.fromkeys(("data", "fingerprints", "versions", "files", "identity", "written"), dict),
    "commit": str | None,
    "resumed": list,
}


class _Item:
    """The path of a file or folder of a run."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, folder: "RunFolder", owner: type["RunFolder"]) -> Path:
        return folder.path / self.name


@dataclass(frozen=True)
class RunFolder:
    """The paths of a run folder, and its meta.json."""

    path: Path

    config = _Item("config.toml")  # resolved; `gptjax.config.read_resolved` reads it back
    meta = _Item("meta.json")  # status, versions, commit, devices, fingerprints and command
    tokenizer = _Item("tokenizer")  # the run's own copy
    checkpoints = _Item("checkpoints")  # with last/N, best/N and curve/N
    results = _Item("results.json")  # what the run came to: `gptjax.runs.results`
    samples = _Item("samples.txt")  # text that the model wrote
    predictions = _Item("predictions.tsv")  # what a fine-tuned model says to each example
    most_wrong = _Item("most_wrong.tsv")  # the examples that it answers worst, with their texts
    task_file = _Item("task.toml")  # the run's own copy of the task file that it was given
    knowledge = _Item("knowledge")  # the run's own copy of the relations of words
    features = _Item("features")  # states of texts that `gptjax probe` has computed
    head = _Item("head.safetensors")  # the best checkpoint's task head without its backbone

    def seeds(self) -> list["RunFolder"]:
        """The runs of several seeds, which lie in `seed-N` here, by number."""
        found = [path.parent for path in self.path.glob("seed-*/config.toml")]
        found.sort(key=lambda path: (len(path.name), path.name))  # seed-2 before seed-10
        return [RunFolder(path) for path in found]

    def clear(self) -> None:
        """Remove everything that a run writes, and nothing else."""
        names = [item.name for item in vars(RunFolder).values() if isinstance(item, _Item)]
        # The last is what older runs called their task head's file.
        names += ["metrics.jsonl", "tensorboard", "wandb", "wandb-id.txt", "adapter.safetensors"]
        splits = [path for name in SPLITS for path in self.path.glob(f"{name}-*.tsv")]
        for item in (*map(self.path.joinpath, names), *splits):
            shutil.rmtree(item) if item.is_dir() else item.unlink(missing_ok=True)

    def read_meta(self) -> dict[str, Any]:
        """The content of meta.json, empty if there is none yet; a UserError if it is damaged."""
        if not self.meta.exists():
            return {}
        content = read_json(self.meta)
        if not isinstance(content, dict):
            raise UserError(f"{self.meta}: is damaged, or of another version (no table)")
        for key, kind in _META.items():
            if key in content and not isinstance(content[key], kind):
                what = f"{key} is {content[key]!r}"
                raise UserError(f"{self.meta}: is damaged, or of another version ({what})")
        # Files of earlier versions have no checksum.
        if content.pop(CHECKSUM, None) not in (None, checksum(content)):
            raise UserError(
                f"{self.meta}: is damaged, or was edited (its checksum is another); put back what "
                f"was there, or remove the key {CHECKSUM!r} to use it as it is"
            )
        return content

    def update_meta(self, **values: Any) -> None:
        """Set keys of meta.json (`reason` is removed where it is None).

        The file is replaced whole, so that it is never torn. Only a disk without room for a second
        copy makes it be written in its place.
        """
        content = {**self.read_meta(), **values}
        reason = content.pop("reason", None)
        shorter = {**content, CHECKSUM: checksum(content)}
        if reason is not None:
            content["reason"] = reason
        content[CHECKSUM] = checksum(content)
        try:
            write_json(self.meta, content)
        except OSError:
            # Better without the reason than with a status that is not true.
            if not any(_write_in_place(self.meta, _as_text(one)) for one in (content, shorter)):
                raise


def checksum(content: Any) -> int:
    """CRC-32 of what a JSON file holds."""
    return zlib.crc32(json.dumps(finite.or_null(content), sort_keys=True).encode())


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file by replacing it, so that a reader or a crash never sees half of it.

    NaN and infinity are written as null.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_bytes(_as_text(value))
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        error.filename = str(path)  # a full disk names no file
        raise


def _as_text(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(finite.or_null(value), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()


def _write_in_place(path: Path, content: bytes) -> bool:
    """Write over a file if the blocks that it has are enough; says whether it was done."""
    with suppress(OSError), path.open("r+b", buffering=0) as file:
        before = file.read()
        if len(content) > os.fstat(file.fileno()).st_blocks * 512:
            return False
        written = os.pwrite(file.fileno(), content, 0)
        if written == len(content):
            file.truncate(written)
            return True
        os.pwrite(file.fileno(), before[:written], 0)
        file.truncate(len(before))
    return False


def open_folder(
    path: str | Path, *, resume: str, overwrite: bool, trains: bool = True
) -> tuple[RunFolder, str]:
    """The folder of a run that starts ("never") or goes on; nothing in it is touched yet.

    Args:
        path: the folder; it may be absent, empty, or an earlier run's.
        resume: "never", "auto", or a step; returned as "never" where nothing was saved yet.
        overwrite: an earlier run's files are going to be removed.
        trains: whether the command could also continue what is there.

    Raises:
        UserError: the folder or the choice is refused; one line says what to do.
    """
    folder = RunFolder(Path(path))
    if resume not in ("never", "auto") and not resume.isdigit():
        raise UserError(f"`resume={resume}`: known are auto, never, or the number of a step")
    if folder.path.exists() and not folder.path.is_dir():
        raise UserError(f"{folder.path}: is a file; choose another folder with `out`")
    files = folder.path.iterdir() if folder.path.exists() else ()
    occupied = any(path.name != LOCK for path in files)
    if occupied and overwrite and resume != "never":
        raise UserError("`overwrite` and `resume` contradict each other; give one of them")
    if occupied and resume == "never" and not overwrite:
        resumed = "continue it with `resume=auto`, " if trains else ""
        raise UserError(
            f"{folder.path}: is not empty; {resumed}replace it with `overwrite`, or choose another "
            "`out`"
        )
    if resume != "never" and "imported" in _meta_to_go_on(folder):
        raise UserError(
            f"{folder.path}: was imported, so that there is no training to go on with; start from "
            f"it with `init={folder.path}` and another `out`"
        )
    if resume == "auto" and not has_checkpoint(folder.checkpoints):
        resume = "never"  # nothing to go on from was ever saved
    return folder, resume


def _meta_to_go_on(folder: RunFolder) -> dict[str, Any]:
    try:
        return folder.read_meta()
    except UserError as error:
        raise UserError(f"{error}; or remove the file, to go on without what it says") from None


@dataclass(frozen=True)
class Version:
    """A package and its version."""

    package: str
    version: str


@dataclass(frozen=True)
class Provenance:
    """How something was made: command, time (ISO 8601), versions, commit and devices."""

    command: str
    started: str
    commit: str | None
    devices: str
    versions: tuple[Version, ...] = keyed("package", ())

    @classmethod
    def now(cls, devices: str) -> "Provenance":
        """Of this process."""
        program = Path(sys.argv[0]).name
        script = program.endswith(".py") and program != "__main__.py"
        versions = [("gptjax", __version__), ("python", platform.python_version())]
        versions += [(name, metadata.version(name)) for name in PACKAGES]
        return cls(
            command=" ".join([program if script else "gptjax", *sys.argv[1:]]),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=_commit(),
            devices=devices,
            versions=tuple(Version(*pair) for pair in versions),
        )


def _commit() -> str | None:
    """The commit of the checkout that the package runs from, marked if it was changed."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        words = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
