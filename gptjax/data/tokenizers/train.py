"""Train a SentencePiece BPE on documents, paragraph by paragraph."""

import io
import random
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sentencepiece

from gptjax.data.tokenizers.sentencepiece import SEPARATOR_PIECE, SentencePieceTokenizer
from gptjax.data.tokenizers.tokenizer import VocabularyConfig
from gptjax.errors import UserError

# SentencePiece's trainer leaves out a line with this character, or longer than this.
RESERVED_SYMBOL = "\u2585"
MAX_PARAGRAPH_BYTES = 4192


@dataclass(frozen=True)
class TrainingReport:
    """How a tokenizer was trained."""

    paragraphs: int  # lines that are not empty
    used: int  # paragraphs trained on
    skipped: dict[str, int]  # paragraphs left out, by reason
    size: int  # number of ids
    seconds: float  # wall-clock time, reading included

    def __str__(self) -> str:
        left_out = ", ".join(f"{count:,} {why}" for why, count in self.skipped.items() if count)
        return (
            f"tokenizer: {self.size:,} tokens from {self.used:,} of {self.paragraphs:,} paragraphs "
            f"({left_out or 'none'} left out) in {self.seconds:.1f} s"
        )


def train_sentencepiece(
    documents: Iterable[Iterable[str]], size: int, config: VocabularyConfig | None = None
) -> tuple[SentencePieceTokenizer, TrainingReport]:
    """Train a byte-level-complete SentencePiece BPE; the same text gives the same bytes.

    Ids: 0 unknown (never produced), 1 separator, 2 newline, 3 to 258 the bytes, then pieces;
    ``size`` counts all of them. A document is an iterable of chunks of text.

    Raises:
        UserError: no text, or not enough of it for so many tokens (or too few tokens for its
            characters); the message has the limit.
    """
    config = config or VocabularyConfig()
    started = time.perf_counter()
    sample = _Sample(config.training_bytes)
    for document in documents:
        for paragraph in _paragraphs(document):
            sample.add(paragraph)
    if not sample.kept:
        raise UserError("no text to train a tokenizer on; name a corpus that has some")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(text for _, text in sample.kept),
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            control_symbols=[SEPARATOR_PIECE],
            user_defined_symbols=["\n"],
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            max_sentence_length=MAX_PARAGRAPH_BYTES,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _size_error(error, size) from error
    tokenizer = SentencePieceTokenizer(model.getvalue())
    used, skipped, seconds = len(sample.kept), sample.skipped, time.perf_counter() - started
    report = TrainingReport(used + sum(skipped.values()), used, skipped, tokenizer.size, seconds)
    return tokenizer, report


def _paragraphs(document: Iterable[str]) -> Iterator[str]:
    """The lines of a document that are not empty.

    A line of more than 8 MiB is given up in parts: it is far over what training takes, and
    holding it whole would make memory follow the corpus.
    """
    rest = ""
    for chunk in document:
        lines = (rest + chunk).split("\n")
        rest = lines.pop()
        yield from (line for line in lines if line.strip())
        if len(rest) > 1 << 23:
            yield rest
            rest = ""
    if rest.strip():
        yield rest


class _Sample:
    """An even, reproducible sample of paragraphs that never holds more than so many bytes.

    Every paragraph draws a number in [0, 1) and stays if it is below a threshold; the threshold
    halves whenever the sample is full.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: list[tuple[float, str]] = []
        self.skipped = {
            f"longer than {MAX_PARAGRAPH_BYTES:,} bytes": 0,
            f"with U+{ord(RESERVED_SYMBOL):04X}": 0,
            "not sampled": 0,
        }
        self._size = 0
        self._threshold = 1.0
        self._draw = random.Random(0)

    def add(self, paragraph: str) -> None:
        long, reserved, unsampled = self.skipped
        size = len(paragraph.encode())
        draw = self._draw.random()
        if size > MAX_PARAGRAPH_BYTES:
            self.skipped[long] += 1
        elif RESERVED_SYMBOL in paragraph:
            self.skipped[reserved] += 1
        elif draw >= self._threshold:
            self.skipped[unsampled] += 1
        else:
            self.kept.append((draw, paragraph))
            self._size += size
        while self._size > self.limit and len(self.kept) > 1:
            self._threshold /= 2
            before = len(self.kept)
            self.kept = [entry for entry in self.kept if entry[0] < self._threshold]
            self.skipped[unsampled] += before - len(self.kept)
            self._size = sum(len(text.encode()) for _, text in self.kept)


def _size_error(error: RuntimeError, size: int) -> UserError:
    message = str(error)
    if largest := re.search(r"value <= (\d+)", message):
        return UserError(
            f"a vocabulary of {size:,} tokens is too large for this text; the largest possible is "
            f"{int(largest[1]):,} (`model.vocabulary_size`, or `vocab_size` of gptjax tokenizer)"
        )
    if needed := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return UserError(
            f"a vocabulary of {size:,} tokens is too small for this text's characters and the 256 "
            f"bytes; it needs at least {int(needed[1]):,} (or a lower "
            "`vocabulary.character_coverage`)"
        )
    return UserError(f"the tokenizer could not be trained: {' '.join(message.split())}")
