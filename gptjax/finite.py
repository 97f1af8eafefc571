"""Numbers that are neither NaN nor infinite: no others are loaded, saved or set."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float32).max)  # a larger number is infinite where it is computed with


def is_finite(number: int | float) -> bool:
    """Whether a number of any type is finite as a float32."""
    return -LARGEST <= number <= LARGEST  # false of NaN; no overflow of a large int


def or_null(value: Any) -> Any:
    """Plain values with None for NaN and infinity, which JSON does not have; tuples as lists."""
    if isinstance(value, Mapping):
        return {key: or_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [or_null(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def non_finite(arrays: Iterable[tuple[str, np.ndarray]]) -> str | None:
    """The first array that holds NaN or infinity, and where, in words; None if none does."""
    for name, array in arrays:
        if np.issubdtype(array.dtype, np.integer) or array.dtype == bool:
            continue
        finite = np.isfinite(array)
        if not finite.all():
            place = np.argwhere(~finite)[0].tolist()
            return f"{name} holds {array[tuple(place)]} at {place}"
    return None
