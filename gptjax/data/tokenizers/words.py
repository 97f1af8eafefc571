"""Words as tokens: the most frequent ones of a text, and one token for all others.

A word is a run of letters, marks, digits and underscores, with apostrophes inside of it; every
other character that is not white space is a word by itself. White space and, as a rule, capitals
are forgotten: ``decode(encode(text))`` is a tidied text, with ``<unk>`` for each unknown word.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from gptjax.data.tokenizers.bpe import after_space, cut_at_spaces
from gptjax.data.tokenizers.spans import as_spans, no_spans
from gptjax.data.tokenizers.tokenizer import WORDS, check_several, check_texts
from gptjax.errors import UserError
from gptjax.files import read_json

FILE = "words.json"
# Neither can be a word of a text, where each of these marks stands alone.
UNKNOWN, SEPARATOR = "<unk>", "<|separator|>"
PATTERN = r"\w+(?:['\u2019]\w+)*|[^\w\s]"
# Marks without a blank before them, and without one after them.
CLOSING = frozenset(".,;:!?%)]}'\u2019\u201d\u2026-/")
OPENING = frozenset("([{\u2018\u201c$#-/")
QUOTE = '"'  # opens and closes by turns


@dataclass(frozen=True)
class CountingReport:
    """How a vocabulary of words was made."""

    size: int  # number of ids
    words: int  # of the text
    different: int  # of them
    unknown: int  # words of the text that have no id of their own

    def __str__(self) -> str:
        return (
            f"tokenizer: {self.size:,} tokens, for the most frequent of {self.different:,} "
            f"different words; {self.unknown / self.words:.2%} of the text's {self.words:,} words "
            f"are {UNKNOWN}"
        )


def train_words(
    documents: Iterable[Iterable[str]], size: int, lower_case: bool = True
) -> tuple["WordTokenizer", CountingReport]:
    """The words of documents, counted; the same text gives the same ids.

    Ids: 0 unknown, 1 separator and end, then words, the most frequent first, and of equally
    frequent ones in the order of their characters. A document is an iterable of chunks of text.

    Raises:
        UserError: no text, not enough different words for so many tokens, or less than 3 tokens.
    """
    setting = "(`model.vocabulary_size`, or `vocab_size` of gptjax tokenizer)"
    if size < 3:
        raise UserError(
            f"a vocabulary of {size:,} tokens is too small; it needs at least 3, for {UNKNOWN}, "
            f"the separator and a word {setting}"
        )
    split = _Words(lower_case)
    found: Counter[str] = Counter()
    for document in documents:
        for piece in cut_at_spaces(document, after_space):
            found.update(split(piece))
    if not found:
        raise UserError("no text to count the words of; name a corpus that has some")
    if len(found) + 2 < size:
        raise UserError(
            f"a vocabulary of {size:,} tokens is too large for this text; the largest possible is "
            f"{len(found) + 2:,} {setting}"
        )
    order = sorted(found, key=lambda word: (-found[word], word))
    kept = order[: size - 2]
    words = found.total()
    unknown = words - sum(found[word] for word in kept)
    tokenizer = WordTokenizer([UNKNOWN, SEPARATOR, *kept], lower_case)
    return tokenizer, CountingReport(size, words, len(found), unknown)


def all_words(texts: Iterable[str]) -> "WordTokenizer":
    """All words of some texts, with their capitals, in the order of their characters.

    It is for a model that reads each word by its characters, of which none is too rare.
    """
    split = _Words(lower_case=False)
    found = sorted({word for text in texts for word in split(text)})
    return WordTokenizer([UNKNOWN, SEPARATOR, *found], lower_case=False)


def is_there(folder: Path) -> bool:
    """Whether a folder holds a tokenizer of words."""
    return (folder / FILE).exists()


def read(file: Path) -> "WordTokenizer":
    """The tokenizer that `WordTokenizer.write` wrote into a file, checked."""
    content = read_json(file)
    if not isinstance(content, Mapping) or content.get("kind") != WORDS:
        raise UserError(f"{file}: is no vocabulary of words, as `gptjax tokenizer` writes one")
    words, lower_case = content.get("words"), content.get("lower_case")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UserError(f"{file}: `words` is no list of words")
    if not isinstance(lower_case, bool):
        raise UserError(f"{file}: `lower_case` is neither true nor false")
    if words[:2] != [UNKNOWN, SEPARATOR] or len(set(words)) < len(words):
        raise UserError(
            f"{file}: its words do not begin with {UNKNOWN} and {SEPARATOR}, or one is there twice"
        )
    return WordTokenizer(words, lower_case)


class _Words:
    """The words of a text."""

    def __init__(self, lower_case: bool) -> None:
        self.normalizer = normalizers.Lowercase() if lower_case else None
        self.splitter = pre_tokenizers.Split(Regex(PATTERN), "removed", invert=True)

    def __call__(self, text: str) -> list[str]:
        check_texts([text])
        if self.normalizer is not None:
            text = self.normalizer.normalize_str(text)
        return [word for word, _ in self.splitter.pre_tokenize_str(text)]


class WordTokenizer:
    """Words behind the `Tokenizer` interface.

    Args:
        words: by id; the first two are the unknown and the separator.
        lower_case: whether capitals are read as small letters.
    """

    end: int | None

    def __init__(self, words: Sequence[str], lower_case: bool) -> None:
        self.words, self.lower_case = tuple(words), lower_case
        self.size = len(self.words)
        self.unknown, self.separator = 0, 1
        self.end = self.separator
        content = json.dumps([WORDS, PATTERN, lower_case, self.words])
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()
        vocabulary = {word: number for number, word in enumerate(self.words)}
        self._encoder = tokenizers.Tokenizer(models.WordLevel(vocabulary, UNKNOWN))
        split = _Words(lower_case)
        self._encoder.pre_tokenizer = split.splitter
        if split.normalizer is not None:
            self._encoder.normalizer = split.normalizer

    def cut(self, chunks: Iterable[str]) -> Iterator[str]:
        """Pieces that begin with a word, after a line end where there is one."""
        return cut_at_spaces(chunks, after_space)

    def encode_pieces(self, pieces: Sequence[str]) -> list[np.ndarray]:
        """Token ids of pieces that `cut` made."""
        check_several(pieces)
        check_texts(pieces)
        found = self._encoder.encode_batch_fast(list(pieces), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in found]

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, int32 [n]; none may hold half of a surrogate pair."""
        check_several(texts)
        # A run of thousands of letters is cut here, too, where it would be in a document.
        pieces = [list(self.cut([text])) for text in texts]
        flat = iter(self.encode_pieces([piece for own in pieces for piece in own]))
        empty = np.zeros(0, np.int32)
        return [np.concatenate([empty, *(next(flat) for _ in own)]) for own in pieces]

    def spans(self, texts: Sequence[str]) -> list[np.ndarray]:
        """See `Tokenizer.spans`."""
        check_several(texts)
        check_texts(texts)
        found = []
        for text in texts:
            spans, start = [no_spans()], 0
            for piece in self.cut([text]):
                offsets = self._encoder.encode(piece, add_special_tokens=False).offsets
                spans.append(as_spans(offsets) + np.int32(start))
                start += len(piece)
            found.append(np.concatenate(spans))
        return found

    def encode_beginnings(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As `encode`: the last word is taken for a whole one."""
        return self.encode(texts)

    def decode(self, ids: Iterable[int | np.integer] | np.ndarray) -> str:
        """The words of some ids with a blank between two; the separator is nothing.

        No blank stands before a closing mark such as a comma, nor after an opening one such as a
        bracket, nor around a hyphen or a slash. A straight quotation mark opens and closes by
        turns. What is decoded never changes by further ids.
        """
        parts: list[str] = []
        after_opening, quoted = True, False
        for i in ids:
            if i == self.end:
                continue
            word = self.words[int(i)]
            closes = word in CLOSING or (word == QUOTE and quoted)
            parts += [word] if after_opening or closes else [" ", word]
            if word == QUOTE:
                quoted = not quoted
            after_opening = word in OPENING or (word == QUOTE and quoted)
        return "".join(parts)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``words.json`` into a folder (made if it is missing)."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.write(Path(folder) / FILE)

    def write(self, file: Path) -> None:
        """Write the vocabulary as one file of JSON, a word a line, whole or not at all."""
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        content = {"kind": WORDS, "lower_case": self.lower_case, "words": self.words}
        try:
            text = json.dumps(content, ensure_ascii=False, indent=0) + "\n"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
