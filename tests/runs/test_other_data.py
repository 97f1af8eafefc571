"""A run goes on with the same bytes whatever their files are called; other bytes are named."""

import re
import shutil
from pathlib import Path

import pytest

from gptjax.cli import main
from gptjax.data.tasks.examples import read_split
from gptjax.data.tasks.splits import draw, hold_back
from gptjax.data.tasks.table import find_task
from gptjax.data.text.documents import digest_files
from gptjax.errors import UserError
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import check_data
from tests.recorded import replay


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A fresh copy of the recorded runs as the current folder, and a cache of its own."""
    monkeypatch.setenv("GPTJAX_CACHE", str(tmp_path / "cache"))
    with replay.copied(tmp_path / "copy"):
        yield


def go_on(capsys, out: str, *more: str) -> tuple[int, str]:
    """Go on with a run; the exit code, and the last line that was said."""
    code = main(["pretrain", "--out", out, "--resume", "auto", *more])
    return code, capsys.readouterr().err.strip().splitlines()[-1]


def test_the_same_bytes_under_other_names_go_on_and_others_are_named(capsys):
    run, books = "interrupted-pretraining", Path("data/books")
    (books / "book5.txt").rename(books / "book6.txt")
    code, said = go_on(capsys, run)  # recorded by the formula with names, and without their list
    assert code == 2
    assert "the corpus is another" in said
    (books / "book6.txt").rename(books / "book5.txt")
    assert go_on(capsys, run)[0] == 0  # by the old formula
    shutil.move(books, "elsewhere")
    for path in sorted(Path("elsewhere").iterdir()):
        path.rename(path.with_name(f"renamed-{path.name}"))
    assert go_on(capsys, run, "--data", "elsewhere")[0] == 0
    changed = Path("elsewhere/renamed-book3.txt")
    changed.write_bytes(changed.read_bytes() + b"more\n")
    Path("elsewhere/renamed-book5.txt").unlink()
    code, said = go_on(capsys, run, "--data", "elsewhere")
    assert code == 2
    assert "book5.txt was there" in said
    assert "renamed-book3.txt is new" in said
    assert "book0" not in said


def facts(**files: str) -> dict[str, object]:
    return {"train": {"documents": len(files), "files": files}}


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"a": "3 bytes, f1", "b": "5 bytes, f2"}, "b has 5 bytes, and had 4 bytes"),
        ({"a": "3 bytes, f1", "b": "4 bytes, f2"}, "b has other 4 bytes"),
        ({"a": "3 bytes, f1"}, "b was there"),
        ({"a": "3 bytes, f1", "b": "4 bytes, e2", "c": "1 bytes, e3"}, "c is new"),
        ({"a": "4 bytes, e2", "b": "3 bytes, f1"}, "in another order"),
        ({"x": "3 bytes, f1", "y": "4 bytes, e2"}, "the settings that it is read with"),
        ({}, "documents were 2, and are 0"),
    ],
)
def test_what_differs_is_said(tmp_path, now, said):
    folder = RunFolder(tmp_path)
    before = facts(a="3 bytes, f1", b="4 bytes, e2")
    folder.update_meta(fingerprints={"corpus": "one"}, data=before)
    check_data(folder, {"corpus": "another"}, {"corpus": ("one",)}, facts(**now))
    with pytest.raises(UserError, match=re.escape(said)):
        check_data(folder, {"corpus": "another"}, {}, facts(**now))


def test_the_order_of_files_is_part_of_the_content(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for number, path in enumerate(files):
        path.write_text(f"text {number}")
    digest = digest_files(tmp_path, files)
    assert list(digest.files) == ["a", "b", "c"]
    assert digest_files(tmp_path, files[::-1]).content != digest.content
    assert digest_files(tmp_path, files, "csv").content != digest.content
    files[2].rename(tmp_path / "d")
    renamed = digest_files(tmp_path, [*files[:2], tmp_path / "d"])
    assert renamed.content == digest.content
    assert renamed.named != digest.named


def test_a_tasks_file_under_another_name_is_the_same_data():
    task, path = find_task("sst2"), Path("data/sst2/train.tsv")
    splits = [read_split(path, task, "train")]
    path.rename("data/sst2/other.tsv")
    splits.append(read_split(Path("data/sst2/other.tsv"), task, "train"))
    for part in (
        lambda split: split,
        lambda split: draw(split, 9),
        lambda s: hold_back(s, task, "valid")[1],
    ):
        one, other = map(part, splits)
        assert one.fingerprint == other.fingerprint
        assert one.earlier != other.earlier
        assert len({one.fingerprint, one.earlier, ""}) == 3
