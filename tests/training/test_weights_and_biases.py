"""The real package, without a network: what it is told, and that it can never stop a run."""

import json
import subprocess
import sys

import pytest

from gptjax.training.tracking import Tracker, TrackingConfig
from gptjax.training.weights_and_biases import Identity
from tests import wandb_files

WITH_WANDB = TrackingConfig(tensorboard=False, progress=False, wandb=True, wandb_project="mine")
# A process whose tracker loses wandb's own process, the one that takes the numbers.
LOSES_IT = """
import os, signal, subprocess, sys
from gptjax.training.tracking import Tracker, TrackingConfig

def kill():
    words = ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    children = subprocess.run(words, capture_output=True, text=True).stdout.splitlines()
    (service,) = [int(line.split()[0]) for line in children if "wandb-core" in line]
    os.kill(service, signal.SIGKILL)
    os.waitpid(service, 0)

with Tracker(sys.argv[1], TrackingConfig(tensorboard=False, wandb=True)) as tracker:
    tracker.start(0, 10)
    for step in range(1, 10):
        if step == int(sys.argv[2]):
            kill()
        tracker.log({"step": step, "split": "train", "loss": 1.0})
    if sys.argv[2] == "10":
        kill()
print("done")
"""


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_SERVICE", raising=False)  # of another test, for its child processes


def record(step):
    return {"step": step, "split": "train", "loss": 1.0 / step, "gone": float("nan")}


def test_a_resumed_run_continues_under_its_id(tmp_path):
    """All else is the run's identity."""
    settings = {"train": {"seed": 7, "epochs": 2}, "init": "none"}
    identity = Identity("snli/tiny/7", "snli/tiny", settings)
    for step in (1, 2):
        with Tracker(tmp_path, WITH_WANDB, identity) as tracker:
            tracker.start(step - 1, 10)
            tracker.log(record(step))
    first, second = wandb_files.read(tmp_path)
    assert first.pop("history") == [{"train/loss": 1.0, "_step": 1}]
    assert second.pop("history") == [{"train/loss": 0.5, "_step": 2}]
    assert first == second
    assert first == {
        "id": (tmp_path / "wandb-id.txt").read_text(),
        "name": "snli/tiny/7",
        "group": "snli/tiny",
        "project": "mine",
        "config": settings,
        "exit_code": 0,
    }


@pytest.mark.parametrize("failing", ["import", "init"])
def test_a_failure_is_told_once_and_the_run_goes_on(tmp_path, monkeypatch, capsys, failing):
    if failing == "import":
        monkeypatch.setitem(sys.modules, "wandb", None)
    else:
        (tmp_path / "wandb").write_text("no folder")
    with Tracker(tmp_path, WITH_WANDB) as tracker:
        tracker.start(0, 10)
        for step in (1, 2, 3):
            tracker.log(record(step))
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    # Beside what wandb itself may print.
    told = [line for line in capsys.readouterr().err.splitlines() if "wandb:" not in line[:20]]
    assert len(told) == 1, told
    assert told[0].startswith("wandb failed, the run goes on without it: ")


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 5, 10])
def test_a_failure_on_the_way_is_one_line_too(tmp_path, step):
    words = [sys.executable, "-c", LOSES_IT, str(tmp_path), str(step)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 9
    (told,) = done.stderr.splitlines()
    assert told.startswith("wandb failed, the run goes on without it: ")


def test_texts_are_a_table(tmp_path):
    with Tracker(tmp_path, WITH_WANDB) as tracker:
        tracker.start(0, 10)
        tracker.keep(["one", "two"])
        tracker.log({"step": 3, "split": "valid", "loss": 0.5})
    (run,) = wandb_files.read(tmp_path)
    tables = list(tmp_path.glob("wandb/offline-run-*/files/media/table/samples*.json"))
    assert len(tables) == 1
    assert json.loads(tables[0].read_text())["data"] == [[3, "one"], [3, "two"]]
    assert any("valid/loss" in line for line in run["history"])
