"""Where tokens stand in their text, and which word they belong to."""

import re

import numpy as np
import pytest

from gptjax.data.tokenizers.alignment import align, split_words
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.open_words import OpenWords
from gptjax.data.tokenizers.words import train_words

KINDS = ["sentencepiece", "gpt1", "gpt1 fast", "gpt2", "bytes", "bytes 256", "words"]
LOSSLESS = ["sentencepiece", "gpt2", "bytes"]
TEXTS = [
    "",
    " ",
    "...",
    "The old house",
    "  The  well-known garden,\nunder (the) morning light! ",
    "Mary \u201clooked\u201d again\u2026 and \u2014 slowly \u2014 walked.",
    "caf\u00e9 cafe\u0301 \ufb01re \u4e2d\u6587 \U0001f469\u200d\U0001f467 a\u2581b",
    "a\x00b\x00 doesn\u00e2\u20ac\u2122t &lt;b&gt; \u0130stanbul",
    "the house " * 1_000,
    "x" * 5_000 + " the old",
]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def aligned(kind, tokenizer, gpt1, gpt1_folder, gpt2, prose):
    """One tokenizer of each kind."""
    if kind == "words":
        return train_words([[prose(2000)]], 35)[0]
    if kind == "gpt1 fast":
        return load_tokenizer(gpt1_folder, mode="fast")
    return {
        "sentencepiece": tokenizer,
        "gpt1": gpt1,
        "gpt2": gpt2,
        "bytes": ByteTokenizer(257),
        "bytes 256": ByteTokenizer(256),
    }[kind]


def test_each_token_has_a_place(kind, aligned):
    for text, ids, spans in zip(TEXTS, aligned.encode(TEXTS), aligned.spans(TEXTS), strict=True):
        assert spans.shape == (len(ids), 2)
        assert spans.dtype == np.int32
        real = spans[spans[:, 0] < spans[:, 1]]
        assert (spans[:, 0] <= spans[:, 1]).all()
        assert (real >= 0).all()
        assert (real <= len(text)).all()
        assert (np.diff(real, axis=0) >= 0).all()  # in the order of the text
        covered = np.zeros(len(text), bool)
        for begin, end in real:
            covered[begin:end] = True
        if kind in LOSSLESS:
            assert len(real) == len(spans)
            assert covered.all()


@pytest.mark.parametrize("kind", LOSSLESS, indirect=True)
def test_the_place_of_a_token_is_what_it_decodes_to(aligned):
    text = "The old house, caf\u00e9 \u2581 by the  river.\n"
    (ids,), (spans,) = aligned.encode([text]), aligned.spans([text])
    whole = 0
    for i, (begin, end) in zip(ids, spans, strict=True):
        if "\ufffd" not in (decoded := aligned.decode([i])):  # of parts of a character
            assert text[begin:end] == decoded
            whole += 1
    assert whole > 10


def test_the_tokens_of_a_word_are_the_word(kind, aligned):
    text = "Mary walked to the old garden, the well-known house's light:\nshe looked (again)!"
    words = split_words(text)
    assert words[6:10] == ["the", "well-known", "house", "'s"]
    (ids,), (places,) = aligned.encode([text]), align(aligned, [text])
    assert (places.shape, places.dtype) == (ids.shape, np.int32)
    assert set(places.tolist()) <= set(range(-1, len(words)))

    if kind == "words":  # house's is one word of its own, which begins with the text's
        words[8:10] = ["house's", ""]
    for number, word in enumerate(words):
        written = "".join(aligned.decode(ids[places == number]).split())
        # Not every vocabulary has all words, or marks.
        pattern = ".+".join(map(re.escape, written.split("<unk>")))
        assert re.fullmatch(pattern, word, re.IGNORECASE), (word, written)


def test_marks_and_blanks_belong_to_no_word(aligned):
    for text in ("...", " ", "\n", "", "( )"):
        (places,) = align(aligned, [text])
        assert (places == -1).all()


def test_gpt1s_exact_text_is_found_though_it_was_repaired(gpt1):
    text = "\u201cWait\u2026\u201d said&nbsp;Mary \u2014 doesn\u2019t \ufb01t:\u00a0the HOUSE"
    words = split_words(text)
    (places,) = align(gpt1, [text])
    seen = [words[place] for place in dict.fromkeys(places.tolist()) if place >= 0]
    assert seen == [word for word in words if word != "nbsp"]


def test_a_text_of_several_pieces_goes_on(aligned):
    text = "the old house " * 1_000
    (ids,), (places,) = aligned.encode([text]), align(aligned, [text])
    for number in (0, 1_500, 2_999):
        assert aligned.decode(ids[places == number]).strip() == split_words(text)[number]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, Mr. Smith!", ["Do", "n't", "stop", "Mr", "Smith"]),
        (
            "the dog\u2019s well-known mother-in-law's",
            "the dog \u2019s well-known mother-in-law 's",
        ),
        ("o'clock 'tis 'Hello' they'll I'd", "o'clock tis Hello they 'll I 'd"),
        ("a--b -c- 3.14 _x_", "a b c 3 14 _x_"),
        ("caf\u00e9 \u4e2d\u6587 \u0130x", "caf\u00e9 \u4e2d\u6587 \u0130x"),
        ("", ""),
    ],
)
def test_what_a_word_is(text, words):
    assert split_words(text) == (words.split() if isinstance(words, str) else words)


@pytest.mark.parametrize("run", ["a", "a-", "a'", "n't", "a'a"])
def test_long_runs_take_no_time(run):
    assert len(split_words(run * 200_000)) >= 1


def test_words_by_their_characters_have_places_too():
    text = "  The well-known garden,\u2003under "
    tokenizer = OpenWords([text])
    (ids,), (spans,) = tokenizer.encode([text]), tokenizer.spans([text])
    assert len(ids) == len(spans) == 4
    assert [text[start:end] for start, end in spans] == text.split()
