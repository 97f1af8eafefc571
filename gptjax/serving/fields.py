"""The fields of a JSON body, each read with what it may be."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from gptjax.errors import one_line
from gptjax.serving.refusal import Refusal


def parsed(body: bytes) -> Any:
    """What JSON says, without numbers that JSON does not have.

    Raises:
        Refusal: it is no JSON.
    """

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number of JSON")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        reason = "too deep" if isinstance(error, RecursionError) else one_line(str(error))
        raise Refusal(400, f"the body is no JSON: {reason}") from None


class Fields:
    """The fields of an object.

    Args:
        body: from `parsed`.
        known: the names that there may be.

    Raises:
        Refusal: not an object, or a name that is not known; so do all methods where a field is not
            what they give.
    """

    def __init__(self, body: Any, known: Sequence[str]) -> None:
        if not isinstance(body, Mapping):
            raise Refusal(400, f"the body is {_kind(body)}; give an object")
        self._of = body
        for name in body:
            if name not in known:
                shown = one_line(name)[:80]
                raise Refusal(
                    400, f"unknown field {shown!r}; known are {', '.join(known)}", param=shown
                )

    def has(self, name: str) -> bool:
        """Whether it is there, and not null."""
        return self._of.get(name) is not None

    def get(self, name: str) -> Any:
        """Whatever it is, or None."""
        return self._of.get(name)

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number in a range."""
        value = self._of.get(name)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, f"is {_kind(value)}; give a whole number")
        if not least <= value <= most:
            self.refuse(name, f"is out of range; give {least:,} to {most:,}")
        return value

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number in a range."""
        value = self._of.get(name)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.refuse(name, f"is {_kind(value)}; give a number")
        if not least <= value <= most or not math.isfinite(value):
            self.refuse(name, f"is out of range; give {least:g} to {most:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false, which is the default."""
        value = self._of.get(name)
        if value is not None and not isinstance(value, bool):
            self.refuse(name, f"is {_kind(value)}; give true or false")
        return value is True

    def texts(self, name: str, most: int) -> list[str]:
        """A text or a list of texts; none where it is absent."""
        value = self._of.get(name)
        several = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(several, list) or not all(isinstance(one, str) for one in several):
            self.refuse(name, "is no text; give a text or a list of texts")
        if len(several) > most:
            self.refuse(name, f"has {len(several):,} texts; give at most {most:,}")
        return several

    def refuse(self, name: str, why: str) -> NoReturn:
        """Say what is wrong with a field."""
        raise Refusal(400, f"`{name}` {why}", param=name)


def _kind(value: Any) -> str:
    """What a JSON value is, for a message."""
    names = {bool: "true or false", str: "a text", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), "a number")
