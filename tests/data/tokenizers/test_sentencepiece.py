import io

import numpy as np
import pytest
import sentencepiece

from gptjax.commands import tokenizer as command
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.sentencepiece import SEPARATOR_PIECE, cut
from gptjax.data.tokenizers.tokenizer import PIECE_CHARACTERS, Tokenizer, VocabularyConfig
from gptjax.data.tokenizers.train import train_sentencepiece
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


def test_training_reports_what_it_skips(prose):
    text = prose(2000)
    paragraphs = text.count("\n")
    long, reserved = "y" * 4193, "a \u2585 b"
    chunks = [text[:500], text[500:] + "\n\n" + long, "\n" + "z" * 4192, "\n \n" + reserved]
    tokenizer, report = train_sentencepiece([chunks], 400)
    assert report.paragraphs == paragraphs + 3
    assert report.used == paragraphs + 1
    assert list(report.skipped.values()) == [1, 1, 0]
    assert tokenizer.size == report.size == 400
    assert "longer than 4,192 bytes" in str(report)


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
    with pytest.raises(UserError, match=r"too small .* at least ([0-9,]+)"):
        train_sentencepiece([[prose(300)]], 200)
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


def test_half_a_surrogate_pair_is_refused(tokenizer):
    with pytest.raises(UserError, match=r"U\+D83D"):
        tokenizer.encode(["a\ud83db"])


def test_command(tmp_path, prose, capsys):
    (tmp_path / "book.txt").write_text(prose(3000) + "y" * 5000, encoding="utf-8")
    out = tmp_path / "new" / "small.model"
    config = command.TokenizerConfig(data=str(tmp_path / "book.txt"), vocab_size=350, out=str(out))
    result = command.run(config)
    assert load_tokenizer(out).fingerprint == result.fingerprint
    assert load_tokenizer(out).size == 350
    assert "1 longer than 4,192 bytes left out" in capsys.readouterr().out
    with pytest.raises(UserError, match="exists"):
        command.run(config)
    with pytest.raises(UserError, match=r"ends in \.model"):
        command.run(command.TokenizerConfig(out=str(tmp_path / "x.txt")))
