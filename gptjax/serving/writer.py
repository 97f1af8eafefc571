"""Work that takes many steps: texts that are written, each in a row of one pool."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

import jax
import numpy as np

from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.evaluation.writing import Text
from gptjax.models import pool as pools
from gptjax.runs.open import Run
from gptjax.serving.engine import deliver
from gptjax.serving.limits import Limits, size_for
from gptjax.serving.line import Row

STEPS = 8  # tokens of each text that are drawn before anything is looked at


@dataclass(frozen=True)
class Writing:
    """A text to write.

    Attributes:
        prompt: its tokens, the separator first, which has no text.
        max_tokens: the most tokens to add, at least 1; with the prompt they fit the limits.
        temperature, top_k, top_p: as of `gptjax.models.decode.generate`.
        seed: of the draws.
        sample: its number among the samples of this seed, from 0.
        stop: as of `gptjax.evaluation.writing.Text`; so is echo.
        told: whether log-probabilities are wanted.
    """

    prompt: Sequence[int]
    max_tokens: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    sample: int = 0
    stop: Sequence[str] = ()
    echo: bool = False
    told: bool = False


class NewToken(NamedTuple):
    """A token that was added, and what the model said of it, if that is wanted."""

    token: int
    log_probability: float | None = None
    best: Sequence[int] = ()
    best_log_probability: Sequence[float] = ()


class Piece(NamedTuple):
    """What is new of a text.

    Attributes:
        text: what became certain.
        tokens: that were drawn.
        finish: why it has ended, "stop" or "length"; None of one that goes on.
        cut: whether it has ended at a stop text, which the last tokens have and the text has not.
    """

    text: str
    tokens: Sequence[NewToken]
    finish: str | None
    cut: bool = False


@dataclass(eq=False)
class _Place:
    """A row of the pool that is taken."""

    row: Row
    text: Text
    left: int = field(init=False)  # tokens that may still come

    def __post_init__(self) -> None:
        self.left = self.row.item.max_tokens


class Writer:
    """Texts that are written, as `gptjax.serving.engine.Worker`; the items are `Writing`.

    Args:
        run: the model.
        limits: how many texts at once, and how long they may be.
    """

    def __init__(self, run: Run, limits: Limits) -> None:
        run.model.check_causal("write text")
        self._config, self._params = run.model, jax.device_put(run.backbone)
        self._tokenizer: Tokenizer = run.tokenizer
        self._sizes, self._lengths = limits.row_sizes(), limits.lengths()
        self._slots = limits.length
        self._places: list[_Place | None] = []
        self._over: list[Row] = []  # rows that are done with, in this turn
        self._empty()

    @property
    def busy(self) -> bool:
        """Whether a text has not ended."""
        return any(place is not None for place in self._places)

    def wanted(self, waiting: int) -> int:
        """As many as the largest pool has room for."""
        return min(waiting, self._sizes[-1] - sum(place is not None for place in self._places))

    def turn(self, rows: Sequence[Row]) -> list[Row]:
        """Let texts begin, and write a few tokens of each."""
        self._let_go()
        self._over += [row for row in rows if row.request.gone]
        rows = [row for row in rows if not row.request.gone]
        self._fit(len(rows))
        for length, own in self._by_length(rows):
            self._begin(length, own)
        if self.busy:
            self._write()
        over, self._over = self._over, []
        return over

    def failed(self) -> list[Row]:
        """Forget all texts."""
        rows = [*self._over, *(place.row for place in self._places if place is not None)]
        self._empty()
        return rows

    def warm_up(self) -> int:
        """Compile reading and writing for each size, and the moves between them."""
        for size in self._sizes:
            self._places, self._pool = [None] * size, self._new_pool(size)
            smaller = [other for other in self._sizes if other <= size]
            for reading, length in product(smaller, self._lengths):
                self._read_in([], reading, length)
            self._advance()
            self._pool = pools.without(self._pool, np.ones(size, bool))
            for other in self._sizes:
                pools.moved(self._pool, np.full(other, -1, np.int32))
        self._empty()
        return len(self._sizes) * (len(self._lengths) + 1)

    def _empty(self) -> None:
        size = self._sizes[0]
        self._places, self._pool = [None] * size, self._new_pool(size)
        self._over = []

    def _new_pool(self, rows: int) -> pools.Pool:
        return pools.empty_pool(self._config, rows, self._slots)

    def _let_go(self) -> None:
        """Free the places of those who have gone."""
        gone = np.zeros(len(self._places), bool)
        for number, place in enumerate(self._places):
            if place is not None and place.row.request.gone:
                gone[number], self._places[number] = True, None
                self._over.append(place.row)
        if gone.any():
            self._pool = pools.without(self._pool, gone)

    def _fit(self, more: int) -> None:
        """Move to the smallest pool that has room for what is written and for so many more."""
        taken = [number for number, place in enumerate(self._places) if place is not None]
        need = len(taken) + more
        size = next(size for size in self._sizes if size >= need)
        if size == len(self._places):
            return
        rows = np.full(size, -1, np.int32)
        rows[: len(taken)] = taken
        self._pool = pools.moved(self._pool, rows)
        self._places = [self._places[number] if number >= 0 else None for number in rows]

    def _by_length(self, rows: Sequence[Row]) -> Iterator[tuple[int, list[Row]]]:
        """Prompts that are read together, and the length of their shape."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            least = len(row.item.prompt)
            found[next(length for length in self._lengths if length >= least)].append(row)
        for length, own in found.items():
            while own:
                size = size_for(len(own), self._sizes)
                yield length, own[:size]
                own = own[size:]

    def _begin(self, length: int, rows: Sequence[Row]) -> None:
        """Read prompts, which take free places."""
        size = next(size for size in self._sizes if size >= len(rows))
        free = [number for number, place in enumerate(self._places) if place is None]
        for number, row in zip(free, rows, strict=False):
            asked: Writing = row.item
            text = Text(self._tokenizer, asked.prompt[1:], asked.stop, asked.echo)
            self._places[number] = _Place(row, text)
        self._read_in([row.item for row in rows], size, length, free)

    def _read_in(
        self, asked: Sequence[Writing], size: int, length: int, places: Sequence[int] = ()
    ) -> None:
        """Read prompts in a shape into these rows of the pool."""
        tokens = np.zeros((size, length), np.int32)
        first = np.full(size, length - 1, np.int32)
        rows = np.full(size, len(self._places), np.int32)  # none, until somebody takes one
        options: list[tuple[int, int, float, int, float, int, bool]] = []
        for number, (one, place) in enumerate(zip(asked, places, strict=False)):
            first[number] = length - len(one.prompt)
            tokens[number, first[number] :] = one.prompt
            rows[number] = place
            drawing = (one.temperature, one.top_k, one.top_p, one.max_tokens, one.told)
            options.append((one.seed, one.sample, *drawing))
        options += [(0, 0, 0.0, 0, 1.0, 0, False)] * (size - len(options))
        read = pools.read(self._config, self._params, tokens, first, slots=self._slots)
        self._pool = pools.join(self._pool, rows, *read, length - first, pools.options_of(options))

    def _advance(self) -> pools.Drawn:
        end = np.int32(-1 if self._tokenizer.end is None else self._tokenizer.end)
        self._pool, drawn = pools.advance(self._config, self._params, self._pool, end, steps=STEPS)
        found: pools.Drawn = jax.device_get(drawn)
        return found

    def _write(self) -> None:
        """Write a few tokens of each text, and deliver them."""
        drawn, done = self._advance(), np.zeros(len(self._places), bool)
        for number, place in enumerate(self._places):
            if place is None:
                continue
            piece = self._piece(place, drawn, number)
            if piece.text or piece.tokens or piece.finish:
                deliver(place.row, piece, last=piece.finish is not None)
            if piece.finish is not None:
                self._over.append(place.row)
                self._places[number] = None
                done[number] = not drawn.done[
                    number
                ]  # at a stop text, of which the pool is unaware
        if done.any():
            self._pool = pools.without(self._pool, done)

    def _piece(self, place: _Place, drawn: pools.Drawn, number: int) -> Piece:
        """What was drawn in a row of the pool, as its text and tokens."""
        count = int(drawn.counts[number])
        own: list[int] = drawn.tokens[number, :count].tolist()
        place.left -= count
        at_end = bool(own) and own[-1] == self._tokenizer.end
        last = at_end or place.left == 0
        text = place.text.add(own[:-1] if at_end else own, last=last)
        finish = None
        if place.text.ended:
            finish = "stop" if at_end or place.text.stopped else "length"
        tokens = [NewToken(token) for token in own]
        if place.row.item.told:
            told = (drawn.log_probability, drawn.best, drawn.best_log_probability)
            each = zip(own, *(x[number, :count].tolist() for x in told), strict=True)
            tokens = [NewToken(*one) for one in each]
        return Piece(text, tokens, finish, cut=place.text.stopped)
