"""The C library's allocator, told to keep what it has."""

import ctypes
import os
from collections.abc import Mapping
from importlib.util import find_spec

# mallopt's names, from glibc's malloc.h, and what is wanted. A large block comes from the heap and
# not from a mapping of its own; the heap's end is never given back; all threads share one heap.
_WANTED = {
    "M_MMAP_MAX": (-4, 0),
    "M_TRIM_THRESHOLD": (-1, 2**31 - 1),
    "M_ARENA_MAX": (-8, 1),
}
# A user's own settings of the same.
_VARIABLES = (
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory for the next step; call it before jax is imported.

    XLA's CPU client asks malloc for each large array. glibc then maps new pages and gives them back
    soon after, and the system must find and clear them again at each step. The price is memory:
    the heap is as large as it was at its fullest, with its gaps.

    Nothing is done on another C library, for an accelerator (its client keeps memory itself), with
    ``GPTJAX_MALLOC=0``, and for a setting that the user has made (``MALLOC_ARENA_MAX`` and others,
    or ``GLIBC_TUNABLES``).

    Returns:
        whether the allocator keeps memory now.
    """
    if environment.get("GPTJAX_MALLOC") == "0" or not _glibc() or not _on_cpu(environment):
        return False
    if "glibc.malloc" in environment.get("GLIBC_TUNABLES", ""):
        return False
    if any(name in environment for name in _VARIABLES):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    done = [mallopt(parameter, value) for parameter, value in _WANTED.values()]
    return all(done)


def _glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, ValueError):  # no such function on Windows, no such name elsewhere
        return False


def _on_cpu(environment: Mapping[str, str]) -> bool:
    """Whether jax will use the CPU, told without importing it."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    # Plug-ins for GPUs are in the namespace jax_plugins.
    return not any(find_spec(name) for name in ("jax_plugins", "libtpu"))
