"""Of mutated inputs and of damaged files those that cost the least: no model is opened."""

import random
from pathlib import Path

from tests.reliability import damage, inputs
from tests.reliability.trials import Found

COMMANDS = ("tokenizer", "compare")


def prepare(folder: Path) -> None:
    """The inputs."""
    inputs.prepare(folder)


def trial(number: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """A changed input, or a damaged file; of the latter no answer is compared."""
    if number % 3:
        specimens = [one for one in inputs.ALL if one.words[0] in COMMANDS]
        return inputs.changed(draw.choice(specimens), draw, work, folder)
    actions = [place for place, one in enumerate(damage.ALL) if one.words[0] == "compare"]
    return damage.damaged(draw.choice(actions), draw, work, folder)
