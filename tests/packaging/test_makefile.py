"""The Makefile's targets; the environment's programs only say how they are called."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = """#!/bin/sh
echo "  Downloading jax-1.whl (2 MB)"
echo "Installing collected packages: a, b, c"
exit ${FAIL:-0}
"""
GPTJAX = '#!/bin/sh\necho called "$@" "[$GPTJAX_MAKE|$ARGS]"\n'

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


@pytest.fixture
def make(tmp_path):
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name, text in (("python", PIP), ("gptjax", GPTJAX)):
        program = tmp_path / ".venv/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)

    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        left_out = ("MAKEFLAGS", "MAKELEVEL", "ARGS", "RUN", "DATA", "TASK", "OUT", "CONFIG")
        kept = {name: value for name, value in os.environ.items() if name not in left_out}
        return subprocess.run(
            ["make", "ACCELERATOR=cpu", *words],
            cwd=tmp_path,
            env={**kept, **more},
            capture_output=True,
            text=True,
            check=False,
        )

    return call


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        (["generate"], "RUN"),
        (["evaluate"], "RUN"),
        (["evaluate", "RUN=x"], "DATA"),
        (["tokenizer"], "OUT"),
        (["finetune"], "TASK"),
    ],
)
def test_what_a_target_needs_is_asked_for_before_anything_is_installed(make, words, missing):
    done = make(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(f"make: {missing} is missing, for example: make {words[0]} ")
    assert done.stdout == ""


def test_setup_shows_what_it_does_and_how_it_fails(make):
    assert make("setup", FAIL="3").returncode == 2
    done = make("setup")
    assert done.stdout.splitlines()[1:3] == [
        "  downloading jax-1.whl (2 MB)",
        "  unpacking 3 packages",
    ]
    assert "ready" in done.stdout


def test_the_command_knows_that_make_started_it(make):
    make("setup")
    done = make("pretrain", "ARGS=--train.steps 3")
    assert (
        done.stdout == "called pretrain --config tiny --train.steps 3 [pretrain|--train.steps 3]\n"
    )
    assert make("generate", "ARGS=--run x").stdout == "called generate --run x [|--run x]\n"
