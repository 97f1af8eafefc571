"""What stands in the label's column, as the number of a class or as a score."""

import math
from contextlib import suppress
from typing import Any

import numpy as np

from gptjax.data.tasks.labels import Unknown, known_labels, only_label
from gptjax.data.tasks.task import Number, Task
from gptjax.errors import UserError


class Targets:
    """The labels of a task, by what files call them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._numbers = {label: number for number, label in enumerate(task.labels)}
        self._numbers |= {other: self._numbers[label] for other, label in task.aliases.items()}
        self._unknown = Unknown(tuple(self._numbers))
        # A whole column of whole numbers may be written as 1.0 or 01.
        self._by_value: dict[float, int] = {}
        if task.detect and all(_is_whole(text) for text in self._numbers):
            self._by_value = {float(text): number for text, number in self._numbers.items()}
            if len(self._by_value) < len(self._numbers):
                self._by_value = {}

    def is_one(self, value: Any) -> bool:
        """Whether it is a label, a score on the scale, or says that there is none."""
        text = self._text(value)
        if text and text in self.task.unusable:
            return True
        if self.task.scores is not None:
            return _on_scale(text, *self.task.scores) is not None
        return self._number(text) is not None

    def read(self, value: Any, where: str) -> int | float | str | None:
        """The number of the class, or the score; None without a label; else what is wrong."""
        text = self._text(value)
        # Runs from before several labels were refused left such rows out, and go on so.
        if text not in self.task.unusable and not (self.task.scores or self.task.share_columns):
            text = self._text(only_label(value, self._numbers, where))
        if text in self.task.unusable and text not in self._numbers:
            return None
        if self.task.scores is not None:
            return _score(text, *self.task.scores, where)
        if (number := self._number(text)) is not None:
            return number
        if self.task.format == "choice" or text.lstrip("+-").isdigit():
            raise UserError(
                f"{where}: the label {text[:40]} is out of range; {self.task.name} knows "
                f"{known_labels(tuple(self._numbers), text)}"
            )
        return self._unknown.reason(text)

    def _text(self, value: Any) -> str:
        value = plain(value)
        if isinstance(value, bool) and str(value) not in self._numbers:
            return str(value).lower()
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return "" if value is None else str(value).strip()

    def _number(self, text: str) -> int | None:
        if text in self._numbers:
            return self._numbers[text]
        if self.task.detect and text.lower() in ("true", "false"):
            found = [n for label, n in self._numbers.items() if label.lower() == text.lower()]
            return found[0] if len(set(found)) == 1 else None
        with suppress(ValueError):
            return self._by_value.get(float(text))
        return None


def _is_whole(text: str) -> bool:
    return text.lstrip("-").isdecimal()


def plain(value: Any) -> Any:
    """A scalar of numpy as Python's; NaN, which tables have for a missing value, as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and math.isnan(value) else value


def _on_scale(text: str, low: Number, high: Number) -> float | None:
    try:
        score = float(text)
    except ValueError:
        return None
    return score if low <= score <= high else None


def _score(text: str, low: Number, high: Number, where: str) -> float:
    score = _on_scale(text, low, high)
    if score is None:
        raise UserError(
            f"{where}: the score {text[:40]} is no number from {low} to {high}; correct it"
        )
    return score
