"""The harness sees what is wrong; a few seconds of it run here, a little of each kind is slow."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reliability import damage
from tests.reliability.__main__ import counts_of, options, plan, seed_of
from tests.reliability.commands import CODE, Ended, fault
from tests.reliability.mutate import mutated, mutated_words
from tests.reliability.trials import Line, Log, numbers, summary

NOTHING = "gptjax: no such file"


def ended(code: int | None = 2, err: str = NOTHING, out: str = "") -> Ended:
    return Ended(("report",), code, out, err, 1.0)


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (ended(), None),
        (ended(0, "notice: something"), None),
        (ended(2, f"reading\n{NOTHING}"), None),
        (ended(2, "╭─ Parsing error\n│ what"), None),
        (ended(None), "hang"),
        (ended(1, "Traceback (most recent call last):\nKeyError"), "traceback"),
        (ended(0, "", "Traceback (most recent call last):\nKeyError"), "traceback"),
        (ended(-11, ""), "traceback"),
        (ended(2, ""), "traceback"),
        (ended(2, f"{NOTHING}\nof many lines"), "traceback"),
        (ended(2, f"{NOTHING}\n{NOTHING}"), "traceback"),
        (ended(2, NOTHING + "x" * 2000), "traceback"),
    ],
)
def test_what_is_wrong_is_seen(one, outcome):
    found = fault(one, "what")
    assert (found and found.outcome) == outcome


def test_it_goes_on_where_it_was(tmp_path):
    assert seed_of(tmp_path, None) == seed_of(tmp_path, None)
    with pytest.raises(SystemExit, match="was begun with SEED="):
        seed_of(tmp_path, seed_of(tmp_path, None) + 1)
    counts = {"kills": 2, "inputs": 4}
    assert len(plan(tmp_path, counts)) == 6
    log = Log(tmp_path)
    log.add(Line("inputs", 1, "good", "report", "", 2.0))
    log.add(Line("inputs", 2, "silent", "report", "why", 2.0))
    with log.path.open("a") as file:
        file.write('{"section": "inp')  # killed while it wrote
    assert plan(tmp_path, counts) == [
        ("inputs", 0), ("kills", 0), ("kills", 1), ("inputs", 3),
    ]  # fmt: skip
    text = summary(list(log.lines()))
    assert "| inputs | 2 | 0 | 1 | 0 | 0 | 0 |" in text
    assert "silent: inputs 2: report: why" in text


def test_a_full_run_and_parts_of_it():
    full = {"kills": 200, "corruptions": 500, "disks": 40, "processes": 12, "inputs": 10_000}
    assert counts_of(options([])) == {**full, "quick": 0}
    assert counts_of(options(["--kills", "3"])) == {
        **dict.fromkeys(full, 0),
        "kills": 3,
        "quick": 0,
    }


def test_the_same_seed_is_the_same_trial(tmp_path):
    def of(seed: int) -> list[object]:
        draws = (numbers(seed, "inputs", number) for number in range(50))
        return [
            (mutated(b'{"a": [1, 2], "b": "text"}\n' * 9, draw, True), mutated_words(["a"], draw))
            for draw in draws
        ]

    assert of(1) == of(1)
    assert of(1) != of(2)
    assert len({content for (content, _), _ in of(1)}) > 40


@pytest.mark.parametrize("kind", damage.DAMAGES)
def test_a_damaged_file_is_another_one(tmp_path, kind):
    content = bytes(range(1, 256))
    for seed in range(20):
        file = tmp_path / "a"
        file.write_bytes(content)
        what = kind(file, random.Random(seed))
        now = file.read_bytes() if file.exists() else None
        nothing = what in ("cut to 255 bytes",) or what.startswith("zeros from 255")
        assert (now == content) == nothing, what


def run(out: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability", "--out", str(out), "--seed", "7", *words],
        cwd=CODE,
        env={**os.environ, "PYTHONPATH": str(CODE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_few_seconds_of_it(tmp_path):
    run(tmp_path, "--quick", "8")
    assert len(list(Log(tmp_path).lines())) == 8
    assert not (tmp_path / "wrong").exists()


@pytest.mark.slow
@pytest.mark.reliability
def test_a_little_of_each_kind(tmp_path):
    few = ("--corruptions", "4", "--disks", "1", "--processes", "1", "--inputs", "20")
    run(tmp_path, "--kills", "1", *few)
