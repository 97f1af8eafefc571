"""A trial, what it came to, and the JSONL file that all of them are recorded in."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["good", "lost", "silent", "traceback", "hang"]
OUTCOMES = ("good", "lost", "silent", "traceback", "hang")


@dataclass(frozen=True)
class Found:
    """What a trial came to.

    lost: a run that could not go on to its end. silent: another answer without a word.
    traceback: a traceback, an unknown exit code, or no single line that says what is wrong.
    hang: no end within the time limit.
    """

    outcome: Outcome
    what: str  # what was tried, for people
    detail: str = ""  # of a trial that is not good, what was seen


@dataclass(frozen=True)
class Line:
    """A line of trials.jsonl."""

    section: str
    number: int
    outcome: Outcome
    what: str
    detail: str
    seconds: float


# number, its own random numbers, an empty folder -> what it came to
Trial = Callable[[int, random.Random, Path], Found]


def numbers(seed: int, section: str, number: int) -> random.Random:
    """The random numbers of a trial, which depend on no other trial."""
    return random.Random(f"{seed} {section} {number}")


class Log:
    """trials.jsonl in the folder of the trials; several processes may append to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "trials.jsonl"

    def add(self, line: Line) -> None:
        """Append a line in one write."""
        with self.path.open("ab", buffering=0) as file:
            file.write((json.dumps(asdict(line)) + "\n").encode())

    def lines(self) -> Iterator[Line]:
        """What was recorded so far; a torn last line is left out."""
        if not self.path.exists():
            return
        for text in self.path.read_bytes().split(b"\n")[:-1]:
            yield Line(**json.loads(text))


def summary(lines: list[Line]) -> str:
    """A table of what was tried, and a line for each trial that is not good."""
    sections = list(dict.fromkeys(line.section for line in lines))
    head = ("", "tried", *OUTCOMES[1:], "minutes")
    rows = []
    for section in sections:
        own = [line for line in lines if line.section == section]
        counts = [sum(line.outcome == outcome for line in own) for outcome in OUTCOMES[1:]]
        minutes = sum(line.seconds for line in own) / 60
        rows.append((section, str(len(own)), *map(str, counts), f"{minutes:.0f}"))
    table = [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
    bad = [
        f"{line.outcome}: {line.section} {line.number}: {line.what}: {line.detail}"
        for line in lines
        if line.outcome != "good"
    ]
    return "\n".join([*table, "", *bad])
