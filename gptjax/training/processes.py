"""Several processes that train together: how one of them joins the others, and ends with them."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import jax

from gptjax.errors import (
    DifferentProcessesError,
    Interrupted,
    NonFiniteError,
    UserError,
    as_options,
    explain,
)

HEARTBEAT_SECONDS = 60  # a process that has been silent for so long is taken for dead
SHUTDOWN_SECONDS = 30  # how long the processes wait for each other when they end


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
