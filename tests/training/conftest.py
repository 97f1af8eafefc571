"""What the tests of training share: reading a run back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


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
