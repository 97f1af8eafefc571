"""Streams: what follows what, what is counted, and where nothing is remembered."""

from itertools import pairwise

import numpy as np
import pytest

from gptjax.data.text.batches import order, to_evaluate, to_train
from gptjax.data.text.corpus import Corpus
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.streams import Streams, WholeDocuments
from gptjax.errors import UserError

T, B, SEPARATOR = 5, 3, 0


def corpus(*lengths, closed=None, separators=True):
    """Documents of so many tokens, all different, each after a separator or a token of its own."""
    starts, tokens, at = [], [], 0
    for length in lengths:
        starts.append(at)
        first = SEPARATOR if separators else at + 1000
        tokens += [first, *range(at + 1, at + 1 + length)]
        at = len(tokens)
    ends = np.array([*starts[1:], at])
    return Corpus(
        name="made",
        tokens=np.array(tokens, np.uint16),
        starts=np.array(starts),
        ends=ends,
        closed=np.ones(len(lengths), bool) if closed is None else np.array(closed),
        separator=SEPARATOR,
        vocabulary_size=2000,
        bytes=at,
        words=at,
        dropped={},
        fingerprint="f",
        earlier="e",
        origins=[(0, "made.txt")],
        indices=np.arange(len(lengths)),
        files={},
    )


def make(text, **options):
    return Streams(text, **{"context_length": T, "batch_size": B, **options})


def rows_of(batches, epoch=0):
    """By row: what it reads, what it predicts, with which weight, and where it is fresh."""
    parts = [batches.batch(epoch, index) for index in range(len(batches))]
    read = np.concatenate([part.tokens[:, 0, :-1] for part in parts], axis=1)
    predicted = np.concatenate([part.tokens[:, 0, 1:] for part in parts], axis=1)
    weights = np.concatenate([part.lm_weights[:, 0, 1:] for part in parts], axis=1)
    fresh = np.concatenate([part.fresh[:, 0] for part in parts], axis=1)
    return read, predicted, weights, fresh


TEXT = corpus(17, 3, 0, 9, 1, 14, 8, 30)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_row_goes_on_where_it_was_and_the_rows_are_one_text(epoch):
    batches = make(TEXT)
    read, predicted, weights, fresh = rows_of(batches, epoch)
    np.testing.assert_array_equal(read[:, 1:], predicted[:, :-1])
    np.testing.assert_array_equal(read[1:, 0], predicted[:-1, -1])
    assert read.shape == (B, len(batches) * T)
    whole = np.append(read.ravel(), predicted[-1, -1])
    documents = np.split(whole, np.flatnonzero(whole == SEPARATOR))[1:]
    real = {tuple(TEXT.tokens[a:b]) for a, b in zip(TEXT.starts, TEXT.ends, strict=True)}
    assert {tuple(one) for one in documents[:-1]} <= real
    assert len(documents) >= 5
    np.testing.assert_array_equal(weights, predicted != SEPARATOR)
    np.testing.assert_array_equal(fresh, np.arange(read.shape[1])[None] == np.zeros((B, 1)))


def test_the_order_depends_on_seed_and_epoch_alone():
    read = rows_of(make(TEXT))[0]
    batches = make(TEXT)
    assert (rows_of(batches, 1)[0] != read).any()
    np.testing.assert_array_equal(rows_of(batches, 0)[0], read)
    assert (rows_of(make(TEXT, seed=1))[0] != read).any()
    one = batches.batch(1, 2, slice(1, 3))
    np.testing.assert_array_equal(one.tokens, batches.batch(1, 2).tokens[1:3])
    np.testing.assert_array_equal(one.fresh, batches.batch(1, 2).fresh[1:3])


def test_with_each_document_nothing_is_remembered_from_its_separator_on():
    read, _, _, fresh = rows_of(make(TEXT, reset="document"))
    expected = read == SEPARATOR
    assert expected[:, 1:].sum() > 3
    expected[:, 0] = True
    np.testing.assert_array_equal(fresh, expected)


def test_the_end_of_a_document_is_predicted_where_it_is_whole():
    text = corpus(6, 7, 8, closed=[True, False, True])
    batches = make(text, batch_size=1, context_length=6, predict_end=True)
    for epoch in range(4):
        _, predicted, weights, _ = rows_of(batches, epoch)
        follows = np.append(text.starts[0], predicted[0])[:-1]  # the token before
        ends = predicted[0] == SEPARATOR
        cut = follows == 14  # the last token of the second document
        np.testing.assert_array_equal(weights[0], ~(ends & cut))
        assert ends.sum() >= 2
        # Of the whole text, which is 24 tokens, the end of the last document as well.
        assert predicted[0, -1] == SEPARATOR


def test_too_little_text_is_refused():
    with pytest.raises(UserError, match="10 tokens do not fill 3 streams of 5 tokens"):
        make(corpus(4, 6))


def whole(text, **options):
    return WholeDocuments(text, **{"context_length": T, "batch_size": B, **options})


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("separators", [False, True])
def test_every_document_is_read_alone_and_every_token_counts_once(size, ends, separators):
    text = corpus(
        *(17, 3, 0, 9, 1, 14, 8, 30),
        closed=[True] * 7 + [False],
        separators=separators,
    )
    batches = whole(text, batch_size=size, predict_end=ends)
    read, predicted, weights, fresh = rows_of(batches)
    found = []
    for row in range(size):
        for begin, end in pairwise([*np.flatnonzero(fresh[row]), read.shape[1]]):
            there = np.flatnonzero(weights[row, begin:end]) + begin
            # Predicted one after the other, from the very first on.
            np.testing.assert_array_equal(there, begin + np.arange(len(there)))
            found.append((int(read[row, begin]), *predicted[row, there].tolist()))
    expected = []
    for n, (a, b) in enumerate(zip(text.starts, text.ends, strict=True)):
        if b - a > 1:
            end = [SEPARATOR] if ends and text.closed[n] else []
            expected.append((*text.tokens[a:b].tolist(), *end))
    assert sorted(found) == sorted(expected)
    # Full: no row has more to read than another by more than a document.
    if size == 3:
        assert len(batches) <= -(-(text.num_tokens + 16) // (3 * T)) + 1


def test_a_single_document_is_cut_into_streams():
    text = corpus(23)
    batches = whole(text, streams=4, batch_size=2, predict_end=True)
    assert "one document, cut into 4 streams" in batches.report()
    read, predicted, weights, fresh = rows_of(batches)
    assert fresh.sum() == 4
    assert sorted(predicted[weights > 0].tolist()) == [SEPARATOR, *range(1, 24)]
    first = np.flatnonzero(fresh.ravel())
    assert sorted(read.ravel()[first].tolist()) == [SEPARATOR, 5, 11, 17]
    assert "cut" not in whole(text, streams=1).report()
    assert "cut" not in whole(TEXT, streams=4).report()


def test_settings_choose_the_batches_and_their_order_is_recorded():
    streams = CorpusConfig(order="streams", reset="document", predict_end=True)
    sizes = {"context_length": T, "batch_size": B}
    made = to_train(streams, TEXT, seed=3, **sizes)
    assert (type(made), made.reset, made.seed, made.predict_end) == (Streams, "document", 3, True)
    assert type(to_evaluate(streams, TEXT, **sizes)) is WholeDocuments
    assert order(streams) == {"order": "streams", "reset": "document", "predict_end": True}
    # As runs have recorded it since before there were streams.
    assert order(CorpusConfig()) == {"short_documents": "pad"}
    assert order(CorpusConfig(predict_end=True)) == {"short_documents": "pad", "predict_end": True}
    with pytest.raises(UserError, match=r"corpus.short_documents pack: is for windows"):
        CorpusConfig(order="streams", short_documents="pack")
    with pytest.raises(UserError, match=r"corpus.reset document: is for corpus.order streams"):
        CorpusConfig(reset="document")


def test_where_the_streams_are_is_named():
    assert make(TEXT).describe(0, 1).count("made.txt document") == B
