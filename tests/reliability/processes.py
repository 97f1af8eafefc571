"""Two processes that were started differently end before the first step, and both say why."""

import json
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from tests.reliability import kills
from tests.reliability.commands import Ended, fault, start
from tests.reliability.trials import Found

STEPS = "4"
# What the second process has otherwise, and a word that the refusal names; none: it is the same.
OTHER: Sequence[tuple[tuple[str, ...], str]] = (
    ((), ""),
    (("--optimizer.learning-rate", "0.02"), "learning"),
    (("--train.seed", "7"), "seed"),
    (("--data", "data/other"), "corpus"),
    (("--model.width", "24"), "width"),
    (("--model.residual-dropout", "0.3"), "dropout"),
    (("--train.steps", "5"), "steps"),
    (("--train.batch-size", "16"), "batch"),
)
LIMIT = 180.0


def prepare(folder: Path) -> None:
    """The inputs."""
    kills.prepare(folder)


def trial(number: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """Two processes on one run."""
    kills.copy(folder, work)
    other, named = OTHER[number % len(OTHER)]
    (work / "data/other").mkdir()
    for path in (work / "data/books").iterdir():
        (work / "data/other" / path.name).write_bytes(path.read_bytes().replace(b"ship", b"boat"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = kills.SCENARIOS["pretrain"]
    place = words.index("--train.steps") + 1
    words = (*words[:place], STEPS, *words[place + 1 :])
    words += ("--tokenizer", "pretrained/tokenizer")
    words += ("--distributed.coordinator", address, "--distributed.num-processes", "2")
    what = f"two processes, one with {' '.join(other) or 'nothing else'}"
    began = time.monotonic()
    processes, logs = [], []
    for index in range(2):
        own = (*words, "--distributed.process-id", str(index), *(other if index else ()))
        logs.append(work.with_name(f"{work.name}-{index}.log"))
        processes.append(start(own, work, logs[-1], kills.changed(work)))
    codes = [kills._wait(process, lambda: False, LIMIT) for process in processes]
    texts = [log.read_text(encoding="utf-8", errors="replace") for log in logs]
    for log in logs:
        log.unlink()
    for index, (code, text) in enumerate(zip(codes, texts, strict=True)):
        ended = Ended(words, code, "", text, time.monotonic() - began)
        if found := fault(ended, f"{what}: process {index}"):
            return found
        if code != (2 if other else 0):
            return Found("silent", what, json.dumps(codes))
        if named not in text:
            return Found("silent", what, f"process {index} does not say {named!r}: {ended.last}")
    return Found("good", what)
