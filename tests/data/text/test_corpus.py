import errno
import math
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gptjax import config as configs
from gptjax.data.text import cache as cache_module
from gptjax.data.text.corpus import held_back, prepare, prepare_whole
from gptjax.data.text.holding import end_is_better, last_pieces, whole_documents
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.unigram import token_counts, unigram_perplexity
from gptjax.data.text.vocabulary import prepare_tokenizer
from gptjax.data.tokenizers.tokenizer import VocabularyConfig
from gptjax.errors import UserError


class Counting:
    """A tokenizer that counts the texts it encodes."""

    def __init__(self, tokenizer, size=None):
        self._tokenizer = tokenizer
        self.size = size or tokenizer.size
        self.separator = tokenizer.separator
        self.end = tokenizer.end
        self.fingerprint = tokenizer.fingerprint
        self.texts = 0

    def cut(self, chunks):
        return self._tokenizer.cut(chunks)

    def encode_pieces(self, pieces):
        self.texts += len(pieces)
        return self.encode(pieces)

    def encode(self, texts):
        return self._tokenizer.encode(texts)

    def encode_beginnings(self, texts):
        return self._tokenizer.encode_beginnings(texts)

    def spans(self, texts):
        return self._tokenizer.spans(texts)

    def decode(self, ids):
        return self._tokenizer.decode(ids)

    def save(self, folder):
        self._tokenizer.save(folder)


@pytest.fixture
def books(tmp_path, prose):
    folder = tmp_path / "books"
    folder.mkdir()
    for i, words in enumerate([3000, 40, 700, 5, 2500, 300, 1800, 60, 900, 1200]):
        text = prose(words, seed=i)
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    (folder / "blank.txt").write_text(" \n\n\t\n", encoding="utf-8")
    return folder


def texts_of(corpus, tokenizer):
    return [
        tokenizer.decode(corpus.tokens[start:end])
        for start, end in zip(corpus.starts, corpus.ends, strict=True)
    ]


def files_of(folder):
    return [file.read_text(encoding="utf-8") for file in sorted(folder.glob("[0-9].txt"))]


def test_whole_corpus_is_the_files(books, tokenizer):
    corpus = prepare_whole(CorpusConfig(data=str(books)), tokenizer)
    texts = files_of(books)
    assert texts_of(corpus, tokenizer) == texts
    assert corpus.bytes == sum(len(text.encode()) for text in texts)
    assert corpus.words == sum(len(text.split()) for text in texts)
    assert corpus.num_tokens == sum(len(ids) for ids in tokenizer.encode(texts))
    assert corpus.num_documents == 10
    assert corpus.dropped == {"empty": 1}
    assert np.all(corpus.tokens[corpus.starts] == tokenizer.separator)
    assert np.count_nonzero(corpus.tokens == tokenizer.separator) == 10
    assert corpus.tokens.dtype == np.uint16
    assert isinstance(corpus.tokens, np.memmap)
    assert "1 empty left out" in str(corpus)


def test_words_of_a_text_without_spaces(tmp_path, tokenizer):
    """A word that is cut into pieces is one word, and its end is no word of the next document."""
    for name, text in {"1": "a" * 9000 + " b", "2": "c" * 5000, "3": "d\n" + "e " * 4000}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    corpus = prepare_whole(CorpusConfig(data=str(tmp_path)), tokenizer)
    assert corpus.words == 2 + 1 + 4001


def test_held_back_documents(books, tokenizer):
    config = CorpusConfig(data=str(books), validation_fraction=0.2)
    train, valid = prepare(config, tokenizer)
    together = sorted(texts_of(train, tokenizer) + texts_of(valid, tokenizer))
    assert together == sorted(files_of(books))
    whole = prepare_whole(config, tokenizer)
    assert train.num_tokens + valid.num_tokens == whole.num_tokens
    assert train.bytes + valid.bytes == whole.bytes
    assert train.words + valid.words == whole.words
    assert valid.words == sum(len(text.split()) for text in texts_of(valid, tokenizer))
    assert 0 < valid.num_tokens <= 0.6 * whole.num_tokens
    assert len({train.fingerprint, valid.fingerprint, whole.fingerprint}) == 3
    again = prepare(config, tokenizer)
    assert [part.fingerprint for part in again] == [train.fingerprint, valid.fingerprint]


@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.2])
def test_the_held_back_share_is_close_to_what_was_asked_for(fraction):
    """Also where a few documents are most of the text: those are never held back."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        lengths = np.ceil(10 * rng.pareto(0.7, rng.integers(20, 200)) + 1).astype(np.int64)
        held = whole_documents(lengths, fraction)
        assert 0 < len(held) < len(lengths)
        assert (np.diff(held) > 0).all()
        share, fits = lengths[held].sum() / lengths.sum(), lengths <= 2 * fraction * lengths.sum()
        if not fits.any():
            assert lengths[held].tolist() == [lengths.min()]
            continue
        assert share <= 3 * fraction
        # Short only where everything that fits is taken, or all but one document.
        assert share >= fraction or len(held) >= fits.sum() - 1


def test_the_held_back_documents_are_drawn_from_everywhere():
    held = whole_documents(np.full(1000, 7), 0.1)
    assert len(held) == 100
    assert abs(held.mean() - 999 / 2) < 3 * np.sqrt((1000**2 - 1) / 12 / 100)


def test_hold_back_at_least_one_and_never_all(books, tokenizer):
    for fraction in (1e-6, 0.999):
        train, valid = prepare(
            CorpusConfig(data=str(books), validation_fraction=fraction), tokenizer
        )
        assert valid.num_documents >= 1
        assert train.num_documents >= 1
    with pytest.raises(UserError, match="above 0 and below 1"):
        prepare(CorpusConfig(data=str(books), validation_fraction=0.0), tokenizer)


def test_end_of_a_single_document(tmp_path, tokenizer, prose):
    file = tmp_path / "book.txt"
    text = prose(12_000)
    file.write_text(text, encoding="utf-8")
    train, valid = prepare(CorpusConfig(data=str(file), validation_fraction=0.2), tokenizer)
    first = tokenizer.decode(train.tokens[train.starts[0] : train.ends[0]])
    last = tokenizer.decode(valid.tokens[valid.starts[0] + 1 : valid.ends[0]])
    assert first + last == text
    assert first.endswith("\n")
    assert 0.19 < len(last) / len(text) < 0.3
    assert (train.words, valid.words) == (len(first.split()), len(last.split()))
    assert train.num_tokens + valid.num_tokens == len(tokenizer.encode([text])[0])
    file.write_text("too short", encoding="utf-8")
    with pytest.raises(UserError, match="single document of 9 bytes is too short"):
        prepare(CorpusConfig(data=str(file)), tokenizer)


def folder_of(folder, texts):
    folder.mkdir()
    for i, text in enumerate(texts):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    return CorpusConfig(data=str(folder))


@pytest.mark.parametrize("words", [(6000, 6000), (20_000, 200), (7000, 9000, 8000)])
def test_the_end_of_a_document_where_whole_ones_are_too_coarse(tmp_path, tokenizer, prose, words):
    texts = [prose(count, seed) for seed, count in enumerate(words)]
    config = folder_of(tmp_path / "few", texts)
    train, valid = prepare(config, tokenizer)
    share = valid.num_tokens / (train.num_tokens + valid.num_tokens)
    assert 0.05 <= share <= 0.1
    longest = int(np.argmax([len(ids) for ids in tokenizer.encode(texts)]))
    assert train.num_documents == len(texts)
    end = tokenizer.decode(valid.tokens[valid.starts[0] + 1 : valid.ends[0]])
    rest = texts_of(train, tokenizer)
    assert end
    assert rest[longest].endswith("\n")
    assert [rest[i] + end * (i == longest) for i in range(len(texts))] == texts
    for part, expected in ((train, "\n".join(rest)), (valid, end)):
        assert part.words == len(expected.split())
    assert train.bytes + valid.bytes == sum(len(text.encode()) for text in texts)
    assert token_counts(train).sum() == train.num_tokens
    assert (
        valid.locate(int(valid.starts[0]) + 1) == f"{tmp_path}/few/{longest}.txt document 0 token 1"
    )
    line = held_back(train, valid, config)
    assert f"{share:.1%} of the tokens, the end of {tmp_path}/few/{longest}.txt" in line
    assert "asks for" not in line
    again = prepare(config, tokenizer)
    assert [part.fingerprint for part in again] == [train.fingerprint, valid.fingerprint]


def test_an_end_is_taken_where_it_comes_closer():
    assert end_is_better(10.0, 1.5)
    assert end_is_better(0.1, 1.5)
    assert not end_is_better(3.0, 4.0), "further off"
    assert not end_is_better(0.5, 1.0), "whole documents are close enough"
    assert not end_is_better(2.0, 1.0)
    assert not end_is_better(10.0, 0.0), "there is none"


def test_an_end_begins_where_its_tokens_do():
    pieces = np.array([[10, 1, 1], [20, 2, 2], [30, 3, 3], [40, 4, 4], [50, 5, 5]])
    documents = np.array([2, 5])
    data = cache_module.EncodedCorpus(np.arange(50), pieces, documents, [], {}, fingerprint="")
    found = [int(last_pieces(data, 1, begin)[0]) for begin in (45.0, 40.0, 39.9, 30.0, 29.0, 0.0)]
    assert found == [40, 40, 30, 30, 30, 30]


def test_runs_from_before_hold_back_whole_documents(tmp_path, tokenizer, prose):
    config = folder_of(tmp_path / "two", [prose(6000, 1), prose(5000, 2)])
    recorded = tmp_path / "config.toml"  # without the setting
    configs.write_table({"data": config.data, "validation_fraction": 0.05}, recorded)
    rules = (
        replace(configs.read_resolved(CorpusConfig, recorded), short_documents="pad"),
        replace(config, hold_back="documents"),
    )
    older = [prepare(rule, tokenizer) for rule in rules]
    for train, valid in older:
        assert texts_of(valid, tokenizer) == [prose(5000, 2)]
        assert texts_of(train, tokenizer) == [prose(6000, 1)]
    assert older[0][0].fingerprint == older[1][0].fingerprint
    assert older[0][0].fingerprint != prepare(config, tokenizer)[0].fingerprint
    line = held_back(*older[0], config)
    assert "45" in line.partition("%")[0]
    assert "1 whole document (`corpus.validation_fraction` asks for 5.0%" in line


def test_whole_documents_where_they_come_close(books, tokenizer):
    config = CorpusConfig(data=str(books), validation_fraction=0.2)
    older = prepare(replace(config, hold_back="documents"), tokenizer)
    newer = prepare(config, tokenizer)
    assert [part.fingerprint for part in newer] == [part.fingerprint for part in older]
    assert "tokens, 1 whole document" in held_back(*newer, config)


def test_documents_of_one_piece_are_held_back_whole(tmp_path, tokenizer, prose):
    config = folder_of(tmp_path / "short", [prose(100, seed) for seed in range(3)])
    train, valid = prepare(config, tokenizer)
    assert (train.num_documents, valid.num_documents) == (2, 1)
    assert "asks for 5.0%" in held_back(train, valid, config)


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("rule", ["parts", "documents", None])
def test_a_single_document_is_cut_as_ever(tmp_path, tokenizer, prose, fraction, rule):
    text = prose(9000)
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    config = CorpusConfig(
        data=str(tmp_path / "book.txt"), validation_fraction=fraction, hold_back=rule
    )
    train, valid = prepare(config, tokenizer)
    lengths = [len(ids) for ids in tokenizer.encode(list(tokenizer.cut([text])))]
    ends = 1 + np.cumsum(lengths)
    cut = ends[max(np.searchsorted(ends, (1 - fraction) * ends[-1], side="right") - 1, 0)]
    assert (train.ends.tolist(), valid.starts.tolist()) == ([cut], [cut - 1])
    assert f"the end of {tmp_path}/book.txt" in held_back(train, valid, config)


def test_given_validation(books, tmp_path, tokenizer):
    (tmp_path / "v.txt").write_text("the old house", encoding="utf-8")
    config = CorpusConfig(data=str(books), validation=str(tmp_path / "v.txt"))
    train, valid = prepare(config, tokenizer)
    assert train.num_documents == 10
    assert texts_of(valid, tokenizer) == ["the old house"]


def test_encoded_once(books, tokenizer, cache):
    counting = Counting(tokenizer)
    config = CorpusConfig(data=str(books))
    first = prepare_whole(config, counting)
    texts = counting.texts
    assert texts >= 10
    assert prepare_whole(config, counting).fingerprint == first.fingerprint
    assert counting.texts == texts, "encoded again"
    altered = books / "3.txt"
    date = altered.stat().st_mtime_ns
    text = altered.read_text(encoding="utf-8")
    altered.write_text(text.swapcase(), encoding="utf-8")
    os.utime(altered, ns=(date, date))  # Same size, same date.
    second = prepare_whole(config, counting)
    assert counting.texts == 2 * texts, "an altered file was not seen"
    assert second.fingerprint != first.fingerprint
    assert text.swapcase() in texts_of(second, tokenizer)
    assert not list(cache.rglob(".*.*")), "temporary files left"


def test_settings_and_place_of_the_cache(books, tmp_path, tokenizer, cache):
    prepare_whole(CorpusConfig(data=str(books), cache=str(tmp_path / "other")), tokenizer)
    assert (tmp_path / "other" / "corpus").is_dir()
    assert not cache.exists()


@pytest.mark.parametrize("name", ["tokens.bin", "pieces.bin", "documents.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_cache_is_encoded_again(books, tokenizer, cache, name, damage):
    config = CorpusConfig(data=str(books))
    counting = Counting(tokenizer)
    texts = texts_of(prepare_whole(config, counting), tokenizer)
    before = counting.texts
    (file,) = cache.rglob(name)
    partial = file.parent.with_name(f".{file.parent.name}.partial")
    partial.mkdir()  # As a killed process leaves it.
    (partial / "tokens.bin").write_bytes(b"torn")
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0x80
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    assert texts_of(prepare_whole(config, counting), tokenizer) == texts
    assert counting.texts == 2 * before
    assert not partial.exists()


def test_wide_ids_for_large_vocabularies(books, tokenizer):
    class Shifted(Counting):
        fingerprint = "shifted"

        def encode(self, texts):
            return [ids + 100_000 for ids in super().encode(texts)]

    small = prepare_whole(CorpusConfig(data=str(books)), Counting(tokenizer, size=1 << 16))
    assert small.tokens.dtype == np.uint16
    shifted = Shifted(tokenizer, size=(1 << 16) + 100_000)
    shifted.fingerprint = "shifted"
    large = prepare_whole(CorpusConfig(data=str(books)), shifted)
    assert large.tokens.dtype == np.uint32
    text = large.tokens != tokenizer.separator
    np.testing.assert_array_equal(large.tokens[text], small.tokens[text].astype(int) + 100_000)


def test_nothing_to_train_on(tmp_path, tokenizer, cache):
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    with pytest.raises(UserError, match="has no text, 1 empty documents"):
        prepare(CorpusConfig(data=str(tmp_path / "blank.txt")), tokenizer)
    assert not list(cache.rglob("*.bin"))


def test_a_refused_file_leaves_nothing(books, tokenizer, cache):
    (books / "8.txt").write_bytes(b"fine \xff")
    with pytest.raises(UserError, match=r"8\.txt: not UTF-8 at byte 5"):
        prepare(CorpusConfig(data=str(books)), tokenizer)
    assert not list(cache.rglob("*.bin"))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EACCES, "cannot be written"),
        (errno.EROFS, "cannot be written"),
    ],
)
def test_disk_errors(books, tokenizer, cache, monkeypatch, number, message):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache_module.os, "fsync", refuse)
    with pytest.raises(UserError, match=rf"{cache}: {message}.*GPTJAX_CACHE") as refused:
        prepare(CorpusConfig(data=str(books)), tokenizer)
    assert "\n" not in str(refused.value)
    assert not list(cache.rglob("*.bin"))


def test_a_file_in_the_place_of_the_cache(books, tokenizer, cache):
    cache.write_text("in the way")
    with pytest.raises(UserError, match="choose another folder"):
        prepare(CorpusConfig(data=str(books)), tokenizer)


def test_two_processes_encode_once(books, tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    script = textwrap.dedent(
        """
        import sys
        from gptjax.data.text import cache
        from gptjax.data.text.corpus import prepare_whole
        from gptjax.data.text.settings import CorpusConfig
        from gptjax.data.tokenizers.open import load_tokenizer
        tokenizer = load_tokenizer(sys.argv[1])
        write = cache._write
        cache._write = lambda *arguments: print("encoding") or write(*arguments)
        print(prepare_whole(CorpusConfig(data=sys.argv[2]), tokenizer).fingerprint)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "tokenizer"), str(books)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    outputs = [process.communicate()[0].decode().split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    here = prepare_whole(CorpusConfig(data=str(books)), tokenizer)
    assert {words[-1] for words in outputs} == {here.fingerprint}
    assert sum("encoding" in words for words in outputs) == 1


def test_memory_stays_flat(tokenizer, tmp_path, prose):
    """Peak memory grows by far less than the corpus does: 3 MB, then 30 MB in one file."""
    tokenizer.save(tmp_path / "tokenizer")
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    text = prose(60_000) * 8
    small.write_text(text, encoding="utf-8")
    with large.open("w", encoding="utf-8") as stream:
        for _ in range(10):
            stream.write(text)
    script = textwrap.dedent(
        """
        import resource, sys
        from gptjax.data.text.corpus import prepare
        from gptjax.data.text.settings import CorpusConfig
        from gptjax.data.tokenizers.open import load_tokenizer
        tokenizer = load_tokenizer(sys.argv[1])
        for data in sys.argv[2:]:
            prepare(CorpusConfig(data=data), tokenizer)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        """
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "tokenizer"), str(small), str(large)],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    before, after = map(int, output.split())
    grown = large.stat().st_size - small.stat().st_size
    assert grown > 20_000_000
    assert (after - before) * 1024 < 0.4 * grown


def test_unigram_perplexity(tmp_path, tokenizer, prose):
    for name, seed in (("train", 1), ("valid", 2)):
        (tmp_path / f"{name}.txt").write_text(prose(3000, seed), encoding="utf-8")
    config = CorpusConfig(data=str(tmp_path / "train.txt"), validation=str(tmp_path / "valid.txt"))
    train, valid = prepare(config, tokenizer)
    ids = {name: tokenizer.encode([prose(3000, seed)])[0] for name, seed in (("t", 1), ("v", 2))}
    counts = np.bincount(ids["t"], minlength=400)
    np.testing.assert_array_equal(token_counts(train), counts)
    total = 0.0
    for token in ids["v"]:
        total -= math.log((counts[token] + 1) / (len(ids["t"]) + 400))
    assert unigram_perplexity(train, valid) == pytest.approx(math.exp(total / len(ids["v"])))


def test_counts_of_a_held_back_end(tmp_path, tokenizer, prose):
    (tmp_path / "book.txt").write_text(prose(6000), encoding="utf-8")
    train, valid = prepare(CorpusConfig(data=str(tmp_path / "book.txt")), tokenizer)
    assert token_counts(train).sum() == train.num_tokens
    assert token_counts(valid).sum() == valid.num_tokens
    counts = np.bincount(tokenizer.encode([prose(6000)])[0], minlength=400)
    np.testing.assert_array_equal(token_counts(train) + token_counts(valid), counts)


def test_prepare_tokenizer(books, tmp_path, tokenizer):
    corpus = CorpusConfig(data=str(books))
    trained, report = prepare_tokenizer(VocabularyConfig(), 350, corpus)
    assert trained.size == report.size == 350
    tokenizer.save(tmp_path / "t")
    given, report = prepare_tokenizer(VocabularyConfig(tokenizer=str(tmp_path / "t")), 400, corpus)
    assert given.fingerprint == tokenizer.fingerprint
    assert report is None
    with pytest.raises(UserError, match="has 400 tokens"):
        prepare_tokenizer(VocabularyConfig(tokenizer=str(tmp_path / "t")), 350, corpus)


def test_locate(books, tokenizer):
    _, valid = prepare(CorpusConfig(data=str(books), validation_fraction=0.3), tokenizer)
    texts = [file.read_text(encoding="utf-8") for file in sorted(books.glob("*.txt"))]
    for i in range(valid.num_documents):
        place = valid.locate(int(valid.starts[i]) + 4)
        file, rest = place.split(" document ")
        assert rest == "0 token 4"
        text = tokenizer.decode(valid.tokens[valid.starts[i] : valid.ends[i]])
        assert Path(file).read_text(encoding="utf-8") == text
        assert text in texts


def test_reading_settings_are_part_of_the_fingerprint_only_where_they_are_not_as_usual(
    books, tmp_path, tokenizer
):
    """So that corpora and runs from before there was a choice stay what they are."""
    (books / "b.md").write_text("left out")
    config = CorpusConfig(data=str(books), cache=str(tmp_path / "cache"))
    usual = prepare(config, tokenizer)[0]
    assert "1 files of other kinds (.md) left out" in str(usual)
    same = [{"encoding": "UTF8"}, {"follow_links": None}]
    for changed in same:
        assert prepare(replace(config, **changed), tokenizer)[0].fingerprint == usual.fingerprint
    others = [
        prepare(replace(config, **changed), tokenizer)[0].fingerprint
        for changed in ({"encoding": "cp1252"}, {"suffixes": (".md",)})
    ]
    assert len({usual.fingerprint, *others}) == 3


def test_a_file_that_disappears_is_named_and_not_the_cache(books, tmp_path, tokenizer, monkeypatch):
    """The documents are read while the cache is written."""
    config = CorpusConfig(data=str(books), cache=str(tmp_path / "cache"))
    add = cache_module._Writer.add

    def vanish(self, document):
        for name in "89":
            (books / f"{name}.txt").unlink(missing_ok=True)
        add(self, document)

    monkeypatch.setattr(cache_module._Writer, "add", vanish)
    with pytest.raises(UserError, match=r"8\.txt: is not there") as refused:
        prepare(config, tokenizer)
    assert "cache" not in str(refused.value)
