"""Processes of one run that were started differently, on real processes."""

import random
import shutil

import pytest

from tests.commands.conftest import TINY, text

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(books, tmp_path_factory):
    """A corpus, a copy of it under another path, one that differs by a letter, and two tasks."""
    where = tmp_path_factory.mktemp("processes")
    shutil.copytree(books, where / "copy")
    shutil.copytree(books, where / "other")
    (where / "other" / "book0.txt").write_text("X" + text(0, 36)[1:], encoding="utf-8")
    draw = random.Random(0)
    for name in ("task", "other-task"):
        (where / name).mkdir()
        for split in ("train", "dev"):
            rows = [f"{draw.choice(['red', 'old'])} house\t{i % 2}" for i in range(16)]
            lines = ["sentence\tlabel", *rows, ""]
            (where / name / f"{split}.tsv").write_text("\n".join(lines), encoding="utf-8")
    return where


@pytest.mark.parametrize(
    ("second", "named"),
    [
        (("--optimizer.learning-rate", "0.002"), "optimizer.learning_rate 0.002 (process 0: 0.01)"),
        (("--model.width", "32"), "model.width 32 (process 0: 16)"),
        (("--train.steps", "3"), "train.steps 3 (process 0: 2)"),
        (("--data", "other"), "train data"),
        (("--data", "copy", "--out", "elsewhere"), None),
    ],
)
def test_pretraining(folders, books, two_processes, tmp_path, monkeypatch, second, named):
    monkeypatch.chdir(folders)
    words = ("pretrain", *TINY, "--train.steps", "2", "--data", str(books))
    words += ("--out", str(tmp_path / "run"))
    printed = two_processes(*words, second=second, code=2 if named else 0)
    if named is not None:
        for said in printed:
            assert "gptjax: process 1 was started differently: " in said
            assert named in said
        assert not (tmp_path / "run" / "checkpoints").exists()


def test_fine_tuning(folders, books, gptjax, two_processes, tmp_path):
    train = ("pretrain", *TINY, "--train.steps", "1", "--data", str(books))
    for name, seed in (("a", "1"), ("b", "2")):
        done = gptjax(*train, "--train.seed", seed, "--out", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    words = ("finetune", "--task", "sst2", "--data", str(folders / "task"), "--train.batch-size")
    words += ("8", "--init", str(tmp_path / "a"), "--out", str(tmp_path / "run"))
    for second, named in (
        (("--init", str(tmp_path / "b")), "parameters of init"),
        (("--data", str(folders / "other-task")), "data"),
        (("--seeds", "1", "2"), "seeds (1, 2) (process 0: ())"),
    ):
        for said in two_processes(*words, second=second, code=2):
            assert "gptjax: process 1 was started differently: " in said
            assert named in said
