"""A small backbone, a task that it learns, and a run of it; each made once."""

from pathlib import Path

import pytest

from gptjax.cli import main
from tests.commands.conftest import TINY, cache_of
from tests.commands.finetune.common import CONTEXT, QUICK, reviews


@pytest.fixture(scope="session")
def pretrained(books, tmp_path_factory, environment) -> Path:
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    words = ["pretrain", "--data", str(books), *TINY, *CONTEXT, "--train.steps", "4"]
    with cache_of(environment):
        assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sst2")
    for name, seed, count, labels in (
        ("train", 0, 64, True),
        ("dev", 1, 21, True),
        ("test", 2, 10, False),
    ):
        (folder / f"{name}.tsv").write_text(reviews(seed, count, labels=labels))
    return folder


@pytest.fixture(scope="session")
def options(pretrained, data) -> list[str]:
    return [
        *("finetune", "--task", "sst2", "--data", str(data), "--init", str(pretrained)),
        *("--train.batch-size", "8", "--optimizer.learning-rate", "0.01", *QUICK),
    ]


@pytest.fixture(scope="session")
def tuned(options, tmp_path_factory, environment) -> Path:
    out = tmp_path_factory.mktemp("tuned") / "sst2"
    with cache_of(environment):
        assert main([*options, "--train.epochs", "12", "--out", str(out)]) == 0
    return out
