"""Texts that are written together: each the one that is written alone, whatever is beside it."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_transformer import TINY, make

from gptjax.errors import UserError
from gptjax.models import backbone
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.decode import generate
from gptjax.models.draws import draw, draw_each
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.pool import (
    ALTERNATIVES,
    advance,
    empty_pool,
    join,
    moved,
    options_of,
    read,
    without,
)

END, LONGEST = 7, 14
SLOTS = TINY.context_length
SIZES = {"vocabulary_size": 50, "context_length": SLOTS, "num_layers": 2, "width": 16}
FAMILIES = {
    "transformer": TINY,
    "bfloat16": dataclasses.replace(TINY, dtype="bfloat16", norm="pre"),
    "lstm": LSTMConfig(**SIZES),
    "mlstm": MLSTMConfig(**{**SIZES, "num_layers": 1, "embedding_width": 8}),
}
# Seed, sample, temperature, top-k, top-p, most tokens.
ASKED = [
    (0, 0, 1.0, 0, 1.0, 9),
    (3, 0, 0.0, 0, 1.0, 12),
    (4, 0, 0.7, 5, 1.0, 3),
    (5, 0, 1.3, 0, 0.8, 10),
    (0, 0, 1.0, 3, 0.9, 7),
    (2**31 - 1, 0, 1.0, 0, 1.0, 1),
    (9, 0, 0.5, 0, 1.0, 11),
]


@pytest.fixture(params=FAMILIES)
def model(request):
    config = FAMILIES[request.param]
    params = make(config, scale=3.0) if config.kind == "transformer" else None
    if params is None:
        params = backbone.init_backbone(config, jax.random.key(0))
        params = jax.tree.map(lambda x: 3 * x, params)
    return config, params


def prompts_of(count, seed=0):
    draws = random.Random(seed)
    return [[draws.randrange(8, 49) for _ in range(draws.choice((2, 4)))] for _ in range(count)]


def alone(config, params, prompt, asked, end=END):
    seed, _, temperature, top_k, top_p, most = asked
    options = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "max_tokens": LONGEST}
    ((sample,),) = generate(config, params, [prompt], jax.random.key(seed), end=end, **options)
    return sample[:most]  # of one length, so that few programs are compiled


class Writer:
    """A pool and the texts that lie in its rows."""

    def __init__(self, config, params, rows):
        self.config, self.params = config, params
        self.pool, self.of, self.texts = empty_pool(config, rows, SLOTS), [None] * rows, {}
        self.told = {}

    def join(self, asked, told=False):
        """Texts by name: their prompts and options."""
        rows = [row for row, name in enumerate(self.of) if name is None][: len(asked)]
        width, size = 4, 4  # rows that are not taken fill up the shape
        tokens, first = np.zeros((size, width), np.int32), np.full(size, width - 1, np.int32)
        lengths, places = np.ones(size, np.int32), np.full(size, len(self.of), np.int32)
        options = []
        for number, (name, (prompt, own)) in enumerate(asked.items()):
            first[number], lengths[number] = width - len(prompt), len(prompt)
            tokens[number, width - len(prompt) :] = prompt
            places[number], self.of[rows[number]] = rows[number], name
            self.texts[name], self.told[name] = [], []
            options.append((*own, told))
        made = options_of([*options, *options[:1] * (size - len(options))])
        cache, logits = read(self.config, self.params, tokens, first, slots=SLOTS)
        self.pool = join(self.pool, places, cache, logits, lengths, made)

    def advance(self, steps, end=END):
        self.pool, drawn = advance(self.config, self.params, self.pool, jnp.int32(end), steps=steps)
        drawn = jax.tree.map(np.asarray, drawn)
        for row, name in enumerate(self.of):
            if name is not None:
                count = drawn.counts[row]
                self.texts[name] += drawn.tokens[row, :count].tolist()
                self.told[name] += [
                    (
                        drawn.log_probability[row, n],
                        drawn.best[row, n],
                        drawn.best_log_probability[row, n],
                    )
                    for n in range(count)
                ]
                if drawn.done[row]:
                    self.of[row] = None

    def move(self, size):
        own = [row for row, name in enumerate(self.of) if name is not None]
        rows = np.full(size, -1, np.int32)
        rows[: len(own)] = own
        self.pool = moved(self.pool, rows)
        self.of = [self.of[row] if row >= 0 else None for row in rows]

    def run(self, steps=2):
        while any(name is not None for name in self.of):
            self.advance(steps)


def without_end(tokens):
    return tokens[: tokens.index(END)] if END in tokens else tokens


def test_each_text_is_the_one_that_is_written_alone(model):
    """Texts that begin together and later, in rows that others left, with pools of two sizes."""
    config, params = model
    prompts = prompts_of(len(ASKED))
    asked = {n: (prompt, own) for n, (prompt, own) in enumerate(zip(prompts, ASKED, strict=True))}
    writer = Writer(config, params, 3)
    writer.join({n: asked[n] for n in (0, 1)})
    writer.advance(2)
    writer.join({2: asked[2]})
    writer.advance(2)
    writer.move(6)
    writer.join({n: asked[n] for n in (3, 4)})
    writer.advance(2)
    writer.join({n: asked[n] for n in (5,)})
    writer.run(2)
    writer.join({6: asked[6]})
    writer.run(3)
    ended = 0
    for name, (prompt, own) in asked.items():
        expected = alone(config, params, prompt, own)
        assert without_end(writer.texts[name]) == expected
        whole = len(expected) == own[-1]
        ended += not whole
        assert writer.texts[name] == (expected if whole else [*expected, END])
    assert len({tuple(text) for text in writer.texts.values()}) > 4


def test_samples_of_a_seed_differ_and_do_not_depend_on_their_company():
    config, params = TINY, make(TINY, scale=3.0)
    own = (1.0, 0, 1.0, 10)
    together, apart = Writer(config, params, 4), Writer(config, params, 1)
    together.join({n: ([9, 8], (5, n, *own)) for n in range(3)})
    together.run()
    for n in (2, 0, 1):
        apart.join({n: ([9, 8], (5, n, *own))})
        apart.run()
    assert together.texts == apart.texts
    assert len({tuple(text) for text in together.texts.values()}) == 3


def test_a_row_that_is_left_can_be_taken():
    config, params = TINY, make(TINY, scale=3.0)
    asked = (5, 0, 1.0, 0, 1.0, 10)
    writer = Writer(config, params, 2)
    writer.join({n: ([9 + n], asked) for n in range(2)})
    writer.advance(2, end=-1)
    writer.pool, writer.of[0] = without(writer.pool, np.array([True, False])), None
    writer.join({"next": ([30, 20], asked)})
    while any(name is not None for name in writer.of):
        writer.advance(3, end=-1)
    assert len(writer.texts[0]) == 2
    for name, prompt in ((1, [10]), ("next", [30, 20])):
        assert writer.texts[name] == alone(config, params, prompt, asked, end=None)


def test_log_probabilities_are_those_of_the_model(model):
    """Without temperature or truncation, of the drawn token and of the likeliest ones."""
    config, params = model
    writer, prompt = Writer(config, params, 2), [9, 8, 30]
    writer.join({"it": (prompt, (3, 0, 0.7, 4, 0.9, 8))}, told=True)
    while writer.of[0] is not None:
        writer.advance(3, end=-1)
    text = writer.texts["it"]
    states = backbone.states(config, params, jnp.asarray([[*prompt, *text]], jnp.int32))
    logs = jax.nn.log_softmax(backbone.logits(config, params, states)[0], axis=-1)
    close = {"atol": 2e-2 if config.dtype == "bfloat16" else 1e-5}
    for number, (own, best, best_logs) in enumerate(writer.told["it"]):
        here = np.asarray(logs[len(prompt) - 1 + number])
        np.testing.assert_allclose(own, here[text[number]], **close)
        np.testing.assert_allclose(best_logs, np.sort(here)[::-1][:ALTERNATIVES], **close)
        np.testing.assert_allclose(here[best], best_logs, **close)
        # Bit for bit: who compares finds the token among the likeliest.
        if text[number] in best:
            assert own == best_logs[best.tolist().index(text[number])]
    assert len(writer.told["it"]) == 8


def test_a_text_may_fill_all_slots():
    config, params = TINY, make(TINY, scale=3.0)
    writer, asked = Writer(config, params, 2), (1, 0, 1.0, 0, 1.0, LONGEST)
    writer.join({"long": ([9, 8, 30], asked), "short": ([9], (1, 0, 1.0, 0, 1.0, 2))})
    while any(name is not None for name in writer.of):
        writer.advance(5, end=-1)
    assert writer.texts["long"] == alone(config, params, [9, 8, 30], asked, end=None)
    assert len(writer.texts["long"]) == LONGEST == SLOTS - 3 + 1  # the last one is never read


def test_each_row_is_drawn_as_draw_draws_it():
    logits = jax.random.normal(jax.random.key(0), (6, 31))
    temperature = jnp.asarray([0.0, 1.0, 0.5, 2.0, 1.0, 0.0])
    top_k = jnp.asarray([0, 0, 5, 0, 2, 4])
    top_p = jnp.asarray([1.0, 1.0, 1.0, 0.5, 0.9, 0.5])
    each, one = jax.jit(draw_each), jax.jit(draw)
    for seed in range(20):
        keys = jax.random.split(jax.random.key(seed), 6)
        found = each(logits, keys, temperature, top_k, top_p)
        one_by_one = [
            one(logits[n : n + 1], keys[n], temperature[n], top_k[n], top_p[n])[0] for n in range(6)
        ]
        np.testing.assert_array_equal(found, one_by_one)


def test_a_vocabulary_smaller_than_what_is_told():
    config = dataclasses.replace(TINY, vocabulary_size=3)
    writer = Writer(config, backbone.init_backbone(config, jax.random.key(0)), 2)
    writer.join({"it": ([1], (0, 0, 1.0, 0, 1.0, 2))}, told=True)
    writer.advance(2, end=-1)
    (_, best, logs), _ = writer.told["it"]
    assert set(best[:3]) == {0, 1, 2}
    assert best[3:].tolist() == [-1, -1]
    assert np.isneginf(logs[3:]).all()


def test_a_family_that_cannot_write_says_so():
    with pytest.raises(UserError, match="cannot write text token by token"):
        empty_pool(BiLMConfig(vocabulary_size=50), 2, 8)
