"""Which memory cells are held, as people name them; all else is refused in one line."""

import numpy as np
import pytest

from gptjax.errors import UserError
from gptjax.evaluation.held_units import held_units, parse
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.transformer import TransformerConfig

SIZES = {"vocabulary_size": 20, "context_length": 5, "num_layers": 2, "width": 6}
MODEL = LSTMConfig(**SIZES, units=7)


def test_a_unit_is_of_the_last_layer_or_of_the_one_that_is_named():
    units = parse(["3=1.5", "1:0=-2", "2:6=0"])
    assert units == [(3, 1.5), ((1, 0), -2.0), ((2, 6), 0.0)]
    found = held_units(MODEL, units)
    assert np.argwhere(found.which).tolist() == [[0, 0], [1, 3], [1, 6]]
    assert (found.values[0, 0], found.values[1, 3], float(abs(found.values).sum())) == (
        -2,
        1.5,
        3.5,
    )
    assert held_units(MODEL, []) is None
    assert held_units(TransformerConfig(**SIZES, num_heads=2), []) is None


@pytest.mark.parametrize("word", ["3", "3=", "=1", "a=1", "-1=1", "1.5=1", "3=x", "x:3=1", ":3=1"])
def test_what_is_no_unit_and_value_is_refused(word):
    with pytest.raises(UserError, match=f"`set_unit={word}`: give INDEX=VALUE"):
        parse([word])


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({7: 1.0}, "no unit 7; the units of a layer are 0 to 6"),
        ({-1: 1.0}, "no unit -1;"),
        ({(0, 3): 1.0}, "no layer 0; the layers of cells are 1 to 2"),
        ({(3, 3): 1.0}, "no layer 3;"),
        ({3: float("nan")}, "the value of unit 3 is nan"),
        ({3: float("-inf")}, "the value of unit 3 is -inf"),
        ({3: 1e39}, r"the value of unit 3 is 1e\+39"),
        ({3: 1.0, (2, 3): 1.0}, "unit 3 of layer 2 is there twice"),
    ],
)
def test_a_unit_that_cannot_be_held_is_refused(units, message):
    with pytest.raises(UserError, match=f"`set_unit`: {message}"):
        held_units(MODEL, units.items())


def test_a_transformer_has_none():
    with pytest.raises(UserError, match="`set_unit`: a transformer has no memory cells"):
        held_units(TransformerConfig(**SIZES, num_heads=2), [(0, 1.0)])
