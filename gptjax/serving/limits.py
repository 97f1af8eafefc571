"""What a server takes on at most, and the few shapes in which it computes."""

from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST = 32  # tokens of the shortest shape


@dataclass(frozen=True)
class Limits:
    """What is refused, and what is waited for."""

    batch_size: int  # rows that are computed together at most
    length: int  # tokens of a row at most, with the separator and with what is added
    gather: float  # seconds that an idle device waits for more requests after the first one
    rows: int  # of a request at most: texts, or examples, or samples of all prompts
    queue: int  # rows of all requests that wait or are computed, at most
    body: int  # bytes
    seconds: float  # that a request may take

    def row_sizes(self, devices: int = 1) -> tuple[int, ...]:
        """The numbers of rows that are compiled: one, a quarter and all; multiples of the devices.

        One alone would wait for a shape of many, and further shapes take longer to compile.
        """
        wanted = (1, max(self.batch_size // 4, 1), self.batch_size)
        return tuple(sorted({-(-size // devices) * devices for size in wanted}))

    def lengths(self) -> tuple[int, ...]:
        """The lengths that are compiled: powers of two, and the longest."""
        found, length = [], SHORTEST
        while length < self.length:
            found.append(length)
            length *= 2
        return (*found, self.length)


def size_for(count: int, sizes: Sequence[int]) -> int:
    """The rows of the next batch where so many wait; what is left waits for the one after.

    It is the smallest size that holds all of them, but not if more than half of it stayed empty.
    """
    at = next((number for number, size in enumerate(sizes) if size >= count), len(sizes) - 1)
    if at and count <= sizes[at] // 2:
        at -= 1
    return sizes[at]
