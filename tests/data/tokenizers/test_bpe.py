"""GPT-1's and GPT-2's tokenizers, against their definition and the original's recorded ids."""

import builtins
import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from gptjax.data.tokenizers import bpe_files
from gptjax.data.tokenizers.bpe import END_OF_TEXT, Gpt1Tokenizer
from gptjax.data.tokenizers.gpt1_text import ExactWords, standardise
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Tokenizer
from gptjax.errors import UserError

SHARED = os.environ.get("GPTJAX_SHARED")


def by_definition(word, bpe):
    """Byte pair encoding as its paper has it: merge the earliest pair, everywhere, until none."""
    rank = {pair: number for number, pair in enumerate(bpe.merges)}
    pieces = [*word[:-1], word[-1] + "</w>"]
    while pairs := [pair for pair in pairwise(pieces) if pair in rank]:
        best = min(pairs, key=rank.__getitem__)
        merged = []
        while pieces:
            if tuple(pieces[:2]) == best:
                merged.append("".join(best))
                pieces = pieces[2:]
            else:
                merged.append(pieces.pop(0))
        pieces = merged
    return [bpe.vocabulary.get(piece, 0) for piece in pieces]


@pytest.mark.parametrize(
    ("text", "standard"),
    [
        ("a\u2014b \u2013 c\u2015d", "a - b - c - d"),
        ("wait\u2026 it\u00b4s", "wait... it's"),
        ("((x)) --- ,,!", "(( x )) --- ,, !"),
        ("a_b*c/d[e]{f}|g~h+i;j", "a _ b * c / d [ e ] { f } | g ~ h + i ; j"),
        ("c:\\dir 1.5 it's", "c:\\dir 1.5 it's"),
        ("  a \t b\u00a0c\r\n\n  d\n", "a b c \n d"),
        ('"Why?"', '" Why ? "'),
        ("", ""),
    ],
)
def test_standardised_text(text, standard):
    assert standardise(text) == standard


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, Mr. Smith!", ["do", "n't", "stop", ",", "mr.", "smith", "!"]),
        ("one\n\n two", ["one", "\n", "two"]),
        ("\n \n", []),
        ("&lt;b&gt; doesnâ€™t", ["<", "b", ">", "does", "n't"]),
        ("<start> _classify_", ["<", "start", ">", "_", "classify", "_"]),
    ],
)
def test_words_are_those_of_ftfy_and_spacy(text, words):
    assert ExactWords()(text) == words


def test_exact_ids_are_the_definition_s(gpt1, prose):
    text = prose(300, seed=3) + "Unseen words: xylophone 1234 \u4e2d\u6587!"
    (ids,) = gpt1.encode([text])
    words = ExactWords()(text)
    expected = [i for word in words for i in by_definition(word, gpt1.bpe)]
    newline = gpt1.bpe.vocabulary["\n</w>"]
    assert newline in expected
    assert 0 in expected  # a character that the vocabulary lacks
    assert ids.tolist() == expected
    assert ids.dtype == np.int32
    again = gpt1.encode([text, "", text])  # from what is remembered
    assert [part.tolist() for part in again] == [expected, [], expected]


def test_gpt1_is_a_tokenizer_without_an_end(gpt1, gpt2):
    assert isinstance(gpt1, Tokenizer)
    assert isinstance(gpt2, Tokenizer)
    assert gpt1.end is None
    assert gpt1.separator == gpt1.bpe.vocabulary["\n</w>"]
    assert gpt2.end == gpt2.separator == gpt2.bpe.vocabulary[END_OF_TEXT]


def test_gpt1_decodes_tidily(gpt1):
    (ids,) = gpt1.encode(["The old house.\n\nMary looked, slowly"])
    assert gpt1.decode(ids) == "the old house .\nmary looked , slowly "


def test_the_modes_differ_and_are_kept(gpt1_folder, gpt1, tmp_path):
    fast = load_tokenizer(gpt1_folder, mode="fast")
    text = "don't\nlook"
    assert gpt1.encode([text])[0].tolist() != fast.encode([text])[0].tolist()
    assert gpt1.fingerprint != fast.fingerprint
    for tokenizer in (gpt1, fast):
        tokenizer.save(tmp_path / tokenizer.mode)
        loaded = load_tokenizer(tmp_path / tokenizer.mode, expected_size=tokenizer.size)
        assert (loaded.mode, loaded.fingerprint) == (tokenizer.mode, tokenizer.fingerprint)
    assert load_tokenizer(tmp_path / "fast", mode="exact").fingerprint == gpt1.fingerprint


def test_fast_is_the_hubs_tokenizer(gpt1_folder):
    """BERT's pre-tokenizer: lower case, accents off, every punctuation mark a word."""
    fast = load_tokenizer(gpt1_folder, mode="fast")
    words = ["the", "old", ",", "house", ".", "mary", "looked", ":", "john", "?"]
    words += ["she", "?"]
    expected = [i for word in words for i in by_definition(word, fast.bpe)]
    text = "The  \u00d3ld,House.\nMary\tlooked: John?she?"
    assert fast.encode([text])[0].tolist() == expected


TEXTS = [
    "",
    " ",
    "\n\n\n  the\n\n",
    "  leading, trailing  ",
    "\t tab\tand\u00a0no-break\u3000wide\u200bzero",
    "caf\u00e9 cafe\u0301 \ufb01 \u212b A\u030a \U0001f469\u200d\U0001f467 \U0010ffff",
    "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    f"one\r\ntwo {END_OF_TEXT} \ufffd \ufeff",
]


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text[:12]) for text in TEXTS])
def test_gpt2_gives_every_text_back(gpt2, text):
    (ids,) = gpt2.encode([text])
    assert gpt2.decode(ids) == text
    assert gpt2.end not in ids
    assert gpt2.decode([gpt2.end, *ids, gpt2.end]) == text


def test_gpt2_is_the_hubs_byte_level_encoding(gpt2, gpt2_folder, prose):
    """The library's own reading of the files, which loads END_OF_TEXT as a special token."""
    reference = tokenizers.ByteLevelBPETokenizer(
        str(gpt2_folder / "encoder.json"), str(gpt2_folder / "vocab.bpe")
    )
    text = prose(200, seed=4) + "  It's 1999\u2026 \u00e9\n\n\tso"
    assert gpt2.encode([text])[0].tolist() == reference.encode(text).ids


@pytest.mark.parametrize("kind", ["gpt1", "gpt2"])
def test_pieces_in_a_row_are_the_document(kind, request, prose):
    tokenizer = request.getfixturevalue(kind)
    paragraphs = [prose(90, seed=n).replace("\n", " ") for n in range(40)]
    text = "\n \n\n".join(paragraphs[:20]) + " ".join(paragraphs[20:]) + "\n\n  \nthe end"
    whole = list(tokenizer.cut([text]))
    assert "".join(whole) == text
    assert max(map(len, whole)) <= PIECE_CHARACTERS
    assert len(whole) > 3
    for size in (1, 7, 5000):
        assert list(tokenizer.cut(text[i : i + size] for i in range(0, len(text), size))) == whole
    ids = np.concatenate(tokenizer.encode_pieces(whole))
    np.testing.assert_array_equal(ids, tokenizer.encode([text])[0])


@pytest.mark.parametrize("kind", ["gpt1", "gpt2"])
def test_text_without_a_place_to_cut(kind, request):
    tokenizer = request.getfixturevalue(kind)
    for text in ("x" * 200_000, "the" + " " * 100_000 + "\n" * 100_000 + "end"):
        pieces = list(tokenizer.cut([text]))
        assert "".join(pieces) == text
        assert max(map(len, pieces)) <= 16 * PIECE_CHARACTERS
        assert sum(map(len, tokenizer.encode_pieces(pieces))) > 1


def test_a_missing_extra_is_named(gpt1_folder, monkeypatch):
    real = builtins.__import__

    def without_spacy(name, *args, **kwargs):
        if name == "spacy":
            raise ImportError("No module named 'spacy'", name="spacy")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_spacy)
    exact = load_tokenizer(gpt1_folder)
    with pytest.raises(UserError, match=r"needs spacy.*gptjax\[openai-text\].*mode=fast"):
        exact.encode(["the"])
    assert load_tokenizer(gpt1_folder, mode="fast").mode == "fast"


def copy(folder, tmp_path, vocabulary=None, merges=None):
    bpe = bpe_files.read(folder)
    words = dict(bpe.vocabulary)
    pairs = [" ".join(pair) for pair in bpe.merges]
    (tmp_path / "vocab.json").write_text(json.dumps((vocabulary or (lambda v: v))(words)))
    lines = (merges or (lambda m: m))(pairs)
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *lines]) + "\n")
    return tmp_path


def test_the_hubs_names_and_its_single_file(gpt1, gpt1_folder, tmp_path):
    assert load_tokenizer(copy(gpt1_folder, tmp_path)).fingerprint == gpt1.fingerprint
    one = tmp_path / "one"
    one.mkdir()
    for join in (list, " ".join):
        merges = [join(pair) for pair in gpt1.bpe.merges]
        model = {"type": "BPE", "vocab": dict(gpt1.bpe.vocabulary), "merges": merges}
        (one / "tokenizer.json").write_text(json.dumps({"model": model}))
        assert load_tokenizer(one).fingerprint == gpt1.fingerprint


BROKEN = {
    "a merge of another vocabulary": (
        {"merges": lambda m: [*m, "qq zz"]},
        r"merges\.txt: merge \d+ \(qq \+ zz\) disagrees with the vocabulary .*lacks 'qqzz'",
    ),
    "cut off": (
        {"merges": lambda m: m[: len(m) // 2]},
        r"no merge makes the piece '.*: is the file",
    ),
    "empty": ({"merges": lambda m: []}, r"no merge makes the piece"),
    "a merge twice": ({"merges": lambda m: [*m, m[0]]}, "holds the same merge twice"),
    "a name for an id": ({"vocabulary": lambda v: {**v, "h": [1]}}, r"the ids of its \d+ pieces"),
    "no pair": ({"merges": lambda m: ["a", *m]}, r"merges\.txt: line 2 is no pair of pieces: 'a'"),
    "a gap": ({"vocabulary": lambda v: {**v, "new": 9999}}, r"the ids of its \d+ pieces are not 0"),
    "neither": (
        {"vocabulary": lambda v: {k if k != "\n</w>" else "x": i for k, i in v.items()}},
        "is neither GPT-1's",
    ),
    "no object": ({"vocabulary": lambda v: list(v)}, r"vocab\.json: is no JSON object"),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_files(changes, message, gpt1_folder, tmp_path):
    with pytest.raises(UserError, match=message):
        load_tokenizer(copy(gpt1_folder, tmp_path, **changes))


def test_more_refusals(gpt1, gpt2, gpt1_folder, gpt2_folder, tmp_path):
    with pytest.raises(UserError, match=r"set `model\.vocabulary_size=131`"):
        load_tokenizer(gpt1_folder, expected_size=7)
    with pytest.raises(UserError, match="is for GPT-1's tokenizer"):
        load_tokenizer(gpt2_folder, mode="fast")
    (tmp_path / "vocab.json").write_text("{")
    with pytest.raises(UserError, match=r"vocab\.json: is damaged, no JSON"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(UserError, match=r"merges\.txt: no such file"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").unlink()
    for model in (None, [], {"vocab": [], "merges": [1]}, {"vocab": {}, "merges": [[1, 2]]}):
        (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
        with pytest.raises(UserError, match="is no tokenizer with a byte pair encoding"):
            load_tokenizer(tmp_path)
    gpt1.save(tmp_path)
    (tmp_path / "gptjax.json").write_text('{"mode": ')
    with pytest.raises(UserError, match=r"gptjax\.json: is damaged, no JSON"):
        load_tokenizer(tmp_path)
    for tokenizer in (gpt1, gpt2):
        with pytest.raises(UserError, match=r"half of a surrogate pair \(U\+D800\)"):
            tokenizer.encode(["a\ud800"])


if SHARED is not None:  # The published files and the recorded ids are not ours to keep.

    def test_every_recorded_text_has_the_originals_ids():
        reference = Path(SHARED) / "reference"
        tokenizer = load_tokenizer(reference / "gpt1_bpe", expected_size=40478)
        assert isinstance(tokenizer, Gpt1Tokenizer)
        content = (reference / "original/tokenization.json").read_text(encoding="utf-8")
        records = json.loads(content)["records"]
        assert len(records) == 1500
        encoded = tokenizer.encode([record["t"] for record in records])
        for record, ids in zip(records, encoded, strict=True):
            accepted = [record["ids"]] + ([record["ids_new"]] if "ids_new" in record else [])
            assert ids.tolist() in accepted, record["t"]

    def test_the_published_encoding_by_its_definition():
        tokenizer = load_tokenizer(Path(SHARED) / "reference/gpt1_bpe")
        assert (tokenizer.size, len(tokenizer.bpe.merges)) == (40478, 40000)
        for word in ("unbelievably", "xylophones", "\u00e9", "0"):
            assert tokenizer.encode([word])[0].tolist() == by_definition(word, tokenizer.bpe)


@pytest.mark.parametrize("kind", ["gpt1", "gpt2"])
def test_one_text_is_not_several(kind, request):
    with pytest.raises(UserError, match=r"several texts are needed, and 'A sentence\.' is one"):
        request.getfixturevalue(kind).encode("A sentence.")
