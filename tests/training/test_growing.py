"""Files that grow, where writing fails for a while: nothing is lost, torn or waited for."""

import io
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gptjax.training.growing import GrowingFile
from gptjax.training.tracking import Tracker, TrackingConfig
from tests.training.test_tracking import events, record


@contextmanager
def no_file_longer_than(size: int) -> Iterator[None]:
    """Writing beyond ``size`` bytes fails for this process, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_records_wait_until_there_is_room(tmp_path):
    file = GrowingFile(tmp_path / "x", lambda: (tmp_path / "x").write_bytes(b"0"))
    file.append(b"first\n")
    with no_file_longer_than(9):
        for line in (b"second\n", b"third\n"):
            with pytest.raises(OSError, match="too large"):
                file.append(line)
            assert (tmp_path / "x").read_bytes() == b"0first\n"
    file.append(b"fourth\n")
    assert file.close() == 0
    assert (tmp_path / "x").read_bytes() == b"0first\nsecond\nthird\nfourth\n"


def test_what_waits_is_written_at_the_end_or_counted(tmp_path):
    for limit, lost in ((100, 0), (3, 4)):
        file = GrowingFile(tmp_path / str(limit))
        with no_file_longer_than(3), pytest.raises(OSError, match="too large"):
            file.append(b"abc\n")
        with no_file_longer_than(limit):
            assert file.close() == lost
        assert len((tmp_path / str(limit)).read_bytes()) == 4 - lost
        assert file.close() == 0


def test_a_full_disk_is_said_once_and_stops_nothing(tmp_path, capsys):
    """Far more numbers than a queue holds, and the disk has room again before the end."""
    steps = range(1, 41)
    with Tracker(tmp_path, TrackingConfig(progress=False)) as tracker:
        tracker.start(0, 40)
        with no_file_longer_than(150):
            for step in steps[:-1]:
                tracker.log(record(step))
            assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 3
        tracker.log(record(steps[-1]))
    assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 40
    assert events(tmp_path / "tensorboard") == [(step, "train/loss") for step in steps]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("cannot be written (File too large); the run goes on" in line for line in said)


def test_what_was_lost_is_said(tmp_path, capsys):
    with Tracker(tmp_path, TrackingConfig(progress=False)) as tracker, no_file_longer_than(10):
        tracker.start(0, 10)
        tracker.log(record(1))
        tracker.close()
    said = capsys.readouterr().err.splitlines()
    assert sum("bytes could not be written" in line for line in said) == 2


@pytest.mark.parametrize("missing", ["metrics.jsonl", "tensorboard"])
def test_a_file_that_cannot_be_opened_stops_nothing(tmp_path, capsys, missing):
    blocked = Path(tmp_path, missing)
    blocked.mkdir() if missing == "metrics.jsonl" else blocked.write_text("")
    with Tracker(tmp_path, TrackingConfig(progress=False)) as tracker:
        tracker.start(0, 10)
        tracker.log(record(1))
    assert capsys.readouterr().err.count("the run goes on") == 1


@pytest.mark.parametrize("terminal", [True, False])
def test_a_screen_that_is_gone_stops_nothing(tmp_path, monkeypatch, terminal):
    full = io.TextIOWrapper(io.FileIO("/dev/full", "w"), write_through=True)
    monkeypatch.setattr(full, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("sys.stderr", full)
    with pytest.raises(OSError, match="No space"):
        print("a line", file=sys.stderr)
    with Tracker(tmp_path, TrackingConfig()) as tracker:
        tracker.start(0, 2)
        for step in (1, 2):
            tracker.progress(step, 2.5, 1.0)
            tracker.log({"step": step, "split": "valid", "loss": 0.5})
    monkeypatch.undo()
    assert len((tmp_path / "metrics.jsonl").read_bytes().splitlines()) == 2
