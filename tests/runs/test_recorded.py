"""Runs that an earlier version recorded still open, resume, measure and report as they did.

The runs, and what that version made of them, are in tests/recorded/.
"""

import json
import math
import re

import pytest

from tests.recorded import replay

EXPECTED = json.loads((replay.HERE / "expected.json").read_text(encoding="utf-8"))
NUMBER = re.compile(r"[+-]?[\d,]*\.(\d+)")
TOLERANCE = 1e-5


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A fresh copy as the current folder, and a cache of its own."""
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))
    with replay.copied(tmp_path / "copy"):
        yield


def differences(found, expected, where=""):
    """Where two values are not the same.

    Numbers with a fraction may be off by the tolerance, and as text by one in the last place.
    """
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for key, value in expected.items():
            yield from differences(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for number, value in enumerate(expected):
            yield from differences(found[number], value, f"{where}/{number}")
    elif not same(found, expected):
        yield f"{where}: {found!r} instead of {expected!r}"


def same(found, expected):
    """Whether two plain values agree."""
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(found, expected, rel_tol=TOLERANCE)
    if isinstance(expected, str) and (number := NUMBER.fullmatch(expected)):
        if not NUMBER.fullmatch(found):
            return False
        last = 1.01 * 10.0 ** -len(number[1])
        one, other = (float(text.replace(",", "")) for text in (found, expected))
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=last)
    return found == expected


@pytest.mark.parametrize("name", replay.STEPS)
def test_old_runs_are_as_they_were(name):
    assert list(differences(replay.STEPS[name](), EXPECTED[name], name)) == []
