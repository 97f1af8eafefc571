"""The allocator keeps memory where that is wanted, seen by the page faults of a process."""

import subprocess
import sys

import pytest

from gptjax import allocator

ARRAYS = """
import resource, sys
from gptjax.allocator import keep_memory

kept = keep_memory()
def turn():
    b"x" * 64_000_000  # 15,625 pages
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
turn()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

pytestmark = pytest.mark.skipif(not allocator._glibc(), reason="another C library")


def faults(**environment):
    """Whether memory is kept, and page faults of an array that is made a second time."""
    run = subprocess.run(
        [sys.executable, "-c", ARRAYS],
        env={"JAX_PLATFORMS": "cpu", "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, count = map(int, run.stdout.split())
    return kept, count


def test_an_array_takes_the_pages_of_the_last_one():
    kept, count = faults()
    assert kept
    assert count < 100


@pytest.mark.parametrize(
    "environment",
    [
        {"GPTJAX_MALLOC": "0"},
        {"JAX_PLATFORMS": "cuda"},
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
    ids=["turned off", "an accelerator", "the user's variable", "the user's tunables"],
)
def test_it_is_left_alone(environment):
    kept, count = faults(**environment)
    assert not kept
    assert count > 10_000 or "MALLOC_TRIM_THRESHOLD_" in environment


def test_without_the_variable_an_accelerators_plug_in_is_looked_for(monkeypatch):
    monkeypatch.setattr(allocator, "find_spec", lambda name: name == "libtpu")
    assert not allocator._on_cpu({})
    assert allocator._on_cpu({"JAX_PLATFORMS": "cpu"})
    monkeypatch.setattr(allocator, "find_spec", lambda name: None)
    assert allocator._on_cpu({})


def test_the_command_line_keeps_memory_and_a_library_does_not(monkeypatch):
    asked = []
    monkeypatch.setattr("gptjax.cli.keep_memory", lambda: asked.append(True))
    monkeypatch.setattr("gptjax.cli.end_at_once", lambda: None)
    monkeypatch.setattr(sys, "argv", ["gptjax", "--version"])
    from gptjax.cli import main

    main(["--version"])
    assert not asked
    main()
    assert asked
