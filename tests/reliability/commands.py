"""A `gptjax` command, in a process of its own or in a fork of this one, and what is wrong with it.

A fork costs no import. This process has imported every command and used none of them, so that it
has no threads of jax yet.
"""

import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.trials import Found

CODE = Path(__file__).resolve().parents[2]
CODES = (0, 2, 3, 4, 75)
LONGEST = 1200  # characters of the line that says what is wrong
LIMIT = 60.0  # seconds of a command on small inputs
MEMORY = 16 << 30  # bytes of address space of a command: what cannot be meant is refused


@dataclass(frozen=True)
class Ended:
    """A command that has ended, or was ended after its time limit (``code`` is None)."""

    words: tuple[str, ...]
    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def last(self) -> str:
        """The last line of standard error."""
        return (self.err.strip().splitlines() or [""])[-1]


def environment(folder: Path) -> dict[str, str]:
    """One device, no network; caches in ``folder``."""
    return {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "COLUMNS": "200",
        "GPTJAX_CACHE": str(folder / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",
        "PYTHONPATH": str(CODE),
    }


def import_commands() -> None:
    """Import what commands import, so that forks need not."""
    from gptjax.cli import COMMANDS

    for name in COMMANDS:
        if name != "lm-eval":
            module = name.replace("-", "_") + "_" * (name == "import")
            importlib.import_module(f"gptjax.commands.{module}")
    for name in ("pyarrow.parquet", "jinja2", "tensorboardX", "tokenizers", "safetensors.numpy"):
        importlib.import_module(name)


def start(
    words: Sequence[str], cwd: Path, log: Path, changed: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """A command in a process of its own, with its output in ``log``."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "gptjax", *words],
            cwd=cwd,
            env={**os.environ, **changed},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def forked(words: Sequence[str], cwd: Path, limit: float = LIMIT, **changed: str) -> Ended:
    """A command in a fork of this process."""
    return _forked(tuple(words), cwd, limit, lambda: _main(words), changed)


def in_fork(call: Callable[[], object], cwd: Path, limit: float = 120.0) -> Ended:
    """A function in a fork of this process, and what it prints; code 1 if it raised."""

    def run() -> int:
        call()
        return 0

    return _forked((), cwd, limit, run, {})


def _forked(
    words: tuple[str, ...],
    cwd: Path,
    limit: float,
    run: Callable[[], int],
    changed: Mapping[str, str],
) -> Ended:
    out, err = (cwd.with_name(f"{cwd.name}.{name}") for name in ("out", "err"))
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            os.setsid()
            _redirect(out, err)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.environ.update(changed)
            os.chdir(cwd)
            try:
                code = run()
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    code = wait(child, limit)
    seconds = time.monotonic() - began
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
    for path in (out, err):
        path.unlink()
    return Ended(words, code, *texts, seconds)


def busy(process: int) -> float:
    """The seconds of processor time that a process has used."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def wait(child: int, limit: float) -> int | None:
    """The exit code of a process (less than 0: the signal), or None after it had to be killed.

    The limit is of processor time, or of waiting for nothing: the machine may be busy.
    """
    deadline, worked = time.monotonic() + limit, 0.0
    pause = 0.002
    while True:
        if time.monotonic() > deadline:
            now = busy(child)
            if now > limit or now - worked < 0.02 * limit:
                break
            deadline, worked = time.monotonic() + limit, now
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            with contextlib.suppress(OSError):  # whatever it has left
                os.killpg(child, signal.SIGKILL)
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(2 * pause, 0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _redirect(out: Path, err: Path) -> None:
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        os.dup2(file, number)
        os.close(file)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # Under pytest they may be something else.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _main(words: Sequence[str]) -> int:
    from gptjax.cli import main

    return main(list(words))


def fault(ended: Ended, what: str) -> Found | None:
    """What is wrong with how a command ended, or None."""
    if ended.code is None:
        return Found("hang", what, f"after {ended.seconds:.0f} s: {ended.last}")
    if "Traceback (most recent call last)" in ended.err + ended.out:
        return Found("traceback", what, ended.last)
    if ended.code not in CODES:
        return Found("traceback", what, f"exit code {ended.code}: {ended.last}")
    if ended.code != 0:
        lines = [line for line in ended.err.splitlines() if line.startswith("gptjax: ")]
        box = "╭" in ended.err  # that the options are wrong: a box of several lines
        if not box and (len(lines) != 1 or not ended.last.startswith("gptjax: ")):
            return Found("traceback", what, f"{len(lines)} lines of error: {ended.last}")
        if any(len(line) > LONGEST for line in lines):
            return Found("traceback", what, f"a line of {max(map(len, lines))} characters")
    return None
