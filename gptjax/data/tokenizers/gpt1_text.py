"""Text as GPT-1's authors prepared it: repaired, standardised, and cut into words.

Read from the released code's behaviour, and equal to it on recorded texts.
"""

import re
from typing import Any

from gptjax.errors import UserError

EXTRA = "openai-text"
NEWLINE = "\n"
# Beyond so many different words spaCy's store of strings is begun anew.
MOST_STRINGS = 1_000_000

_REPLACED = str.maketrans(
    {"\u2014": "-", "\u2013": "-", "\u2015": "-", "\u2026": "...", "\u00b4": "'"}
)
# Runs of one of these stand apart from what is around them. The backslash, which the authors'
# pattern was meant to have too, is not among them there either.
_RUNS = re.compile("|".join(re.escape(mark) + "+" for mark in '-~!";?+,)(/*[]}{|_'))
_SPACE = re.compile(r"\s+")


def standardise(text: str) -> str:
    """Dashes, ellipses and white space made uniform, and punctuation set apart."""
    text = _RUNS.sub(lambda run: f" {run[0]} ", text.translate(_REPLACED))
    return _SPACE.sub(lambda space: " \n " if NEWLINE in space[0] else " ", text).strip()


class ExactWords:
    """Words as the original's: ftfy, `standardise`, spaCy's English rules, lower case.

    The libraries are asked for with the first text: a tokenizer can be opened, copied and decode
    without them.
    """

    def __init__(self) -> None:
        self._fix: Any = None
        self._language: Any = None

    def _begin(self) -> None:
        try:
            import ftfy
            import spacy
        except ImportError as error:
            raise UserError(
                f"GPT-1's exact tokenizer needs {error.name}, which is not installed: "
                f"pip install 'gptjax[{EXTRA}]', or set `vocabulary.mode=fast` (other ids here and "
                "there)"
            ) from None
        self._fix, self._language = ftfy.fix_text, spacy.blank("en")

    def __call__(self, text: str) -> list[str]:
        """The words of a text; a line end is a word of its own."""
        if self._language is None or len(self._language.vocab.strings) > MOST_STRINGS:
            self._begin()
        words = (token.text for token in self._language.tokenizer(standardise(self._fix(text))))
        return [NEWLINE if NEWLINE in word else word.lower() for word in words]
