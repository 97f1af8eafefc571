"""Train a SentencePiece BPE on documents, line by line."""

import io
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sentencepiece

from gptjax.data.tokenizers.sentencepiece import (
    SEPARATOR_PIECE,
    SPACE_SYMBOL,
    SentencePieceTokenizer,
)
from gptjax.data.tokenizers.tokenizer import VocabularyConfig
from gptjax.errors import UserError, check_settings

# SentencePiece's trainer leaves out a line with this character, or longer than this.
RESERVED_SYMBOL = "\u2585"
MAX_PARAGRAPH_BYTES = 4192
# Ids that are there whatever the text: unknown, separator, newline and the bytes.
NUM_FIXED = 259


@dataclass(frozen=True)
class TrainingReport:
    """How a tokenizer was trained."""

    paragraphs: int  # lines that are not empty; a part of a long line counts as one
    used: int  # paragraphs trained on
    skipped: dict[str, int]  # paragraphs left out, by reason
    size: int  # number of ids
    seconds: float  # wall-clock time, reading included
    # (characters with a token of their own, characters of the text); None if all asked for have.
    room: tuple[int, int] | None = None

    def __str__(self) -> str:
        left_out = ", ".join(f"{count:,} {why}" for why, count in self.skipped.items() if count)
        line = (
            f"tokenizer: {self.size:,} tokens from {self.used:,} of {self.paragraphs:,} paragraphs "
            f"({left_out or 'none'} left out) in {self.seconds:.1f} s"
        )
        if self.room is not None:
            line += (
                f"; it has room for {self.room[0]:,} of the text's {self.room[1]:,} characters, "
                "and spells the others in UTF-8 bytes"
            )
        return line


def train_sentencepiece(
    documents: Iterable[Iterable[str]], size: int, config: VocabularyConfig | None = None
) -> tuple[SentencePieceTokenizer, TrainingReport]:
    """Train a byte-level-complete SentencePiece BPE; the same text gives the same bytes.

    Ids: 0 unknown (never produced), 1 separator, 2 newline, 3 to 258 the bytes, then pieces, one
    of which is the space; ``size`` counts all of them. A document is an iterable of chunks of
    text. Lines above 4,192 bytes are trained on in parts. Where ``size`` has no room for all the
    characters that ``character_coverage`` asks for, the most frequent ones get a token.

    Raises:
        UserError: no text, not enough of it for so many tokens, or less than 260 tokens; the
            message has the limit.
    """
    config = config or VocabularyConfig()
    names = "character_coverage"
    check_settings(config, "vocabulary", names, lambda share: 0.98 <= share <= 1, "from 0.98 to 1")
    check_settings(config, "vocabulary", "training_bytes", lambda most: most > 0, "above 0")
    if size <= NUM_FIXED:
        raise UserError(
            f"a vocabulary of {size:,} tokens is too small; it needs at least {NUM_FIXED + 1:,}, "
            "for the 256 bytes, the space, the newline, the separator and the unknown (set "
            "`model.vocabulary_size`, or `vocab_size` of gptjax tokenizer)"
        )
    started = time.perf_counter()
    sample = _Sample(config.training_bytes)
    for document in documents:
        for paragraph in _paragraphs(document):
            sample.add(paragraph)
    if not sample.kept:
        raise UserError("no text to train a tokenizer on; name a corpus that has some")
    texts = [text for _, text in sample.kept]
    room = None
    try:
        try:
            model = _with_space(texts, size, config.character_coverage)
        except RuntimeError as error:
            if "required_chars" not in str(error):
                raise
            texts, room = _most_frequent(texts, size - NUM_FIXED - 1)
            model = _train(texts, size, 1.0, SPACE_SYMBOL)
    except RuntimeError as error:
        raise _size_error(error, size) from error
    tokenizer = SentencePieceTokenizer(model)
    used, skipped, seconds = len(sample.kept), sample.skipped, time.perf_counter() - started
    report = TrainingReport(
        used + sum(skipped.values()), used, skipped, tokenizer.size, seconds, room
    )
    return tokenizer, report


def _with_space(texts: Sequence[str], size: int, coverage: float) -> bytes:
    """A trained model that has the piece for a space, however rare spaces are.

    Without that piece, a space would come back as another character. The piece is asked for only
    where it would be missing, because the model's bytes, which are its fingerprint, record that.
    """
    if any(" " in text or SPACE_SYMBOL in text for text in texts):
        model = _train(texts, size, coverage)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        if processor.piece_to_id(SPACE_SYMBOL) != processor.unk_id():
            return model
    return _train(texts, size, coverage, SPACE_SYMBOL)


def _train(texts: Sequence[str], size: int, coverage: float, required: str = "") -> bytes:
    """The bytes of a model; ``required`` characters become pieces even if no text has them."""
    if not any(text.strip() for text in texts):  # The trainer wants one; the space is a piece.
        texts = [" "]
    more: dict[str, Any] = {"required_chars": required} if required else {}
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        character_coverage=coverage,
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
        **more,
    )
    return model.getvalue()


def _most_frequent(texts: Sequence[str], count: int) -> tuple[list[str], tuple[int, int]]:
    """The texts with a line end for all but the ``count`` most frequent characters.

    A line end is no character of a piece, and no piece reaches across one. Spaces are kept and do
    not count. With the texts come the numbers of characters kept, and of all.
    """
    found: Counter[str] = Counter()
    for text in texts:
        found.update(text)
    for fixed in (" ", SPACE_SYMBOL, "\n"):
        found.pop(fixed, None)
    order = sorted(found, key=lambda character: (-found[character], character))
    table = dict.fromkeys(map(ord, order[count:]), "\n")
    return [text.translate(table) for text in texts], (min(count, len(order)), len(order))


def _paragraphs(document: Iterable[str]) -> Iterator[str]:
    """The lines of a document that are not empty; long ones in parts that training takes."""
    rest = ""
    for chunk in document:
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield from (part for part in _parts(line) if part.strip())
        # Of a line that goes on, only its last part is kept waiting: memory stays flat.
        *parts, rest = _parts(rest)
        yield from (part for part in parts if part.strip())
    if rest.strip():
        yield rest


def _parts(line: str) -> list[str]:
    """A line in parts of at most 4,192 bytes, cut before a space if there is one, else anywhere.

    Each cut depends on what is before it and on the next character alone, so that a line that
    arrives piece by piece is cut at the same places.
    """
    parts, start = [], 0
    while len(line) - start > MAX_PARAGRAPH_BYTES // 4:
        near = line[start : start + MAX_PARAGRAPH_BYTES + 1]
        head = near.encode()[:MAX_PARAGRAPH_BYTES].decode(errors="ignore")
        if len(head) == len(near):
            break
        space = near.rfind(" ", 1, len(head) + 1)
        end = start + (space if space > 0 else len(head))
        parts.append(line[start:end])
        start = end
    return [*parts, line[start:]]


class _Sample:
    """An even, reproducible sample of paragraphs that never holds more than so many bytes.

    Every paragraph draws a number in [0, 1) and stays if it is below a threshold; the threshold
    halves whenever the sample is full.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.kept: list[tuple[float, str]] = []
        self.skipped = {"not sampled": 0}
        self._size = 0
        self._threshold = 1.0
        self._draw = random.Random(0)

    def add(self, paragraph: str) -> None:
        """Take in a paragraph, or leave it out."""
        # The trainer would leave out the whole line; no piece reaches across a line end.
        paragraph = paragraph.replace(RESERVED_SYMBOL, "\n")
        draw = self._draw.random()
        if draw >= self._threshold:
            self.skipped["not sampled"] += 1
        else:
            self.kept.append((draw, paragraph))
            self._size += len(paragraph.encode())
        while self._size > self.limit and len(self.kept) > 1:
            self._threshold /= 2
            before = len(self.kept)
            self.kept = [entry for entry in self.kept if entry[0] < self._threshold]
            self.skipped["not sampled"] += before - len(self.kept)
            self._size = sum(len(text.encode()) for _, text in self.kept)


def _size_error(error: RuntimeError, size: int) -> UserError:
    message = str(error)
    if largest := re.search(r"value <= (\d+)", message):
        return UserError(
            f"a vocabulary of {size:,} tokens is too large for this text; the largest possible is "
            f"{int(largest[1]):,} (`model.vocabulary_size`, or `vocab_size` of gptjax tokenizer)"
        )
    return UserError(f"the tokenizer could not be trained: {' '.join(message.split())}")
