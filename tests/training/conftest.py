"""What the tests of training share: reading a run back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Many of these tests compile the same step; compile it once."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    folder = tmp_path_factory.mktemp("compilations")
    for name, value in zip(names, (str(folder), 0.0), strict=True):
        jax.config.update(name, value)
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


@pytest.fixture
def records() -> Callable[[Path], list[dict[str, Any]]]:
    """(run folder) -> the records of its metrics.jsonl, without what depends on the clock."""

    def read(folder: Path) -> list[dict[str, Any]]:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [
            {key: value for key, value in json.loads(line).items() if key != "tokens_per_second"}
            for line in lines
        ]

    return read
