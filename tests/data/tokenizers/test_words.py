"""Words as tokens: what a word is, which ones have an id, and how they are written."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from gptjax.commands import tokenizer as command
from gptjax.data.text.corpus import prepare_whole
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.vocabulary import not_kept, prepare_tokenizer
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Tokenizer, VocabularyConfig
from gptjax.data.tokenizers.words import SEPARATOR, UNKNOWN, WordTokenizer, all_words, train_words
from gptjax.errors import UserError
from gptjax.evaluation.writing import Text

TEXTS = [
    "",
    " ",
    "\n",
    "the old house",
    "  The OLD\n\nhouse, ",
    "<unk> <|separator|>",
    "caf\u00e9 cafe\u0301 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\U0001f600\U0001f469\u200d\U0001f467 \U0010ffff",
    "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "a\x00b\x00",
    "x" * 10_000,
    " " * 5_000 + "\n" * 5_000,
    "\u4e2d\u6587" * 3_000,
    "The house, \n" * 2_000,
]


def every_word(*texts, lower_case=True):
    """A tokenizer that knows all words of some texts."""
    documents = [[text] for text in texts]
    with pytest.raises(UserError) as refused:
        train_words(documents, 10**9, lower_case)
    largest = re.search(r"largest possible is ([0-9,]+)", str(refused.value))[1]
    return train_words(documents, int(largest.replace(",", "")), lower_case)[0]


def split(text, lower_case=False):
    tokenizer = every_word(text, lower_case=lower_case)
    return [tokenizer.words[i] for i in tokenizer.encode([text])[0]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, Mr. Smith!", ["Don't", "stop", ",", "Mr", ".", "Smith", "!"]),
        ("well-known \u2018dogs\u2019", "well - known \u2018 dogs \u2019"),
        ("o\u2019clock 'tis", "o\u2019clock ' tis"),
        ("a--b ...", "a - - b . . ."),
        ("3.14 _x_ a/b", "3 . 14 _x_ a / b"),
        ("<unk> &amp;", "< unk > & amp ;"),
        (
            "cafe\u0301 \u0939\u093f\u0928\u094d\u0926\u0940",
            ["cafe\u0301", "\u0939\u093f\u0928\u094d\u0926\u0940"],
        ),
        ("a\x00b", ["a", "\x00", "b"]),
    ],
)
def test_what_a_word_is(text, words):
    assert split(text) == (words.split() if isinstance(words, str) else words)


def test_the_most_frequent_words_have_ids(prose):
    text = prose(3000, seed=4)
    tokenizer, report = train_words([[text[:500], text[500:]]], 12)
    counted = Counter(split(text, lower_case=True))
    order = sorted(counted, key=lambda word: (-counted[word], word))
    assert tokenizer.words == (UNKNOWN, SEPARATOR, *order[:10])
    known = sum(counted[word] for word in order[:10])
    assert report.words == counted.total()
    assert report.unknown == counted.total() - known
    assert f"of {len(counted)} different words" in str(report)
    (ids,) = tokenizer.encode([text])
    assert ids.dtype == np.int32
    assert np.count_nonzero(ids == tokenizer.unknown) == report.unknown
    again, _ = train_words([[text]], 12)
    assert again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text[:12]) for text in TEXTS])
def test_no_text_has_the_separator_and_what_is_known_is_stable(text):
    tokenizer = every_word("the old house , . a b \u0301 < unk > | separator")
    (ids,) = tokenizer.encode([text])
    assert tokenizer.separator not in ids
    tidied = tokenizer.decode([tokenizer.separator, *ids, tokenizer.end])
    if tokenizer.unknown not in ids:
        np.testing.assert_array_equal(tokenizer.encode([tidied])[0], ids)


@pytest.mark.parametrize(
    "text",
    [
        "the old house, and (in it) a cat.",
        'he said "yes, please" and left: "why?" - who knows',
        "\u201cyes\u201d, it's well-known; and/or 50% of $3!",
        "[a] {b} #1 don't \u2018x\u2019\u2026",
    ],
)
def test_punctuation_is_spaced_as_usual(text):
    tokenizer = every_word(text)
    shown = tokenizer.decode(tokenizer.encode([text])[0])
    assert shown == text.replace(" - ", "-")


def test_capitals_are_kept_if_asked_for():
    text = "The house the House THE"
    kept, lower = every_word(text, lower_case=False), every_word(text)
    assert kept.decode(kept.encode([text])[0]) == text
    assert lower.decode(lower.encode([text])[0]) == text.lower()
    assert lower.size == 4
    assert WordTokenizer(kept.words, True).fingerprint != kept.fingerprint


@pytest.mark.parametrize("chunk", [1, 7, 1000, 10**6])
def test_a_document_is_its_pieces_however_it_arrives(prose, chunk):
    tokenizer = every_word(prose(500))
    for text in [*TEXTS, prose(4000), prose(4000).replace("\n", " ")]:
        pieces = list(tokenizer.cut(text[i : i + chunk] for i in range(0, len(text), chunk)))
        assert pieces == list(tokenizer.cut([text]))
        assert "".join(pieces) == text
        found = [i for ids in tokenizer.encode_pieces(pieces) for i in ids.tolist()]
        assert found == tokenizer.encode([text])[0].tolist()
    assert max(map(len, tokenizer.cut([prose(4000)]))) <= PIECE_CHARACTERS


def test_what_is_given_while_writing_never_changes():
    text = 'the "old" house (a b), "the \u201cold\u201d" well-known. $5'
    tokenizer = every_word(text)
    (ids,) = tokenizer.encode([text])
    writing = Text(tokenizer, [], ())
    parts = [writing.add([one], last=i == len(ids)) for i, one in enumerate(ids.tolist(), 1)]
    assert "".join(parts) == tokenizer.decode(ids) == text


def test_saved_and_opened(tmp_path, prose):
    tokenizer, _ = train_words([[prose(500)]], 20, lower_case=False)
    tokenizer.save(tmp_path / "run" / "tokenizer")
    for path in (tmp_path / "run" / "tokenizer", tmp_path / "run" / "tokenizer" / "words.json"):
        loaded = load_tokenizer(path, 20)
        assert isinstance(loaded, Tokenizer)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert (loaded.size, loaded.separator, loaded.end) == (20, 1, 1)
        text = "The house ." + prose(50)
        np.testing.assert_array_equal(loaded.encode([text])[0], tokenizer.encode([text])[0])
    with pytest.raises(UserError, match=r"has 20 tokens .* 30"):
        load_tokenizer(tmp_path / "run" / "tokenizer", 30)
    with pytest.raises(UserError, match="made of a text, by `gptjax tokenizer`"):
        load_tokenizer("words")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "bytes"}, "is no vocabulary of words"),
        ({"words": "the"}, "`words` is no list"),
        ({"words": [UNKNOWN, SEPARATOR, 5]}, "`words` is no list"),
        ({"words": ["the", "a"]}, "do not begin with"),
        ({"words": [UNKNOWN, SEPARATOR, "a", "a"]}, "is there twice"),
        ({"lower_case": "yes"}, "neither true nor false"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    good = {"kind": "words", "lower_case": True, "words": [UNKNOWN, SEPARATOR, "a"]}
    file = tmp_path / "words.json"
    file.write_text(json.dumps(good))
    assert load_tokenizer(tmp_path).size == 3
    file.write_text(json.dumps({**good, **change}))
    with pytest.raises(UserError, match=message):
        load_tokenizer(tmp_path)
    file.write_text("[")
    with pytest.raises(UserError, match="is damaged"):
        load_tokenizer(tmp_path)


def test_sizes_that_cannot_be():
    with pytest.raises(UserError, match="the largest possible is 5"):
        train_words([["a b c"]], 6)
    with pytest.raises(UserError, match="needs at least 3"):
        train_words([["a b c"]], 2)
    with pytest.raises(UserError, match="no text to count"):
        train_words([[" \n"], []], 5)


def test_texts_that_cannot_be_encoded():
    tokenizer = every_word("a b")
    with pytest.raises(UserError, match=r"U\+D83D"):
        tokenizer.encode(["a\ud83db"])
    with pytest.raises(UserError, match=r"U\+D83D"):
        train_words([["a\ud83db"]], 3)
    with pytest.raises(UserError, match="several texts are needed"):
        tokenizer.encode("A sentence.")


def test_of_a_corpus_and_what_is_lost_is_counted(tmp_path):
    (tmp_path / "a.txt").write_text("The cat &amp; the dog &amp; the bird")
    config = CorpusConfig(data=str(tmp_path / "a.txt"), unescape_html=True)
    tokenizer, report = prepare_tokenizer(VocabularyConfig(tokenizer="words"), 4, config)
    assert isinstance(tokenizer, WordTokenizer)
    assert tokenizer.words[2:] == ("the", "&")
    assert "37.50% of the text's 8 words" in str(report)
    corpus = prepare_whole(config, tokenizer)
    line = not_kept(tokenizer, {"text": corpus})
    assert "3 of the 8 tokens of the text" in line
    assert corpus.bytes == len("The cat & the dog & the bird")
    with pytest.raises(UserError, match=r"`data=.*a\.txt`.*the largest possible is 7"):
        prepare_tokenizer(VocabularyConfig(tokenizer="words"), 8, config)


def test_command(tmp_path, prose, capsys):
    (tmp_path / "book.txt").write_text(prose(3000), encoding="utf-8")
    options = {
        "data": str(tmp_path / "book.txt"),
        "vocab_size": 30,
        "vocabulary": VocabularyConfig(tokenizer="words"),
        "unescape_html": True,
    }
    out = str(tmp_path / "new" / "small.json")
    result = command.run(command.TokenizerConfig(out=out, **options))
    assert load_tokenizer(out, 30).fingerprint == result.fingerprint
    shown = capsys.readouterr()
    assert "words are <unk>" in shown.out
    assert f"--unescape-html --tokenizer {out} --model.vocabulary-size 30" in shown.err
    with pytest.raises(UserError, match=r"ends in \.json"):
        command.run(command.TokenizerConfig(out=str(tmp_path / "x.model"), **options))
    options["vocabulary"] = VocabularyConfig(tokenizer="bytes")
    with pytest.raises(UserError, match="nothing to train"):
        command.run(command.TokenizerConfig(out=str(tmp_path / "x.json"), **options))


def test_every_word_of_some_texts_is_kept_with_its_capitals(tmp_path):
    """In the order of their characters, whatever the order of the texts; it can be written."""
    made = all_words(["The red, red house.", "a House"])
    assert made.words == (UNKNOWN, SEPARATOR, ",", ".", "House", "The", "a", "house", "red")
    assert made.fingerprint == all_words(["a House", "The red, red house."]).fingerprint
    assert made.decode(made.encode(["The House, blue"])[0]) == "The House, <unk>"
    made.save(tmp_path)
    assert load_tokenizer(tmp_path).words == made.words
