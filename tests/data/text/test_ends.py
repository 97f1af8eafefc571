"""The ends of documents among the targets: each once, in every layout, and only real ones."""

from itertools import pairwise

import numpy as np
import pytest

from gptjax.data.text.corpus import Corpus, predicts_end, prepare, prepare_whole
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.windows import Windows
from gptjax.data.tokenizers.bpe import Gpt1Tokenizer
from gptjax.data.tokenizers.bpe_files import Bpe
from gptjax.errors import UserError

T, SEPARATOR = 6, 1
MODES = ("pad", "pack", "cross")


def corpus_of(lengths, closed=None, missing=()):
    """Documents of so many tokens, no token twice; some are missing, as if they were held back."""
    documents, tokens = [], iter(range(2, 10_000))
    for length in lengths:
        documents.append([SEPARATOR, *(next(tokens) for _ in range(length))])
    ends = np.cumsum([len(document) for document in documents])
    starts = ends - [len(document) for document in documents]
    kept = [number for number in range(len(lengths)) if number not in missing]
    closed = np.ones(len(lengths), bool) if closed is None else np.asarray(closed)
    corpus = Corpus(
        name="made",
        tokens=np.concatenate(documents).astype(np.uint16),
        starts=starts[kept],
        ends=ends[kept],
        closed=closed[kept],
        separator=SEPARATOR,
        vocabulary_size=10_000,
        bytes=1,
        words=1,
        dropped={},
        fingerprint="",
        earlier="",
        files={},
        origins=[(0, "made")],
        indices=np.array(kept),
    )
    return corpus, [documents[number] for number in kept]


def make(corpus, mode, **options):
    every = {"context_length": T, "batch_size": 2, "drop_last": False, "predict_end": True}
    return Windows(corpus, short_documents=mode, **(every | options))


def rows_of(windows):
    """Tokens and weights of all windows in order."""
    batches = [windows.batch(0, index) for index in range(len(windows))]
    real = np.concatenate([batch.weights for batch in batches]) > 0
    tokens = np.concatenate([batch.tokens[:, 0] for batch in batches])[real]
    return tokens, np.concatenate([batch.lm_weights[:, 0] for batch in batches])[real]


def targets_of(windows):
    """Every predicted token after the one before it."""
    tokens, weights = rows_of(windows)
    row, column = np.nonzero(weights)
    pairs = zip(tokens[row, column - 1], tokens[row, column], strict=True)
    return sorted((int(before), int(token)) for before, token in pairs)


def expected(documents, closed):
    """Every token after the one before it, and the separator after a text that ends."""
    pairs = []
    for document, ended in zip(documents, closed, strict=True):
        end = [SEPARATOR] if ended and len(document) > 1 else []
        pairs += pairwise([*document, *end])
    return sorted(pairs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stride", [1, 2, 5, T])
def test_every_end_is_predicted_once_after_its_last_token(mode, stride):
    draw = np.random.default_rng(stride)
    for _ in range(25):
        lengths = draw.choice([0, 1, 2, 3, T - 1, T, T + 1, 2 * T, 2 * T + 1, 3 * T], 9)
        if not lengths[[0, 1, 2, 4, 5, 6, 7, 8]].any():
            continue
        # A document that is cut is followed by one that is missing: its own other part.
        closed = [number != 2 for number in range(9)]
        corpus, documents = corpus_of(lengths, closed, missing=(3,))
        windows = make(corpus, mode, stride=stride)
        closed.pop(3)
        assert targets_of(windows) == expected(documents, closed)
        share = 1 - len(targets_of(windows)) / (windows.num_windows * T)
        assert f"{share:.1%} of their positions without" in windows.report()
        without = make(corpus, mode, stride=stride, predict_end=False)
        assert targets_of(without) == expected(documents, [False] * 8)


@pytest.mark.parametrize(
    ("mode", "lengths", "rows", "weights"),
    [
        # T tokens leave no room for the end, which gets a window of its own after all others.
        ("pad", [6, 2], ["1234567", "1891111", "7111111"], ["0111111", "0111000", "0100000"]),
        # The end of one document is the separator of the next.
        ("pack", [1, 1, 1], ["1213141"], ["0111111"]),
        ("pack", [2, 1, 1], ["1231411", "1511111"], ["0111110", "0110000"]),
        ("pack", [6, 2], ["1234567", "1718911"], ["0111111", "0011110"]),
        ("cross", [2, 1, 3], ["1231415", "5671111"], ["0111111", "0111000"]),
    ],
)
def test_where_the_ends_are(mode, lengths, rows, weights):
    corpus, _ = corpus_of(lengths)
    tokens, found = rows_of(make(corpus, mode, shuffle=False))
    shown = ["".join(map(str, row.tolist())) for row in tokens]
    assert shown == rows
    assert ["".join(map(str, row.astype(int).tolist())) for row in found] == weights


def test_windows_of_the_text_are_the_same_with_and_without_ends():
    """In padded windows, which validation has: the sums over the text are the same to the bit."""
    corpus, _ = corpus_of([6, 2, 12, 5, 1, 7, 6])
    windows, without = (make(corpus, "pad", shuffle=False, predict_end=p) for p in (True, False))
    (tokens, weights), (old, old_weights) = rows_of(windows), rows_of(without)
    count = len(old)
    assert len(tokens) == count + 3  # 6, 12 and 6 tokens fill their windows
    np.testing.assert_array_equal(tokens[:count], old)
    np.testing.assert_array_equal(np.where(tokens == SEPARATOR, 0, weights)[:count], old_weights)
    assert (tokens[count:][weights[count:] > 0] == SEPARATOR).all()


def test_only_real_ends_are_closed(tmp_path, tokenizer, prose):
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(prose(900, seed=number), encoding="utf-8")
    for corpus in (
        *prepare(CorpusConfig(data=str(folder), validation_fraction=0.3), tokenizer),
        prepare_whole(CorpusConfig(data=str(folder)), tokenizer),
    ):
        assert corpus.closed.all()
    train, valid = prepare(CorpusConfig(data=str(folder / "0.txt")), tokenizer)
    assert (train.closed.tolist(), valid.closed.tolist()) == ([False], [True])
    for corpus, count in ((train, 0), (valid, 1)):
        predicted = [token for _, token in targets_of(make(corpus, "pad"))]
        assert predicted.count(tokenizer.separator) == count


def test_who_decides_whether_ends_are_predicted(tokenizer):
    gpt1 = Gpt1Tokenizer(Bpe({"<unk>": 0, "\n</w>": 1, "a</w>": 2}, []), "fast")
    for chosen, found in ((None, True), (True, True), (False, False)):
        assert predicts_end(CorpusConfig(predict_end=chosen), tokenizer) is found
    for chosen in (None, False):
        assert predicts_end(CorpusConfig(predict_end=chosen), gpt1) is False
    with pytest.raises(UserError, match=r"`corpus.predict_end`: .* leave the setting out"):
        predicts_end(CorpusConfig(predict_end=True), gpt1)
