from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from gptjax.data.text.corpus import prepare, prepare_whole
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.windows import Windows
from gptjax.errors import UserError

T = 16
MODES = ("pad", "pack", "cross")


@pytest.fixture
def folder(tmp_path, prose):
    folder = tmp_path / "documents"
    folder.mkdir()
    for i, words in enumerate([200, 1, 3, 33, 2, 5, 150, 7, 16, 15, 14, 4, 90, 1]):
        text = prose(words, seed=i).strip()
        (folder / f"{i:02}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def corpus(folder, tokenizer):
    return prepare_whole(CorpusConfig(data=str(folder)), tokenizer)


def make(corpus, mode="pad", **options):
    return Windows(
        corpus,
        **{"context_length": T, "batch_size": 4, "short_documents": mode, **options},
    )


def epoch_of(windows, epoch=0):
    return [windows.batch(epoch, index) for index in range(len(windows))]


def documents_of(corpus):
    return [
        corpus.tokens[start:end].astype(np.int32)
        for start, end in zip(corpus.starts, corpus.ends, strict=True)
    ]


def targets_of(batches):
    """Every predicted token with the one before it."""
    pairs = []
    for batch in batches:
        tokens, weights = batch.tokens[:, 0], batch.lm_weights[:, 0]
        row, column = np.nonzero(weights)
        assert (column > 0).all(), "a token with nothing before it is predicted"
        pairs += zip(tokens[row, column - 1], tokens[row, column], strict=True)
    return sorted(pairs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_token_is_predicted_once_from_the_one_before(corpus, mode, shuffle):
    batches = epoch_of(make(corpus, mode, shuffle=shuffle, drop_last=False), epoch=3)
    expected = []
    for document in documents_of(corpus):
        expected += pairwise(document)
    assert len(expected) == corpus.num_tokens
    assert targets_of(batches) == sorted(expected)
    assert sum(batch.lm_weights.sum() for batch in batches) == corpus.num_tokens


@pytest.mark.parametrize("mode", MODES)
def test_a_separator_that_texts_have_too_is_predicted_there(corpus, mode):
    """GPT-1's vocabulary has a line end, and nothing of its own to put between documents."""
    line_end = 2
    tokens = np.array(corpus.tokens)
    tokens[corpus.starts] = line_end
    assert (tokens == line_end).sum() > len(corpus.starts)
    alike = replace(corpus, tokens=tokens, separator=line_end)
    predicted = targets_of(epoch_of(make(alike, mode, shuffle=False, drop_last=False)))
    assert len(predicted) == corpus.num_tokens


@pytest.mark.parametrize("mode", MODES)
def test_shapes_and_dtypes(corpus, mode):
    windows = make(corpus, mode, drop_last=False, batch_size=5)
    for batch in epoch_of(windows):
        assert (batch.tokens.shape, batch.tokens.dtype) == ((5, 1, T + 1), np.int32)
        assert (batch.lm_weights.shape, batch.lm_weights.dtype) == ((5, 1, T + 1), np.float32)
        assert (batch.extract.shape, batch.extract.dtype) == ((5, 1), np.int32)
        assert (batch.targets.shape, batch.targets.dtype) == ((5, 1), np.float32)
        assert (batch.weights.shape, batch.weights.dtype) == ((5,), np.float32)
        assert not batch.extract.any()
        assert (batch.targets == 1).all()
        assert set(np.unique(batch.lm_weights)) <= {0, 1}
        assert not batch.lm_weights[batch.tokens == corpus.separator].any()


def test_padded_windows_are_contiguous_and_of_one_document(corpus):
    documents = [tuple(document) for document in documents_of(corpus)]
    windows = make(corpus, drop_last=False, shuffle=False)
    for batch in epoch_of(windows):
        for tokens, weights, real in zip(
            batch.tokens[:, 0], batch.lm_weights[:, 0], batch.weights, strict=True
        ):
            count = int(weights.sum())
            assert (count > 0) == (real == 1)
            assert weights.tolist() == [0] + [1] * count + [0] * (T - count)
            if real:
                stretch = tuple(tokens[: count + 1])
                assert any(
                    stretch == document[k : k + count + 1]
                    for document in documents
                    for k in range(0, len(document), T)
                )


def test_packed_windows_put_a_separator_between_documents(corpus):
    windows = make(corpus, "pack", drop_last=False, shuffle=False)
    documents = [tuple(document) for document in documents_of(corpus)]
    packed = 0
    for batch in epoch_of(windows):
        for tokens, weights in zip(batch.tokens[:, 0], batch.lm_weights[:, 0], strict=True):
            # Between two separators lies one stretch of one document.
            at = [*np.flatnonzero(tokens == corpus.separator), T + 1]
            stretches = [tuple(tokens[a + 1 : b]) for a, b in pairwise(at)]
            stretches = [s for s in [tuple(tokens[: at[0]]), *stretches] if s]
            packed += len(stretches) > 1
            for stretch in stretches:
                assert any(
                    stretch == document[k : k + len(stretch)]
                    for document in documents
                    for k in range(len(document))
                )
            assert weights.sum() > 0 or not stretches
    assert packed > 2
    padded = make(corpus, "pad", drop_last=False)
    crossing = make(corpus, "cross", drop_last=False)
    assert crossing.num_windows < windows.num_windows < padded.num_windows
    assert "packed" in windows.report()


def test_crossing_windows_are_the_stream(corpus):
    windows = make(corpus, "cross", drop_last=False, shuffle=False)
    (start, end) = corpus.starts[0], corpus.ends[-1]
    stream = np.concatenate([b.tokens[:, 0, 1:].ravel() for b in epoch_of(windows)])
    np.testing.assert_array_equal(stream[: end - start - 1], corpus.tokens[start + 1 : end])


@pytest.mark.parametrize("mode", MODES)
def test_held_back_documents_are_never_in_training_windows(folder, tokenizer, mode):
    train, valid = prepare(CorpusConfig(data=str(folder), validation_fraction=0.2), tokenizer)
    held = set()
    for start, end in zip(valid.starts, valid.ends, strict=True):
        held |= set(range(start + 1, end))
    pieces = make(train, mode, drop_last=False)._pieces
    seen = {
        position
        for start, length in zip(pieces.start, pieces.length, strict=True)
        for position in range(start + 1, start + length)
    }
    assert held
    assert not seen & held


def test_order_is_a_pure_function_of_seed_and_epoch(corpus):
    def order(windows, epoch):
        return [b.tokens.tobytes() for b in epoch_of(windows, epoch)]

    windows = make(corpus, seed=5)
    first, second = order(windows, 0), order(windows, 1)
    assert first != second
    assert order(make(corpus, seed=6), 0) != first
    fresh = make(corpus, seed=5)
    backwards = [fresh.batch(1, i).tokens.tobytes() for i in reversed(range(len(fresh)))]
    assert backwards[::-1] == second
    assert order(fresh, 0) == first
    rows = [
        sorted(row.tobytes() for b in epoch_of(make(corpus, batch_size=1), e) for row in b.tokens)
        for e in (0, 1)
    ]
    assert rows[0] == rows[1], "an epoch is not a permutation"


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_its_slices(corpus, mode):
    windows = make(corpus, mode, batch_size=6, drop_last=False)
    for index in range(len(windows)):
        whole = windows.batch(2, index)
        parts = [windows.batch(2, index, slice(a, b)) for a, b in ((0, 1), (1, 4), (4, 6))]
        assert whole.fresh is None
        for name in [name for name in whole._fields if getattr(whole, name) is not None]:
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, name))


def test_last_batch(corpus):
    whole = make(corpus, drop_last=False)
    assert whole.num_windows % 4
    assert len(make(corpus)) == whole.num_windows // 4
    assert len(whole) == whole.num_windows // 4 + 1
    last = whole.batch(0, len(whole) - 1)
    count = whole.num_windows % 4
    assert last.weights.tolist() == [1] * count + [0] * (4 - count)
    assert not last.lm_weights[count:].any()
    with pytest.raises(IndexError):
        whole.batch(0, len(whole))
    assert all(batch.weights.all() for batch in epoch_of(make(corpus)))


def test_fresh_arrays(corpus):
    windows = make(corpus)
    first = windows.batch(0, 0)
    expected = first.tokens.copy()
    for array in [one for one in first if one is not None]:
        assert array.flags.writeable
        assert array.flags.owndata or array.base.flags.owndata
        array[...] = 7
    np.testing.assert_array_equal(windows.batch(0, 0).tokens, expected)


def test_too_small_for_a_batch(corpus):
    with pytest.raises(UserError, match="fewer than one batch of 1000; give more text"):
        make(corpus, batch_size=1000)
    assert len(make(corpus, batch_size=1000, drop_last=False)) == 1


def test_describe_and_report(corpus):
    windows = make(corpus, shuffle=False)
    place = windows.describe(0, 0).split("; ")
    assert len(place) == 4
    assert place[1].endswith(f"00.txt document 0 token {T}")
    lengths = corpus.ends - corpus.starts - 1
    share = (lengths < T).mean()
    assert f"{share:.1%} of the documents" in windows.report()
    padding = 1 - corpus.num_tokens / (windows.num_windows * T)
    assert f"{padding:.1%} of their positions" in windows.report()


def test_end_of_a_single_document_continues_it(tmp_path, tokenizer, prose):
    (tmp_path / "book.txt").write_text(prose(5000), encoding="utf-8")
    train, valid = prepare(CorpusConfig(data=str(tmp_path / "book.txt")), tokenizer)
    ids = tokenizer.encode([prose(5000)])[0]
    for mode in MODES:
        batches = epoch_of(make(valid, mode, drop_last=False, shuffle=False))
        predicted = np.concatenate([b.tokens[b.lm_weights > 0] for b in batches])
        np.testing.assert_array_equal(predicted, ids[train.num_tokens :])
