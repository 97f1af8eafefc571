"""One run at a time in a folder, and nothing of it stays behind."""

import fcntl
import os
import socket
import subprocess
import sys

import pytest

from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder, open_folder
from gptjax.runs.lock import LOCK, locked

HOLD = """
import sys, pathlib, gptjax.runs.lock as lock
with lock.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told_who_is_there(tmp_path):
    with (
        locked(tmp_path),
        pytest.raises(UserError) as caught,
        locked(tmp_path),
    ):
        pass
    who = f"host {socket.gethostname()}, pid {os.getpid()}"
    assert str(caught.value).startswith(f"{tmp_path}: a run is using this folder: {who};")
    with locked(tmp_path):  # again free
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_lock(tmp_path):
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"pid {process.pid};"), locked(tmp_path):
            pass
        process.kill()
    assert (tmp_path / LOCK).exists()
    assert open_folder(tmp_path, resume="never", overwrite=False)[1] == "never"
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert not (tmp_path / LOCK).exists()


def test_a_file_that_was_removed_before_it_was_locked_locks_nothing(tmp_path, monkeypatch):
    """The run that held it may end between opening and locking."""
    real, opened = fcntl.flock, []

    def flock(descriptor, operation):
        real(descriptor, operation)
        opened.append(descriptor)
        if len(opened) == 1:
            (tmp_path / LOCK).unlink()

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path):
        assert len(opened) == 2
        assert (tmp_path / LOCK).exists()


def test_clearing_a_folder_leaves_its_lock(tmp_path):
    with locked(tmp_path):
        RunFolder(tmp_path).config.touch()
        RunFolder(tmp_path).clear()
        assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_folder_that_stayed_empty_is_removed(tmp_path):
    with locked(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path / "a" / "b"):
        (tmp_path / "a" / "x").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]
    (tmp_path / "empty").mkdir()
    with locked(tmp_path / "empty"):
        pass
    assert (tmp_path / "empty").is_dir()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path), locked(tmp_path):
        pass
    assert capsys.readouterr().err.count("cannot be locked (No locks available)") == 2


@pytest.mark.parametrize("place", ["file", "file/run", "/proc/run"])
def test_a_folder_that_cannot_be_is_named(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=place), locked(tmp_path / place):
        pass


def test_a_folder_that_was_moved_away_is_left_alone(tmp_path):
    with locked(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "moved")
        with locked(tmp_path / "run"):
            (tmp_path / "run" / "x").touch()
            with pytest.raises(UserError, match="is using"), locked(tmp_path / "moved"):
                pass
    assert (tmp_path / "run" / "x").exists()
