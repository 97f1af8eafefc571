"""Run folders: the seeds of one, and how it was made."""

import resource

import pytest

from gptjax.runs.folder import Provenance, RunFolder, _write_in_place


def test_seeds_are_runs_in_the_order_of_their_numbers(tmp_path):
    for name in ("seed-10", "seed-2", "seed-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").touch()
    (tmp_path / "seed-3").mkdir()  # was made, and never began
    (tmp_path / "seed-4.log").touch()
    found = [run.path.name for run in RunFolder(tmp_path).seeds()]
    assert found == ["seed-1", "seed-2", "seed-10"]
    assert RunFolder(tmp_path / "seed-1").seeds() == []


@pytest.mark.parametrize(
    ("program", "shown"),
    [
        (".venv/bin/gptjax", "gptjax"),
        ("/x/gptjax/__main__.py", "gptjax"),
        ("experiments/zero_shot_curve.py", "zero_shot_curve.py"),
    ],
)
def test_a_script_is_not_taken_for_the_command(monkeypatch, program, shown):
    monkeypatch.setattr("sys.argv", [program, "--run", "x"])
    assert Provenance.now("1 × cpu (cpu)").command == f"{shown} --run x"


def test_what_has_no_room_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "meta.json"
    file.write_bytes(b"a" * 10)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (15, before[1]))  # no file may grow beyond it
    try:
        longer, fits = _write_in_place(file, b"b" * 20), _write_in_place(tmp_path / "no", b"")
        assert file.read_bytes() == b"a" * 10
        assert (longer, fits) == (False, False)
        assert _write_in_place(file, b"c" * 12)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_bytes() == b"c" * 12
