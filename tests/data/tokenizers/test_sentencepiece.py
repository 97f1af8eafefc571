import hashlib
import io
import random

import numpy as np
import pytest
import sentencepiece

from gptjax.commands import tokenizer as command
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.sentencepiece import SEPARATOR_PIECE, cut
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Tokenizer, VocabularyConfig
from gptjax.data.tokenizers.train import _paragraphs, train_sentencepiece
from gptjax.errors import UserError

TEXTS = [
    "",
    " ",
    "\n",
    "the old house",
    "  leading, trailing  ",
    "a  b   c    d",
    "\n\n\n\nthe\n \n\n",
    "\t tab\tand\u00a0no-break\u3000wide\u200bzero",
    "caf\u00e9 cafe\u0301 \ufb01 \u212b A\u030a",
    "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0010ffff",
    "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "a\x00b\x00",
    "one\r\ntwo\rthree\r\n",
    "<s></s><unk><pad><0x0A><0x41>" + SEPARATOR_PIECE,
    "\u2581 under \u2581\u2581 house\u2581",
    "\u2585 \u2047 \ufffd \ufeff",
    "x" * 10_000,
    " " * 5_000 + "\n" * 5_000,
    "\u4e2d\u6587" * 3_000,
    "the house " * 2_000,
]


@pytest.mark.parametrize("text", TEXTS, ids=[ascii(text[:12]) for text in TEXTS])
def test_text_round_trips_without_control_ids(tokenizer, text):
    (ids,) = tokenizer.encode([text])
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == text
    control = {i for i in range(tokenizer.size) if tokenizer._processor.is_control(i)} | {0}
    assert tokenizer.separator in control
    assert control.isdisjoint(ids.tolist())
    assert tokenizer.decode([tokenizer.separator, *ids, tokenizer.separator]) == text


def test_batch_is_the_texts_one_by_one(tokenizer):
    batch = tokenizer.encode(TEXTS)
    assert len(batch) == len(TEXTS)
    for text, ids in zip(TEXTS, batch, strict=True):
        np.testing.assert_array_equal(ids, tokenizer.encode([text])[0])


def test_frequent_words_are_one_token(tokenizer):
    assert len(tokenizer.encode(["house river morning"])[0]) <= 5
    assert len(tokenizer.encode(["\n\n\n"])[0]) == 3


@pytest.mark.parametrize("chunk", [1, 7, 1000, 10**6])
def test_pieces_do_not_depend_on_chunks(prose, chunk):
    for text in [*TEXTS, prose(4000), prose(4000).replace("\n", " ")]:
        pieces = list(cut(text[i : i + chunk] for i in range(0, len(text), chunk)))
        assert pieces == list(cut([text]))
        assert "".join(pieces) == text
        assert all(0 < len(piece) <= PIECE_CHARACTERS for piece in pieces)
        assert [list(cut([piece])) for piece in pieces] == [[piece] for piece in pieces]


def test_a_document_is_its_pieces(tokenizer, prose):
    lines = prose(6000)
    for text in (lines, lines.replace("\n", " "), lines.replace(" ", "   ")):
        whole = tokenizer._processor.encode(text)  # SentencePiece itself, without any cut
        pieces = list(cut([text]))
        assert len(pieces) > 3
        np.testing.assert_array_equal(np.concatenate(tokenizer.encode(pieces)), whole)
        np.testing.assert_array_equal(tokenizer.encode([text])[0], whole)


def test_pieces_do_not_split_runs_of_spaces(prose):
    def spaced(words, seed):
        return prose(words, seed).replace("\n", " ").replace(" ", " " * 9)

    text = spaced(4000, 1)
    lines = [spaced(20, seed) for seed in range(50)]
    tokenizer, _ = train_sentencepiece([["\n".join(lines)]], 400)
    whole = tokenizer._processor.encode(text)
    assert "\u2581" * 9 in tokenizer._processor.encode(text, out_type=str)
    assert len(list(cut([text]))) > 8
    np.testing.assert_array_equal(tokenizer.encode([text])[0], whole)


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "run" / "tokenizer")
    for path in (tmp_path / "run" / "tokenizer", tmp_path / "run" / "tokenizer/tokenizer.model"):
        loaded = load_tokenizer(path, expected_size=400)
        assert isinstance(loaded, Tokenizer)
        assert loaded.fingerprint == tokenizer.fingerprint
        assert (loaded.size, loaded.separator) == (400, tokenizer.separator)
    with pytest.raises(UserError, match=r"has 400 tokens .* 500; set `model.vocabulary_size=400`"):
        load_tokenizer(tmp_path / "run" / "tokenizer", expected_size=500)


def test_training_is_deterministic_and_other_text_differs(tokenizer, prose):
    again, _ = train_sentencepiece([[prose(3000, seed=9)]], 400)
    other, _ = train_sentencepiece([[prose(3000, seed=8)]], 400)
    assert again.fingerprint == tokenizer.fingerprint != other.fingerprint


def random_text(characters, length, seed=0):
    return "".join(random.Random(seed).choices(characters, k=length))


def in_lines(text, length=30):
    return "\n".join(text[i : i + length] for i in range(0, len(text), length))


UNSPACED = {
    "Chinese": in_lines(random_text([chr(c) for c in range(0x4E00, 0x4E60)], 3000)) + "\u3002",
    "Chinese in one line": random_text([chr(c) for c in range(0x4E00, 0x4E60)], 9000),
    "Japanese": in_lines(random_text([chr(c) for c in range(0x3041, 0x3097)], 3000)),
    "DNA": random_text("ACGT", 20_000),
    "names": in_lines(random_text("abcdefghijkl", 6000), 6),
    "emoji": random_text("\U0001f600\U0001f601\U0001f680\U0001f984\u2764", 6000),
    "one space": random_text("abcd", 50_000) + " " + random_text("abcd", 49_999, seed=1),
    "digits": in_lines(random_text("0123456789", 6000)),
    "Arabic": in_lines(random_text([chr(c) for c in range(0x0627, 0x064B)], 6000)),
    "combining marks": in_lines(random_text(["e\u0301", "a\u0308", "o\u0302\u0323"], 4000)),
    "U+2581": in_lines(random_text("abcdefgh\u2581", 6000)),
    "U+2585": in_lines(random_text("abcdefgh\u2585", 6000)),
    "tabs": in_lines(random_text("abcdefgh\t", 6000)),
    "no-break spaces": in_lines(random_text("abcdefgh\u00a0", 6000)),
    "wide spaces": random_text([chr(c) for c in range(0x4E00, 0x4E20)] + ["\u3000"], 6000),
}
# Spaces, what SentencePiece writes for one, and characters that none of those texts has.
STRANGE = " the  old\thouse \u2581 \u2585\u00a0\u4e00\u3000\n 1 "


@pytest.mark.parametrize("text", UNSPACED.values(), ids=list(UNSPACED))
@pytest.mark.parametrize("size", [260, 340])
def test_any_text_trains_and_comes_back(text, size):
    tokenizer, report = train_sentencepiece([[text]], size)
    assert tokenizer.size == size
    assert report.used == report.paragraphs
    for given in (text, STRANGE, " ", "a b"):
        assert tokenizer.decode(tokenizer.encode([given])[0]) == given
    assert tokenizer._processor.piece_to_id("\u2581") != tokenizer._processor.unk_id()
    space = tokenizer.encode([" "])[0]
    assert len(space) == 1, "a space is one token"


def test_a_repeated_character_trains():
    for size in (260, 261, 268):
        tokenizer, _ = train_sentencepiece([["a" * 30_000]], size)
        assert tokenizer.decode(tokenizer.encode(["aaa a"])[0]) == "aaa a"
    with pytest.raises(UserError, match="the largest possible is 268"):
        train_sentencepiece([["a" * 30_000]], 300)


def test_too_small_a_vocabulary_has_the_most_frequent_characters():
    text = in_lines("a" * 900 + "b" * 600 + "\u4e00" * 300 + "c" * 90 + "d" * 30)
    tokenizer, report = train_sentencepiece([[text]], 263)
    pieces = {piece for piece, _ in tokenizer.pieces()}
    assert {"a", "b", "\u4e00", "\u2581"} <= pieces
    assert not {"c", "d"} & pieces
    assert "room for 3 of the text's 5 characters" in str(report)
    assert tokenizer.decode(tokenizer.encode([text + " dc"])[0]) == text + " dc"
    _, report = train_sentencepiece([[text]], 265)
    assert report.room is None
    assert "room for" not in str(report)


def test_rare_characters_have_no_token_where_the_space_is_asked_for():
    """The space alone is above the share that `character_coverage` asks for."""
    text = in_lines(random_text("abcd", 30_000)) + "\u4e00 \u4e8c"
    tokenizer, _ = train_sentencepiece([[text]], 340, VocabularyConfig(character_coverage=0.99))
    pieces = {piece for piece, _ in tokenizer.pieces()}
    assert {"a", "b", "c", "d", "\u2581"} <= pieces
    assert not {"\u4e00", "\u4e8c"} & pieces


def test_a_text_with_spaces_keeps_its_tokenizer(prose):
    """The piece for a space is asked for where it is missing only: runs keep their fingerprint."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in prose(3000).split("\n") if line),
        model_writer=model,
        model_type="bpe",
        vocab_size=400,
        character_coverage=0.9995,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        control_symbols=["<|separator|>"],
        user_defined_symbols=["\n"],
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        max_sentence_length=4192,
        minloglevel=2,
    )
    tokenizer, _ = train_sentencepiece([[prose(3000)]], 400)
    assert tokenizer.fingerprint == hashlib.sha256(model.getvalue()).hexdigest()


def test_long_lines_train_in_parts(prose):
    lines = prose(6000)
    one_line = lines.replace("\n", " ")
    tokenizer, report = train_sentencepiece([[one_line]], 400)
    assert report.used == report.paragraphs == -(-len(one_line) // 4192)
    by_line, _ = train_sentencepiece([[lines]], 400)
    lengths = [len(each.encode([one_line])[0]) for each in (tokenizer, by_line)]
    assert lengths[0] <= 1.02 * lengths[1], "a long line teaches what short ones do"


@pytest.mark.parametrize("chunk", [1, 97, 4192, 10**6])
def test_parts_of_long_lines(prose, chunk):
    spaced, han = prose(3000).replace("\n", " "), "\u4e00\u4e01\U0001f600" * 3000
    text = "\n".join([spaced, han, "short", "", "x" * 4192, "y" * 4193, "z" + " " * 9000])
    parts = list(_paragraphs(text[i : i + chunk] for i in range(0, len(text), chunk)))
    assert parts == list(_paragraphs([text]))
    assert all(0 < len(part.encode()) <= 4192 for part in parts)
    kept = "".join(parts)
    assert kept.replace(" ", "") == text.replace("\n", "").replace(" ", "")
    first, *others = _paragraphs([spaced])
    assert first + "".join(others) == spaced
    assert len(others) > 2
    assert all(part.startswith(" ") for part in others), "a word was cut"
    assert "short" in parts
    assert "x" * 4192 in parts
    assert parts.count("y") == 1


def test_a_part_may_have_exactly_as_many_bytes_as_training_takes():
    for word, rest in (
        ("x" * 4192, " y"),
        ("\u00e9" * 2096, " \u00e9"),
        ("a b" + "x" * 4189, " c"),
    ):
        assert list(_paragraphs([word + rest])) == [word, rest]


def test_all_documents_of_long_lines_train(prose):
    documents = [[prose(1200, seed).replace("\n", " ")] for seed in range(30)]
    assert min(len(text) for (text,) in documents) > 5000
    _, report = train_sentencepiece(documents, 400)
    assert report.used == report.paragraphs >= 2 * len(documents)
    assert "none left out" in str(report)


def test_a_line_with_the_reserved_character_trains(prose):
    text = prose(500)
    _, report = train_sentencepiece([[text + "\nunheard\u2585unheard\n" * 50]], 340)
    assert report.used == report.paragraphs
    tokenizer, _ = train_sentencepiece([["unheard\u2585of\n" * 50]], 265)
    assert "un" in "".join(piece for piece, _ in tokenizer.pieces())


@pytest.mark.parametrize(
    ("name", "value"),
    [("character_coverage", 0.5), ("character_coverage", 1.5), ("training_bytes", 0)],
)
def test_settings_outside_their_range(prose, name, value):
    with pytest.raises(UserError, match=rf"vocabulary\.{name} is {value}, but it must be"):
        train_sentencepiece([[prose(300)]], 300, VocabularyConfig(**{name: value}))


def test_training_samples_what_does_not_fit(prose):
    text = prose(20_000)
    config = VocabularyConfig(training_bytes=20_000)
    first, report = train_sentencepiece([[text]], 300, config)
    second, _ = train_sentencepiece([[text]], 300, config)
    assert first.fingerprint == second.fingerprint
    kept = report.used / report.paragraphs * len(text)
    assert 5_000 < kept <= 22_000
    assert report.skipped["not sampled"] == report.paragraphs - report.used


def test_sizes_that_cannot_be(prose):
    with pytest.raises(UserError, match=r"largest possible is ([0-9,]+)") as refused:
        train_sentencepiece([[prose(300)]], 30_000)
    largest = int(str(refused.value).split("largest possible is ")[1].split()[0].replace(",", ""))
    assert train_sentencepiece([[prose(300)]], largest)[0].size == largest
    with pytest.raises(UserError, match="largest possible"):
        train_sentencepiece([[prose(300)]], largest + 1)
    for size in (259, 0, -5):
        with pytest.raises(UserError, match=r"too small; it needs at least 260"):
            train_sentencepiece([[prose(300)]], size)
    with pytest.raises(UserError, match="no text to train"):
        train_sentencepiece([[" \n\n"], []], 300)


def test_training_is_quiet(prose, capfd):
    train_sentencepiece([[prose(1000)]], 300)
    assert capfd.readouterr() == ("", "")


def test_models_that_cannot_serve(tmp_path, prose):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(prose(2000).split("\n")),
        model_writer=model,
        vocab_size=60,
        minloglevel=2,
    )
    (tmp_path / "plain.model").write_bytes(model.getvalue())
    (tmp_path / "broken.model").write_bytes(b"no model")
    (tmp_path / "empty.model").write_bytes(b"")
    with pytest.raises(UserError, match="does not give back the text"):
        load_tokenizer(tmp_path / "plain.model")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        load_tokenizer(tmp_path / "broken.model")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        load_tokenizer(tmp_path / "empty.model")
    with pytest.raises(UserError, match="no tokenizer at"):
        load_tokenizer(tmp_path / "missing.model")


def test_one_text_is_not_several(tokenizer):
    """Or each of its characters would be a text."""
    for one in ("A sentence.", ""):
        with pytest.raises(UserError, match=r"several texts are needed.* put it into a list"):
            tokenizer.encode(one)


def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"U\+D83D"):
        tokenizer.encode(["a\ud83db"])


def test_command(tmp_path, prose, capsys):
    (tmp_path / "book.txt").write_text(prose(3000), encoding="utf-8")
    out = tmp_path / "new" / "small.model"
    config = command.TokenizerConfig(data=str(tmp_path / "book.txt"), vocab_size=350, out=str(out))
    result = command.run(config)
    assert load_tokenizer(out).fingerprint == result.fingerprint
    assert load_tokenizer(out).size == 350
    assert "(none left out)" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists"):
        command.run(config)
    with pytest.raises(UserError, match=r"ends in \.model"):
        command.run(command.TokenizerConfig(out=str(tmp_path / "x.txt")))
