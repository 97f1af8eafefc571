"""The examples run from their first cell to the assertion at their end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "docs/examples").glob("*.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where `make pretrain` was typed."""
    folder = tmp_path_factory.mktemp("examples")
    words = ["pretrain", "--config", "tiny", "--tracking.no-progress"]
    run([sys.executable, "-m", "gptjax", *words], folder)
    return folder


def run(words, folder):
    environment = {**os.environ, "GPTJAX_CACHE": str(folder / "cache")}
    environment.pop("XLA_FLAGS", None)  # the tests' own devices
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_there_are_five():
    assert len(EXAMPLES) == 5


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_notebook_that_ends_in_a_check(path):
    cells = path.read_text(encoding="utf-8").split("# %%")
    assert cells[1].startswith(" [markdown]\n# # ")
    assert "assert" in cells[-1]


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, folder):
    run([sys.executable, str(path)], folder)
