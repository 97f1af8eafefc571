"""Bytes as tokens: every byte of UTF-8 is a token, and there is nothing to train.

The vocabulary has one of two sizes:

    257    the ids of the 256 bytes, and 256, which separates documents and ends them; every text
           comes back as it was
    256    the bytes alone, as Radford et al. (2017) had them: byte 10, the line end, separates
           documents, and nothing ends one; a document is stripped, its line ends become blanks, and
           a blank stands before and after it
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from gptjax.data.tokenizers.sentencepiece import cut
from gptjax.data.tokenizers.spans import spans_of_bytes
from gptjax.data.tokenizers.tokenizer import BYTES, check_several, check_texts
from gptjax.errors import UserError
from gptjax.files import read_json

FILE = "bytes.json"
SIZES = WITH_END, AS_PUBLISHED = 257, 256
PAD = " "  # before and after a document


def is_there(folder: Path) -> bool:
    """Whether a folder holds a tokenizer of bytes."""
    return (folder / FILE).exists()


def read(folder: Path) -> "ByteTokenizer":
    """The tokenizer that `ByteTokenizer.save` wrote into a folder."""
    content = read_json(folder / FILE)
    size = content.get("size") if isinstance(content, dict) else None
    if size not in SIZES:
        raise UserError(
            f"{folder / FILE}: its size is {size!r}; known are {WITH_END} and {AS_PUBLISHED}"
        )
    return ByteTokenizer(size)


class ByteTokenizer:
    """Bytes behind the `Tokenizer` interface.

    Args:
        size: of the vocabulary, 257 or 256 (see above).

    Raises:
        UserError: another size.
    """

    end: int | None

    def __init__(self, size: int = WITH_END) -> None:
        if size not in SIZES:
            raise UserError(
                f"`model.vocabulary_size={size}`: with `vocabulary.tokenizer={BYTES}` it must be "
                f"{WITH_END} (the bytes and a separator) or {AS_PUBLISHED} (as in Radford et al. "
                "2017)"
            )
        self.size = size
        self.published = size == AS_PUBLISHED
        self.separator = ord("\n") if self.published else WITH_END - 1
        self.end = None if self.published else self.separator
        self.fingerprint = hashlib.sha256(f"bytes {size}".encode()).hexdigest()

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pieces as `gptjax.data.tokenizers.sentencepiece.cut` makes them, of the prepared text."""
        return cut(_prepared(chunks) if self.published else chunks)

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """Token ids of pieces that `cut` made."""
        check_several(pieces)
        check_texts(pieces)
        return [np.frombuffer(piece.encode(), np.uint8).astype(np.int32) for piece in pieces]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n]; none may hold half of a surrogate pair."""
        check_several(texts)
        if self.published:
            texts = [f"{PAD}{_one_line(text).strip()}{PAD}" for text in texts]
        return self.encode_pieces(texts)

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`; of 256 a text is stripped on the left only, and has no blank after it."""
        check_several(texts)
        if self.published:
            texts = [f"{PAD}{_one_line(text).lstrip()}" for text in texts]
        return self.encode_pieces(texts)

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.spans`: of each byte its character."""
        check_several(texts)
        check_texts(texts)
        return [self._spans(text) for text in texts]

    def _spans(self, text: str) -> np.ndarray:
        if not self.published:
            return spans_of_bytes(text, np.ones(len(text.encode()), np.int32))
        kept = text.strip()
        inside = spans_of_bytes(kept, np.ones(len(kept.encode()), np.int32))
        inside += len(text) - len(text.lstrip()) if kept else 0
        return np.pad(inside, ((1, 1), (0, 0)))

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The text of some ids; the end is nothing, what is no UTF-8 is U+FFFD.

        Of 256 it is without the blank before and after a text; a line end is where the next
        document begins.
        """
        text = bytes(int(i) for i in ids if i != self.end).decode(errors="replace")
        return text.removeprefix(PAD).removesuffix(PAD) if self.published else text

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write bytes.json, which has the size, into a folder (made if it is missing)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"kind": BYTES, "size": self.size}) + "\n"
        (folder / FILE).write_text(content, encoding="utf-8")


def _one_line(text: str) -> str:
    return text.replace("\n", " ")


def _prepared(chunks: Iterable[str]) -> Iterator[str]:
    """The chunks of a document as `ByteTokenizer.encode` prepares it; none if it has no text."""
    waiting, begun = "", False  # white space that may be the document's end
    for chunk in chunks:
        text = _one_line(chunk if begun else chunk.lstrip())
        if text and not begun:
            yield PAD
            begun = True
        kept = text.rstrip()
        if kept:
            yield waiting + kept
            waiting = ""
        waiting += text[len(kept) :]
    if begun:
        yield PAD
