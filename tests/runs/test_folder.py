"""Run folders: the seeds of one, and how it was made."""

import pytest

from gptjax.runs.folder import Provenance, RunFolder


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
