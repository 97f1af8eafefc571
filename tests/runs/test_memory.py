"""What cannot fit in the machine's memory is refused before it is built."""

import pytest

from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.runs.memory import check_training, rows_at_once
from gptjax.training import parallel
from gptjax.training.length import TrainConfig

MODEL = ModelConfig(vocabulary_size=100, context_length=8, num_layers=2, num_heads=2, width=16)
SIZE = 16 * MODEL.num_parameters()  # bytes of parameters, gradient and two moments


def test_parameters_are_counted_with_gradient_and_moments(monkeypatch):
    train = TrainConfig(batch_size=4)
    monkeypatch.setattr(parallel, "device_memory", lambda: SIZE / 1.49)
    check_training(MODEL, train, length=8)
    monkeypatch.setattr(parallel, "device_memory", lambda: SIZE / 1.51)
    with pytest.raises(UserError, match=f"a model of {MODEL.num_parameters():,} parameters"):
        check_training(MODEL, train, length=8)
    check_training(MODEL, train, length=8, trainable=False)


def test_micro_batches_need_less_memory(monkeypatch):
    monkeypatch.setattr(parallel, "device_memory", lambda: 10**6)
    kept = 4 * MODEL.width * MODEL.num_layers * 8  # bytes of one example's states
    rows = 4 * int(1.6 * 10**6 / kept)  # on four devices
    with pytest.raises(UserError, match=r"train\.accumulate"):
        check_training(MODEL, TrainConfig(batch_size=rows), length=8)
    check_training(MODEL, TrainConfig(batch_size=rows, accumulate=8), length=8)


def test_rows_at_once(monkeypatch):
    assert rows_at_once(MODEL, 5, 100) == 8  # of four devices
    assert rows_at_once(MODEL, 10**30, 9) == 12
    assert rows_at_once(MODEL, 16, 0) == 4
    with pytest.raises(UserError, match="batch_size=0"):
        rows_at_once(MODEL, 0, 9)
    monkeypatch.setattr(parallel, "device_memory", lambda: 10**6)
    with pytest.raises(UserError, match="reading 100,000 rows of 8 tokens at once"):
        rows_at_once(MODEL, 10**30, 10**5, length=8)


def test_the_memory_of_this_machine():
    assert 10**8 < parallel.device_memory() < 10**15
