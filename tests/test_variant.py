"""Settings that only some kinds of a section have."""

import pytest

from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.transformer import TransformerConfig


def test_a_setting_of_several_other_kinds_may_be_at_the_default_of_any():
    """The cells of an LSTM are None by default, those of a bidirectional model a number."""
    defaults = {str(kind.units) for kind in ModelConfig.kinds().values() if hasattr(kind, "units")}
    assert len(defaults) > 1
    for default in defaults:
        assert TransformerConfig.is_idle("units", default)
    assert not TransformerConfig.is_idle("units", "7")
    assert not LSTMConfig.is_idle("units", "None")  # its own
    for value in (None, 4096):
        assert TransformerConfig.without_others({"units": value, "width": 8}) == {"width": 8}
    with pytest.raises(UserError, match=r"take model\.kind bilm or lstm or mlstm"):
        TransformerConfig.without_others({"units": 7})
