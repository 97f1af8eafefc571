"""The logit lens ends with the model itself, and further rows are read as the tokens they copy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models import backbone
from gptjax.models.bilm_config import BiLMConfig
from gptjax.models.draws import draw, probabilities
from gptjax.models.inside import lens_logits, read_rows
from gptjax.models.lstm import LSTMConfig
from gptjax.models.mlstm import MLSTMConfig
from gptjax.models.transformer import TransformerConfig
from gptjax.spelling import spell

SIZES = {"vocabulary_size": 20, "context_length": 8, "num_layers": 2, "width": 12}
CAUSAL = {
    "post": TransformerConfig(**SIZES, num_heads=2),
    "pre": TransformerConfig(**SIZES, num_heads=2, norm="pre"),
    "lstm": LSTMConfig(**SIZES),
    "awd": LSTMConfig(**SIZES, map_back=False, layer_units=(15, 12), tied=False),
    "mlstm": MLSTMConfig(**{**SIZES, "width": 12}, embedding_width=6),
}
BILM = BiLMConfig(**SIZES, units=5, tokens="table")
TOKENS = jnp.asarray([[3, 1, 4, 1, 5, 9]], jnp.int32)


def made(config):
    return backbone.init_backbone(config, jax.random.key(0))


@pytest.mark.parametrize("name", CAUSAL)
def test_the_last_depth_of_the_lens_is_the_model(name):
    config, params = CAUSAL[name], made(CAUSAL[name])
    found = lens_logits(config, params, TOKENS)
    states = backbone.states(config, params, TOKENS)
    assert max(found) == config.num_layers
    np.testing.assert_allclose(
        found[config.num_layers], backbone.logits(config, params, states), atol=1e-6
    )


def test_depths_that_the_output_cannot_read_are_left_out():
    depths = {
        name: list(lens_logits(config, made(config), TOKENS)) for name, config in CAUSAL.items()
    }
    whole = [0, 1, 2]
    assert depths == {"post": whole, "pre": whole, "lstm": whole, "awd": [0, 2], "mlstm": [1, 2]}


@pytest.mark.parametrize("name", [*CAUSAL, "bilm"])
def test_the_widths_are_those_of_the_states(name):
    """What lies behind them is padding."""
    config = CAUSAL.get(name, BILM)
    states = np.asarray(backbone.layer_states(config, made(config), TOKENS))
    for width, found in zip(config.depth_widths, states, strict=True):
        assert not found[..., width:].any()
        assert found[..., width - 1].any()


def test_with_a_final_norm_each_depth_goes_through_it():
    """A model of one block fewer has for its last states what the lens reads one depth below."""
    config = CAUSAL["pre"]
    params = made(config)
    fewer = replace(config, num_layers=1)
    short = {name: leaf for name, leaf in params.items() if name != "blocks_1"}
    states = backbone.states(fewer, short, TOKENS)
    own = backbone.logits(fewer, short, states)
    np.testing.assert_allclose(lens_logits(config, params, TOKENS)[1], own, atol=1e-5)


@pytest.mark.parametrize("name", [*CAUSAL, "bilm", "characters"])
def test_a_copied_row_is_read_as_its_token(name):
    config = CAUSAL.get(name, BILM)
    if name == "characters":
        config = replace(BILM, tokens="characters", filter_widths=(1, 2), filter_counts=(4, 4))
    params = made(config)
    if name == "characters":
        words = [f"word{chr(97 + number)}" for number in range(config.vocabulary_size)]
        params = backbone.with_spelling(config, params, spell(words))
    rows = read_rows(config, params, TOKENS[0])
    assert rows.shape == (6, backbone.row_width(config))
    longer = backbone.with_rows(config, params, rows)
    wide = replace(config, vocabulary_size=config.vocabulary_size + 6)
    copies = config.vocabulary_size + jnp.arange(6)[None]
    np.testing.assert_allclose(
        backbone.states(wide, longer, copies), backbone.states(config, params, TOKENS), atol=1e-6
    )


@pytest.mark.parametrize("options", [(1.0, 0, 1.0), (0.5, 0, 0.6), (2.0, 3, 1.0), (0.0, 0, 1.0)])
def test_probabilities_are_how_often_a_token_is_drawn(options):
    logits = jnp.asarray([[2.0, 1.0, 0.5, 0.0, -1.0, 1.5]])
    kinds = (jnp.float32, jnp.int32, jnp.float32)
    given = [kind(option) for kind, option in zip(kinds, options, strict=True)]
    found = np.asarray(probabilities(logits, *given))[0]
    many = jnp.repeat(logits, 40_000, axis=0)
    drawn = np.asarray(draw(many, jax.random.key(1), *given))
    counts = np.bincount(drawn, minlength=6) / len(drawn)
    assert abs(found.sum() - 1) < 1e-6
    assert ((found == 0) == (counts == 0)).all()
    np.testing.assert_allclose(found, counts, atol=0.012)
