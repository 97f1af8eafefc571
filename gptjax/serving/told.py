"""Tokens and their log-probabilities as OpenAI's API gives them."""

from collections.abc import Sequence
from typing import Any

from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.evaluation.writing import BROKEN
from gptjax.serving.writer import NewToken


class Names:
    """The text of single tokens.

    A token's name is what it adds to a text that has begun, so that it has its blank. Several
    tokens may have the same name, such as those that are no whole character.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._known = tokenizer, dict[int, str]()
        self._before = tokenizer.encode_beginnings(["a"])[0].tolist()[-1:]
        self._skipped = len(tokenizer.decode(self._before))

    def __getitem__(self, token: int) -> str:
        if token not in self._known:
            whole = self._tokenizer.decode([*self._before, token])
            self._known[token] = whole[self._skipped :]
        return self._known[token]


class Offsets:
    """Where each token of a text begins in it, as tokens are added one after another.

    Few tokens are decoded at a time, so that long texts take no longer for each of their tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._ids = tokenizer, list[int]()
        self._from, self._to = 0, 0  # the tokens before the next ones, whose text is known
        self.end = 0  # of the text so far

    def add(self, token: int) -> int:
        """The place of the first character of a further token.

        A token that only goes on with a character has the place of that character.
        """
        at = self.end
        self._ids.append(token)
        known = self._tokenizer.decode(self._ids[self._from : self._to])
        longer = self._tokenizer.decode(self._ids[self._from :])
        if not longer.endswith(BROKEN):
            self.end += len(longer) - len(known)
            self._from, self._to = self._to, len(self._ids)
        return at


def logprobs(
    tokens: Sequence[NewToken], offsets: Sequence[int], alternatives: int, names: Names
) -> dict[str, Any]:
    """The object ``logprobs`` of a choice.

    Args:
        tokens: those that it tells of.
        offsets: of each.
        alternatives: how many of the likeliest tokens to tell of, beside the token itself.
        names: of tokens.
    """
    return {
        "tokens": [names[one.token] for one in tokens],
        "token_logprobs": [one.log_probability for one in tokens],
        "top_logprobs": [_top(one, alternatives, names) for one in tokens],
        "text_offset": list(offsets),
    }


def _top(one: NewToken, alternatives: int, names: Names) -> dict[str, float] | None:
    """By name the likeliest tokens, and the token itself; of one name the likelier token."""
    if one.log_probability is None:
        return None
    best = zip(one.best[:alternatives], one.best_log_probability[:alternatives], strict=True)
    found: dict[str, float] = {}
    for token, value in (*best, (one.token, one.log_probability)):
        if token >= 0:
            found.setdefault(names[token], value)
    return found
