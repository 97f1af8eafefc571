"""Rows of a sequence autoencoder: a document and its end, and both once more."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gptjax.data.text.autoencoder import AutoencoderRows, check_end
from gptjax.data.text.corpus import Corpus
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.tokenizers.bpe import Gpt1Tokenizer
from gptjax.data.tokenizers.bpe_files import Bpe
from gptjax.errors import UserError

END = 9


def made(documents, closed=None, end=END):
    """A corpus of these documents, each a list of ids without its end."""
    parts = [[end, *document] for document in documents]
    ends = np.cumsum([len(part) for part in parts])
    return Corpus(
        name="made",
        tokens=np.concatenate(parts).astype(np.uint16),
        starts=ends - [len(part) for part in parts],
        ends=ends,
        closed=np.ones(len(parts), bool) if closed is None else np.array(closed),
        separator=end,
        vocabulary_size=1000,
        bytes=1,
        words=1,
        dropped={},
        fingerprint="",
        earlier="",
        files={},
        origins=[(0, "made")],
        indices=np.arange(len(parts)),
    )


def make(corpus, context, **options):
    every = {"batch_size": 2, "drop_last": False, "shuffle": False}
    return AutoencoderRows(corpus, context_length=context, **(every | options))


def rows_of(rows, epoch=0):
    """Tokens and weights of all rows, int32 and float32 [R, T + 1]."""
    batches = [rows.batch(epoch, index) for index in range(len(rows))]
    real = np.concatenate([batch.weights for batch in batches]) > 0
    tokens = np.concatenate([batch.tokens[:, 0] for batch in batches])
    weights = np.concatenate([batch.lm_weights[:, 0] for batch in batches])
    assert not weights[~real].any()
    return tokens[real], weights[real]


def recorded():
    """What the released code of Dai and Le's group makes of some documents."""
    kept = Path(__file__).parents[2] / "golden/dai_le.json"
    shared = os.environ.get("GPTJAX_SHARED")
    if shared:
        kept = Path(shared) / "reference/ancestors/dai_le.json"
    return json.loads(kept.read_text(encoding="utf-8"))["cases"]


@pytest.mark.parametrize("room", [0, 1, 5])
def test_the_recorded_layouts(room):
    """Tokens that the model sees are all but the last, labels all but the first."""
    for case in recorded():
        *text, end = case["document"]
        wanted = case["autoencoder"]
        length = len(wanted["tokens"])
        ((row,), (weights,)) = rows_of(make(made([text], end=end), length + room))
        assert row[:length].tolist() == wanted["tokens"]
        assert weights[1 : length + 1].tolist() == wanted["weights"]
        labels = np.where(weights[1 : length + 1] > 0, row[1 : length + 1], 0)
        assert labels.tolist() == wanted["labels"]
        assert not weights[length + 1 :].any()


def test_every_row_is_the_end_of_a_document_twice():
    draw = np.random.default_rng(0)
    for context in (3, 4, 5, 8, 31):
        lengths = draw.choice([0, 1, 2, 3, 4, 14, 15, 16, 40], 9)
        lengths[-1] = 15  # of the last one the end is beyond the corpus
        documents = [draw.integers(10, 1000, length).tolist() for length in lengths]
        closed = draw.random(9) < 0.5  # a part of a document is one
        rows = make(made(documents, closed), context)
        room = (context + 1) // 2
        halves = [[*text, END][-room:] for text in documents if text]
        tokens, weights = rows_of(rows)
        assert len(tokens) == len(halves)
        for half, row, weight in zip(halves, tokens, weights, strict=True):
            size = 2 * len(half)
            assert row.tolist() == [*half, *half, *[END] * (context + 1 - size)]
            padding = context + 1 - size
            assert weight.tolist() == [0] * len(half) + [1] * len(half) + [0] * padding
        assert rows.num_targets == weights.sum()
        assert rows.num_tokens == weights.sum() - len(halves)


def test_shapes_and_rows_of_a_batch():
    rows = make(made([[10 + n] for n in range(7)]), 6, batch_size=4)
    assert len(rows) == 2
    for index in range(2):
        batch = rows.batch(0, index)
        assert (batch.tokens.shape, batch.tokens.dtype) == ((4, 1, 7), np.int32)
        assert (batch.lm_weights.shape, batch.lm_weights.dtype) == ((4, 1, 7), np.float32)
        part = rows.batch(0, index, slice(1, 4))
        np.testing.assert_array_equal(part.tokens, batch.tokens[1:])
        np.testing.assert_array_equal(part.weights, batch.weights[1:])
    assert batch.weights.tolist() == [1, 1, 1, 0]


def test_rows_are_shuffled_by_seed_and_epoch():
    corpus = made([[10 + n] for n in range(20)])
    rows = make(corpus, 3, shuffle=True, seed=3)
    first, second = (rows_of(rows, epoch)[0][:, 0].tolist() for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(10, 30))
    assert first != second
    assert rows_of(make(corpus, 3, shuffle=True, seed=3))[0][:, 0].tolist() == first
    assert rows_of(make(corpus, 3, shuffle=True, seed=4))[0][:, 0].tolist() != first


def test_the_report_says_what_is_cut():
    documents = [[11, 12], [11, 12, 13], [11, 12, 13, 14, 15], []]
    whole = make(made(documents), 12)
    assert whole.report() == (
        "3 rows of 12 tokens, 63.9% of their positions without a target, those of the first "
        "reading included; every document is whole"
    )
    cut = make(made(documents), 6)  # 2 tokens and the end
    assert "2 documents (66.7%) are longer than 2 tokens" in cut.report()
    assert "4 tokens (40.0%) are cut" in cut.report()
    assert cut.describe(0, 0) == "made document 0 token 1; made document 1 token 2"
    assert cut.notice() is None
    books = make(made([list(range(10, 200)), list(range(10, 300))]), 8)
    assert "98.8% of the tokens are never read: of each document only the last 3" in books.notice()


def test_too_little_is_refused():
    corpus = made([[11], [12], []])
    with pytest.raises(UserError, match="2 documents are as many rows, fewer than one batch of 4"):
        make(corpus, 3, batch_size=4, drop_last=True)
    with pytest.raises(UserError, match=r"`model.context_length=2`.* at least 3"):
        make(corpus, 2)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"short_documents": "pack"},
            r"corpus\.short_documents pack: .* set corpus",
        ),
        (
            {"short_documents": "cross"},
            r"corpus\.short_documents cross: .* set corpus",
        ),
        ({"predict_end": False}, r"corpus\.predict_end False: .* leave it out"),
        ({"order": "streams"}, r"corpus\.layout autoencode: .* leave corpus\.order streams out"),
    ],
)
def test_settings_without_a_meaning_are_refused(setting, message):
    with pytest.raises(UserError, match=message):
        CorpusConfig(layout="autoencode", **setting)
    assert not CorpusConfig(**setting).autoencodes


def test_a_tokenizer_without_an_end_is_refused(tokenizer):
    check_end(tokenizer)
    assert CorpusConfig(layout="autoencode", predict_end=True).autoencodes
    with pytest.raises(UserError, match=r"`corpus.layout=autoencode`: the tokenizer has no token"):
        check_end(Gpt1Tokenizer(Bpe({"<unk>": 0, "\n</w>": 1, "a</w>": 2}, []), "fast"))
