"""The trace of some updates, and the share of the devices' peak."""

import json

import pytest
from toy import ToyBatches, objective

from gptjax.errors import UserError
from gptjax.training import observer, profile
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.tracking import Tracker, TrackingConfig


def run(folder, steps=6, tracking=None, **more):
    settings = TrackingConfig(tensorboard=False, profile=tracking)
    with Tracker(folder, settings) as tracker:
        optimizer = make_optimizer(OptimizerConfig(warmup=2.0), steps)
        config = TrainConfig(steps=steps, batch_size=8, log_every=2)
        fit(objective(), ToyBatches(), config, optimizer, tracker=tracker, **more)


@pytest.fixture
def calls(monkeypatch):
    """What jax's profiler is asked for, and after how many batches."""
    made = []
    monkeypatch.setattr(profile.jax.profiler, "start_trace", lambda path: made.append("start"))
    monkeypatch.setattr(profile.jax.profiler, "stop_trace", lambda: made.append("stop"))
    return made


@pytest.mark.slow
def test_a_trace_is_written(tmp_path, capsys):
    run(tmp_path, tracking="2:4")
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    assert trace.stat().st_size > 0
    assert f"profile: the trace is in {tmp_path / 'profile'}" in capsys.readouterr().err


@pytest.mark.parametrize("window", ["0:1", "2:4", "5:9"])
def test_a_trace_begins_and_ends_once(tmp_path, calls, window):
    run(tmp_path, tracking=window)
    assert calls == ["start", "stop"]


def test_its_updates_alone_are_traced(tmp_path, monkeypatch):
    at = []
    trace = profile.Trace(tmp_path, range(2, 4))
    monkeypatch.setattr(profile.jax.profiler, "start_trace", lambda path: None)
    monkeypatch.setattr(profile.jax.profiler, "stop_trace", lambda: None)
    for step in range(7):
        if trace.changes(step):
            trace.change()
            at.append(step)
    assert at == [2, 4]


def test_without_a_window_there_is_none(tmp_path, calls):
    run(tmp_path)
    assert not calls
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize("text", ["4", "4:4", "5:3", "a:b", "1:2:3", "-1:3", ""])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(UserError, match=r"tracking\.profile.*write FROM:TO"):
        TrackingConfig(profile=text)


def test_the_utilisation_is_in_every_line(tmp_path, monkeypatch):
    monkeypatch.setattr(observer, "peak_flops", lambda: 5000.0)
    run(tmp_path, flops_per_token=10.0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert len(lines) == 4
    for line in lines:
        assert line["utilisation"] == pytest.approx(line["tokens_per_second"] * 10 / 5000)


@pytest.mark.parametrize("known", ["peak", "flops"])
def test_there_is_none_where_something_is_not_known(tmp_path, monkeypatch, known):
    monkeypatch.setattr(observer, "peak_flops", lambda: 5000.0 if known == "peak" else None)
    run(tmp_path, flops_per_token=10.0 if known == "flops" else None)
    assert all(
        "utilisation" not in json.loads(line) for line in (tmp_path / "metrics.jsonl").open()
    )


def test_the_peak_is_that_of_all_devices(monkeypatch):
    class Chip:
        device_kind = "NVIDIA H200"

    monkeypatch.setattr(profile.jax, "local_devices", lambda: [Chip()] * 8)
    monkeypatch.setattr(profile.jax, "device_count", lambda: 16)
    assert profile.peak_flops() == 16 * 989e12
    Chip.device_kind = "cpu"
    assert profile.peak_flops() is None
