"""However a run ends, meta.json says so."""

import pytest

from gptjax.errors import Interrupted, NonFiniteError, UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.status import Status, recorded
from tests.training.test_growing import no_file_longer_than


def end(folder: RunFolder, error: BaseException, before=Status.begin) -> BaseException:
    """The error that a run ends with where this one was raised after ``before``."""
    try:
        with recorded(folder) as status:
            before(status)
            raise error
    except BaseException as shown:
        return shown


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Interrupted("stopped"), "interrupted", None),
        (KeyboardInterrupt(), "interrupted", None),
        (NonFiniteError("step 3"), "non-finite", "step 3"),
        (UserError("no room"), "failed", "no room"),
        (ZeroDivisionError("a bug"), "failed", "a bug"),
        (AssertionError(), "failed", "AssertionError"),
    ],
)
def test_the_status_is_true(tmp_path, error, status, reason):
    folder = RunFolder(tmp_path)
    folder.update_meta(status="running", commit=None)
    assert end(folder, error) is error
    meta = folder.read_meta()
    assert (meta["status"], meta.get("reason"), meta["commit"]) == (status, reason, None)
    folder.update_meta(status="running", reason=None)
    assert folder.read_meta() == {"status": "running", "commit": None}


def test_a_refused_attempt_changes_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    folder.update_meta(status="finished")
    end(folder, UserError("another seed"), before=lambda status: None)
    assert folder.read_meta() == {"status": "finished"}


def test_a_full_disk_is_one_line_with_the_folder(tmp_path):
    error = end(RunFolder(tmp_path), OSError(28, "No space left on device"))
    assert str(error).startswith(f"{tmp_path}: the disk is full")


def test_a_library_that_says_it_in_its_own_words(tmp_path):
    error = RuntimeError("Error while serializing: I/O error: No space left on device")
    shown = end(RunFolder(tmp_path), error)
    assert isinstance(shown, UserError)
    assert "the disk is full" in str(shown)


def test_a_disk_without_room_for_a_second_copy(tmp_path):
    folder = RunFolder(tmp_path)
    folder.update_meta(status="running", reason="x" * 200)
    (tmp_path / "meta.json.tmp").mkdir()
    end(folder, UserError("no room"))
    assert folder.read_meta() == {"status": "failed", "reason": "no room"}
    with pytest.raises(OSError, match=r"meta\.json"):
        folder.update_meta(note="x" * 100_000)  # more than the blocks that it has
    with pytest.raises(OSError, match=r"meta\.json"), no_file_longer_than(30):
        folder.update_meta(note="x" * 100)
    assert folder.read_meta() == {"status": "failed", "reason": "no room"}


def test_no_other_run_gets_the_status(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()

    def move(status: Status) -> None:
        status.begin()
        folder.path.rename(tmp_path / "moved")
        folder.path.mkdir()

    shown = end(folder, FileNotFoundError(2, "No such file", "x"), before=move)
    assert "was moved or removed" in str(shown)
    assert list(folder.path.iterdir()) == []
