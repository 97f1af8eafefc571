"""Processes of a sweep: how the cores are shared out, and how one is started."""

import os

import pytest

from gptjax import __version__
from gptjax.sweeps.processes import Launch, shares, start_process


@pytest.mark.parametrize("count", [1, 2, 5])
def test_cores_are_shared_out(count, monkeypatch):
    cores = frozenset(range(3, 3 + count))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cores), raising=False)
    assert shares(1) == [None]
    for jobs in (2, 3, 5, 11):
        parts = [part for part in shares(jobs) if part is not None]
        assert len(parts) == jobs
        assert all(parts)
        assert frozenset().union(*parts) == cores
        if jobs <= count:
            assert sum(map(len, parts)) == count
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_cores_are_not_shared_where_the_system_cannot_say(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert shares(3) == [None] * 3


def test_a_process_of_gptjax(tmp_path):
    """The real thing, with the two commands that need nothing."""
    cores = next(iter(shares(2)))
    log = tmp_path / "x.log"
    with (tmp_path / "lock").open("w") as lock:
        for words, code in ((("--version",), 0), (("pretrian",), 2)):
            process = start_process(Launch(words, log, lock.fileno(), cores, 0.25))
            assert cores is None or os.sched_getaffinity(process.pid) == cores
            assert process.wait() == code
    lines = log.read_text().splitlines()
    assert lines[:2] == ["$ gptjax --version", __version__]
    assert lines[2:] == [
        "$ gptjax pretrian",
        "gptjax: unknown command 'pretrian'; did you mean 'pretrain'?",
    ]
