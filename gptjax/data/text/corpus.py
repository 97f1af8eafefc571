"""A corpus as one long array of token ids: prepared once, split by document, counted."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from gptjax.config import alias, cache_folder
from gptjax.data.tables.lines import EncodingErrors
from gptjax.data.text.cache import EncodedCorpus, encoded
from gptjax.data.text.documents import Source
from gptjax.data.text.sources import open_source
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer, VocabularyConfig
from gptjax.data.tokenizers.train import TrainingReport, train_sentencepiece
from gptjax.errors import UserError

COUNT_BLOCK = 1 << 22


@dataclass(frozen=True)
class CorpusConfig:
    """Which text is trained on and which is held back."""

    data: Annotated[str, alias("--data")] = "embedded"
    """Training text: a .txt file or a folder of them (a file is a document), .jsonl, .parquet,
    .csv or .tsv with a text column (a row is a document), hub:ID[:CONFIG][@REVISION], or
    embedded (Python's own documentation, always there)."""
    validation: str | None = None
    """Validation text, in the same forms. Absent: some of the training documents are held
    back."""
    validation_fraction: float = 0.05
    """Share of the tokens to hold back (0 to 1, at least one document) when no validation text
    is given. Of a single document, its end."""
    text_column: Annotated[str, alias("--text-column")] = "text"
    """Name of the column with the text, where the data has columns."""
    encoding_errors: Annotated[EncodingErrors, alias("--encoding-errors")] = "strict"
    """What to do with bytes that are not UTF-8 and with NUL characters: refuse the file, or
    replace them by U+FFFD."""
    short_documents: Literal["pad", "pack", "cross"] = "pad"
    """What fills a window where a document ends: padding; other documents' ends, each after a
    separator (pack); or whatever document comes next (cross: all text is one stream, windows
    cross documents)."""
    cache: str | None = None
    """Folder for encoded corpora. Absent: $GPTJAX_CACHE, or ~/.cache/gptjax."""


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
    separator: int  # the id between documents
    vocabulary_size: int
    bytes: int  # of the documents' text in UTF-8 (after CRLF became LF)
    words: int  # of the documents' text, split at white space
    dropped: Mapping[str, int]  # documents of the whole data that were left out, by reason
    fingerprint: str  # sha256 of the data, tokenizer, settings and choice of documents
    origins: list[tuple[int, str]]  # (first document, file) in the whole data, for messages
    indices: np.ndarray  # int64 [D], each document's number in the whole data

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
        index = int(self.indices[document])
        firsts = [first for first, _ in self.origins]
        first, file = self.origins[bisect_right(firsts, index) - 1]
        offset = position - int(self.starts[document])
        return f"{file} document {index - first} token {offset}"


def prepare(config: CorpusConfig, tokenizer: Tokenizer) -> tuple[Corpus, Corpus]:
    """Encode the training and validation text, once, and open both.

    Without validation text, documents are held back: in an order that depends on their number
    alone, until they make up ``validation_fraction`` of the tokens. Documents that would
    overshoot twofold are passed over, and the shortest is taken if all would. Of a single
    document the end is held back, cut at a piece (about 4,096 characters) that ends with a line
    if it can.

    Raises:
        UserError: bad data (see `gptjax.data.text.sources.open_source`), nothing trainable, nothing
            that can be held back, or a cache that cannot be written.
    """
    train = _encode(open_source_of(config), tokenizer, config, "encoding")
    if config.validation is not None:
        source = open_source(
            config.validation, config.text_column, config.encoding_errors, split="validation"
        )
        valid = _encode(source, tokenizer, config, "encoding validation")
        return _select(train, config.data, tokenizer), _select(valid, config.validation, tokenizer)
    if not 0 < config.validation_fraction < 1:
        raise UserError(
            f"`corpus.validation_fraction={config.validation_fraction}` is not between 0 and 1"
        )
    if len(train.documents) == 1:
        return _cut_tail(train, config, tokenizer)
    lengths = np.diff(np.asarray(train.pieces[train.documents - 1, 0]), prepend=0)
    held = _hold_back(lengths, config.validation_fraction)
    kept = np.delete(np.arange(len(lengths)), held)
    return (
        _select(train, config.data, tokenizer, kept),
        _select(train, config.data, tokenizer, held),
    )


def prepare_whole(config: CorpusConfig, tokenizer: Tokenizer) -> Corpus:
    """Encode a text, once, and open all of it: nothing is held back. Raises as `prepare`."""
    data = _encode(open_source_of(config), tokenizer, config, "encoding")
    return _select(data, config.data, tokenizer)


def open_source_of(config: CorpusConfig) -> Source:
    """The training documents, to be read."""
    return open_source(config.data, config.text_column, config.encoding_errors)


def prepare_tokenizer(
    vocabulary: VocabularyConfig, size: int, corpus: CorpusConfig
) -> tuple[Tokenizer, TrainingReport | None]:
    """The tokenizer that the settings name, or one trained on the corpus (with a report).

    Without validation text, training sees the documents that are held back too: a vocabulary
    learns no more of them than how words are cut. ``size`` is the model's ``vocabulary_size``.

    Raises:
        UserError: no tokenizer there, another size, or a size that the corpus cannot fill.
    """
    if vocabulary.tokenizer is not None:
        return load_tokenizer(vocabulary.tokenizer, size, vocabulary.mode), None
    documents = (document.chunks for document in open_source_of(corpus).documents())
    try:
        return train_sentencepiece(documents, size, vocabulary)
    except UserError as error:
        raise UserError(f"`data={corpus.data}`: {error}") from error


def token_counts(corpus: Corpus) -> np.ndarray:
    """How often each id occurs in the text, int64 [V]; context-only tokens not counted."""
    counts = np.zeros(corpus.vocabulary_size, np.int64)
    for start, end in stretches(corpus):
        for block in range(start, end, COUNT_BLOCK):
            part = corpus.tokens[block : min(block + COUNT_BLOCK, end)]
            counts += np.bincount(part, minlength=corpus.vocabulary_size)
    first, repeats = np.unique(corpus.tokens[corpus.starts], return_counts=True)
    counts[first] -= repeats
    return counts


def unigram_perplexity(train: Corpus, valid: Corpus) -> float:
    """Perplexity per token of the validation text under the training text's token frequencies.

    p(t) = (count of t + 1) / (tokens + V), add-one smoothing; exp of the mean of -log p. What a
    model without any context reaches.
    """
    counts = token_counts(train)
    log_probability = np.log(counts + 1.0) - np.log(counts.sum() + float(train.vocabulary_size))
    seen = token_counts(valid)
    return float(np.exp(-(seen @ log_probability) / max(seen.sum(), 1)))


def stretches(corpus: Corpus) -> np.ndarray:
    """Neighbouring documents joined: the fewest [start, end) with the same tokens, int64 [S, 2]."""
    starts, ends = corpus.starts, corpus.ends
    breaks = np.flatnonzero(starts[1:] != ends[:-1])
    return np.stack([starts[np.append(0, breaks + 1)], ends[np.append(breaks, -1)]], axis=1)


def _encode(
    source: Source, tokenizer: Tokenizer, config: CorpusConfig, label: str
) -> EncodedCorpus:
    settings = {"text_column": config.text_column, "encoding_errors": config.encoding_errors}
    cache = Path(config.cache).expanduser() if config.cache else cache_folder()
    return encoded(source, tokenizer, settings, cache, label)


def _hold_back(lengths: np.ndarray, fraction: float) -> np.ndarray:
    """Sorted numbers of the documents to hold back; at least one and never all."""
    target = fraction * lengths.sum()
    order = np.random.default_rng(0).permutation(len(lengths))
    order = order[lengths[order] <= 2 * target]
    if not len(order):
        return np.array([np.argmin(lengths)])
    before = np.cumsum(lengths[order]) - lengths[order]
    held = order[before < target]
    return np.sort(held[: len(lengths) - 1])


def _select(
    data: EncodedCorpus, name: str, tokenizer: Tokenizer, chosen: np.ndarray | None = None
) -> Corpus:
    """The chosen documents (sorted numbers; None: all) of an encoded corpus."""
    numbers = np.arange(len(data.documents))
    chosen = numbers if chosen is None else chosen.astype(np.int64)
    whole = len(chosen) == len(numbers)
    choice = "" if whole else hashlib.sha256(chosen.tobytes()).hexdigest()
    bounds = np.concatenate([np.zeros((1, 3), np.int64), data.pieces[data.documents - 1]])
    return _corpus(data, name, tokenizer, bounds[chosen], bounds[chosen + 1], choice, chosen)


def _cut_tail(
    data: EncodedCorpus, config: CorpusConfig, tokenizer: Tokenizer
) -> tuple[Corpus, Corpus]:
    pieces = np.asarray(data.pieces)
    total = pieces[-1]
    if len(pieces) < 2:
        raise UserError(
            f"`data={config.data}`: a single document of {int(total[1]):,} bytes is too short "
            "to hold some of it back; give more text, or set `corpus.validation`"
        )
    target = (1 - config.validation_fraction) * total[0]
    cut = pieces[max(int(np.searchsorted(pieces[:, 0], target, side="right")) - 1, 0)]

    def part(start: np.ndarray, end: np.ndarray) -> Corpus:
        choice, first = f"{start[0]}:{end[0]}", np.zeros(1, np.int64)
        return _corpus(data, config.data, tokenizer, start[None], end[None], choice, first)

    return part(np.zeros(3, np.int64), cut), part(cut - np.array([1, 0, 0]), total)


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
    return Corpus(
        name=name,
        tokens=data.tokens,
        starts=starts[:, 0].copy(),
        ends=ends[:, 0].copy(),
        separator=tokenizer.separator,
        vocabulary_size=tokenizer.size,
        bytes=int(num_bytes),
        words=int(num_words),
        dropped=data.dropped,
        fingerprint=hashlib.sha256((data.fingerprint + choice).encode()).hexdigest(),
        origins=data.origins,
        indices=indices,
    )
