"""A text that is being written: what of it is certain so far, and where it stops."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

import jax

from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.held_units import Unit, held_units
from gptjax.models.decode import stream
from gptjax.runs.open import Run

BROKEN = "\ufffd"
# A character of UTF-8 has at most four bytes; up to three can be there before the last.
MOST_BROKEN = 3


class Text:
    """The text of a prompt and of the tokens that are added to it one after another.

    Only what no further token can change is given: not the beginning of a character whose bytes
    are not all there, nor what may be the beginning of a stop text.

    Args:
        tokenizer: of the tokens.
        prompt: its tokens.
        stops: the added text ends before the first of these that is complete; none is empty.
        echo: whether the text of the prompt is given, too. A character that its tokens only begin
            belongs to what is added.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str], echo: bool = True
    ) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._ids = list(prompt)
        before = tokenizer.decode(prompt)
        self._begin = len(before)  # of the added text
        self.given = 0 if echo else len(self._complete(before))  # characters
        self.ended = self.stopped = False  # the second at a stop text

    def add(self, tokens: Sequence[int], last: bool = False) -> str:
        """What these tokens make certain; ``last`` if no more follow."""
        self._ids += tokens
        whole = self._tokenizer.decode(self._ids)
        if not last:
            whole = self._complete(whole)
        certain = len(whole)
        if (at := _first(whole, self._begin, self._stops)) is not None:
            certain, self.ended, self.stopped = at, True, True
        elif not last:
            certain -= _begun(whole[self._begin :], self._stops)
        self.ended = self.ended or last
        new = whole[self.given : certain]
        self.given += len(new)
        return new

    def _complete(self, whole: str) -> str:
        """Without a character at the end that may lack bytes."""
        for _ in range(MOST_BROKEN):
            whole = whole.removesuffix(BROKEN)
        return whole


def _first(text: str, begin: int, stops: Sequence[str]) -> int | None:
    """Where the stop text begins that is complete first; the longest of several."""
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop, begin)) >= 0]
    return min(found)[1] if found else None


def _begun(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop text."""
    lengths = (
        length
        for stop in stops
        for length in range(min(len(stop) - 1, len(text)), 0, -1)
        if text.endswith(stop[:length])
    )
    return max(lengths, default=0)


def write(
    run: Run,
    prompt: str,
    *,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    num_samples: int = 1,
    seed: int = 0,
    stop: Sequence[str] = (),
    set_unit: Iterable[tuple[Unit, float]] = (),
    every: int = 1,
) -> Iterator[tuple[int, str, bool]]:
    """Continue a prompt, read as the beginning of a document, and give the text as it grows.

    A sample ends at the end of a text, at ``max_tokens``, or before a stop text that it has
    written. Memory cells in ``set_unit`` are held at a value
    (`gptjax.evaluation.held_units.held_units`). The other options are those of
    `gptjax.models.decode.stream`.

    Yields:
        the number of a sample, what is added to its text (first of all the prompt), and whether
        it has ended; in the order in which they are drawn.
    """
    if "" in stop:
        raise UserError("`stop`: an empty text is everywhere; leave it out")
    run.model.check_causal("write text")
    held = held_units(run.model, set_unit)
    tokenizer = run.tokenizer
    ids = tokenizer.encode_beginnings([prompt])[0].tolist()
    texts = [Text(tokenizer, ids, stop) for _ in range(num_samples)]
    drawn = stream(
        run.model,
        run.backbone,
        [tokenizer.separator, *ids],
        jax.random.key(seed),
        max_tokens=max_tokens,
        end=tokenizer.end,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        num_samples=num_samples,
        held=held,
        every=every,
    )
    count = 0
    for new in drawn:
        count += len(new[0])
        for number, (text, tokens) in enumerate(zip(texts, new, strict=True)):
            if text.ended:
                continue
            kept = list(takewhile(lambda token: token != tokenizer.end, tokens))
            closed = len(kept) < len(tokens)
            added = text.add(kept, last=closed or count >= max_tokens)
            yield number, added, text.ended
        if all(text.ended for text in texts):
            return
