"""`gptjax report`: the command's own words, and what it refuses."""

import pytest

from gptjax.cli import main
from gptjax.report.drawing import save
from gptjax.report.figures import Figure, Series


@pytest.fixture
def experiment(tmp_path):
    """A folder with one figure."""
    series = (Series("s", (1, 2), (3.0, 4.0), source="runs/a"),)
    save(tmp_path / "experiment", [Figure("curve", "T", "C", "x", "y", series)])
    return tmp_path / "experiment"


def test_it_writes_a_page_and_on_request_its_pictures(experiment, tmp_path, capsys):
    unfinished = tmp_path / "runs" / "a"
    unfinished.mkdir(parents=True)
    (unfinished / "config.toml").write_text("[model]\n")
    save(tmp_path / "runs" / "b", [Figure("d", "T", "C", "x", "y", (Series("s", (1,), (2,)),))])
    out = tmp_path / "new" / "page.html"
    words = ["report", "--runs", str(experiment), str(tmp_path / "runs"), "--out", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "runs/a: has no meta.json" in printed
    assert f"{out}: 2 entries, 2 figures" in printed
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]
    assert main([*words, "--pictures"]) == 0
    assert f"2 figures, which are in {tmp_path / 'new' / 'page-figures'}/ too" in (
        capsys.readouterr().out
    )
    assert {path.name for path in (tmp_path / "new" / "page-figures").iterdir()} == {
        *("curve.png", "curve.svg", "d.png", "d.svg")
    }


@pytest.mark.parametrize(
    ("runs", "out", "message"),
    [
        ("nowhere", "page.html", "nowhere: no such folder"),
        ("empty", "page.html", "empty: nothing to report in it"),
        ("damaged", "page.html", "figures.json: is damaged"),
        ("experiment", "page.pdf", "page.pdf: name a page to write that ends in .html"),
        ("experiment", "folder.html", "folder.html: is a folder"),
        ("experiment", "file/page.html", "file: is there already; choose another path"),
    ],
)
def test_refusals(experiment, tmp_path, capsys, runs, out, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "figures.json").write_text("{")
    words = ["report", "--runs", str(tmp_path / runs), "--out", str(tmp_path / out)]
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_no_write_permission(experiment, tmp_path, capsys, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    words = ["report", "--runs", str(experiment), "--out", str(tmp_path / "page.html")]
    assert main(words) == 2
    assert "no permission; choose another path" in capsys.readouterr().err
