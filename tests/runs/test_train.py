"""What identifies a model from run to run."""

import dataclasses

import pytest

from gptjax.config import from_table
from gptjax.errors import UserError
from gptjax.models.config import ModelConfig
from gptjax.runs.identity import check_same_shape, shape_fingerprint


def test_a_transformers_fingerprint_stays_what_runs_have_recorded():
    recorded = "5646bc4c8b84495242a5d0f433380376bc3693cbc0435826eb583f51d3f8b3f0"
    assert shape_fingerprint(ModelConfig()) == recorded
    assert shape_fingerprint(ModelConfig(dtype="bfloat16", embedding_dropout=0.0)) == recorded


def test_an_lstms_fingerprint_stays_what_runs_have_recorded():
    recorded = "7c80e5cff805f6466a4541b9fb4a5145358cb2b1e3fa2aec5c4a762484a0f632"
    sizes = {"vocabulary_size": 330, "context_length": 32, "num_layers": 1, "width": 16}
    table = {"kind": "lstm", **sizes, "num_heads": 2, "units": 24, "norm": "post"}
    assert shape_fingerprint(from_table(ModelConfig, table, where="an old run")) == recorded


def test_an_lstm_is_told_by_its_cells_and_from_a_transformer():
    lstm = ModelConfig(kind="lstm", num_layers=1)
    others = [ModelConfig(num_layers=1), dataclasses.replace(lstm, units=64)]
    assert len({shape_fingerprint(model) for model in (lstm, *others)}) == 3
    for other in others:
        with pytest.raises(UserError, match=r"model\.(kind|cells)"):
            check_same_shape(lstm, other, "runs/a")
