"""Perplexity with a sliding window equals a loop over single tokens."""

import math

import jax
import numpy as np
import pytest

from gptjax.data.text.corpus import prepare_whole
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.unigram import token_counts
from gptjax.data.text.windows import Windows
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.evaluation.perplexity import perplexity, show_per_word
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.models.transformer import Transformer
from gptjax.training.evaluation import Evaluator

CONTEXT = 8


def sliding(corpus, stride, batch_size, **options):
    return Windows(
        corpus,
        context_length=CONTEXT,
        stride=stride,
        batch_size=batch_size,
        shuffle=False,
        drop_last=False,
        **options,
    )


TEXTS = ["It was a long day and the road went on.", "a", "No one came.\nNo one at all, é.", "to"]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A corpus of documents shorter and longer than the context, and a model of random weights."""
    folder = tmp_path_factory.mktemp("texts")
    for i, text in enumerate(TEXTS):
        (folder / f"{i}.txt").write_text(text, encoding="utf-8")
    tokenizer, _ = train_sentencepiece([TEXTS], 300)
    cache = str(tmp_path_factory.mktemp("cache"))
    corpus = prepare_whole(CorpusConfig(data=str(folder), cache=cache), tokenizer)
    model = ModelConfig(
        vocabulary_size=tokenizer.size, context_length=CONTEXT, num_layers=1, num_heads=2, width=8
    )
    # Large weights: a model near the uniform distribution would hide a shifted target.
    params = jax.jit(lambda key: jax.tree.map(lambda leaf: leaf * 20, lm(model).init(key)))(
        jax.random.key(0)
    )
    return tokenizer, corpus, model, params


def losses_one_by_one(tokenizer, model, params, stride, ends=False):
    """The loss of each token, from a forward pass of its own over the context it is to have.

    With ``ends`` that of the end of each text instead.
    """
    apply = jax.jit(lambda tokens: Transformer(model).apply({"params": params}, tokens))
    table = np.asarray(params["token_embedding"], np.float64)
    losses = []
    for text in TEXTS:
        ids = [tokenizer.separator, *tokenizer.encode([text])[0].tolist()]
        for t in [len(ids)] if ends else range(1, len(ids)):
            # The first window that reaches t: it begins at the least multiple k·stride of the
            # stride for which t is among its T targets.
            start = max(0, math.ceil((t - CONTEXT) / stride)) * stride
            state = np.asarray(apply(np.array([ids[start:t]], np.int32)))[0, -1].astype(np.float64)
            logits = table @ state
            losses.append(np.logaddexp.reduce(logits) - logits[[*ids, tokenizer.end][t]])
    return np.array(losses)


@pytest.mark.parametrize("stride", [1, 3, CONTEXT])
def test_equals_a_loop_over_tokens(setting, stride):
    tokenizer, corpus, model, params = setting
    windows = sliding(corpus, stride, 8)
    expected = losses_one_by_one(tokenizer, model, params, stride)
    assert len(expected) == corpus.num_tokens
    assert expected.std() > 0.5  # otherwise an average could not tell tokens apart
    found = Evaluator(lm(model), windows)(params)["loss"]
    np.testing.assert_allclose(found, expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("stride", [3, CONTEXT])
def test_ends_are_measured_apart_and_change_no_other_number(setting, stride):
    tokenizer, corpus, model, params = setting
    without = Evaluator(lm(model), sliding(corpus, stride, 8))(params)
    windows = sliding(corpus, stride, 8, predict_end=True)
    found = Evaluator(lm(model, tokenizer.end), windows)(params)
    end_loss = found.pop("end_loss")
    assert found == without  # to the last bit
    last = losses_one_by_one(tokenizer, model, params, stride, ends=True)
    assert len(last) == len(TEXTS)
    np.testing.assert_allclose(end_loss, last.mean(), rtol=1e-5)
    measured = perplexity(found["loss"], corpus, end_loss)
    alone = perplexity(found["loss"], corpus).metrics()
    assert measured.metrics() == {**alone, "end_loss": end_loss}


@pytest.mark.parametrize("stride", [1, 2, 5, CONTEXT])
def test_every_token_is_counted_once(setting, stride):
    _, corpus, *_ = setting
    windows = sliding(corpus, stride, 4)
    counted = np.zeros(corpus.vocabulary_size, np.int64)
    for index in range(len(windows)):
        batch = windows.batch(0, index)
        counts = batch.lm_weights * batch.weights[:, None, None] > 0
        counted += np.bincount(batch.tokens[counts], minlength=corpus.vocabulary_size)
    np.testing.assert_array_equal(counted, token_counts(corpus))


def test_rows_are_shares_of_the_batch(setting):
    _, corpus, *_ = setting
    windows = sliding(corpus, 3, 4)
    whole = windows.batch(0, len(windows) - 1)
    parts = [windows.batch(0, len(windows) - 1, slice(i, i + 2)) for i in (0, 2)]
    for all_rows, *some in zip(*map(jax.tree.leaves, (whole, *parts)), strict=True):
        np.testing.assert_array_equal(all_rows, np.concatenate(some))


def test_a_stride_longer_than_the_context_is_refused(setting):
    with pytest.raises(UserError, match="from 1 to the context"):
        sliding(setting[1], CONTEXT + 1, 4)


def test_units(setting):
    _, corpus, *_ = setting
    result = perplexity(2.0, corpus)
    text_bytes = sum(len(text.encode()) for text in TEXTS)
    words = sum(len(text.split()) for text in TEXTS)
    nats = 2.0 * corpus.num_tokens
    assert result.perplexity == pytest.approx(math.e**2)
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / text_bytes)
    assert result.word_perplexity == pytest.approx(math.exp(nats / words))
    assert perplexity(1e6, corpus).perplexity == math.inf


def test_no_number_per_word_where_spaces_are_too_few():
    def shown(value, words=10, size=60, form="{:,.1f}"):
        return show_per_word({"word_perplexity": value, "words": words, "bytes": size}, form)

    assert shown(1234.5) == "1,234.5"
    assert shown(98.25, form="{:.3f}") == "98.250"
    assert {shown(value) for value in (None, math.nan, math.inf, 7e10, 1.1e6)} == {"-"}
    assert [shown(5.0, size=size) for size in (400, 401)] == ["5.0", "-"]
    assert shown(5.0, words=0) == "-"
    assert show_per_word({"word_perplexity": 5.0}) == "5.0", "of an old results.json"
