"""The value of a unit at every token of a text."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.errors import UserError
from gptjax.evaluation.writing import Text
from gptjax.models import backbone
from gptjax.runs.open import Run


class UnitValues(NamedTuple):
    """A text in pieces, one for each token, and the unit's value after each.

    A piece is empty where a token is a part of a character only. ``cut`` says whether the text is
    longer than the context.
    """

    pieces: list[str]
    values: list[float]
    cut: bool


def unit_values(run: Run, text: str, layer: int, unit: int) -> UnitValues:
    """What a unit of a layer says while the model reads a text, as features are read.

    Raises:
        UserError: no such layer or unit, or nothing to read.
    """
    last, width = run.model.num_layers, run.model.width
    if not 0 <= layer <= last:
        raise UserError(f"`layer={layer}`: the layers are 0 (the embeddings) to {last}")
    if not 0 <= unit < width:
        raise UserError(f"`unit={unit}`: the units are 0 to {width - 1:,}")
    ids = run.tokenizer.encode([text])[0].tolist()
    if not ids:
        raise UserError("`show`: the text has no token; give one with a word")
    room = run.model.context_length - 1  # without the separator
    tokens = jnp.asarray([[run.tokenizer.separator, *ids[:room]]], jnp.int32)
    states = jax.jit(partial(backbone.layer_states, run.model))(run.backbone, tokens)
    values = np.asarray(jax.device_get(states)[layer, 0, 1:, unit], np.float64)
    shown, written = ids[:room], Text(run.tokenizer, [], ())
    pieces = [written.add([one], last=i == len(shown)) for i, one in enumerate(shown, 1)]
    return UnitValues(pieces, values.tolist(), len(ids) > room)
