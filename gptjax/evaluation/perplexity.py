"""Perplexity of a text: one negative log-likelihood, by token, word and byte."""

import math
from dataclasses import dataclass

from gptjax.data.text.corpus import Corpus

# Above it, what stands between two spaces is no word: a sentence of Chinese, a line of DNA.
MOST_PER_WORD = 1e9


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


def show_per_word(value: float | None, form: str = "{:,.1f}") -> str:
    """A perplexity per word for people: a dash where spaces are too few to make words."""
    return "-" if value is None or not value < MOST_PER_WORD else form.format(value)


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
