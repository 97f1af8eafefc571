"""The compiled updates of a run: one program for each stage and each shape of a batch."""

import time
from typing import Any

from gptjax.batch import Objective
from gptjax.training.optimizer import Optimizer
from gptjax.training.step import make_train_step


class Programs:
    """The update of the stage that a run is in.

    Args:
        objective: what is minimised.
        optimizer: of the first stage, and its ``later``; most runs have one stage.
        accumulate: micro-batches of an update.

    Attributes:
        last_begins: the update with which the last stage begins; 0 where there is one.
        halvings: as of the optimiser.
        compiled: the shapes of batches for which the present stage has a program.
    """

    def __init__(self, objective: Objective, optimizer: Optimizer, accumulate: int) -> None:
        self._made_of = (objective, accumulate)
        self._stages = [(0, optimizer), *optimizer.later]
        self._number: int | None = None
        self._seconds = 0.0
        self.last_begins = self._stages[-1][0]
        self.halvings = optimizer.halvings
        self.compiled: set[tuple[int, ...]] = set()

    def enter(self, step: int) -> bool:
        """Be in the stage of the update after ``step``; whether it is another one than before."""
        number = sum(first <= step for first, _ in self._stages) - 1
        if number == self._number:
            return False
        objective, accumulate = self._made_of
        # The programs of the stage before are let go.
        self.train_step = make_train_step(objective, self._stages[number][1], accumulate)
        self._number, self._seconds, self.compiled = number, 0.0, set()
        return True

    def compile(self, shape: tuple[int, ...], *given: Any) -> tuple[Any, ...]:
        """The first update of a shape in this stage."""
        begin = time.perf_counter()
        started: tuple[Any, ...] = self.train_step(*given)
        self._seconds += time.perf_counter() - begin
        self.compiled.add(shape)
        return started

    def beginning(self) -> list[str]:
        """What to tell people of the stage that begins: a line, if there are several."""
        about = self._stages[self._number or 0][1].about
        return [about] if about else []

    def ending(self) -> list[str]:
        """What to tell people of the stage that ends, likewise."""
        if not self.beginning() or not (count := len(self.compiled)):
            return []
        programs = f"{count} program{'s' if count > 1 else ''}"
        return [f"  {programs} compiled in {self._seconds:.1f} s"]
