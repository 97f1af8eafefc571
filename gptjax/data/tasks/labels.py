"""What a label's cell says where it is not simply a label of the task."""

import ast
import difflib
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np

from gptjax.errors import UserError
from gptjax.files import parse_json

FIRST = 8  # labels that a message lists
MOST_UNKNOWN = 5  # unknown labels that are counted one by one
SEPARATORS = (",", ";", "|", "/", "+", "&", " ")


def only_label(value: Any, known: Collection[str], where: str) -> Any:
    """The one label of a cell, None of an empty list.

    Several labels are a list of them, also one that is written as text (as JSON or as Python
    writes it), or known labels with a separator between them. Text that is a known label is that
    label alone.

    Raises:
        UserError: several labels; names ``where``.
    """
    found = _labels_in(value, known)
    if len(found) > 1:
        shown = ", ".join(repr(label) for label in found[:3])
        raise UserError(
            f"{where}: {len(found)} labels in one row ({shown}{', …' if len(found) > 3 else ''}); "
            "one label a row is supported: keep one of them, or remove the row"
        )
    return found[0] if found else None


def _labels_in(value: Any, known: Collection[str]) -> Sequence[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, str):
        text = value.strip()
        if text in known:
            return [text]
        for separator in SEPARATORS:
            pieces = [piece.strip() for piece in text.split(separator) if piece.strip()]
            if len(pieces) > 1 and all(piece in known for piece in pieces):
                return pieces
        value = _written_list(text)
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _written_list(text: str) -> Any:
    if not re.fullmatch(r"\[.*\]|\(.*,.*\)|\{.*,.*\}", text, re.DOTALL):
        return text
    with suppress(ValueError):
        return parse_json(text)
    with suppress(ValueError, SyntaxError, MemoryError, RecursionError), catch_warnings():
        simplefilter("ignore")  # of a backslash that Python does not know
        return ast.literal_eval(text)
    return text


class Unknown:
    """Why rows with unknown labels cannot be used: the same few reasons for any number of them."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = known
        self._reasons: dict[str, str] = {}

    def reason(self, label: str) -> str:
        """Names the label, if it is one of the first, and the first time those that are known."""
        if label not in self._reasons:
            if len(self._reasons) == MOST_UNKNOWN:
                return "a further unknown label"
            known = "" if self._reasons else f" (known: {known_labels(self._known, label)})"
            self._reasons[label] = f"the unknown label {label[:40]!r}{known}"
        return self._reasons[label]


def known_labels(labels: Sequence[str], wanted: str = "") -> str:
    """The labels for a message; of many the nearest to the one that is wanted, and the first."""
    if len(labels) <= FIRST:
        return ", ".join(labels)
    close = difflib.get_close_matches(wanted, labels, n=1)
    first = ", ".join((*close, *(label for label in labels if label not in close))[:FIRST])
    return f"{first} and {len(labels) - FIRST:,} more"
