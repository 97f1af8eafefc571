"""Real `gptjax` processes on a little generated text."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

WORDS = (
    *("the", "a", "old", "small", "red", "house", "garden", "river", "ship", "captain"),
    *("letter", "morning", "winter", "light", "door", "walked", "saw", "found", "opened"),
    *("left", "remembered", "and", "but", "then", "because", "slowly", "never", "almost"),
)

# A model that compiles in seconds; dropout on.
TINY = [
    *("--model.vocabulary-size", "330"),
    *("--model.context-length", "16", "--model.num-layers", "1"),
    *("--model.num-heads", "2", "--model.width", "16"),
    *("--train.batch-size", "8", "--train.log-every", "1", "--optimizer.warmup", "0.1"),
    *("--optimizer.learning-rate", "0.01", "--tracking.no-tensorboard"),
    *("--vocabulary.character-coverage", "1.0"),
]


def text(seed: int, sentences: int) -> str:
    """Sentences of a fixed small vocabulary, in paragraphs."""
    draw = random.Random(seed)
    lines = []
    for i in range(sentences):
        words = [draw.choice(WORDS) for _ in range(draw.randint(4, 9))]
        lines.append(" ".join(words).capitalize() + ("." if i % 5 else ".\n"))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def books(tmp_path_factory) -> Path:
    """A folder of six short books."""
    folder = tmp_path_factory.mktemp("books")
    for i in range(6):
        (folder / f"book{i}.txt").write_text(text(i, 36), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Four virtual CPU devices, no network, one cache for the session.

    Programs are those of the tests themselves (see `tests/conftest.py`), compiled once for both.
    """
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "4",
        "HF_HUB_OFFLINE": "1",
        "GPTJAX_CACHE": str(tmp_path_factory.getbasetemp() / "cache"),
        "COLUMNS": "200",
        "JAX_COMPILATION_CACHE_DIR": os.environ["GPTJAX_TEST_COMPILED"],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
    }


@contextmanager
def cache_of(environment: dict[str, str]) -> Iterator[None]:
    """Commands that are called in this process share the session's cache meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            *("GPTJAX_CACHE", "JAX_COMPILATION_CACHE_DIR"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS",
        ):
            patch.setenv(name, environment[name])
        yield


@pytest.fixture(scope="module")
def own_cache(environment):
    """The commands of a module, called in this process, share the session's cache."""
    with cache_of(environment):
        yield


@pytest.fixture(scope="session")
def gptjax(environment) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end."""

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gptjax", *words],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def gptjax_until(environment) -> Callable[..., int]:
    """Start a command, send a signal as soon as a condition holds, and return the exit code."""

    def call(
        words: Sequence[str], condition: Callable[[], bool], number: signal.Signals, **more: str
    ) -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "gptjax", *words],
            env={**environment, **more},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 200
        while not condition():
            assert process.poll() is None, "ended before the condition held"
            assert time.monotonic() < deadline, "the condition never held"
            time.sleep(0.002)
        process.send_signal(number)
        return process.wait(120)

    return call


@pytest.fixture(scope="session")
def two_processes(environment) -> Callable[..., list[str]]:
    """Run a command on two processes with a device each; what each of them printed.

    ``second`` are further options of the second process alone, ``code`` is how both end.
    """

    def call(*words: str, second: Sequence[str] = (), code: int = 0) -> list[str]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        processes = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "gptjax", *words),
                    *("--distributed.coordinator", address, "--distributed.num-processes", "2"),
                    *("--distributed.process-id", str(i), *(second if i else ())),
                ],
                env={**environment, "JAX_NUM_CPU_DEVICES": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for i in range(2)
        ]
        printed = [process.communicate(timeout=200)[0] for process in processes]
        assert [process.returncode for process in processes] == [code, code], printed
        return printed

    return call


def metrics(run: Path) -> list[dict]:
    """The records of a run but for what depends on the clock."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [{k: v for k, v in record.items() if k != "tokens_per_second"} for record in records]


def last_step(run: Path) -> int:
    """The last training step recorded so far (0 before the first)."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return 0
    lines = path.read_bytes().split(b"\n")[:-1]
    return json.loads(lines[-1])["step"] if lines else 0
