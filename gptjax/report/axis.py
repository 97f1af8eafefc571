"""An axis of a figure: where values lie on it, and the numbers that stand beside it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Number = int | float

LEAST_GAP = 0.13  # between numbers at a logarithmic axis, as a share of it
PAD = 0.04  # between the outermost values and the ends, as a share of the axis


@dataclass(frozen=True)
class Axis:
    """From the values ``low`` to ``high`` at the pixels ``start`` to ``end``.

    ``log`` is a logarithmic axis of positive values; of ``whole`` ones no half is numbered.
    """

    low: Number
    high: Number
    start: Number
    end: Number
    log: bool = False
    whole: bool = False

    def place(self, value: Number) -> float:
        """The pixel of a value."""
        low, high, value = (_log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, most: int, places: Iterable[Number] = ()) -> list[float]:
        """About ``most`` round values inside.

        On a logarithmic axis the values ``places`` themselves, where they lie apart.
        """
        if not self.log:
            return self._linear(most)
        known = sorted({float(place) for place in places})
        for ticks in (known, self._decades((1,)), self._decades((1, 2, 5))):
            if len(ticks) >= 2 and self._apart(ticks):
                return ticks
        powers = self._decades((1,))
        return powers[:: -(-len(powers) // most)] if powers else known[:1]

    def _linear(self, most: int) -> list[float]:
        step = round_step((self.high - self.low) / (most + 2))
        step = max(1.0, step) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [float(f"{number * step:.10g}") for number in range(first, last + 1)]

    def _decades(self, digits: Sequence[int]) -> list[float]:
        exponents = range(math.floor(_log(self.low)), math.ceil(_log(self.high)) + 1)
        found = [digit * 10.0**exponent for exponent in exponents for digit in digits]
        return [value for value in found if self.low <= value <= self.high]

    def _apart(self, ticks: Sequence[float]) -> bool:
        gap = LEAST_GAP * (_log(self.high) - _log(self.low))
        logs = [_log(tick) for tick in ticks]
        return all(right - left >= gap for left, right in pairwise(logs))


def _log(value: Number) -> float:
    return math.log10(value)


def round_step(least: Number) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no smaller."""
    power = 10.0 ** math.floor(_log(least))
    return power * next(step for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))


def around(values: Sequence[Number], start: Number, end: Number, *, log: bool = False) -> Axis:
    """An axis that has all these values, with a little room at its ends."""
    low, high = min(values), max(values)
    whole = all(value == round(value) for value in values)
    if log:
        room = PAD * (_log(high) - _log(low)) or 0.1
        return Axis(low / 10**room, high * 10**room, start, end, log=True)
    room = PAD * (high - low) or abs(high) * PAD or 0.5
    return Axis(low - room, high + room, start, end, whole=whole)


def number(value: Number) -> str:
    """A value for people: six digits at most, commas between thousands."""
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value / 1e6:,.6g} M"
