"""Interrupted anywhere and continued equals uninterrupted, on real processes, dropout on."""

import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from gptjax.cli import main
from tests.commands.conftest import TINY, last_step, metrics

pytestmark = pytest.mark.usefixtures("own_cache")
ROOT = Path(__file__).parents[2]
STEPS = 120
EVERY = 10


def arrays(run: Path, step: int) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by path, read by orbax alone."""
    found = {}
    for item in ("params", "optimizer"):
        path = (run / "checkpoints" / "last" / str(step) / item).absolute()
        tree = ocp.PyTreeCheckpointer().restore(path)
        for key, leaf in jax.tree.leaves_with_path(tree):
            found[item + jax.tree_util.keystr(key)] = np.asarray(leaf)
    return found


def options(books: Path, out: Path) -> list[str]:
    return [
        *("pretrain", "--data", str(books), "--out", str(out)),
        *("--train.steps", str(STEPS), "--train.evaluate-every", "30"),
        *("--checkpoint.every", str(EVERY), *TINY),
    ]


@pytest.fixture(scope="module")
def uninterrupted(books, own_cache, tmp_path_factory) -> Path:
    """Trained in this process; those that are stopped are processes of their own."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(options(books, out)) == 0
    return out


def meta(run: Path) -> dict:
    return json.loads((run / "meta.json").read_text(encoding="utf-8"))


def assert_same_run(run: Path, reference: Path) -> None:
    expected, found = arrays(reference, STEPS), arrays(run, STEPS)
    assert expected.keys() == found.keys()
    for name in expected:
        assert expected[name].tobytes() == found[name].tobytes(), name
    assert metrics(run) == metrics(reference)
    assert (run / "samples.txt").read_text() == (reference / "samples.txt").read_text()


def test_the_run_trains(uninterrupted):
    records = [record for record in metrics(uninterrupted) if record["split"] == "train"]
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert records[-1]["epoch"] > 2  # so that what follows crosses ends of epochs
    assert records[-1]["loss"] < 0.75 * records[0]["loss"]


@pytest.mark.slow
def test_killed_twice_and_continued(books, uninterrupted, gptjax, gptjax_until, tmp_path):
    out = tmp_path / "run"
    words = [*options(books, out), "--resume", "auto"]
    assert gptjax_until(words, lambda: last_step(out) >= 25, signal.SIGKILL) == -signal.SIGKILL
    assert gptjax_until(words, lambda: last_step(out) >= 71, signal.SIGKILL) == -signal.SIGKILL
    done = gptjax(*words)
    assert done.returncode == 0, done.stderr
    assert_same_run(out, uninterrupted)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_asked_to_stop_saves_the_step(books, uninterrupted, gptjax, gptjax_until, tmp_path, number):
    out = tmp_path / "run"
    assert gptjax_until(options(books, out), lambda: last_step(out) >= 33, number) == 75
    saved = max(int(path.name) for path in (out / "checkpoints" / "last").iterdir())
    assert saved >= 33
    assert saved == last_step(out)
    began = meta(out)
    words = [*options(books, out), "--resume", "auto"]
    done = gptjax(*words)
    assert done.returncode == 0, done.stderr
    assert_same_run(out, uninterrupted)
    # How it was made is not lost, neither by going on nor by trying to go on once more.
    ended = meta(out)
    for key in ("started", "command", "commit", "devices"):
        assert ended[key] == began[key]
    assert ["auto" in once["command"] for once in ended["resumed"]] == [True]
    assert main(words) == 0
    assert meta(out) == ended


@pytest.fixture
def make_target(environment, tmp_path):
    """A clone in which `make` finds everything installed; its gptjax is the one under test."""
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    command = f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m gptjax "$@"\n'
    (programs / "gptjax").write_text(command)
    (programs / "gptjax").chmod(0o755)
    (tmp_path / ".venv" / ".installed-cpu").touch()
    # Under `make test` the variables of the Makefile are in the environment.
    inherited = ("CONFIG", "DATA", "OUT", "RUN", "PROMPT", "TASK", "INIT", "ARGS")
    given = {
        key: value
        for key, value in environment.items()
        if key not in inherited and not key.startswith("MAKE")
    }
    given |= {"PYTHONPATH": str(ROOT), "ACCELERATOR": "cpu"}

    def start(line: str, stop_at: Path | None = None) -> tuple[int, str]:
        """Run a line in a shell, with Ctrl-C as soon as the run has done some updates."""
        log = tmp_path / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                line,
                shell=True,
                cwd=tmp_path,
                env=given,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 200
        while stop_at is not None and last_step(stop_at) < 5:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        if stop_at is not None:
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to make and to gptjax
        return process.wait(200), log.read_text()

    return start


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize("target", ["pretrain", "finetune"])
def test_the_line_after_ctrl_c_goes_on_through_make(books, make_target, tmp_path, target):
    """It is pasted as it stands, with a folder's name that both the shell and make would change."""
    run = tmp_path / "my $run's"
    more = "--train.log-every 1 --tracking.no-tensorboard --checkpoint.every 1000"
    more += f" --train.steps {STEPS} --train.evaluate-every {STEPS}"
    if target == "pretrain":
        named = [f"DATA={books}", f"OUT={run.name}", f"ARGS={shlex.join(TINY)} {more}"]
    else:
        init = ROOT / "tests" / "recorded" / "pretrained"
        named = ["TASK=sst2", "DATA=sample", f"INIT={init}", f"OUT={run.name}", f"ARGS={more}"]
    words = [word.replace("$", "$$") for word in named]
    code, said = make_target(shlex.join(["make", target, *words]), stop_at=run)
    assert code != 0
    (line,) = re.findall(rf"make {target} .*--resume auto.*", said)
    done = last_step(run)
    assert 5 <= done < STEPS
    code, said = make_target(line)
    assert code == 0, said
    assert [entry["step"] for entry in metrics(run) if entry["split"] == "train"] == [
        *range(1, STEPS + 1)
    ]
    assert len(meta(run)["resumed"]) == 1


@pytest.mark.slow
def test_killed_during_a_save(books, uninterrupted, gptjax, gptjax_until, tmp_path):
    out = tmp_path / "run"
    last = out / "checkpoints" / "last"

    def saving() -> bool:
        """A checkpoint is being written: orbax's temporary folder is there."""
        return last.is_dir() and any(
            "tmp" in path.name and path.name.split(".")[0] not in ("", str(EVERY))
            for path in last.iterdir()
        )

    assert gptjax_until(options(books, out), saving, signal.SIGKILL) == -signal.SIGKILL
    done = gptjax(*options(books, out), "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert_same_run(out, uninterrupted)


@pytest.mark.slow
def test_the_disk_is_full_and_then_free_again(books, uninterrupted, environment, gptjax, tmp_path):
    """No file may grow any more, with TensorBoard on: as on a full disk, in the midst of a run."""
    out = tmp_path / "run"
    words = [sys.executable, "-m", "gptjax", *options(books, out), "--tracking.tensorboard"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment, **pipes) as process:
        while last_step(out) < 25:
            assert process.poll() is None
            time.sleep(0.002)
        limit = (out / "meta.json").stat().st_size + 60  # no room for the reason
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        said = process.communicate(timeout=120)[1]
    assert process.returncode == 2, said
    assert "Traceback" not in said
    assert said.count("the run goes on") == 2  # of metrics.jsonl and of TensorBoard
    assert "File too large" in said.splitlines()[-1]
    assert meta(out)["status"] == "failed"
    assert "reason" not in meta(out)
    done = gptjax(*options(books, out), "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert_same_run(out, uninterrupted)
    assert meta(out)["status"] == "finished"
    assert "reason" not in meta(out)


@pytest.mark.slow
def test_two_runs_in_one_folder(books, environment, gptjax, tmp_path):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "gptjax", *options(books, out), "--train.steps", "100000"]
    with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            while last_step(out) < 15:
                assert process.poll() is None
                time.sleep(0.01)
            for more in (["--resume", "auto"], ["--overwrite"]):
                second = gptjax(*options(books, out), *more)
                assert second.returncode == 2
                assert f"pid {process.pid};" in second.stderr.splitlines()[-1]
            read = gptjax("generate", "--run", str(out), "--max-tokens", "3")
            assert read.returncode == 0, read.stderr  # who reads needs no lock
            assert process.poll() is None
        finally:
            process.kill()
    done = gptjax(*options(books, out), "--overwrite")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_stopped_at_random_moments_of_starting(books, environment, gptjax, tmp_path, number):
    """While it imports, trains a tokenizer, encodes and compiles: nothing swallows a signal."""
    draw = random.Random(number)
    for attempt in range(8):
        out, cache = tmp_path / f"run{attempt}", tmp_path / f"cache{attempt}"
        own = {"GPTJAX_CACHE": str(cache), "JAX_COMPILATION_CACHE_DIR": str(cache)}
        # So long that no machine comes to its end.
        words = [sys.executable, "-m", "gptjax", *options(books, out), "--train.steps", "1000000"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, env={**environment, **own}, **pipes) as process:
            time.sleep(0.3 + draw.random() * 8)
            process.send_signal(number)
            said = process.communicate(timeout=30)[1]
        assert process.returncode == 75, said
        assert "Traceback" not in said
        assert "saving step" in said or "what was saved is intact" in said.splitlines()[-1]
        if (out / "meta.json").exists():
            assert meta(out)["status"] == "interrupted"


def test_an_altered_checkpoint_is_passed_over(books, uninterrupted, tmp_path, capsys):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)  # a run folder can be copied
    newest = out / "checkpoints" / "last" / str(STEPS)
    data = max(newest.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert main([*options(books, out), "--resume", "auto"]) == 0
    assert f"checkpoint {STEPS} is damaged" in capsys.readouterr().err
    assert_same_run(out, uninterrupted)


def test_no_good_checkpoint_is_exit_3_and_nothing_is_restarted(
    books, uninterrupted, tmp_path, capsys
):
    out = tmp_path / "run"
    shutil.copytree(uninterrupted, out)
    for path in (out / "checkpoints" / "last").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    before = metrics(out)
    assert main([*options(books, out), "--resume", "auto"]) == 3
    assert "no usable checkpoint" in capsys.readouterr().err
    assert metrics(out) == before
