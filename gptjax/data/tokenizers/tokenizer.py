"""Text to token ids and back: what the house knows of a tokenizer."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np

from gptjax.config import alias
from gptjax.errors import UserError, check_counts, check_settings

# Documents are encoded in pieces of about so many characters.
PIECE_CHARACTERS = 4096

Mode = Literal["exact", "fast"]
# What `vocabulary.tokenizer` may be instead of a path.
BYTES, WORDS = "bytes", "words"


@dataclass(frozen=True)
class ModeConfig:
    """Section `vocabulary` where the tokenizer is the model's own."""

    mode: Mode | None = None
    """How GPT-1's tokenizer prepares text: exact, as OpenAI did (ftfy, spaCy's English words; needs
    the extra openai-text), or fast, by BERT's rules, which gives other ids here and there. None:
    as the tokenizer was saved, else exact."""


@dataclass(frozen=True)
class VocabularyConfig(ModeConfig):
    """Where the tokenizer comes from; its size is the model's ``vocabulary_size``."""

    tokenizer: Annotated[str | None, alias("--tokenizer")] = None
    """Tokenizer to use: a folder written by a run, a SentencePiece .model file, the .json file of a
    vocabulary of words, or a folder with the BPE files of GPT-1 or GPT-2. bytes: every byte is a
    token. words: the most frequent words of the corpus are. Absent: train a SentencePiece BPE on
    the corpus."""
    lower_case: bool = True
    """Of words: whether capitals are read as small letters."""
    character_coverage: float = 0.9995
    """Share of the training text's characters that get a token of their own; the others are
    spelled in UTF-8 bytes. From 0.98 to 1."""
    training_bytes: int = 200_000_000
    """Most bytes of text to train on; a larger corpus is sampled evenly, paragraph by
    paragraph. Memory grows with it."""

    def __post_init__(self) -> None:
        if self.tokenizer is None:
            check_counts(self, "vocabulary", "training_bytes", most=2**63 - 1)
            share = "from 0.98 to 1"
            check_settings(
                self, "vocabulary", "character_coverage", lambda x: 0.98 <= x <= 1, share
            )


@runtime_checkable
class Tokenizer(Protocol):
    """What the rest of the house knows of a tokenizer.

    Attributes:
        size: number of ids; every id is in [0, size).
        separator: the id that stands before a document, and that text without context is read
            after.
        end: the id at which a text ends, never produced by encoding a text: the separator, or
            None if the vocabulary has no token of its own for it.
        fingerprint: sha256 (hex) of everything that decides which ids a text gets.
    """

    size: int
    separator: int
    end: int | None
    fingerprint: str

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """One document, arriving in chunks of any size, as pieces of bounded size.

        The places depend on the text alone, never on how it was chunked, and lie where no token
        reaches across.
        """
        ...

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """Token ids of pieces of documents, int32 [n]; in a row they are the document's."""
        ...

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n], without any special token."""
        ...

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`, of texts that are going on: nothing that only stands after a whole one."""
        ...

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Where each token of `encode` stands in its text, int32 [n, 2]: the first character, and
        the one after the last. A token that stands for nothing in the text has two equal ones."""
        ...

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The text of some ids; ``end`` is nothing, a broken character is U+FFFD."""
        ...

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write what `load_tokenizer` needs into a folder (made if it is missing)."""
        ...


def check_several(texts: object) -> None:
    """See to it that texts are several, and not one, whose characters would be taken for texts.

    Raises:
        UserError: it is a string.
    """
    if isinstance(texts, str | bytes):
        raise UserError(
            f"several texts are needed, and {texts[:20]!r} is one; put it into a list: [text]"
        )


def check_texts(texts: Iterable[str]) -> None:
    """See to it that texts can be encoded.

    Raises:
        UserError: one holds half of a surrogate pair.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"text with half of a surrogate pair (U+{ord(text[error.start]):04X}) cannot be "
                "encoded; remove that character"
            ) from None
