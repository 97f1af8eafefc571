"""`gptjax sweep` with real runs: killed, continued, and what it says they came to."""

import fcntl
import json
import signal
import subprocess
import sys
import time

import pytest

from tests.commands.conftest import TINY, last_step, metrics

FILE = """
command = "pretrain"
out = "{out}"
[settings]
data = "{books}"
train.steps = 40
checkpoint.every = 10
{tiny}
[grid]
train.seed = [1, 2]
"""


# The runs need the accelerator, of which jax takes nearly all as soon as it looks at it.
WATCHED = """
import sys
from gptjax.cli import main
assert main(sys.argv[1:]) == 0
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "the sweep itself took the accelerator"
"""


def as_settings(words: list[str]) -> str:
    """Options of a command line as lines of TOML."""
    lines, left = [], list(words)
    while left:
        name = left.pop(0).removeprefix("--")
        if ".no-" in name:
            lines.append(f"{name.replace('.no-', '.')} = false")
        else:
            lines.append(f"{name} = {left.pop(0)}")
    return "\n".join(lines)


@pytest.mark.slow
def test_killed_and_continued(books, environment, gptjax_until, tmp_path):
    """Not even a sweep that is killed outright leaves a run behind."""
    out, file = tmp_path / "out", tmp_path / "seeds.toml"
    file.write_text(FILE.format(out=out, books=books, tiny=as_settings(TINY)))
    first, second = out / "seed=1", out / "seed=2"
    words = ["sweep", str(file)]
    assert gptjax_until(words, lambda: last_step(first) >= 15, signal.SIGKILL) == -signal.SIGKILL
    with (out / ".lock").open() as lock:
        # Every process of the sweep has this lock, as long as it lives.
        for _ in range(300):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise AssertionError("a run outlives its sweep")
    assert json.loads((first / "meta.json").read_text())["status"] == "interrupted"
    stopped = last_step(first)
    assert 15 <= stopped < 40
    assert not second.exists()

    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words, "--jobs", "2"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 runs, 2 at a time" in done.stderr
    for run in (first, second):
        records = [record for record in metrics(run) if record["split"] == "train"]
        assert [record["step"] for record in records] == list(range(1, 41))
    log = (out / "seed=1.log").read_text()
    assert log.count("$ gptjax pretrain") == 2
    assert f"{stopped}" in log
    summary = json.loads((out / "results.json").read_text())
    for point, run in zip(summary["points"], (first, second), strict=True):
        results = json.loads((run / "results.json").read_text())
        assert point["values_by_seed"] == {str(results["seed"]): point["mean"]}
        assert point["mean"] == results["metrics"]["perplexity"]
        assert (point["status"], point["exit_code"]) == ("finished", 0)
        assert f"{point['mean']:.3f}" in done.stdout
    assert [point["values"] for point in summary["points"]] == [
        {"train.seed": 1},
        {"train.seed": 2},
    ]
    assert (out / "perplexity.svg").stat().st_size > 1000


SEARCH = """
command = "pretrain"
out = "{out}"
[settings]
data = "{books}"
train.steps = 40
checkpoint.every = 10
{tiny}
[search]
trials = 2
optimizer.learning_rate = {{log_uniform = [1e-5, 1e-2]}}
[[search.first]]
optimizer.learning_rate = 2e-3
"""


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(books, environment, gptjax_until, tmp_path):
    """Its run was alive by the lock on its log; once that is free, the run goes on from there."""
    out, file = tmp_path / "out", tmp_path / "rates.toml"
    settings = [line for line in as_settings(TINY).splitlines() if "learning-rate" not in line]
    file.write_text(SEARCH.format(out=out, books=books, tiny="\n".join(settings)))
    first, words = out / "learning_rate=0.002", ["sweep", str(file)]
    assert gptjax_until(words, lambda: last_step(first) >= 15, signal.SIGKILL) == -signal.SIGKILL
    with (out / "learning_rate=0.002.log").open() as log:
        for _ in range(300):
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
        else:
            raise AssertionError("a run outlives its search")
    stopped = last_step(first)
    assert 15 <= stopped < 40
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    records = [record for record in metrics(first) if record["split"] == "train"]
    assert [record["step"] for record in records] == list(range(1, 41))
    summary = json.loads((out / "results.json").read_text())
    assert [point["status"] for point in summary["points"]] == ["finished", "finished"]
    assert summary["points"][0]["folder"] == first.name
    assert (out / "perplexity-learning_rate.svg").stat().st_size > 1000
