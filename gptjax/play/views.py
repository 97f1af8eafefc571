"""What is shown of one model and one text: each view is a function to HTML, without Gradio."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gptjax.errors import UserError
from gptjax.evaluation.logit_lens import logit_lens
from gptjax.evaluation.model import Model
from gptjax.evaluation.next_token import Guess, next_tokens
from gptjax.evaluation.surprise import Surprise, surprises
from gptjax.evaluation.unit_values import Unit, unit_values
from gptjax.play import drawing
from gptjax.play.drawing import Bar, Coloured, Grid, percent, running, visible

LONGEST = 4000  # characters of a text that is coloured
WIDEST = 32  # positions of a grid
BARS = 12
DEEP = 16.0  # bits of the deepest colour of surprise: less than one in 65,000

Measure = Literal["gradient × input", "leave one out"]


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see.

    Attributes:
        text: that is read.
        ids: its tokens, where they are known to one tokenizer (of this fingerprint) because some of
            them were clicked; else they are what the text is encoded to.
        fingerprint: see above.
        temperature, top_p: of the draws.
        top: where the axis of the bars ends; None: above the longest.
        layer, head: of attention, from 1.
        unit: whose values colour the text.
        row: of the task, its texts by the names of their boxes.
        measure: by what its tokens are coloured.
        label: the answer that they are coloured for; None is the likeliest.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    fingerprint: str = ""
    temperature: float = 1.0
    top_p: float = 1.0
    top: float | None = None
    layer: int = 1
    head: int = 1
    unit: Unit | None = None
    row: Mapping[str, str] = field(default_factory=dict)
    measure: Measure = "gradient × input"
    label: str | None = None

    def prompt(self, run: Model) -> list[int]:
        """The tokens of the text, as the beginning of one that goes on."""
        if self.fingerprint == run.tokenizer.fingerprint:
            return list(self.ids)
        ids: list[int] = run.tokenizer.encode_beginnings([self.text])[0].tolist()
        return ids


View = Callable[[Model, Asked, int], str]


def next_view(run: Model, asked: Asked, side: int) -> str:
    """Bars of the likeliest next tokens, each of which can be clicked."""
    found = _next(run, asked)
    as_is = asked.temperature == 1 and asked.top_p == 1
    top = asked.top or longest_bar(run, asked)
    rows = [
        Bar(
            _word(run, one),
            one.share,
            one.probability,
            one.token,
            None if as_is else one.probability,
            one.token == run.tokenizer.end,
            f"the model gives it {percent(one.probability)}",
        )
        for one in found
    ]
    rest = max(0.0, 1 - math.fsum(one.share for one in found))
    mark = "" if as_is else " The mark on a bar is what the model itself gives."
    caption = f"All other tokens together: {percent(rest)}.{mark}"
    return drawing.bars(rows, top, side, clickable=True) + _quiet(caption)


def longest_bar(run: Model, asked: Asked) -> float:
    """Where the axis of the bars ends, if a model stands alone."""
    return drawing.top_of([max(one.share, one.probability) for one in _next(run, asked)])


def _next(run: Model, asked: Asked) -> list[Guess]:
    draws: dict[str, Any] = {"temperature": asked.temperature, "top_p": asked.top_p}
    return next_tokens(run, asked.prompt(run), BARS, **draws)


def surprise_view(run: Model, asked: Asked, side: int) -> str:
    """The text, each token coloured by how little the model expected it."""
    del side
    text, notice = _cut(asked.text)
    found = surprises(run, text)
    if not found:
        return _quiet("Type a text above.")
    tokens = [
        Coloured(running(one.text), min(one.bits / DEEP, 1.0), _surprise_tip(run, one))
        for one in found
    ]
    nats = -math.fsum(one.log_probability for one in found)
    summary = (
        f"{len(found):,} tokens, {nats / math.log(2):,.1f} bits together, "
        f"{nats / math.log(2) / len(found):.2f} each: perplexity {_power(nats / len(found))}."
    )
    legend = drawing.scale("0 bits", f"{DEEP:g} bits and more", f"Surprise, −log₂ p. {notice}")
    return drawing.coloured(tokens, "the text by surprise") + legend + _quiet(summary)


def lens_view(run: Model, asked: Asked, side: int) -> str:
    """By layer, the likeliest next token at each position."""
    del side
    lens = logit_lens(run, asked.text)
    first = max(0, len(lens.pieces) - WIDEST)
    last = max(lens.guesses)
    rows = [
        (
            _depth(depth, last),
            [
                Coloured(_word(run, one[0]), one[0].probability, _likeliest(run, one))
                for one in guesses[first:]
            ],
        )
        for depth, guesses in sorted(lens.guesses.items(), reverse=True)
    ]
    table = Grid("words", _heads(lens.pieces[first:]), rows)
    caption = (
        "What each layer would say comes after the token at the head of a column. The colour is "
        f"the probability of that answer.{_only_last(first)}"
    )
    legend = drawing.scale("0 %", "100 %", caption)
    return drawing.grid(table, "the logit lens") + legend


def attention_view(run: Model, asked: Asked, side: int) -> str:
    """Of one head, how much each token takes of those before it; and all heads at the last."""
    del side
    weights = run.attention(asked.text, truncate=True)
    pieces = run.tokens(asked.text)[: weights.shape[-1]]
    layer, head = min(asked.layer, len(weights)), min(asked.head, weights.shape[1])
    first = max(0, len(pieces) - WIDEST)
    words, shown = _heads(pieces[first:]), weights[layer - 1, :, first:, first:]
    rows = [
        (words[row], [_weight(words, row, column, shown[head - 1]) for column in range(len(words))])
        for row in range(len(words))
    ]
    name = f"layer {layer}, head {head}"
    heads = [
        (
            f"head {number}",
            [
                Coloured("", share, f"{word}\n{percent(share)}")
                for word, share in zip(words, one[-1].tolist(), strict=True)
            ],
        )
        for number, one in enumerate(shown, 1)
    ]
    caption = f"Each row is a token, and what it takes of itself and those before it; {name}."
    return (
        drawing.grid(Grid("squares", words, rows), f"attention of {name}")
        + drawing.scale("0 %", "100 %", caption + _only_last(first))
        + f"<h4>All heads of layer {layer}, at the last token</h4>"
        + drawing.grid(Grid("squares", words, heads), f"attention of layer {layer}")
    )


def unit_view(run: Model, asked: Asked, side: int) -> str:
    """The text, each token coloured by the value of one unit after it."""
    del side
    if asked.unit is None:
        raise UserError("`probe`: name the folder of a probe with units")
    text, notice = _cut(asked.text)
    if not text:
        return _quiet("Type a text above.")
    found = unit_values(run, text, asked.unit)
    largest = max(map(abs, found.values)) or 1.0
    tokens = [
        Coloured(running(piece), value / largest, f"{visible(piece)}\n{drawing.signed(value)}")
        for piece, value in zip(found.pieces, found.values, strict=True)
    ]
    ends = (drawing.signed(-largest), drawing.signed(largest))
    legend = drawing.scale(*ends, f"The value of {asked.unit}. {notice}", both=True)
    return drawing.coloured(tokens, f"the text by {asked.unit}") + legend


VIEWS: Mapping[str, View] = {
    "next": next_view,
    "surprise": surprise_view,
    "layers": lens_view,
    "attention": attention_view,
    "unit": unit_view,
}
TITLES: Mapping[str, str] = {
    "next": "Next token",
    "surprise": "Surprise",
    "layers": "Layers",
    "attention": "Attention",
    "unit": "Unit",
}


def _surprise_tip(run: Model, one: Surprise) -> str:
    share = percent(math.exp(one.log_probability))
    head = f"{visible(one.text)}\n{one.bits:.2f} bits, {share}, rank {one.rank:,}"
    return f"{head}\n\n{_likeliest(run, one.likeliest)}"


def _likeliest(run: Model, guesses: Sequence[Guess]) -> str:
    lines = [f"{percent(one.probability):>9}  {_word(run, one)}" for one in guesses]
    return "\n".join(["The likeliest here", *lines])


def _word(run: Model, guess: Guess) -> str:
    return "(end)" if guess.token == run.tokenizer.end else visible(guess.text)


def _weight(words: Sequence[str], row: int, column: int, weights: np.ndarray) -> Coloured | None:
    if column > row:
        return None
    share = float(weights[row, column])
    return Coloured("", share, f"{words[row]} takes of\n{words[column]}\n{percent(share)}")


def _heads(pieces: Sequence[str]) -> list[str]:
    """Names of positions; the separator has no text."""
    return [visible(one) if one else "•" for one in pieces]


def _depth(depth: int, last: int) -> str:
    if depth == 0:
        return "embeddings"
    return f"layer {depth}, the last" if depth == last else f"layer {depth}"


def _only_last(first: int) -> str:
    return f" Only the last {WIDEST} positions are shown." if first else ""


def _cut(text: str) -> tuple[str, str]:
    """The text that is coloured, and what to say of it."""
    if len(text) <= LONGEST:
        return text, ""
    return text[:LONGEST], f"Only the first {LONGEST:,} characters are read."


def _power(nats: float) -> str:
    return f"{math.exp(nats):,.1f}" if nats < 30 else f"e^{nats:.0f}"


def _quiet(text: str) -> str:
    return f'<p class="quiet">{text}</p>'
