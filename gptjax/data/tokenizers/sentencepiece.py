"""SentencePiece BPE, trained by `gptjax tokenizer`.

Text round-trips: ``decode(encode(text)) == text`` for every Unicode string. Spaces, newlines
and control characters are kept, and nothing in a text becomes a control id.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece

from gptjax.data.tokenizers.spans import spans_of_bytes
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, check_several, check_texts
from gptjax.errors import UserError

SEPARATOR_PIECE = "<|separator|>"
MODEL_FILE = "tokenizer.model"
# SentencePiece writes a space as this character, so that it cannot tell the two apart.
SPACE_SYMBOL = "\u2581"


def cut(chunks: Iterable[str]) -> Iterator[str]:
    """One document, arriving in chunks of any size, as pieces of bounded size.

    A piece ends after the last newline among its first 4,096 characters, else before the last
    space that follows another character, else there. No token reaches across a newline or the
    start of a word, so that (a run of 4,096 characters without either apart) the ids of a
    document are its pieces' ids in a row. The places depend on the text alone, never on how it
    was chunked, and a piece is its own only piece.
    """
    buffer, start = "", 0
    for chunk in chunks:
        buffer, start = buffer[start:] + chunk, 0
        while len(buffer) - start > PIECE_CHARACTERS:
            end = _last_boundary(buffer, start, start + PIECE_CHARACTERS)
            yield buffer[start:end]
            start = end
    if start < len(buffer):
        yield buffer[start:]


def _last_boundary(text: str, start: int, end: int) -> int:
    newline = text.rfind("\n", start, end)
    if newline >= 0:
        return newline + 1
    space = text.rfind(" ", start + 1, end)
    while space > start and text[space - 1] == " ":
        space = text.rfind(" ", start + 1, space)
    return space if space > start else end


class SentencePieceTokenizer:
    """SentencePiece behind the `Tokenizer` interface.

    Args:
        model: the bytes of a .model file.
        name: where they come from, for messages.

    Raises:
        UserError: not a SentencePiece model, no separator in it, or text does not round-trip.
    """

    end: int | None

    def __init__(self, model: bytes, name: str = "the tokenizer") -> None:
        processor = sentencepiece.SentencePieceProcessor()
        try:
            loaded = bool(model) and processor.LoadFromSerializedProto(model)
        except (RuntimeError, OSError, TypeError):
            loaded = False
        if not loaded:
            raise UserError(f"{name} is not a SentencePiece model; give a .model file")
        self._model = model
        self._processor = processor
        self.size = int(processor.vocab_size())
        self.fingerprint = hashlib.sha256(model).hexdigest()
        separator = processor.piece_to_id(SEPARATOR_PIECE)
        if not processor.is_control(separator):  # Another's model: its end of sentence will do.
            separator = processor.eos_id()
        if separator < 0 or not processor.is_control(separator):
            raise UserError(
                f"{name} has no token to put between documents (neither {SEPARATOR_PIECE} nor an "
                "end of sentence); train one with `gptjax tokenizer`"
            )
        self.separator = self.end = int(separator)
        # U+2581 in a text is spelled in bytes around SentencePiece, which would make it a space.
        self._space_symbol = [
            int(processor.piece_to_id(f"<0x{byte:02X}>")) for byte in SPACE_SYMBOL.encode()
        ]
        probe = " A  b\n\n\tc\u00e9e\u0301\U0001f600\ufb01\x00\u2581\r\n </s> "
        if self.decode(self.encode([probe])[0]) != probe:
            raise UserError(
                f"{name} does not give back the text it encodes (it normalises, or has no byte "
                "fallback); train one with `gptjax tokenizer`"
            )

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """See `cut`."""
        return cut(chunks)

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """Token ids of pieces that `cut` made."""
        return self.encode(pieces)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n]; texts are encoded in parallel threads.

        Raises:
            UserError: a text holds half of a surrogate pair, which no encoding can write.
        """
        check_several(texts)
        pieces: list[str] = []
        owners: list[int] = []
        for owner, text in enumerate(texts):
            for piece in cut([text]):
                plain = SPACE_SYMBOL not in piece
                parts = [piece] if plain else re.split(f"({SPACE_SYMBOL})", piece)
                pieces += parts
                owners += [owner] * len(parts)
        gathered: list[list[int]] = [[] for _ in texts]
        threads = max(min(_available_cores(), len(pieces)), 1)
        try:
            encoded = self._processor.encode(pieces, out_type=int, num_threads=threads)
        except (UnicodeEncodeError, TypeError):
            check_texts(pieces)
            raise
        for owner, piece, ids in zip(owners, pieces, encoded, strict=True):
            gathered[owner] += self._space_symbol if piece == SPACE_SYMBOL else ids
        return [np.array(ids, np.int32) for ids in gathered]

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`."""
        return self.encode(texts)

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.spans`: each token stands for so many bytes of the text."""
        encoded = self.encode(texts)
        return [
            spans_of_bytes(text, self._lengths[ids])
            for text, ids in zip(texts, encoded, strict=True)
        ]

    @cached_property
    def _lengths(self) -> np.ndarray:
        """The bytes of each piece, int32 [size]."""
        processor = self._processor
        pieces = [processor.id_to_piece(i).replace(SPACE_SYMBOL, " ") for i in range(self.size)]
        return np.array(
            [1 if processor.is_byte(i) else len(one.encode()) for i, one in enumerate(pieces)],
            np.int32,
        )

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The text of some ids; the separator is nothing, a broken character is U+FFFD."""
        return str(self._processor.decode([int(i) for i in ids]))

    def pieces(self) -> list[tuple[str, float]]:
        """Every piece with its score, in the order of the ids."""
        processor = self._processor
        return [(processor.id_to_piece(i), processor.get_score(i)) for i in range(self.size)]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``tokenizer.model`` into a folder (made if it is missing)."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.write(Path(folder) / MODEL_FILE)

    def write(self, file: Path) -> None:
        """Write the model as one file, whole or not at all."""
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            temporary.write_bytes(self._model)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)


def _available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
