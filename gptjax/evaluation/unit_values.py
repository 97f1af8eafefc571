"""The value of a unit at every token of a text."""

import codecs
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gptjax.batch import Batch
from gptjax.data.tokenizers.byte_level import ByteTokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer
from gptjax.errors import UserError
from gptjax.evaluation.features import CELL, Kind, in_words, layers_of, width_of
from gptjax.evaluation.probing import layer_numbers
from gptjax.evaluation.text_rows import Predict, rows_of, there, width_for
from gptjax.evaluation.writing import Text
from gptjax.models import backbone, cells
from gptjax.models.config import ModelConfig
from gptjax.runs.open import Run
from gptjax.runs.results import ProbeResults
from gptjax.runs.spelled import for_texts


class Unit(NamedTuple):
    """A unit, and of which features it is one."""

    how: Kind
    layer: int
    number: int

    def __str__(self) -> str:
        """For people."""
        of = "the cells of layer" if self.how == CELL else "layer"
        return f"unit {self.number} of {of} {self.layer}"


class UnitValues(NamedTuple):
    """A text in pieces, and the unit's value after each.

    A piece is a token, or the tokens that make a character together. ``cut`` says whether the text
    is longer than the context.
    """

    pieces: list[str]
    values: list[float]
    cut: bool


def unit_to_show(
    model: ModelConfig,
    known: ProbeResults | None,
    how: Kind | None,
    layers: Sequence[str],
    number: int | None,
) -> Unit:
    """The unit that is asked for; what nobody says is that of a probe's results.

    Args:
        model: whose unit it is.
        known: the results, or None.
        how: of which features; None is those of the results, else the states.
        layers: words for one layer; none is the layer of the results, else the last one.
        number: None is the strongest unit of the results.

    Raises:
        UserError: no unit is named, or several layers are.
    """
    how = how or ("last" if known is None else _kind(known))
    if known is not None and (_kind(known) == CELL) != (how == CELL):
        known = None  # its units are others
    if number is None and known is not None and known.units is not None:
        number = known.units.strongest[0]
    if number is None:
        raise UserError(
            "`show`: name a unit with `unit`, or with `out` the folder of a probe with `units`"
        )
    asked = layer_numbers(layers, layers_of(model, how))
    if len(asked) > 1:
        raise UserError("`show`: shows one `layer`")
    layer = asked[0] if layers or known is None else known.layer
    return Unit(how, layer, number)


def _kind(known: ProbeResults) -> Kind:
    return CELL if known.features == CELL else "last"


def unit_values(run: Run, text: str, unit: Unit) -> UnitValues:
    """What a unit says while the model reads a text, as features are read.

    Raises:
        UserError: no such layer or unit, or nothing to read.
    """
    run = for_texts(run, [text])
    layers, width = layers_of(run.model, unit.how), width_of(run.model, unit.how)
    if unit.layer not in layers:
        raise UserError(f"`layer={unit.layer}`: {in_words(layers)}")
    if not 0 <= unit.number < width:
        raise UserError(f"`unit={unit.number}`: the units are 0 to {width - 1:,}")
    ids = run.tokenizer.encode([text])[0].tolist()
    if not ids:
        raise UserError("`show`: the text has no token; give one with a word")
    # Memory cells need no context. Of states the separator has a place in it.
    room = len(ids) if unit.how == CELL else run.model.context_length - 1
    tokens = np.array([run.tokenizer.separator, *ids[:room]], np.int32)
    if unit.how == CELL:
        at = (jnp.int32(unit.layer - 1), jnp.int32(unit.number))
        padded = np.zeros(width_for(len(tokens), run.model.context_length), np.int32)
        padded[: len(tokens)] = tokens
        found = np.asarray(cells.along(run.model, run.backbone, jnp.asarray(padded), *at))
    else:
        (states,) = rows_of(run, [tokens], _layer(run.model, unit.layer), 1)
        found = states[:, unit.number]
    values = found[1 : len(tokens)].astype(np.float64).tolist()
    pairs = zip(pieces_of(run.tokenizer, ids[:room]), values, strict=True)
    # Bytes of a character have no text before the last of them.
    whole = [(piece, value) for piece, value in pairs if piece]
    return UnitValues([piece for piece, _ in whole], [v for _, v in whole], len(ids) > room)


@functools.lru_cache(maxsize=16)
def _layer(config: ModelConfig, layer: int) -> Predict:
    """(params, batch) -> the states after a layer; the same function for the same model."""

    def predict(params: Any, batch: Batch) -> Array:
        tokens = jnp.asarray(batch.tokens)[:, 0]
        found = backbone.layer_states(config, params, tokens, there=there(batch))[layer]
        return found.astype(jnp.float32)

    return predict


def pieces_of(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The text that each token completes."""
    if isinstance(tokenizer, ByteTokenizer):  # a text's decoding leaves out blanks at its ends
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return [
            decoder.decode(bytes([one]), number == len(ids)) for number, one in enumerate(ids, 1)
        ]
    written = Text(tokenizer, [], ())
    return [written.add([one], last=number == len(ids)) for number, one in enumerate(ids, 1)]
