"""The options of a row of a choice: a list, a list that is written as text, or several columns."""

import ast
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.data.tasks.task import Task
from gptjax.errors import UserError
from gptjax.files import parse_json

FEWEST = 2
LONGEST = 1_000_000  # characters of a list that is written as text
# A text as Python writes it, and what else it writes into lists.
TEXT = r"""(?:'(?:[^'\\\n]|\\.)*+'|"(?:[^"\\\n]|\\.)*+")"""
VALUE = rf"(?:{TEXT}|None|True|False|-?\d[\d.e+-]*+)"
PYTHON = re.compile(rf"[\[(]\s*{VALUE}(?:\s*,\s*{VALUE})*\s*,?\s*[\])]")
NUMPY = re.compile(rf"\[\s*{TEXT}(?:\s+{TEXT})*\s*\]")
ARRAY = re.compile(r"array\((.*?)(?:,\s*dtype=[^\[\]]*)?\)", re.DOTALL)


def listed_options(value: Any) -> Sequence[Any] | None:
    """The list in a cell: one of its own, or one that is written as text as JSON, Python (pandas)
    or numpy writes it; None of anything else.

    Lists in lists are none. Nothing is executed: each element is a text, a number, None or a bool.
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return value
    if not isinstance(value, str) or len(value) > LONGEST:
        return None
    text = value.strip()
    if text.startswith("["):
        try:
            found = parse_json(text)
        except ValueError:
            found = None
        if isinstance(found, list):
            return found
    if array := ARRAY.fullmatch(text):
        text = array[1].strip()
    # Python would join two texts that no comma divides, which numpy divides so.
    for written, element in ((PYTHON, VALUE), (NUMPY, TEXT)):
        if written.fullmatch(text):
            try:
                return [ast.literal_eval(one) for one in re.findall(element, text)]
            except (ValueError, SyntaxError):
                return None
    return None


def check_options(options: list[str], task: Task, where: str) -> list[str]:
    """The options of a row, without the empty ones at the end where the task may have fewer.

    Raises:
        UserError: more than the task has labels, or too few.
    """
    most = len(task.labels)
    fewest = FEWEST if task.fewer_options else most
    while len(options) > fewest and not options[-1]:
        options = options[:-1]
    if fewest <= len(options) <= most:
        return options
    known = f"{most}" if fewest == most else f"labels for {fewest} to {most}"
    advice = "correct or remove the row"
    if task.fewer_options and len(options) > most:
        advice = "name as many labels as the most options, or remove the row"
    raise UserError(f"{where}: {len(options)} options, where {task.name} has {known}; {advice}")
