"""Bytes as tokens: any text comes back, and the published preparation is the recorded one."""

import html
import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from gptjax.data.text.corpus import prepare_whole
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.writing import Text

SHARED = os.environ.get("GPTJAX_SHARED")
TEXTS = [
    "",
    " ",
    "\n",
    "  leading, trailing  ",
    "\n\n\n\nthe\n \n\n",
    "\t tab\tand\u00a0no-break\u3000wide\u200bzero",
    "caf\u00e9 cafe\u0301 \ufb01 \ufffd \ufeff",
    "\U0001f600\U0001f469\u200d\U0001f467 \U0010ffff",
    "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "a\x00b\x00",
    "one\r\ntwo\rthree\r\n",
    "<|separator|> &amp;",
    "x" * 10_000,
    " " * 5_000 + "\n" * 5_000 + "a",
    "\u4e2d\u6587" * 3_000 + " \n",
    "the house \n" * 2_000,
]
NAMES = [ascii(text[:12]) for text in TEXTS]


def published(text):
    """What the published code makes of a text, but for the first byte and HTML."""
    return b" " + text.replace("\n", " ").strip().encode() + b" "


def recorded():
    """Texts and their bytes, of the original's own code."""
    if SHARED is not None:
        file = Path(SHARED) / "reference/ancestors/mlstm.json"
    else:
        file = Path(__file__).parents[2] / "golden/bytes.json"
    kept = json.loads(file.read_text())
    return kept["texts"], kept["bytes"]


@pytest.mark.parametrize("text", TEXTS, ids=NAMES)
def test_257_gives_every_text_back(text):
    tokenizer = ByteTokenizer()
    (ids,) = tokenizer.encode([text])
    assert ids.dtype == np.int32
    assert bytes(ids.tolist()) == text.encode()
    assert tokenizer.decode([tokenizer.separator, *ids, tokenizer.end]) == text
    np.testing.assert_array_equal(tokenizer.encode_beginnings([text])[0], ids)


@pytest.mark.parametrize("text", TEXTS, ids=NAMES)
def test_256_is_the_published_preparation(text):
    tokenizer = ByteTokenizer(256)
    (ids,) = tokenizer.encode([text])
    assert bytes(ids.tolist()) == published(text)
    assert tokenizer.separator not in ids
    assert tokenizer.decode(ids) == text.replace("\n", " ").strip()
    assert tokenizer.decode(tokenizer.encode([tokenizer.decode(ids)])[0]) == tokenizer.decode(ids)


@pytest.mark.parametrize("chunk", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("size", [256, 257])
def test_a_document_is_its_pieces_however_it_arrives(size, chunk):
    tokenizer = ByteTokenizer(size)
    for text in TEXTS:
        pieces = list(tokenizer.cut(text[i : i + chunk] for i in range(0, len(text), chunk)))
        assert pieces == list(tokenizer.cut([text]))
        assert all(0 < len(piece) <= PIECE_CHARACTERS for piece in pieces)
        found = [i for ids in tokenizer.encode_pieces(pieces) for i in ids.tolist()]
        blank = not text.strip()  # a document without text is none
        assert found == ([] if blank and size == 256 else tokenizer.encode([text])[0].tolist())


@pytest.mark.parametrize("unescape", [True, False])
def test_the_documents_of_a_corpus_are_the_recorded_bytes(tmp_path, unescape):
    texts, expected = recorded()
    file = tmp_path / "reviews.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = ByteTokenizer(256)
    corpus = prepare_whole(CorpusConfig(data=str(file), unescape_html=unescape), tokenizer)
    found = [
        corpus.tokens[start:end].tolist()
        for start, end in zip(corpus.starts, corpus.ends, strict=True)
    ]
    escaped = [text != html.unescape(text) for text in texts]
    assert any(escaped)
    assert [one == other for one, other in zip(found, expected, strict=True)] == [
        unescape or not one for one in escaped
    ]
    whole = tokenizer.encode([html.unescape(text) for text in texts])
    assert [[10, *ids.tolist()] for ids in whole] == expected


def test_a_beginning_of_256_goes_on():
    tokenizer = ByteTokenizer(256)
    texts = ["", " The\nmovie ", "The"]
    found = [bytes(ids.tolist()) for ids in tokenizer.encode_beginnings(texts)]
    assert found == [b" ", b" The movie ", b" The"]


def test_what_is_no_utf_8_is_replaced():
    for size in (256, 257):
        tokenizer = ByteTokenizer(size)
        assert tokenizer.decode([0x61, 0xC3, 0x62, 0xFF]) == "a\ufffdb\ufffd"


@pytest.mark.parametrize("size", [256, 257])
def test_no_half_character_is_given_while_writing(size):
    tokenizer = ByteTokenizer(size)
    text = "caf\u00e9  \U0001f600 \u4e2d\u6587, a b  c"
    (prompt,) = tokenizer.encode_beginnings(["The "])
    added = list(text.encode())
    writing = Text(tokenizer, prompt.tolist(), ())
    parts = [writing.add([one], last=i == len(added)) for i, one in enumerate(added, 1)]
    assert "".join(parts) == "The " + text
    assert all("\ufffd" not in part for part in parts)
    assert parts[3] == ""  # the first byte of é
    assert parts[4] == "\u00e9"


@pytest.mark.parametrize("size", [256, 257])
def test_whatever_bytes_are_written_the_parts_are_the_whole(size):
    tokenizer, draw = ByteTokenizer(size), random.Random(size)
    some = [*b" \na", 0x80, 0x9F, 0xC3, 0xED, 0xF0, 0xFF, size - 1]
    for _ in range(300):
        prompt, added = (draw.choices(some, k=draw.randint(0, 6)) for _ in range(2))
        writing = Text(tokenizer, prompt, ())
        parts = [writing.add([one]) for one in added] + [writing.add([], last=True)]
        assert "".join(parts) == tokenizer.decode([*prompt, *added])


@pytest.mark.parametrize("size", [256, 257])
def test_saved_and_opened(tmp_path, size):
    tokenizer = ByteTokenizer(size)
    tokenizer.save(tmp_path / "tokenizer")
    loaded = load_tokenizer(tmp_path / "tokenizer", size)
    assert isinstance(loaded, Tokenizer)
    assert (loaded.size, loaded.separator, loaded.end) == (
        (257, 256, 256) if size == 257 else (256, 10, None)
    )
    assert loaded.fingerprint == tokenizer.fingerprint
    with pytest.raises(UserError, match=f"has {size} tokens"):
        load_tokenizer(tmp_path / "tokenizer", 300)
    with pytest.raises(UserError, match="is for GPT-1's tokenizer"):
        load_tokenizer(tmp_path / "tokenizer", mode="fast")


def test_the_name_is_enough():
    assert load_tokenizer("bytes").fingerprint == ByteTokenizer(257).fingerprint
    assert load_tokenizer("bytes", 256).fingerprint == ByteTokenizer(256).fingerprint
    assert ByteTokenizer(257).fingerprint != ByteTokenizer(256).fingerprint
    with pytest.raises(UserError, match=r"vocabulary_size=4096.*257 .* or 256"):
        load_tokenizer("bytes", 4096)
    with pytest.raises(UserError, match="is for GPT-1's tokenizer, not for bytes"):
        load_tokenizer("bytes", mode="fast")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"size": 300}', '{"size": [257]}'])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "bytes.json").write_text(content)
    with pytest.raises(UserError, match=r"bytes\.json"):
        load_tokenizer(tmp_path)


def test_texts_that_cannot_be_encoded():
    for size in (256, 257):
        with pytest.raises(UserError, match=r"U\+D83D"):
            ByteTokenizer(size).encode(["a\ud83db"])
        with pytest.raises(UserError, match="several texts are needed"):
            ByteTokenizer(size).encode("A sentence.")
