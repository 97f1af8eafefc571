"""The same run on 1, 2 and 4 devices, in micro-batches, and in two processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from worker import HALVE, train

from gptjax.errors import DifferentProcessesError, UserError
from gptjax.training import parallel
from gptjax.training.agreement import check_same, differences
from gptjax.training.processes import DistributedConfig, initialize

WORKER = Path(__file__).parent / "worker.py"
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return listener.getsockname()[1]


def start(what: str, folder: Path, devices: int, *others: object) -> subprocess.Popen:
    command = [sys.executable, WORKER, what, folder, devices, *others]
    return subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    try:
        return [(p.wait(), o) for p in processes for o in [p.communicate(timeout=120)[0]]]
    finally:
        for process in processes:
            process.kill()


def assert_agree(actual, expected):
    assert [(r["step"], r["split"]) for r in actual] == [(r["step"], r["split"]) for r in expected]
    assert len(expected) > 12
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"split"}:
            np.testing.assert_allclose(one[key], other[key], rtol=2e-5, atol=1e-6, err_msg=key)


@pytest.fixture(scope="module")
def four_devices(tmp_path_factory):
    assert jax.device_count() == 4
    folder = tmp_path_factory.mktemp("four")
    train(folder)
    return folder


@pytest.mark.parametrize("devices", [1, 2])
def test_fewer_devices_give_the_losses_of_four(
    four_devices, tmp_path, records, devices, monkeypatch
):
    # pmap takes as many of the local devices as its inputs have rows.
    some = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: some)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    train(tmp_path)
    assert_agree(records(tmp_path), records(four_devices))


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(four_devices, tmp_path, records):
    """Even though a SIGTERM to one of them stops both, at the same step, in between."""
    for what, expected in (("interrupt", 75), ("train", 0)):
        address = f"localhost:{free_port()}"
        processes = [start(what, tmp_path, 2, address, 2, index) for index in (0, 1)]
        for code, output in finish(processes):
            assert code == expected, output
        if what == "interrupt":
            newest = max(int(p.name) for p in (tmp_path / "checkpoints/last").iterdir())
            assert 5 <= newest <= 9
    assert_agree(records(tmp_path), records(four_devices))
    assert sorted(p.name for p in (tmp_path / "checkpoints/last").iterdir()) == ["10", "12"]


@pytest.mark.slow
def test_two_processes_halve_the_rate_alike(tmp_path, records):
    """Process 1 has what the best one was from process 0, which reads it."""
    train(tmp_path / "one", rate=HALVE, evaluate_every=2)
    address = f"localhost:{free_port()}"
    started = [start("halve", tmp_path / "two", 2, address, 2, index) for index in (0, 1)]
    for code, output in finish(started):
        assert code == 0, output
    rates = [
        [line["learning_rate"] for line in records(tmp_path / name) if line["split"] == "train"]
        for name in ("one", "two")
    ]
    assert rates[0] == rates[1]
    assert len(set(rates[0])) >= 3, "too few halvings"
    assert_agree(records(tmp_path / "two"), records(tmp_path / "one"))


def test_a_process_that_fails_alone_ends_and_says_why(tmp_path):
    address = f"localhost:{free_port()}"
    processes = [start("fail", tmp_path, 1, address, 2, index) for index in (0, 1)]
    try:
        output = processes[1].communicate(timeout=60)[0]
        assert processes[1].returncode == 1
        assert "process 1 of 2 failed" in output
        assert "one process alone" in output
    finally:
        for process in processes:
            process.kill()


def test_processes_that_differ_all_say_so_and_end(tmp_path):
    address = f"localhost:{free_port()}"
    for code, output in finish([start("differ", tmp_path, 1, address, 2, n) for n in (0, 1)]):
        assert code == 2
        assert "process 1 was started differently: width 1111111111 (process 0: 1);" in output
        assert "seed" not in output
    assert list(tmp_path.iterdir()) == []


def test_processes_with_other_numbers_of_devices_are_refused(monkeypatch):
    monkeypatch.setattr(parallel, "is_one_of_several", lambda: True)
    monkeypatch.setattr(parallel, "devices_of_processes", lambda: [2, 2, 1])
    with pytest.raises(DifferentProcessesError, match="process 2 has 1 devices, and process 0"):
        check_same({})


def test_every_process_and_every_value_that_differs_is_named():
    first = {"seed": "1", "width": "8"}
    others = [{"seed": "1"}, first, {"seed": "2", "width": "9", "init": "abc"}]
    assert list(differences([first, *others])) == [
        "process 1 was started differently: width absent (process 0: 8)",
        "process 3 was started differently: init abc (process 0: absent), seed 2 (process 0: 1), "
        "width 9 (process 0: 8)",
    ]


@pytest.mark.parametrize("accumulate", [2])
def test_micro_batches_change_nothing(four_devices, tmp_path, records, accumulate):
    train(tmp_path, accumulate)
    assert_agree(records(tmp_path), records(four_devices))


@pytest.mark.parametrize(("batch_size", "accumulate"), [(6, 1), (8, 3), (0, 1)])
def test_a_batch_that_does_not_divide_is_refused(batch_size, accumulate):
    with pytest.raises(UserError, match="4 devices"):
        parallel.check_batch_size(batch_size, accumulate, "train.batch_size")


def test_distributed_options_belong_together():
    with pytest.raises(UserError, match="all three"):
        initialize(DistributedConfig(coordinator="localhost:1234"))


def test_replicate_does_not_alias_and_fetch_copies():
    source = np.arange(4096, dtype=np.float32)
    placed = parallel.replicate({"x": source})
    source[:] = -1
    copy = parallel.fetch(placed)["x"]
    np.testing.assert_array_equal(copy, np.arange(4096, dtype=np.float32))
    assert copy.flags.owndata
    assert copy.flags.writeable


def test_values_pass_between_processes_unchanged():
    value = {"step": 3, "info": {"a": [1.5, None]}, "notices": ["ü"]}
    assert parallel.broadcast_json(value) == value


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"SLURM_NTASKS": "8"}, False),  # a batch script that did not call srun
        ({"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"JOB_COMPLETION_INDEX": "0"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ],
)
def test_which_environments_mean_several_processes(monkeypatch, environment, several):
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *given, **_: joined.append(given))
    monkeypatch.setattr(os, "environ", environment)
    initialize(DistributedConfig())
    assert joined == ([(None, None, None)] if several else [])


@pytest.mark.parametrize(("device", "extra"), [("nvidia0", "cuda13"), ("accel0", "tpu")])
def test_an_accelerator_that_is_not_used_is_pointed_out(monkeypatch, tmp_path, device, extra):
    monkeypatch.setattr(parallel, "Path", lambda _: tmp_path)
    assert parallel.unused_accelerator() is None
    (tmp_path / device).touch()
    assert f"jax[{extra}]" in str(parallel.unused_accelerator())
