"""Devices and processes: the only file that names pmap, an axis or a collective.

The state is replicated but *unstacked*: its arrays have no leading device axis, so
that everything outside this file sees plain parameters. A batch is split over the
devices of all processes, and what the devices computed is summed before it is used.
"""

import functools
import json
import os
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gptjax.batch import Batch, Sums
from gptjax.errors import (
    DifferentProcessesError,
    Interrupted,
    NonFiniteError,
    UserError,
    as_options,
    explain,
)

AXIS = "devices"
HEARTBEAT_SECONDS = 60  # a process that has been silent for so long is taken for dead
SHUTDOWN_SECONDS = 30  # how long the processes wait for each other when they end

PyTree = Any
Result = TypeVar("Result")
TrainStep = Callable[..., tuple[PyTree, PyTree, PyTree, dict[str, Any]]]
"""(params, optimizer_state, progress, batch, votes) -> (the first three, metrics)."""


@dataclass(frozen=True)
class DistributedConfig:
    """How this process finds the others. All None: from the environment, or alone."""

    coordinator: str | None = None
    """Address host:port of process 0; None takes it from the environment (SLURM, GKE,
    TPU pods, Open MPI) where there is one."""
    num_processes: int | None = None
    """Number of processes in the run, with `coordinator`."""
    process_id: int | None = None
    """Number of this process, from 0, with `coordinator`."""


def initialize(config: DistributedConfig) -> None:
    """Join the other processes of the run, if there are others; before anything else of jax."""
    given = (config.coordinator, config.num_processes, config.process_id)
    if any(value is not None for value in given) and None in given:
        raise UserError(
            "distributed: coordinator, num_processes and process_id belong together: give all "
            "three, or none to take them from the environment"
        )
    if jax.distributed.is_initialized():  # by an earlier run of this process
        return
    if config.num_processes == 1 or (config.coordinator is None and not _cluster_detected()):
        return
    try:
        jax.distributed.initialize(
            *given,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise UserError(
            f"distributed: process {config.process_id} could not join the run at "
            f"{config.coordinator or 'the address from the environment'}: {first_line}"
        ) from error


def _cluster_detected() -> bool:
    """Whether the environment says that this process is one of several.

    jax knows these environments and takes the particulars from them; asked outside of them, it
    raises, and within a scheduler's job of one process it would start a coordinator for nobody.
    """
    given = os.environ
    sizes = (given.get(name, "") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    several = any(size.isdigit() and int(size) > 1 for size in sizes)
    named = {"JAX_COORDINATOR_ADDRESS", "JOB_COMPLETION_INDEX", "MEGASCALE_NUM_SLICES"} & {*given}
    # A TPU machine asks its metadata server, or these variables on GKE.
    tpu_hosts = given.get("TPU_PROCESS_ADDRESSES", given.get("TPU_WORKER_HOSTNAMES", ""))
    devices = [*Path("/dev").glob("accel*"), *Path("/dev").glob("vfio/[0-9]*")]
    on_tpu = bool(find_spec("libtpu") and devices)
    return several or bool(named) or "," in tpu_hosts or on_tpu


def device_count() -> int:
    """The number of devices of all processes."""
    return jax.device_count()


def is_main() -> bool:
    """Whether this process is the one that writes files and talks to people."""
    return jax.process_index() == 0


def is_one_of_several() -> bool:
    """Whether other processes take part in this run."""
    return bool(jax.process_count() > 1)


@contextmanager
def end_together() -> Iterator[None]:
    """End this process at once if it alone fails, so that the others do not wait for it.

    An exception on one of several processes would leave the others in a collective, and this
    one at the exit, waiting for them. Endings that all processes agreed on pass through.
    """
    try:
        yield
    except (Interrupted, NonFiniteError, DifferentProcessesError):
        raise
    except BaseException as error:
        if jax.process_count() == 1:
            raise
        where = f"process {jax.process_index()} of {jax.process_count()}"
        known = explain(error)
        what = f" failed:\n{traceback.format_exc()}" if known is None else f": {known}"
        what = as_options(what)
        print(f"{where}{what}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(1 if known is None else known.exit_code)


def device_memory() -> int:
    """Bytes of memory that each device has; those of a CPU share the machine's."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if limit:
        return int(limit)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(pages // jax.local_device_count())


def describe_devices() -> str:
    """One line for people: how many devices of which kind, in how many processes."""
    kind = jax.devices()[0].device_kind
    processes = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{jax.device_count()} × {jax.default_backend()} ({kind}){processes}"


def unused_accelerator() -> str | None:
    """A warning if this machine has an accelerator that jax does not use, otherwise None."""
    if jax.default_backend() != "cpu":
        return None
    # Device files of the NVIDIA driver, and of TPUs before and since v4.
    for name, pattern, extra in (
        ("NVIDIA GPU", "nvidia[0-9]*", "cuda13"),
        ("TPU", "accel[0-9]*", "tpu"),
        ("TPU", "vfio/[0-9]*", "tpu"),
    ):
        if any(Path("/dev").glob(pattern)):
            seems = f"this machine seems to have a {name}, but jax uses the CPU"
            return f"{seems}: pip install 'jax[{extra}]'"
    return None


# Placement of arrays.


def _sharding(spec: PartitionSpec) -> NamedSharding:
    # pmap maps over the local devices of each process, under a mesh with this axis; only the
    # same mesh spares the second step a copy and a compilation.
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)


def replicate(tree: PyTree) -> PyTree:
    """Copy a tree to every device of this process, unstacked.

    Never aliases its source, which may therefore outlive the donation of the result. It leads
    over a copy on the host, because not even ``may_alias=False`` keeps ``device_put`` from
    taking over the buffer of a numpy array, or of an array that is on one of the devices.
    """
    return jax.device_put(fetch(tree), _sharding(PartitionSpec()))


def place(tree: PyTree) -> PyTree:
    """Like :func:`replicate`, but what is there already stays, uncopied: never donate it."""
    return jax.device_put(tree, _sharding(PartitionSpec()))


def fetch(tree: PyTree) -> PyTree:
    """A copy of a replicated tree as numpy arrays in host memory.

    A copy, because on a CPU ``device_get`` returns a view of a buffer that the next step is
    going to overwrite.
    """
    return jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(tree))


def check_batch_size(batch_size: int, accumulate: int, name: str) -> None:
    """Refuse a ``batch_size`` that is not a multiple of devices × micro-batches."""
    devices = jax.device_count()
    if batch_size < 1 or accumulate < 1 or batch_size % (devices * accumulate):
        raise UserError(
            f"{name}: {batch_size} examples cannot be split evenly over {devices} devices × "
            f"{accumulate} micro-batches; take a multiple of {devices * max(accumulate, 1)}"
        )


def share(batch_size: int) -> slice:
    """The rows of a global batch that this process feeds to its devices."""
    rows = batch_size // jax.process_count()
    return slice(jax.process_index() * rows, (jax.process_index() + 1) * rows)


def shard(batch: Batch) -> Batch:
    """Spread this process's rows of a batch over its devices: [B, ...] to [devices, B', ...].

    The arrays may be used in place: never write into them again.
    """
    devices = jax.local_device_count()
    split = jax.tree.map(lambda x: x.reshape(devices, x.shape[0] // devices, *x.shape[1:]), batch)
    placed: Batch = jax.device_put(split, _sharding(PartitionSpec(AXIS)))
    return placed


# Computation on all devices.


def train_step(
    gradient: Callable[[PyTree, PyTree, Batch, jax.Array], PyTree],
    judge: Callable[[PyTree, PyTree], tuple[PyTree, PyTree, jax.Array, dict[str, jax.Array]]],
    apply: Callable[[PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]],
) -> TrainStep:
    """One update of replicated parameters from a batch that is spread over all devices.

    Args:
        gradient: (params, progress, batch, device) -> sums over the device's own examples;
            ``device`` int32 [] counts over all processes.
        judge: (progress, sums over all devices) -> (gradients, progress, accept, metrics).
        apply: (params, optimizer_state, gradients, accept) -> (params, optimizer_state),
            element by element: it has no need to see a whole array.

    Returns:
        The compiled step, to which the first three arguments are donated. ``votes`` comes from
        :func:`vote`, and the metrics' ``votes`` are their sum over all devices: what one process
        asks for, all learn at the same step, without a collective of its own.
    """

    def step(
        params: PyTree, optimizer_state: PyTree, progress: PyTree, batch: Batch, votes: jax.Array
    ) -> tuple[PyTree, PyTree, PyTree, dict[str, jax.Array]]:
        sums = gradient(params, progress, batch, jax.lax.axis_index(AXIS))
        sums, votes = _sum_over_devices((sums, votes))
        gradients, progress, accept, metrics = judge(progress, sums)
        params, optimizer_state = apply(params, optimizer_state, gradients, accept)
        return params, optimizer_state, progress, {**metrics, "votes": votes}

    axes = (None, None, None, 0, 0)
    program: TrainStep = jax.pmap(step, AXIS, in_axes=axes, out_axes=None, donate_argnums=(0, 1, 2))
    return program


def _sum_over_devices(tree: PyTree) -> PyTree:
    # XLA keeps the all-reduce of a single device, which there is a copy of all gradients.
    return tree if jax.device_count() == 1 else jax.lax.psum(tree, AXIS)


def vote(yes: bool) -> np.ndarray:
    """This process's vote, for each of its devices."""
    return np.full(jax.local_device_count(), yes, np.int32)


def evaluation_step(loss: Callable[[PyTree, Batch], Sums]) -> Callable[[PyTree, Batch], Sums]:
    """(params, batch) -> the sums over the examples of all devices and processes."""
    return _on_batches(lambda params, batch: _sum_over_devices(loss(params, batch)))


@functools.lru_cache(maxsize=16)
def prediction_step(
    predict: Callable[[PyTree, Batch], jax.Array],
) -> Callable[[PyTree, Batch], jax.Array]:
    """(params, batch) -> [B, …] for the whole global batch, on every device and process."""
    return _on_batches(lambda *given: jax.lax.all_gather(predict(*given), AXIS, tiled=True))


def _on_batches(step: Callable[[PyTree, Batch], Result]) -> Callable[[PyTree, Batch], Result]:
    program: Callable[[PyTree, Batch], Result]
    program = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None)
    return program


# Agreement between processes.


def barrier(name: str) -> None:
    """Wait until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def devices_of_processes() -> list[int]:
    """How many devices each process has, by its number."""
    counts = Counter(device.process_index for device in jax.devices())
    return [counts[index] for index in range(jax.process_count())]


def gather_bytes(row: bytes) -> list[bytes]:
    """What each process gives, by its number. All must give the same number of bytes."""
    rows = multihost_utils.process_allgather(np.frombuffer(row, np.uint8))
    return [bytes(one) for one in np.asarray(rows)]


def broadcast_arrays(tree: PyTree) -> PyTree:
    """Process 0's tree of numpy arrays, on every process (same shapes and dtypes everywhere)."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(np.asarray, multihost_utils.broadcast_one_to_all(tree))


def broadcast_json(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """Process 0's JSON, on every process."""
    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    length = int(broadcast_arrays(np.array(encoded.size, np.int32)))
    padded = np.zeros(length, np.uint8)
    if is_main():
        padded[:] = encoded
    received: dict[str, Any] = json.loads(bytes(broadcast_arrays(padded)))
    return received
