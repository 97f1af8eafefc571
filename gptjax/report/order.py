"""The order in which people expect names: by the numbers in them, not by their digits."""

import re

# A number of settings (0.00025, 1e-4) or of a folder (seed-10); no sign, which is a dash in names.
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e-?\d+)?)")


def natural(text: str) -> tuple[tuple[str | float, ...], str]:
    """A key for sorting names: run-2 before run-10, and 0.00025 before 0.001, whatever the case."""
    parts = NUMBER.split(text.casefold())  # texts and numbers by turns, a text first
    return tuple(float(part) if place % 2 else part for place, part in enumerate(parts)), text
