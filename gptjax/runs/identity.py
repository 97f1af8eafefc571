"""What makes a run the run that it is: what it records of itself, and is compared when opened."""

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gptjax.data.tasks.task import Task, plain_column
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.sentencepiece import MODEL_FILE
from gptjax.data.tokenizers.tokenizer import Mode, Tokenizer
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.task_head import USUAL, HeadShape
from gptjax.runs.folder import RunFolder
from gptjax.training.stored import recorded_fingerprints

WHOLE = ("model", "tokenizer")  # what every run records
Values = Mapping[str, Any]


def fingerprint(value: Values) -> str:
    """A hash (hex) of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def shape_fingerprint(model: ModelConfig) -> str:
    """A hash of what makes a model the same model."""
    return fingerprint(model.shape())


def check_same_shape(wanted: ModelConfig, loaded: ModelConfig, source: str) -> None:
    """Refuse settings that ask for another shape than the loaded model of ``source`` has.

    A model without positions may have another context.
    """
    free = () if wanted.fixed_context else ("context_length",)
    asked_for, found = ({"kind": one.kind, **one.shape()} for one in (wanted, loaded))
    for key in dict.fromkeys((*asked_for, *found)):
        # Some settings have a part in the shape only where they are not as usual.
        asked = asked_for.get(key, getattr(wanted, key, None))
        there = found.get(key, getattr(loaded, key, None))
        if key not in free and asked != there:
            raise UserError(
                f"{source} has model.{key} {there}, and the settings ask for {asked}; "
                "a loaded model keeps its shape: leave the setting out, or start without `init`"
            )


def task_identity(
    task: Task,
    *,
    lm_coefficient: float,
    freeze_backbone: bool,
    freeze_special_rows: bool = False,
    label_gain: bool = False,
    shape: HeadShape = USUAL,
    mix_l2: float = 0.0,
    positions: int | None,
) -> dict[str, Any]:
    """What makes a training problem the same problem.

    ``positions`` is the longest sequence, where the released code's oddities are asked for.
    """
    return {
        # Only where it is not as usual, so that runs from before there was a choice go on.
        **({"fidelity": "released", "positions": positions} if positions is not None else {}),
        **({"class_weights": task.class_weights} if task.class_weights is not None else {}),
        **({"head": shape.described()} if shape != USUAL else {}),
        **({"mix_l2": mix_l2} if mix_l2 else {}),
        **({"freeze_special_rows": True} if freeze_special_rows else {}),
        **({"label_gain": True} if label_gain else {}),
        "task": task.name,
        "format": task.format,
        "labels": task.labels,
        "scores": task.scores,
        "columns": {part: [plain_column(c) for c in one] for part, one in task.columns.items()},
        "aliases": dict(task.aliases),
        "lm_coefficient": lm_coefficient,
        "freeze_backbone": freeze_backbone,
    }


def file_digests(folder: RunFolder) -> dict[str, str]:
    """sha256 (hex) of the settings that a run writes once, by the name of their file."""
    files = (folder.config, folder.task_file)
    return {file.name: _digest(file) for file in files if file.exists()}


def finish(folder: RunFolder) -> None:
    """Note in meta.json that a run is finished, and hashes of its results."""
    folder.update_meta(status="finished", reason=None, written=_written(folder))


def check_results(folder: RunFolder) -> None:
    """Refuse a finished run whose results are not as it wrote them.

    Runs from before this was noted pass.
    """
    meta = folder.read_meta()
    if meta.get("status") != "finished" or "written" not in meta:
        return
    there = _written(folder)
    for name, digest in meta["written"].items():
        if there.get(name) != digest:
            raise UserError(
                f"{folder.path / name}: is not as the run wrote it: it was changed or is damaged; "
                "put back what was there"
            )


def _written(folder: RunFolder) -> dict[str, str]:
    """Hashes (hex) of what a report shows of a run, by the name of the file."""
    metrics = folder.path / "metrics.jsonl"
    files = (folder.results, folder.samples, folder.predictions, folder.most_wrong, metrics)
    return {file.name: _digest(file) for file in files if file.is_file()}


def notices(folder: RunFolder) -> list[str]:
    """What people should know of a run folder before they use it, a line each."""
    try:
        meta = folder.read_meta()
    except UserError as error:
        return [f"{error}; the run is opened by what its checkpoints say"]
    if not folder.meta.exists():
        return [f"{folder.path}: has no meta.json; what it says of the run is not known"]
    there = file_digests(folder)
    return [
        f"{folder.path / name}: is not as the run wrote it: it was changed or is damaged"
        for name, digest in meta.get("files", {}).items()
        if there.get(name) != digest
    ]


def check(folder: RunFolder, name: str, found: Collection[str], now: Values | None = None) -> None:
    """Refuse a run folder whose ``name``, such as the model, is not what the run recorded.

    Args:
        folder: the run folder.
        name: of a fingerprint.
        found: the fingerprints that what is there may have.
        now: what they are hashes of, to name what differs.

    Raises:
        UserError: the recorded one is none of these; names the file.
    """
    stored = recorded(folder).get(name)
    if stored is not None and stored not in found:
        raise other(folder, name, stored, now)


def other(folder: RunFolder, name: str, stored: str | None, now: Values | None = None) -> UserError:
    """The refusal of a run whose ``name`` is another than what it recorded."""
    files = {"model": folder.config, "tokenizer": folder.tokenizer, "task": folder.config}
    files["knowledge"] = folder.knowledge
    if folder.task_file.exists():
        files["task"] = folder.task_file
    return UserError(
        f"{files.get(name, folder.path)}: is not as it was when the run was made: its {name} is "
        f"another{_difference(folder, name, stored, now)}; it was changed or is damaged: put back "
        "what was there"
    )


def check_data(
    folder: RunFolder,
    content: Mapping[str, str],
    earlier: Mapping[str, Collection[str]],
    facts: Values,
) -> None:
    """Refuse to go on with other data, and say what differs, as far as meta.json tells it.

    Args:
        folder: the run folder.
        content: fingerprints by name; those of the data are looked at: corpus, data. With another
            tokenizer, which is refused as such, the text is another too.
        earlier: what earlier versions recorded for the same thing.
        facts: what meta.json is going to say of the data.

    Raises:
        UserError: the run recorded another fingerprint.
    """
    names = [name for name in ("corpus", "data") if name in content]
    if not names or not folder.meta.exists():
        return
    (name,) = names
    found = (content[name], *earlier.get(name, ()))
    meta = folder.read_meta()
    old, before = meta.get("fingerprints", {}), meta.get("data", {}).get("train", {})
    stored = old.get(name)
    if stored is None or stored in found or old.get("tokenizer") != content.get("tokenizer"):
        return
    differ = _files_that_differ(before.get("files", {}), facts["train"].get("files", {}))
    if not differ:
        keys = ("examples", "documents", "tokens", "bytes")
        now = json.loads(json.dumps(facts["train"]))
        differ = [
            f"{key} were {before[key]:,}, and are {now[key]:,}"
            for key in keys
            if isinstance(before.get(key), int) and before[key] != now.get(key)
        ]
    what = "; ".join(differ[:3]) or "the settings that it is read with, or the tokenizer"
    more = f"; and {len(differ) - 3} more" if len(differ) > 3 else ""
    raise UserError(
        f"{folder.path}: the {name} is another than when the run was started: {what}{more}; give "
        f"the same {name}, or start anew in another `out`"
    )


def _files_that_differ(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is another, in words; nothing where it is not known. A new name alone is no change."""
    if not before or not now or list(before.values()) == list(now.values()):
        return []
    if sorted(before.values()) == sorted(now.values()):
        return ["the files come in another order (they are sorted by name)"]
    gone = [name for name in before if name not in now and before[name] not in now.values()]
    new = [name for name in now if name not in before and now[name] not in before.values()]
    differ = [*(f"{name} was there" for name in gone), *(f"{name} is new" for name in new)]
    both = [name for name in now if name in before and now[name] != before[name]]
    sizes = {name: (now[name].partition(", ")[0], before[name].partition(", ")[0]) for name in both}
    return [
        f"{name} has {size}, and had {old}" if size != old else f"{name} has other {size}"
        for name, (size, old) in sizes.items()
    ] + differ


def _difference(folder: RunFolder, name: str, stored: str | None, now: Values | None) -> str:
    """What differs from what the run recorded, in words, where that is known."""
    try:
        before = folder.read_meta().get("identity", {}).get(name)
    except UserError:
        before = None
    if before is None or now is None or fingerprint(before) != stored:
        return f" (its fingerprint was {str(stored)[:16]}…)"
    now = json.loads(json.dumps(now))
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return f" ({'; '.join(f'{key} is {now.get(key)}, and was {before.get(key)}' for key in keys)})"


def recorded(folder: RunFolder) -> dict[str, str]:
    """The fingerprints that a run recorded, by name, in meta.json or else in its checkpoints."""
    try:
        found = folder.read_meta().get("fingerprints")
    except UserError:
        found = None
    if isinstance(found, dict) and found:
        return found
    return recorded_fingerprints(folder.checkpoints)


def open_tokenizer(
    folder: RunFolder, mode: Mode | None = None, expected_size: int | None = None
) -> Tokenizer:
    """A run's own tokenizer, compared with what the run recorded; ``mode`` may be another one.

    Raises:
        UserError: it is not there, is another one, or is damaged.
    """
    model = folder.tokenizer / MODEL_FILE
    if model.is_file():  # compared first: a damaged one may do anything to its reader
        check(folder, "tokenizer", (_digest(model),))
    tokenizer = load_tokenizer(folder.tokenizer, expected_size, mode)
    saved = tokenizer if mode is None else load_tokenizer(folder.tokenizer)
    check(folder, "tokenizer", (saved.fingerprint,))
    return tokenizer


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
