"""The tokenizers of GPT-1 and GPT-2: byte pair encodings of words, and of bytes.

GPT-1's forgets capitals, spaces and what its vocabulary lacks: ``decode(encode(text))`` is a
tidied text. GPT-2's gives every text back.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from gptjax.data.tokenizers import bpe_files
from gptjax.data.tokenizers.bpe_files import Bpe
from gptjax.data.tokenizers.gpt1_text import NEWLINE, ExactWords
from gptjax.data.tokenizers.spans import as_spans, spans_of_prepared
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Mode, check_several, check_texts
from gptjax.errors import UserError
from gptjax.files import read_json

WORD_END = "</w>"  # on the last piece of a word of GPT-1
UNKNOWN = "<unk>"
END_OF_TEXT = "<|endoftext|>"  # between the documents of GPT-2
SETTINGS = "gptjax.json"  # beside vocab.json and merges.txt in a run's folder
# Words whose ids are remembered; English text has a new one about every fifty.
MOST_WORDS = 500_000
_SPACE = re.compile(r"\s+")


def is_there(folder: Path) -> bool:
    """Whether a folder holds a byte pair encoding."""
    return bool(bpe_files.find(folder))


def read(folder: Path, mode: Mode | None = None) -> "Gpt1Tokenizer | Gpt2Tokenizer":
    """The tokenizer of a folder with the files of GPT-1 or GPT-2, told apart by their pieces.

    ``mode`` is that of GPT-1's tokenizer; None is what was saved, else exact.
    """
    bpe = bpe_files.read(folder)
    if NEWLINE + WORD_END in bpe.vocabulary and UNKNOWN in bpe.vocabulary:
        return Gpt1Tokenizer(bpe, mode or _saved_mode(folder))
    if END_OF_TEXT in bpe.vocabulary:
        if mode is not None:
            raise UserError(
                f"`vocabulary.mode={mode}`: is for GPT-1's tokenizer; {folder} is GPT-2's"
            )
        return Gpt2Tokenizer(bpe)
    raise UserError(
        f"{folder}: its vocabulary is neither GPT-1's (with {UNKNOWN} and a line end) nor GPT-2's "
        f"(with {END_OF_TEXT})"
    )


def _saved_mode(folder: Path) -> Mode:
    file = folder / SETTINGS
    if not file.exists():
        return "exact"
    try:
        mode: Mode = read_json(file)["mode"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{file}: cannot be read ({error})") from None
    if mode not in ("exact", "fast"):
        raise UserError(f"{file}: the mode is {mode!r}; known are exact and fast")
    return mode


class _BpeTokenizer:
    """What the two have in common: files, fingerprint, and the merges at work."""

    def __init__(self, bpe: Bpe, settings: dict[str, str], **more: str) -> None:
        self.bpe = bpe
        self.size = len(bpe.vocabulary)
        self._settings = settings
        kind, mode = settings["kind"], settings.get("mode", "")
        content = json.dumps([kind, mode, sorted(bpe.vocabulary.items()), list(bpe.merges)])
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()
        self._encoder = tokenizers.Tokenizer(
            models.BPE(vocab=dict(bpe.vocabulary), merges=list(bpe.merges), **more)
        )

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        found = self._encoder.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.spans`."""
        check_several(texts)
        check_texts(texts)
        found = self._encoder.encode_batch(list(texts), add_special_tokens=False)
        return [as_spans(encoding.offsets) for encoding in found]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write vocab.json, merges.txt and gptjax.json, which names the kind and the mode."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        bpe_files.write(self.bpe, folder)
        settings = json.dumps(self._settings) + "\n"
        (folder / SETTINGS).write_text(settings, encoding="utf-8")


class Gpt1Tokenizer(_BpeTokenizer):
    """GPT-1's tokenizer behind the `Tokenizer` interface.

    *Exact* gives the ids that the released code gave. *Fast* prepares the text by BERT's rules,
    as the hub's fast tokenizer of GPT-1 does. The vocabulary has no token for the end of a text;
    before a document stands the line end.
    """

    end: int | None = None

    def __init__(self, bpe: Bpe, mode: Mode = "exact") -> None:
        settings = {"kind": "gpt1", "mode": mode}
        super().__init__(bpe, settings, unk_token=UNKNOWN, end_of_word_suffix=WORD_END)
        self.mode = mode
        self.separator = bpe.vocabulary[NEWLINE + WORD_END]
        self._pieces = {index: piece for piece, index in bpe.vocabulary.items()}
        self._known: dict[str, list[int]] = {}
        if mode == "exact":
            self._words = ExactWords()
        else:
            self._encoder.normalizer = normalizers.BertNormalizer(lowercase=True)
            self._encoder.pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pieces that begin with a word, after a line end where there is one."""
        return cut_at_spaces(chunks, after_space)

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """Token ids of pieces that `cut` made.

        The line end after a piece is kept, also after the last one: `encode` has none around a
        text, as the original, but in a corpus it ends the last paragraph.
        """
        encoded = self.encode(pieces)
        if self.mode == "fast":  # There line ends are none anywhere.
            return encoded
        line_end = np.array([self.separator], np.int32)
        return [
            np.concatenate([ids, line_end]) if NEWLINE in piece[len(piece.rstrip()) :] else ids
            for piece, ids in zip(pieces, encoded, strict=True)
        ]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n]; line ends around it are none.

        Raises:
            UserError: a text holds half of a surrogate pair; the mode is exact, and its libraries
                are not installed.
        """
        check_several(texts)
        check_texts(texts)
        if self.mode == "exact":
            return [self._encode_words(self._words(text)) for text in texts]
        return [np.array(ids, np.int32) for ids in self._encode(texts)]

    def _encode_words(self, words: Sequence[str]) -> np.ndarray:
        if len(self._known) > MOST_WORDS:
            self._known.clear()
        known = self._known
        if new := [word for word in dict.fromkeys(words) if word not in known]:
            known.update(zip(new, self._encode(new), strict=True))
        return np.array([i for word in words for i in known[word]], np.int32)

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`."""
        return self.encode(texts)

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.spans`. An exact text is matched with what was made of it, character by
        character."""
        if self.mode == "fast":
            return super().spans(texts)
        check_several(texts)
        check_texts(texts)
        return [self._exact_spans(text) for text in texts]

    def _exact_spans(self, text: str) -> np.ndarray:
        words = self._words(text)
        lengths: list[int] = []
        for word in words:
            pieces = [self._pieces[int(i)] for i in self._encode_words([word])]
            # An unknown token is a character. It is one of those that the word has.
            own = [1 if one == UNKNOWN else len(one.removesuffix(WORD_END)) for one in pieces]
            assert sum(own) == len(word), (word, pieces)
            lengths += own
        return spans_of_prepared(text, "".join(words), lengths)

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The text of some ids, in lower case, with a space after every word but at line ends."""
        text = "".join(self._pieces[int(i)] for i in ids).replace(WORD_END, " ")
        return re.sub(r" ?\n ?", "\n", text)


class Gpt2Tokenizer(_BpeTokenizer):
    """GPT-2's tokenizer behind the `Tokenizer` interface: it works on bytes, and loses nothing."""

    end: int | None

    def __init__(self, bpe: Bpe) -> None:
        # Without END_OF_TEXT among the added tokens: in a text it is text.
        super().__init__(bpe, {"kind": "gpt2"})
        self.separator = self.end = bpe.vocabulary[END_OF_TEXT]
        self._encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._encoder.decoder = decoders.ByteLevel()

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pieces that begin with a single space or line end before a word."""
        return cut_at_spaces(chunks, _before_single_space)

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """Token ids of pieces that `cut` made."""
        return self.encode(pieces)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n]; none may hold half of a surrogate pair."""
        check_several(texts)
        check_texts(texts)
        return [np.array(ids, np.int32) for ids in self._encode(texts)]

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`."""
        return self.encode(texts)

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The text of some ids; the separator is nothing, a broken character is U+FFFD."""
        return self._encoder.decode([int(i) for i in ids if i != self.end])


Place = Callable[[re.Match[str]], tuple[int, int] | None]


def after_space(space: re.Match[str]) -> tuple[int, int]:
    """A place for `cut_at_spaces`: where a word begins, better after a line end."""
    return (NEWLINE in space[0], space.end())


def _before_single_space(space: re.Match[str]) -> tuple[int, int] | None:
    return (0, space.start()) if space.end() - space.start() == 1 else None


def cut_at_spaces(chunks: Iterable[str], place: Place) -> Iterator[str]:
    """Pieces that end at white space, where ``place`` says (how good, where), the last of the best.

    A piece has at most so many characters, unless there is no place among them; then it ends at
    the next one, or, if there is none within sixteen times as many, after so many.
    """
    buffer, look = "", 16 * PIECE_CHARACTERS
    for chunk in chunks:
        buffer += chunk
        start = 0
        while len(buffer) - start > look:
            end = start + _end_of_piece(buffer[start : start + look], place)
            yield buffer[start:end]
            start = end
        buffer = buffer[start:]
    while len(buffer) > PIECE_CHARACTERS:
        end = _end_of_piece(buffer, place)
        yield buffer[:end]
        buffer = buffer[end:]
    if buffer:
        yield buffer


def _end_of_piece(text: str, place: Place) -> int:
    near: tuple[int, int] | None = None
    for space in _SPACE.finditer(text):
        found = place(space)
        if found is None or found[1] == 0 or space.end() == len(text):
            continue
        if found[1] <= PIECE_CHARACTERS:
            near = max(near or found, found)
        else:
            return near[1] if near else found[1]
    return near[1] if near else PIECE_CHARACTERS
