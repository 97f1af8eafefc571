"""Perplexity of a text: one negative log-likelihood, by token, word and byte."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptjax.data.text.corpus import Corpus

# Above so many bytes, it is no word that stands between two spaces, but a sentence of Chinese.
MOST_BYTES_PER_WORD = 40


@dataclass(frozen=True)
class Perplexity:
    """A text's negative log-likelihood, by several units.

    Attributes:
        loss: nats per token.
        perplexity: exp of it.
        word_perplexity: exp of the nats per word (split at white space), which does not depend
            on the tokenizer.
        bits_per_byte: bits per byte of UTF-8, likewise.
        tokens, words, bytes: what was counted.
        end_loss: nats per end of a document, which no other number contains; None where ends are
            not predicted.
    """

    loss: float
    perplexity: float
    word_perplexity: float
    bits_per_byte: float
    tokens: int
    words: int
    bytes: int
    end_loss: float | None = None

    def metrics(self) -> dict[str, float]:
        """All that there is, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def show_per_word(metrics: Mapping[str, Any], form: str = "{:,.1f}") -> str:
    """The perplexity per word for people: a dash where spaces are too few to make words."""
    value, words, size = (metrics.get(name) for name in ("word_perplexity", "words", "bytes"))
    if (
        value is None
        or not math.isfinite(value)
        or (size or 0) > MOST_BYTES_PER_WORD * (words or 1)
    ):
        return "-"
    return form.format(value) if value < 1e12 else f"{value:.1e}"


def perplexity(loss: float, corpus: Corpus, end_loss: float | None = None) -> Perplexity:
    """All units from the mean loss in nats per token of a corpus; too large ones are infinite."""
    nats = loss * corpus.num_tokens
    return Perplexity(
        loss=loss,
        perplexity=_exp(loss),
        word_perplexity=_exp(nats / max(corpus.words, 1)),
        bits_per_byte=nats / math.log(2) / max(corpus.bytes, 1),
        tokens=corpus.num_tokens,
        words=corpus.words,
        bytes=corpus.bytes,
        end_loss=end_loss,
    )


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf
