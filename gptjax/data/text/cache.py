"""Encoded corpora on disk: written once, atomically; checked whole whenever they are opened.

A folder per corpus, named by the hash of everything that decides its content:

    tokens.bin     uint16 or uint32 [N]: each document's ids, preceded by one separator
    pieces.bin     int64 [P, 3]: tokens, UTF-8 bytes and words up to each piece's end
    documents.bin  int64 [D]: pieces up to each document's end
    meta.json      counts, fingerprints, and size and CRC-32 of the files above
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from gptjax.data.text.control import checked
from gptjax.data.text.documents import Document, Source
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Tokenizer
from gptjax.errors import UserError
from gptjax.screen import progress_bar

# Raised whenever the files' layout or meaning changes.
FORMAT = 1
# Characters encoded at once: enough for all threads, and all that is held in memory.
BATCH_CHARACTERS = 1 << 21
BLOCK_BYTES = 1 << 22
FILES = ("tokens.bin", "pieces.bin", "documents.bin")
# None: no bar where nobody sees it.
BAR: dict[str, Any] = {"unit": "B", "unit_scale": True, "mininterval": 0.5}


@dataclass(frozen=True)
class EncodedCorpus:
    """An encoded corpus: its three files, memory-mapped, and what `meta.json` says."""

    tokens: np.ndarray
    pieces: np.ndarray
    documents: np.ndarray
    origins: list[tuple[int, str]]  # (first document, file or other origin)
    dropped: dict[str, int]  # documents left out, by reason
    fingerprint: str  # of the data, the tokenizer and the settings, and of the files' names
    content: str = ""  # the same without the names
    files: Mapping[str, str] = field(default_factory=dict)  # name -> size and hash


def encoded(
    source: Source, tokenizer: Tokenizer, settings: dict[str, Any], cache: Path, label: str
) -> EncodedCorpus:
    """Open an encoded corpus from the cache, encoding it first if need be.

    Processes that want the same corpus at the same time encode it once. A folder that is torn
    or altered is encoded again. ``settings`` are whatever else decides the content; ``label`` is
    what the progress bar says.

    Raises:
        UserError: the cache cannot be written, the disk is full, or no document has text.
    """
    digest = source.digest()
    identity = {
        "format": FORMAT,
        "data": digest.named,
        "tokenizer": tokenizer.fingerprint,
        "piece_characters": PIECE_CHARACTERS,
        **settings,
    }
    key, content = _hash(identity), _hash({**identity, "data": digest.content})
    folder = cache / "corpus" / key[:32]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            found = _open(folder, key)
            if found is None:
                _write(folder, key, source, tokenizer, label)
                found = _open(folder, key)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            problem = "the disk is full; free some space"
        else:
            problem = f"cannot be written ({error.strerror or error}); check its permissions"
        raise UserError(
            f"cache folder {cache}: {problem}, or choose another folder with the environment "
            "variable GPTJAX_CACHE"
        ) from error
    if found is None:
        raise UserError(f"{folder}: what was written reads differently; check the disk")
    return replace(found, content=content, files=digest.files)


def _hash(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _open(folder: Path, key: str) -> EncodedCorpus | None:
    """The corpus in a folder, or None if it is missing or not what was written."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        checksum = meta.pop("crc32", None)  # which those of older versions do not have
        if meta["fingerprint"] != key or checksum not in (None, _checksum_of(meta)):
            return None
        if any(_checksum(folder / name) != meta["files"][name] for name in FILES):
            return None
        return EncodedCorpus(
            tokens=np.memmap(folder / "tokens.bin", meta["dtype"], "r"),
            pieces=np.memmap(folder / "pieces.bin", np.int64, "r").reshape(-1, 3),
            documents=np.memmap(folder / "documents.bin", np.int64, "r"),
            origins=[(int(first), name) for first, name in meta["origins"]],
            dropped=meta["dropped"],
            fingerprint=key,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _checksum_of(meta: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(meta, sort_keys=True).encode())


def _checksum(file: Path) -> list[int]:
    # Read, not mapped: the pages of a map would count as this process's memory.
    crc = size = 0
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return [size, crc]


def _write(folder: Path, key: str, source: Source, tokenizer: Tokenizer, label: str) -> None:
    # One name, under the lock: what a killed process left is removed by the next.
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context((temporary / name).open("wb")) for name in FILES]
            bar = stack.enter_context(progress_bar(source.total_bytes, desc=label, **BAR))
            writer = _Writer(streams, tokenizer, bar)
            for document in checked(source.documents()):
                writer.add(document)
            writer.flush()
            for stream in streams:
                stream.flush()
                os.fsync(stream.fileno())
        if not writer.document_count:
            raise UserError(
                f"`data={source.name}`: has no text, "
                f"{writer.dropped['empty']:,} empty documents; name a file or folder with text"
            )
        meta: dict[str, Any] = {
            "fingerprint": key,
            "source": source.name,
            "dtype": writer.dtype.name,
            "origins": writer.origins,
            "dropped": writer.dropped,
            "files": {name: _checksum(temporary / name) for name in FILES},
        }
        meta["crc32"] = _checksum_of(json.loads(json.dumps(meta)))
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        if folder.exists():  # It did not pass the check.
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Writer:
    """Documents in, the three files out; holds about one batch of text in memory."""

    def __init__(self, streams: Sequence[BinaryIO], tokenizer: Tokenizer, bar: tqdm) -> None:
        self.dtype = np.dtype(np.uint16 if tokenizer.size <= 1 << 16 else np.uint32)
        self.document_count = 0
        self.dropped = {"empty": 0}
        self.origins: list[tuple[int, str]] = []
        self._tokens, self._pieces, self._documents = streams
        self._tokenizer = tokenizer
        self._bar = bar
        self._separator = np.array([tokenizer.separator], np.int32)
        self._texts: list[str] = []
        self._starts: list[bool] = []
        self._ends: list[int] = []
        self._characters = 0
        self._in_word = False  # whether the last piece ends in the middle of a word
        self._piece_count = 0
        self._totals = np.zeros(3, np.int64)

    def add(self, document: Document) -> None:
        """Take in a document."""
        before = self._piece_count
        for piece in self._tokenizer.cut(_with_text(document.chunks)):
            self._starts.append(self._piece_count == before)
            self._texts.append(piece)
            self._characters += len(piece)
            self._piece_count += 1
            if self._characters >= BATCH_CHARACTERS:
                self.flush()
        if self._piece_count == before:
            self.dropped["empty"] += 1
            return
        if not self.origins or self.origins[-1][1] != document.origin:
            self.origins.append((self.document_count, document.origin))
        self._ends.append(self._piece_count)
        self.document_count += 1

    def flush(self) -> None:
        """Encode and write what is held."""
        ids = self._tokenizer.encode_pieces(self._texts)
        parts: list[np.ndarray] = []
        counts = np.zeros((len(ids), 3), np.int64)
        for i, (text, start, piece) in enumerate(zip(self._texts, self._starts, ids, strict=True)):
            if start:
                parts.append(self._separator)
            parts.append(piece)
            # A word that is cut is one word, counted with its beginning.
            goes_on = self._in_word and not start and not text[:1].isspace()
            counts[i] = len(piece) + start, len(text.encode()), len(text.split()) - goes_on
            self._in_word = not text[-1:].isspace()
        if parts:
            self._tokens.write(np.concatenate(parts).astype(self.dtype).tobytes())
            ends = self._totals + np.cumsum(counts, axis=0)
            self._pieces.write(ends.tobytes())
            self._totals = ends[-1]
        self._documents.write(np.array(self._ends, np.int64).tobytes())
        self._texts, self._starts, self._ends, self._characters = [], [], [], 0
        self._bar.update(int(counts[:, 1].sum()))


def _with_text(chunks: Iterator[str]) -> Iterator[str]:
    """The same chunks, or none at all if there is nothing but white space in them."""
    blank: list[str] = []
    for chunk in chunks:
        blank.append(chunk)
        if not chunk.isspace() and chunk:
            yield from blank
            yield from chunks
            return
