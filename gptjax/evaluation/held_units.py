"""Units that are held at a value while a model writes, as people name them."""

from collections.abc import Iterable, Sequence

import numpy as np

from gptjax.errors import UserError, shown
from gptjax.models import cells
from gptjax.models.cells import Held
from gptjax.models.config import ModelConfig

LARGEST = float(np.finfo(np.float32).max)  # that a cell can hold
Unit = int | tuple[int, int]
"""A memory cell of the last layer; or its layer, counted from 1, and then the cell, from 0."""


def parse(words: Sequence[str]) -> list[tuple[Unit, float]]:
    """Units and values out of words such as ``2388=1.5`` or ``1:2388=1.5``.

    Raises:
        UserError: a word is none of these.
    """
    return [_parse(word) for word in words]


def _parse(word: str) -> tuple[Unit, float]:
    name, sign, value = word.partition("=")
    layer, colon, unit = name.rpartition(":")
    numbers = [layer, unit] if colon else [unit]
    try:
        number = float(value)
    except ValueError:
        sign = ""
    if not sign or not all(one.isascii() and one.isdigit() for one in numbers):
        raise UserError(
            f"`set_unit={word}`: give INDEX=VALUE, or LAYER:INDEX=VALUE, such as 42=1.5 or 1:42=1.5"
        )
    return (int(layer), int(unit)) if colon else int(unit), number


def held_units(model: ModelConfig, units: Iterable[tuple[Unit, float]]) -> Held | None:
    """What `gptjax.models.decode` holds; None of no units.

    Raises:
        UserError: the model has no memory cells or not this one, a value is not finite, or a unit
            is there twice.
    """
    found: dict[tuple[int, int], float] = {}
    last = model.num_layers
    for unit, value in units:
        layer, number = unit if isinstance(unit, tuple) else (last, unit)
        if cells.count(model) is None:
            raise UserError(f"`set_unit`: {model.called} has no memory cells to set")
        if not 1 <= layer <= last:
            raise UserError(
                f"`set_unit`: no layer {shown(layer)}; the layers of cells are 1 to {last}"
            )
        width = cells.in_layer(model, layer - 1)
        if not 0 <= number < width:
            raise UserError(
                f"`set_unit`: no unit {shown(number)}; the units of a layer are 0 to {width - 1:,}"
            )
        if not abs(value) <= LARGEST:  # nor is what is no number
            raise UserError(f"`set_unit`: the value of unit {number} is {value}; give a number")
        if (layer, number) in found:
            raise UserError(f"`set_unit`: unit {number} of layer {layer} is there twice")
        found[layer, number] = value
    if not found:
        return None
    return cells.held(model, [(layer - 1, number, v) for (layer, number), v in found.items()])
