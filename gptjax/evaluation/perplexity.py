"""Perplexity of a text: one negative log-likelihood, by token, word and byte.

That of a sequence autoencoder is of another kind, and has another name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gptjax.data.text.autoencoder import AutoencoderRows
from gptjax.data.text.corpus import Corpus
from gptjax.data.text.streams import WholeDocuments
from gptjax.data.text.windows import Windows

# Above so much, it says nothing that bits per byte do not say better.
MOST_PER_WORD = 1e6
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

    NAME: ClassVar[str] = "perplexity"

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


@dataclass(frozen=True)
class Reconstruction:
    """How well a sequence autoencoder writes documents once more, after it has read them.

    It is no perplexity of a text, which nobody has read before.

    Attributes:
        loss: nats per token, the second time.
        reconstruction_perplexity: exp of it.
        tokens: what was counted: of a long document the last ones (see `AutoencoderRows`).
        end_loss: nats per end of a document, which no other number contains.
    """

    NAME: ClassVar[str] = "reconstruction_perplexity"

    loss: float
    reconstruction_perplexity: float
    tokens: int
    end_loss: float | None = None

    def metrics(self) -> dict[str, float]:
        """All that there is, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def measured(
    means: Mapping[str, float], rows: Windows | WholeDocuments | AutoencoderRows
) -> Perplexity | Reconstruction:
    """What the mean losses over all rows of a text are, by the layout of the rows.

    Args:
        means: ``loss``, and ``end_loss`` where ends are predicted, in nats per token.
        rows: what they were measured on, each once.
    """
    loss, end_loss = means["loss"], means.get("end_loss")
    if isinstance(rows, AutoencoderRows):
        return Reconstruction(loss, _exp(loss), rows.num_tokens, end_loss)
    return perplexity(loss, rows.corpus, end_loss)


def after_updates(
    found: Perplexity | Reconstruction, step: int, unigram_perplexity: float = math.nan
) -> str:
    """A line for people: a run on its validation text after so many updates.

    ``unigram_perplexity`` is that of token frequencies alone, which a perplexity has beside it.
    """
    if isinstance(found, Reconstruction):
        return (
            f"validation reconstruction perplexity after {step:,} updates: "
            f"{found.reconstruction_perplexity:.2f} per token that is written once more "
            "(which is no perplexity of the text)"
        )
    return (
        f"validation perplexity after {step:,} updates: {found.perplexity:.2f} per token "
        f"(token frequencies alone: {unigram_perplexity:.2f}), "
        f"{_per_word(found.metrics())}{found.bits_per_byte:.3f} bits per byte"
    )


def _per_word(metrics: Mapping[str, Any]) -> str:
    shown = show_per_word(metrics)
    return "" if shown == "-" else f"{shown} per word, "


def show_per_word(metrics: Mapping[str, Any], form: str = "{:,.1f}") -> str:
    """The perplexity per word for people: a dash where it is a huge number, or spaces are too few
    to make words."""
    value, words, size = (metrics.get(name) for name in ("word_perplexity", "words", "bytes"))
    if (
        value is None
        or not value <= MOST_PER_WORD  # nor NaN
        or (size or 0) > MOST_BYTES_PER_WORD * (words or 1)
    ):
        return "-"
    return form.format(value)


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
