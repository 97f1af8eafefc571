"""What a model expects: next tokens, surprise, layers; compared with its log-probabilities."""

import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.data.tokenizers.train import train_sentencepiece
from gptjax.errors import UserError
from gptjax.evaluation import next_token
from gptjax.evaluation.logit_lens import logit_lens
from gptjax.evaluation.model import Model
from gptjax.evaluation.next_token import draw_on, next_tokens
from gptjax.evaluation.surprise import surprises
from gptjax.evaluation.unit_values import Unit, unit_values
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.lstm import LSTMConfig
from gptjax.models.objective import lm
from gptjax.models.transformer import TransformerConfig
from gptjax.runs.folder import RunFolder

PROSE = "the old house was very quiet and bright, and the door was open. " * 40
TEXT = "the old house was open"


@pytest.fixture(scope="module")
def tokenizer():
    return train_sentencepiece([[PROSE]], 330)[0]


def made(tokenizer, config=TransformerConfig, **more):
    sizes = {"context_length": 20, "num_layers": 2, "width": 16, **more}
    model = config(vocabulary_size=tokenizer.size, initial_std=0.4, **sizes)
    params = lm(model).init(jax.random.key(0))
    return Model(RunFolder(Path("run")), model, tokenizer, params, 0, "last/0")


@pytest.fixture(scope="module")
def run(tokenizer):
    return made(tokenizer, num_heads=2)


def ids_of(run, text):
    return run.tokenizer.encode_beginnings([text])[0].tolist()


@pytest.mark.parametrize("text", ["", "the old", TEXT])
def test_next_tokens_are_the_likeliest_with_the_models_probabilities(run, text):
    found = next_tokens(run, ids_of(run, text), 7)
    logits = np.asarray(run.logits(text)[-1], np.float64)
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert [one.token for one in found] == np.argsort(-shares, kind="stable")[:7].tolist()
    np.testing.assert_allclose([one.probability for one in found], np.sort(shares)[::-1][:7], 1e-4)
    assert [one.share for one in found] == [one.probability for one in found]


def test_a_next_token_has_the_probability_of_the_longer_text(run):
    ids = ids_of(run, "the old")
    for one in next_tokens(run, ids, 330):
        longer = run.tokenizer.decode([*ids, one.token])
        if ids_of(run, longer) == [*ids, one.token]:
            added = run.log_probability(longer) - run.log_probability("the old")
            assert abs(math.exp(added) - one.probability) < 1e-5
            assert longer == "the old" + one.text


def test_temperature_and_top_p_change_the_shares_alone(run):
    ids = ids_of(run, "the old")
    plain = next_tokens(run, ids, 330)
    cold = next_tokens(run, ids, 330, temperature=0.5, top_p=0.5)
    assert [one.probability for one in cold] == [one.probability for one in plain]
    squares = np.array([one.probability for one in plain]) ** 2
    squares /= squares.sum()
    kept = np.cumsum(squares) - squares < 0.5
    assert 0 < kept.sum() < 330
    expected = np.where(kept, squares, 0) / squares[kept].sum()
    np.testing.assert_allclose([one.share for one in cold], expected, atol=1e-5)
    greedy = next_tokens(run, ids, 5, temperature=0.0)
    assert [one.share for one in greedy] == [1, 0, 0, 0, 0]
    few = next_tokens(run, ids, 5, top_k=2)
    assert [one.share > 0 for one in few] == [True, True, False, False, False]


def test_of_a_long_prompt_the_end_is_read(run):
    long = ids_of(run, PROSE)[:50]
    assert next_tokens(run, long, 3) == next_tokens(run, [7, *long], 3)
    ids = jnp.asarray([long[-20:]], jnp.int32)
    states = run.module.apply(run.variables, ids)
    logits = np.asarray(states[0, -1] @ run.params["token_embedding"].T)
    assert next_tokens(run, long, 1)[0].token == logits.argmax()


def test_prompts_of_other_lengths_are_the_same_program(run):
    """So that nothing is compiled while somebody types."""
    read = next_token._after_rows(run.model)
    seen = []

    def counted(params, batch):
        seen.append(batch.tokens.shape)  # while it is traced
        return read(params, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(next_token, "_after_rows", lambda model: counted)
        for count in range(1, 16):
            next_tokens(run, list(range(5, 5 + count)), 1)
    assert {shape[-1] for shape in seen} == {16}


@pytest.mark.parametrize("seed", [0, 3])
def test_drawn_tokens_are_those_that_generate_writes(run, seed):
    options = {"temperature": 0.8, "top_p": 0.9, "seed": seed}
    ids = ids_of(run, "the")
    drawn = list(draw_on(run, ids, 8, **options))
    assert run.tokenizer.decode([*ids, *drawn]) == run.generate("the", max_tokens=8, **options)[0]


def test_the_end_of_a_text_ends_it(run):
    likeliest = next_tokens(run, ids_of(run, "the"), 1)[0].token
    ending = replace(run, tokenizer=Ending(run.tokenizer, likeliest))
    assert list(draw_on(ending, ids_of(run, "the"), 8, temperature=0.0)) == []


class Ending:
    """A tokenizer whose texts end with another token."""

    def __init__(self, inner, end):
        self._inner, self.end = inner, end

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.mark.parametrize(
    "options", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}]
)
def test_an_option_out_of_its_range_is_refused(run, options):
    with pytest.raises(UserError, match=f"`{next(iter(options))}="):
        next_tokens(run, [1], **options)


@pytest.mark.parametrize("text", [TEXT, TEXT * 3], ids=["short", "longer than the context"])
def test_surprises_add_up_to_the_log_probability(run, text):
    found = surprises(run, text)
    assert "".join(one.text for one in found) == text
    assert [one.token for one in found] == run.tokenizer.encode([text])[0].tolist()
    total = math.fsum(one.log_probability for one in found)
    assert abs(total - run.log_probability(text)) < 1e-4
    assert abs(sum(one.bits for one in found) * math.log(2) + total) < 1e-9


def test_a_rank_counts_the_likelier_tokens(run):
    logits = np.asarray(run.logits(TEXT), np.float64)
    found = surprises(run, TEXT, likeliest=4)
    for one, row in zip(found, logits, strict=False):
        assert one.rank == 1 + (row > row[one.token]).sum()
        assert [guess.token for guess in one.likeliest] == np.argsort(-row)[:4].tolist()
        p = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        shares = [guess.probability for guess in one.likeliest]
        np.testing.assert_allclose(shares, np.sort(p)[::-1][:4], rtol=1e-4)
    assert any(one.rank > 1 for one in found)


def test_bytes_of_a_character_are_tokens_without_text():
    run = made(ByteTokenizer(), LSTMConfig)
    found = surprises(run, "aé")
    assert [one.text for one in found] == ["a", "", "é"]
    assert surprises(run, "") == []
    assert abs(sum(one.log_probability for one in found) - run.log_probability("aé")) < 1e-4


def test_the_lens_reads_states_with_the_output_table(run):
    lens = logit_lens(run, TEXT, likeliest=3)
    logits = run.states(TEXT) @ np.asarray(run.params["token_embedding"]).T
    assert list(lens.guesses) == [0, 1, 2]
    for depth, rows in lens.guesses.items():
        likeliest = np.argsort(-logits[depth], axis=-1, kind="stable")[:, :3].tolist()
        assert [[one.token for one in row] for row in rows] == likeliest
        own = np.exp(logits[depth, -1] - logits[depth, -1].max())
        assert abs(rows[-1][0].probability - (own / own.sum()).max()) < 1e-4
    assert lens.pieces[0] == ""
    assert "".join(lens.pieces) == TEXT
    assert not lens.cut
    assert logit_lens(run, PROSE).cut
    assert len(logit_lens(run, PROSE).pieces) == run.model.context_length


def test_a_unit_has_the_value_of_the_states(run):
    found = unit_values(run, TEXT, Unit("last", 1, 3))
    np.testing.assert_allclose(found.values, run.states(TEXT, 1)[1:, 3], atol=1e-5)
    assert "".join(found.pieces) == TEXT


def test_a_bidirectional_model_tells_of_no_next_token(tokenizer):
    run = made(tokenizer, BiLMConfig, units=6, tokens="table")
    for ask in (
        lambda: next_tokens(run, [1]),
        lambda: surprises(run, "a"),
        lambda: logit_lens(run, "a"),
    ):
        with pytest.raises(UserError, match=r"model\.kind bilm: .* cannot"):
            ask()
