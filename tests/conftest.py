"""Every test runs offline, on four virtual CPU devices, with rank promotion an error."""

import fcntl
import gc
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import jax
import pytest

# Tests are nearly all compilation, of programs that run once: without optimisation, and with the
# older of XLA's two code generators for the CPU, it takes a third of the time. To compile a small
# program in parts costs more than it saves. Newer versions have one code generator, and end the
# process at a flag that they do not know.
QUICKLY = "--xla_backend_optimization_level=0"
if jax.__version_info__ < (0, 11):
    QUICKLY += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " " + QUICKLY
# Threads of numpy and SciPy spin while they wait for each other, which costs more than they bring
# to small arrays. pytest's other processes inherit this before they import either.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Nor is the same program compiled again for another test, by either of pytest's processes.
COMPILED = "GPTJAX_TEST_COMPILED"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"

FOLDER = pytest.StashKey[str]()
PREFIX = "gptjax-programs-"

# `make parity` has what these need, and the time.
collect_ignore = [] if "GPTJAX_PARITY" in os.environ else ["parity"]

jax.config.update("jax_platforms", os.environ.get("GPTJAX_TEST_PLATFORM", "cpu"))
# Of one device, where models of the published size are trained: each has a copy of them.
jax.config.update("jax_num_cpu_devices", 1 if "GPTJAX_PARITY" in os.environ else 4)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    if COMPILED not in os.environ:  # the process that starts the others
        os.environ[COMPILED] = config.stash[FOLDER] = folder_of_programs(tempfile.gettempdir())
    jax.config.update("jax_compilation_cache_dir", os.environ[COMPILED])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_collection_finish(session):
    """What was imported stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def folder_of_programs(place):
    """A new folder, locked for the life of this process. Those of dead processes are removed."""
    for left in Path(place).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is in use, or another user's
            descriptor = lock(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)
    folder = tempfile.mkdtemp(prefix=PREFIX, dir=place)
    lock(folder)
    return folder


def lock(folder):
    """Hold the lock of a folder for as long as the descriptor is open, or this process lives."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def pytest_unconfigure(config):
    if FOLDER in config.stash:
        shutil.rmtree(config.stash[FOLDER], ignore_errors=True)


@pytest.fixture
def strict_dtypes():
    """Mixed dtypes are an error while the test runs (optax itself would fail under it)."""
    with jax.numpy_dtype_promotion("strict"):
        yield


def pytest_terminal_summary(terminalreporter):
    """Say which of the two ran: the whole comparison, or what a bare clone has."""
    shared = os.environ.get("GPTJAX_SHARED")
    terminalreporter.write_line(
        f"published files and recorded numbers: {shared}"
        if shared
        else "GPTJAX_SHARED is not set: compared with tests/golden and tokenizers trained here"
    )
