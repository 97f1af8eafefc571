"""Devices and processes: the only file that names pmap, an axis or a collective.

The state is replicated but *unstacked*: its arrays have no leading device axis, so
that everything outside this file sees plain parameters. A batch is split over the
devices of all processes, and what the devices computed is summed before it is used.
"""

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gptjax.batch import Batch, Sums
from gptjax.errors import (
    UserError,
)

AXIS = "devices"

PyTree = Any
Rows = TypeVar("Rows")  # arrays of rows, such as a Batch
TrainStep = Callable[..., tuple[PyTree, PyTree, PyTree, PyTree, dict[str, Any]]]
"""(params, optimizer_state, progress, carry, batch, votes) -> (the first four, metrics)."""


def device_count() -> int:
    """The number of devices of all processes."""
    return jax.device_count()


def is_main() -> bool:
    """Whether this process is the one that writes files and talks to people."""
    return jax.process_index() == 0


def is_one_of_several() -> bool:
    """Whether other processes take part in this run."""
    return bool(jax.process_count() > 1)


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
    """Like `replicate`, but what is there already stays, uncopied: never donate it."""
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


def shard(batch: Rows) -> Rows:
    """Spread this process's rows of a batch over its devices: [B, ...] to [devices, B', ...].

    The arrays may be used in place: never write into them again.
    """
    devices = jax.local_device_count()
    split = jax.tree.map(lambda x: x.reshape(devices, x.shape[0] // devices, *x.shape[1:]), batch)
    placed: Rows = jax.device_put(split, _sharding(PartitionSpec(AXIS)))
    return placed


def shard_all(tree: PyTree) -> PyTree:
    """Like `shard`, of the rows of all processes, of which each takes its own; copies."""
    return shard(jax.tree.map(lambda x: np.array(x[share(len(x))]), tree))


def unshard(tree: PyTree) -> PyTree:
    """The rows of all processes as numpy arrays, [B, ...]; every process has to ask."""

    def rows(x: jax.Array) -> np.ndarray:
        own = np.array(x).reshape(-1, *x.shape[2:])
        if jax.process_count() == 1:
            return own
        return np.asarray(multihost_utils.process_allgather(own, tiled=True))

    return jax.tree.map(rows, tree)


# Computation on all devices.


def train_step(
    gradient: Callable[[PyTree, PyTree, PyTree, Batch, jax.Array], tuple[PyTree, PyTree]],
    judge: Callable[[PyTree, PyTree], tuple[PyTree, PyTree, jax.Array, dict[str, jax.Array]]],
    apply: Callable[[PyTree, PyTree, PyTree, PyTree, jax.Array], tuple[PyTree, PyTree]],
) -> TrainStep:
    """One update of replicated parameters from a batch that is spread over all devices.

    Args:
        gradient: (params, progress, carry, batch, device) -> sums over the device's own examples,
            and the carry of its rows; ``device`` int32 [] counts over all processes.
        judge: (progress, sums over all devices) -> (gradients, progress, accept, metrics).
        apply: (params, optimizer_state, gradients, progress before the update, accept) ->
            (params, optimizer_state), array by array: it has no need to see all of them.

    Returns:
        The compiled step, to which the first four arguments are donated. The carry is spread over
        the devices like the batch, and stays what it was where the update is not accepted.
        ``votes`` comes from `vote`, and the metrics' ``votes`` are their sum over all
        devices: what one process asks for, all learn at the same step, without a collective of its
        own.
    """

    def step(
        params: PyTree,
        optimizer_state: PyTree,
        progress: PyTree,
        carry: PyTree,
        batch: Batch,
        votes: jax.Array,
    ) -> tuple[PyTree, PyTree, PyTree, PyTree, dict[str, jax.Array]]:
        sums, after = gradient(params, progress, carry, batch, jax.lax.axis_index(AXIS))
        sums, votes = _sum_over_devices((sums, votes))
        gradients, after_it, accept, metrics = judge(progress, sums)
        params, optimizer_state = apply(params, optimizer_state, gradients, progress, accept)
        carry = jax.tree.map(lambda new, old: jax.lax.select(accept, new, old), after, carry)
        return params, optimizer_state, after_it, carry, {**metrics, "votes": votes}

    program: TrainStep = jax.pmap(
        step,
        AXIS,
        in_axes=(None, None, None, 0, 0, 0),
        out_axes=(None, None, None, 0, None),
        donate_argnums=(0, 1, 2, 3),
    )
    return program


def _sum_over_devices(tree: PyTree) -> PyTree:
    # XLA keeps the all-reduce of a single device, which there is a copy of all gradients.
    return tree if jax.device_count() == 1 else jax.lax.psum(tree, AXIS)


def vote(yes: bool) -> np.ndarray:
    """This process's vote, for each of its devices."""
    return np.full(jax.local_device_count(), yes, np.int32)


def evaluation_step(
    loss: Callable[[PyTree, Batch, PyTree], tuple[Sums, PyTree]],
) -> Callable[[PyTree, Batch, PyTree], tuple[Sums, PyTree]]:
    """(params, batch, carry) -> the sums over the examples of all devices and processes, and the
    carry, which is spread over the devices."""

    def step(params: PyTree, batch: Batch, carry: PyTree) -> tuple[Sums, PyTree]:
        sums, after = loss(params, batch, carry)
        return _sum_over_devices(sums), after

    program: Callable[[PyTree, Batch, PyTree], tuple[Sums, PyTree]]
    program = jax.pmap(step, AXIS, in_axes=(None, 0, 0), out_axes=(None, 0))
    return program


@functools.lru_cache(maxsize=16)
def prediction_step(
    predict: Callable[[PyTree, Batch], jax.Array],
) -> Callable[[PyTree, Batch], jax.Array]:
    """(params, batch) -> [B, …] for the whole global batch, on every device and process."""

    def step(params: PyTree, batch: Batch) -> jax.Array:
        gathered: jax.Array = jax.lax.all_gather(predict(params, batch), AXIS, tiled=True)
        return gathered

    program: Callable[[PyTree, Batch], jax.Array]
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
