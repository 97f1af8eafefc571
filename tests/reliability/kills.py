"""Runs that are killed at random moments and at chosen events, and go on to the same bytes.

A run is killed once, twice in a row or three times, by SIGKILL or SIGTERM: after a random time, or
as soon as an event shows in its folder. Then it is resumed to its end. Its last checkpoint,
results, samples, predictions and metrics are those of a run that nobody has disturbed.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.reliability import inputs
from tests.reliability.commands import Ended, busy, fault, in_fork, start
from tests.reliability.trials import Found

WHOLE = "whole"  # the runs that nobody disturbs
LIMIT = 600.0
TIMES = ("tokens_per_second", "seconds", "started", "command", "made")
QUICK = (
    *("--train.batch-size", "8", "--train.log-every", "1", "--tracking.no-tensorboard"),
    *("--checkpoint.every", "5", "--train.evaluate-every", "7"),
)
SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "pretrain": (
        *("pretrain", "--data", "data/books", *QUICK, "--train.steps", "60", "--out", "run"),
        *("--model.vocabulary-size", "310", "--model.context-length", "16"),
        *("--model.num-layers", "1", "--model.num-heads", "2", "--model.width", "16"),
        *("--vocabulary.character-coverage", "1.0", "--optimizer.warmup", "0.1"),
    ),
    "finetune": (
        *("finetune", "--init", "pretrained", "--task", "mood.toml", *QUICK),
        *("--train.epochs", "8", "--out", "run"),
    ),
    "seeds": (
        *("finetune", "--init", "pretrained", "--task", "mood.toml", *QUICK),
        *("--train.epochs", "3", "--seeds", "1", "2", "--out", "run"),
    ),
    "sweep": ("sweep", "killed.toml", "--out", "run"),
}
SWEEP = """command = "finetune"

[settings]
init = "pretrained"
task = "mood.toml"
train.batch_size = 8
train.epochs = 3
tracking.tensorboard = false

[grid]
optimizer.learning_rate = [0.001, 0.01]
"""


def _steps(run: Path) -> int:
    """Lines of all metrics so far."""
    return sum(path.read_bytes().count(b"\n") for path in run.rglob("metrics.jsonl"))


def _temporary(folder: Path) -> bool:
    return any("tmp" in path.name for path in folder.glob("*")) if folder.is_dir() else False


def _saving(run: Path) -> bool:
    """A checkpoint is being written: orbax's temporary folder is there."""
    return any(_temporary(folder) for folder in run.rglob("checkpoints/*"))


# What is waited for, from the run folder and the cache.
EVENTS: Mapping[str, Callable[[Path, Path], bool]] = {
    "the folder is there": lambda run, cache: run.exists(),
    "encoding": lambda run, cache: any(cache.glob("corpus/.*.partial")),
    "compiling": lambda run, cache: any(run.rglob("meta.json")),
    "the first step": lambda run, cache: _steps(run) > 0,
    "the end of an epoch": lambda run, cache: _steps(run) >= 8,
    "saving": lambda run, cache: _saving(run),
    "saving later": lambda run, cache: _steps(run) > 12 and _saving(run),
    "the end": lambda run, cache: any(run.rglob("results.json")),
}


def prepare(folder: Path) -> None:
    """The whole runs, how long they took, and what came of them; once for a folder of trials."""
    inputs.prepare(folder)
    for name in SCENARIOS:
        expected = folder / f"{WHOLE}-{name}.json"
        if expected.exists():
            continue
        work = folder / "work" / f"{WHOLE}-{name}"
        copy(folder, work)
        began = time.monotonic()
        ended = finish(name, work)
        assert ended.code == 0, ended.err
        seconds = time.monotonic() - began
        expected.write_text(json.dumps({"seconds": seconds, "files": content(work)}))
        shutil.rmtree(work)


def copy(folder: Path, work: Path) -> None:
    """The inputs, and no cache."""
    shutil.rmtree(work, ignore_errors=True)
    ignored = shutil.ignore_patterns("cache", "sweep", "seeds", "interrupted-*", "lstm")
    shutil.copytree(folder / inputs.SPECIMENS, work, ignore=ignored)
    (work / "killed.toml").write_text(SWEEP)


def words_of(scenario: str, work: Path) -> tuple[str, ...]:
    """The command that begins a run, or goes on with it."""
    words = SCENARIOS[scenario]
    if scenario == "sweep" or not (work / "run").exists():
        return words
    return *words, "--resume", "auto"


def changed(work: Path) -> dict[str, str]:
    """A cache of its own."""
    return {"GPTJAX_CACHE": str(work / "cache")}


def finish(scenario: str, work: Path, limit: float = LIMIT) -> Ended:
    """Begin or go on, to the end."""
    log = work.with_name(f"{work.name}.log")
    words = words_of(scenario, work)
    began = time.monotonic()
    process = start(words, work, log, changed(work))
    code = _wait(process, lambda: False, limit)
    text = log.read_text(encoding="utf-8", errors="replace")
    log.unlink()
    return Ended(words, code, "", text, time.monotonic() - began)


def _wait(process: Any, condition: Callable[[], bool], limit: float) -> int | None:
    """The exit code; None where the condition holds first, or after the limit (it is killed)."""
    deadline = time.monotonic() + limit
    while process.poll() is None:
        if condition():
            return None
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
        time.sleep(0.002)
    return int(process.returncode)


def kill(scenario: str, work: Path, draw: random.Random, seconds: float) -> tuple[str, Ended]:
    """Begin or go on, and kill; what was done, and how it ended."""
    number = draw.choice((signal.SIGKILL, signal.SIGTERM))
    run, cache = work / "run", work / "cache"
    if draw.random() < 0.5:
        moment = time.monotonic() + draw.uniform(0, 1.1 * seconds)
        name, condition = "a random moment", lambda: time.monotonic() > moment
    else:
        name = draw.choice(list(EVENTS))
        event = EVENTS[name]

        def condition() -> bool:
            try:
                return event(run, cache)
            except OSError:  # what was looked at is gone
                return False

    log = work.with_name(f"{work.name}.log")
    words = words_of(scenario, work)
    began = time.monotonic()
    process = start(words, work, log, changed(work))
    code = _wait(process, condition, LIMIT)
    if code is None and process.poll() is None:
        if draw.random() < 0.3:
            time.sleep(draw.uniform(0, 0.3))
        process.send_signal(number)
        # It ends as soon as it has saved; a machine that is busy has more time.
        deadline, before = time.monotonic() + 120, busy(process.pid)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            used = busy(process.pid) - before
            name += f"; alive after {number.name} and {used:.0f} s of work"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        else:
            code = int(process.returncode)
    _end_group(process.pid)
    text = log.read_text(encoding="utf-8", errors="replace")
    return f"{number.name} at {name}", Ended(words, code, "", text, time.monotonic() - began)


def _end_group(group: int) -> None:
    """Wait for what a sweep has left: its runs are asked to stop when it dies."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except OSError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)


def content(work: Path) -> dict[str, str]:
    """Hashes of what a run has come to, by file; of its last checkpoint by array."""
    ended = in_fork(lambda: print(json.dumps(_content(work / "run"))), work, 300.0)
    assert ended.code == 0, ended.err
    found: dict[str, str] = json.loads(ended.out.strip().splitlines()[-1])
    return found


def _content(run: Path) -> dict[str, str]:
    import jax
    import numpy as np
    import orbax.checkpoint as ocp

    found = {}
    names = ("results.json", "samples.txt", "predictions.tsv", "metrics.jsonl", "config.toml")
    for path in sorted(path for name in names for path in run.rglob(name)):
        text = path.read_text(encoding="utf-8")
        if path.suffix in (".json", ".jsonl"):
            lines = [text] if path.suffix == ".json" else text.splitlines()
            text = json.dumps([_timeless(json.loads(line)) for line in lines])
        found[str(path.relative_to(run))] = hashlib.sha256(text.encode()).hexdigest()
    for last in sorted(run.rglob("checkpoints/last")):
        newest = max(last.iterdir(), key=lambda path: int(path.name))
        for item in ("params", "optimizer"):
            tree = ocp.PyTreeCheckpointer().restore((newest / item).absolute())
            for key, leaf in jax.tree.leaves_with_path(tree):
                name = f"{newest.relative_to(run)}/{item}{jax.tree_util.keystr(key)}"
                found[name] = hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(one) for key, one in value.items() if key not in TIMES}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def judged(what: str, scenario: str, work: Path, folder: Path) -> Found:
    """Go on to the end, and compare with the run that nobody disturbed."""
    ended = finish(scenario, work)
    if found := fault(ended, what):
        return found
    if ended.code != 0:
        return Found("lost", what, f"exit code {ended.code}: {ended.last}")
    expected = json.loads((folder / f"{WHOLE}-{scenario}.json").read_text())["files"]
    seen = content(work)
    other = sorted(name for name in expected | seen if expected.get(name) != seen.get(name))
    if other:
        return Found("silent", what, f"{len(other)} differ, such as {other[0]}")
    return Found("good", what)


def trial(number: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """A run that is killed one to three times, and resumed."""
    scenario = draw.choice(("pretrain", "pretrain", "finetune", "finetune", "seeds", "sweep"))
    seconds = json.loads((folder / f"{WHOLE}-{scenario}.json").read_text())["seconds"]
    copy(folder, work)
    what = scenario
    for _ in range(draw.choice((1, 1, 2, 3))):
        done, ended = kill(scenario, work, draw, seconds)
        what += f", {done}"
        if "alive after" in done:
            return Found("hang", what, ended.last)
        if "Traceback (most recent call last)" in ended.err:
            return Found("traceback", what, ended.last)
    return judged(what, scenario, work, folder)
