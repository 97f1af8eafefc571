"""A corpus as one long array of token ids: prepared once, split by document, counted."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gptjax.config import cache_folder
from gptjax.data.tables.lines import FileReading
from gptjax.data.text import holding
from gptjax.data.text.cache import EncodedCorpus, encoded
from gptjax.data.text.documents import Source, Sources
from gptjax.data.text.markup import Unescaped
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.sources import open_source
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError


@dataclass(frozen=True)
class Corpus:
    """Some documents of an encoded corpus.

    Document i is ``tokens[starts[i]:ends[i]]``. Its first token is context only (the separator;
    for the held-back end of a single document, the token before), so that every token of the
    text has something to be predicted from and counts once.
    """

    name: str  # what the user called the data
    tokens: np.ndarray  # uint16 or uint32 [N], memory-mapped; of other documents too
    starts: np.ndarray  # int64 [D]
    ends: np.ndarray  # int64 [D]
    closed: np.ndarray  # bool [D], whether the document's text ends there; False where it is cut
    separator: int  # the id between documents
    vocabulary_size: int
    bytes: int  # of the documents' text in UTF-8 (after CRLF became LF)
    words: int  # of the documents' text, split at white space
    dropped: Mapping[str, int]  # documents of the whole data that were left out, by reason
    fingerprint: str  # sha256 of the data, tokenizer, settings and choice of documents
    earlier: str  # the same with the files' names, as runs recorded it at first
    origins: list[tuple[int, str]]  # (first document, file) in the whole data, for messages
    indices: np.ndarray  # int64 [D], each document's number in the whole data
    files: Mapping[str, str]  # of the whole data, name -> size and hash

    @property
    def num_documents(self) -> int:
        """How many documents."""
        return len(self.starts)

    @property
    def num_tokens(self) -> int:
        """How many tokens of text, separators not counted."""
        return int((self.ends - self.starts - 1).sum())

    def __str__(self) -> str:
        dropped = "".join(f", {n:,} {why} left out" for why, n in self.dropped.items() if n)
        return (
            f"{self.name}: {self.num_documents:,} documents, {self.num_tokens:,} tokens, "
            f"{self.words:,} words, {self.bytes:,} bytes{dropped}"
        )

    def locate(self, position: int) -> str:
        """The file, document and token that a position of ``tokens`` is, for messages."""
        document = int(np.searchsorted(self.starts, position, side="right")) - 1
        offset = position - int(self.starts[document])
        return f"{self.origin(int(self.indices[document]))} token {offset}"

    def origin(self, index: int) -> str:
        """The file, and the document in it, that has this number in the whole data."""
        firsts = [first for first, _ in self.origins]
        first, file = self.origins[bisect_right(firsts, index) - 1]
        return f"{file} document {index - first}"


def predicts_end(config: CorpusConfig, tokenizer: Tokenizer) -> bool:
    """Whether the ends of documents are predicted; a UserError where they cannot be."""
    if config.predict_end and tokenizer.end is None:
        raise UserError(
            "`corpus.predict_end`: the tokenizer has no token for the end of a text (GPT-1's has "
            "none); leave the setting out, or take another tokenizer"
        )
    return tokenizer.end is not None if config.predict_end is None else config.predict_end


def prepare(
    config: CorpusConfig, tokenizer: Tokenizer, sources: Sources | None = None
) -> tuple[Corpus, Corpus]:
    """Encode the training and validation text, once, and open both.

    Without validation text, documents are held back: in an order that depends on their number
    alone, until they make up ``validation_fraction`` of the tokens. Documents that would
    overshoot twofold are passed over, and the shortest is taken if all would. Where that comes to
    less than half or more than twice the share, the end of the longest document is held back
    instead, unless ``hold_back`` is documents. Of a single document it always is the end. An end is
    cut at a piece (about 4,096 characters), after a line if it can. Without ``sources`` the
    settings say where the documents are from.

    Raises:
        UserError: bad data (see `gptjax.data.text.sources.open_source`), nothing trainable, nothing
            that can be held back, or a cache that cannot be written.
    """
    sources = open_sources(config) if sources is None else sources
    train = _encode(sources.train, tokenizer, config, "encoding")
    if (source := sources.validation) is not None:
        valid = _encode(source, tokenizer, config, "encoding validation")
        return _select(train, config.data, tokenizer), _select(valid, source.name, tokenizer)
    bounds, fraction = _bounds(train), config.validation_fraction
    total, lengths = bounds[-1, 0], np.diff(bounds[:, 0])
    longest, name = int(np.argmax(lengths)), config.data
    if len(lengths) == 1:
        if len(train.pieces) < 2:
            raise UserError(
                f"`data={name}`: a single document of {int(bounds[1, 1]):,} bytes is too short "
                "to hold some of it back; give more text, or set `corpus.validation`"
            )
        cut = holding.last_pieces(train, 0, (1 - fraction) * total)
        return _without_end(train, name, tokenizer, 0, cut)
    held = holding.whole_documents(lengths, fraction)
    if config.hold_back != "documents":
        cut = holding.last_pieces(train, longest, bounds[longest + 1, 0] - fraction * total)
        tokens = lengths[held].sum(), bounds[longest + 1, 0] - cut[0]
        if holding.end_is_better(*(count / total / fraction for count in tokens)):
            return _without_end(train, name, tokenizer, longest, cut)
    kept = np.delete(np.arange(len(lengths)), held)
    return _select(train, name, tokenizer, kept), _select(train, name, tokenizer, held)


def held_back(train: Corpus, valid: Corpus, config: CorpusConfig) -> str:
    """One line for people: what `prepare` held back, and how much of the tokens that is."""
    share = valid.num_tokens / max(train.num_tokens + valid.num_tokens, 1)
    line = f"held back to validate: {share:.1%} of the tokens, "
    if np.isin(valid.indices, train.indices).any():
        name = valid.origin(int(valid.indices[0])).removesuffix(" document 0")  # mostly a file
        line += f"the end of {name}"
    else:
        line += f"{valid.num_documents:,} whole document{'s'[: valid.num_documents > 1]}"
    if not 1 / 2 <= share / config.validation_fraction <= 2:
        line += (
            f" (`corpus.validation_fraction` asks for {config.validation_fraction:.1%}, but the "
            "documents are too few or too short; give more text, or set `corpus.validation`)"
        )
    return line


def check(config: CorpusConfig) -> None:
    """Refuse what can be refused before any text is read: a share, or files that are not there."""
    if config.validation is None:
        if not 0 < config.validation_fraction < 1:
            raise UserError(
                f"`corpus.validation_fraction={config.validation_fraction}`: it must be above 0 "
                "and below 1"
            )
    elif config.validation.partition(":")[0] not in ("embedded", "hub"):
        open_source_of(config, "validation")
    if config.data.partition(":")[0] not in ("embedded", "hub"):
        open_source_of(config)


def prepare_whole(
    config: CorpusConfig, tokenizer: Tokenizer, source: Source | None = None
) -> Corpus:
    """Encode a text, once, and open all of it: nothing is held back. Raises as `prepare`."""
    source = open_source_of(config) if source is None else source
    data = _encode(source, tokenizer, config, "encoding")
    return _select(data, config.data, tokenizer)


def open_source_of(config: CorpusConfig, split: Literal["train", "validation"] = "train") -> Source:
    """The training or the validation documents, to be read."""
    data = config.data if split == "train" else config.validation
    assert data is not None
    return open_source(
        data,
        config.text_column,
        config.encoding_errors,
        split,
        encoding=config.encoding,
        sheet=config.sheet,
        suffixes=config.suffixes,
        follow_links=config.follow_links is not False,
    )


def open_sources(config: CorpusConfig) -> Sources:
    """The documents that the settings name, to be read. Raises what `check` raises."""
    check(config)
    valid = None if config.validation is None else open_source_of(config, "validation")
    return Sources(open_source_of(config), valid)


def as_read(source: Source, config: CorpusConfig) -> Source:
    """The documents as the settings want them."""
    return Unescaped(source) if config.unescape_html else source


def _encode(
    source: Source, tokenizer: Tokenizer, config: CorpusConfig, label: str
) -> EncodedCorpus:
    settings: dict[str, Any] = {
        "text_column": config.text_column,
        "encoding_errors": config.encoding_errors,
    }
    # Only where they are not as usual, so that corpora from before there was a choice stay valid.
    if not (reading := FileReading(config.encoding)).is_utf8:
        settings["encoding"] = reading.encoding
    if config.sheet is not None:
        settings["sheet"] = config.sheet
    if config.suffixes:
        settings["suffixes"] = sorted(config.suffixes)
    if config.unescape_html:
        settings["unescape_html"] = True
    cache = Path(config.cache).expanduser() if config.cache else cache_folder()
    found = encoded(as_read(source, config), tokenizer, settings, cache, label)
    return replace(found, dropped={**found.dropped, **source.left_out})


def _select(
    data: EncodedCorpus, name: str, tokenizer: Tokenizer, chosen: np.ndarray | None = None
) -> Corpus:
    """The chosen documents (sorted numbers; None: all) of an encoded corpus."""
    numbers = np.arange(len(data.documents))
    chosen = numbers if chosen is None else chosen.astype(np.int64)
    whole = len(chosen) == len(numbers)
    choice = "" if whole else hashlib.sha256(chosen.tobytes()).hexdigest()
    bounds = _bounds(data)
    return _corpus(data, name, tokenizer, bounds[chosen], bounds[chosen + 1], choice, chosen)


def _bounds(data: EncodedCorpus) -> np.ndarray:
    """Tokens, bytes and words before each document, and after the last one, int64 [D + 1, 3]."""
    return np.concatenate([np.zeros((1, 3), np.int64), data.pieces[data.documents - 1]])


def _without_end(
    data: EncodedCorpus, name: str, tokenizer: Tokenizer, number: int, cut: np.ndarray
) -> tuple[Corpus, Corpus]:
    """All the documents, one without its end; and that end, with a token before it as context."""
    bounds = _bounds(data)
    starts, ends = bounds[:-1], bounds[1:].copy()
    start, end = cut - np.array([1, 0, 0]), bounds[number + 1]
    ends[number] = cut
    whole = f"0:{cut[0]}" if len(starts) == 1 else f"without {cut[0]}:{end[0]}"
    numbers = np.arange(len(starts))
    return (
        _corpus(data, name, tokenizer, starts, ends, whole, numbers),
        _corpus(
            data,
            name,
            tokenizer,
            start[None],
            end[None],
            f"{start[0]}:{end[0]}",
            np.array([number]),
        ),
    )


def _corpus(
    data: EncodedCorpus,
    name: str,
    tokenizer: Tokenizer,
    starts: np.ndarray,
    ends: np.ndarray,
    choice: str,
    indices: np.ndarray,
) -> Corpus:
    """Documents by the tokens, bytes and words before and up to the end of each, int64 [D, 3]."""
    _, num_bytes, num_words = (ends - starts).sum(axis=0)
    whole = np.asarray(data.pieces[data.documents - 1, 0])
    return Corpus(
        name=name,
        tokens=data.tokens,
        starts=starts[:, 0].copy(),
        ends=ends[:, 0].copy(),
        closed=np.isin(ends[:, 0], whole),
        separator=tokenizer.separator,
        vocabulary_size=tokenizer.size,
        bytes=int(num_bytes),
        words=int(num_words),
        dropped=data.dropped,
        fingerprint=hashlib.sha256((data.content + choice).encode()).hexdigest(),
        earlier=hashlib.sha256((data.fingerprint + choice).encode()).hexdigest(),
        files=data.files,
        origins=data.origins,
        indices=indices,
    )
