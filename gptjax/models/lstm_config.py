"""The config of an LSTM (`gptjax.models.lstm`)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from gptjax.errors import UserError, check_counts
from gptjax.models.config import LIMITS, ModelConfig
from gptjax.models.lstm_recurrence import FORGET_BIAS
from gptjax.models.projected import Settings


@dataclass(frozen=True)
class LSTMConfig(ModelConfig):
    """The shape of the LSTM that the GPT-1 paper compares with (table 5).

    With ``layer_units``, ``map_back`` false, two ``biases`` and ``forget_bias`` 0 it is that of
    AWD-LSTM (Merity et al. 2017), of which ULMFiT is made.
    """

    called: ClassVar[str] = "an LSTM"
    ignored: ClassVar[tuple[str, ...]] = ("attention", "attention_dropout")

    kind: Literal["lstm"] = "lstm"
    """The family of the model; each has options of its own (--model.kind transformer --help)."""

    units: int | None = None
    """Memory cells of each layer (None: the width)."""

    layer_units: tuple[int, ...] = ()
    """Memory cells of the layers one by one, in the place of units. AWD-LSTM: 1150 1150 400."""

    map_back: bool = True
    """Whether each layer has a linear map from its cells to the width. Without it a layer gives
    its cells' outputs themselves, and the last layer has as many cells as the width."""

    projection: int | None = None
    """Size of a layer's state, which a matrix makes of its cells and which is fed back. None: the
    cells' outputs themselves are. With map_back false it is the width, as in ELMo."""

    cell_clip: float | None = None
    """The largest size of a memory cell. None: any. ELMo: 3."""

    projection_clip: float | None = None
    """The largest size of a number of a layer's state, projected or not. None: any. ELMo: 3."""

    residual: bool = False
    """Whether each layer above the first adds what it reads to what it gives."""

    biases: Literal[1, 2] = 1
    """Bias vectors of a layer's gates. 2, as in cuDNN and PyTorch, add up: each of them learns, so
    that the sum learns faster."""

    forget_bias: float = FORGET_BIAS
    """What is added to the forget gate before its sigmoid. AWD-LSTM: 0."""

    tied: bool = True
    """Whether the output table is the embedding."""

    output_bias: bool = False
    """Whether each token has a bias in the output."""

    embedding_dropout: float = 0.1
    """Probability of dropping a component of the token embedding."""

    residual_dropout: float = 0.1
    """Probability of dropping a component of what a layer gives to the next one or to the
    output."""

    word_dropout: float = 0.0
    """Probability of dropping a row of the embedding: a word is gone from a whole update."""

    input_dropout: float = 0.0
    """Probability of dropping a component of the token embedding at all positions of a sequence."""

    weight_dropout: float = 0.0
    """Probability of dropping an element of a recurrent matrix, for a whole update."""

    hidden_dropout: float = 0.0
    """Probability of dropping a component of what a layer gives to the next one, at all positions
    of a sequence."""

    output_dropout: float = 0.0
    """Likewise of what the last layer gives to the output."""

    activation_penalty: float = 0.0
    """The objective has this many times the mean square of the last layer's states, after dropout
    (AR). AWD-LSTM: 2."""

    temporal_penalty: float = 0.0
    """The objective has this many times the mean square of their change from position to position,
    before dropout (TAR). AWD-LSTM: 1."""

    num_heads: int = 12
    """Without effect. It is part of the hash by which runs recognise their LSTM."""

    def __post_init__(self) -> None:
        # Before anything counts with them.
        check_counts(self, "model", "units width projection")
        check_counts(self, "model", "num_layers", most=LIMITS["num_layers"])
        for name in ("activation_penalty", "temporal_penalty"):
            if not getattr(self, name) >= 0:
                raise UserError(f"model.{name} is {getattr(self, name)}: it must be at least 0")
        for name in ("cell_clip", "projection_clip"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"model.{name} is {value}: it must be above 0, or left out")
        self._check_layers()
        super().__post_init__()

    def _check_layers(self) -> None:
        own = self.layer_units
        if own and self.units is not None:
            raise UserError("model: units are of all layers, layer_units of each: set one of them")
        if own and len(own) != self.num_layers:
            raise UserError(
                f"model.layer_units has {len(own)} numbers, one for each layer, and "
                f"model.num_layers is {self.num_layers}"
            )
        if own and min(own) < 1:
            raise UserError(f"model.layer_units has {min(own)}: each must be at least 1")
        if not self.map_back and self.projection not in (None, self.width):
            raise UserError(
                f"model.map_back is false, and model.projection is {self.projection}: it must be "
                f"model.width, {self.width}"
            )
        if not self.map_back and self.layer_outputs[-1] != self.width:
            raise UserError(
                f"model.map_back is false, and the last layer has {self.layer_cells[-1]} cells: it "
                f"needs as many as model.width, {self.width} (model.layer_units)"
            )
        if self.residual and len(set(self.layer_outputs)) > 1:
            sizes = ", ".join(map(str, self.layer_outputs))
            raise UserError(
                f"model.residual: the layers give {sizes} numbers, and only equal ones can be "
                "summed; set model.projection, model.map_back, or equal model.layer_units"
            )

    @property
    def layer_cells(self) -> tuple[int, ...]:
        """The memory cells of each layer."""
        each = self.width if self.units is None else self.units
        return self.layer_units or (each,) * self.num_layers

    @property
    def fixed_context(self) -> bool:
        return False

    @property
    def cells(self) -> int:
        """The memory cells of a layer; of the largest one."""
        return max(self.layer_cells)

    @property
    def fed_back(self) -> tuple[int, ...]:
        """The size of the state that each layer reads again at the next position."""
        return self.layer_cells if self.projection is None else (self.projection,) * self.num_layers

    @property
    def layer_outputs(self) -> tuple[int, ...]:
        """What each layer gives at a position: so many numbers."""
        return (self.width,) * self.num_layers if self.map_back else self.fed_back

    @property
    def layer_inputs(self) -> tuple[int, ...]:
        """What each layer reads at a position."""
        return (self.width, *self.layer_outputs[:-1])

    @property
    def widest(self) -> int:
        return max(self.width, *self.layer_outputs)

    @property
    def depth_widths(self) -> tuple[int, ...]:
        return (self.width, *self.layer_outputs)

    @property
    def is_plain(self) -> bool:
        """Whether a layer's state is what its cells give, of any size."""
        return (self.projection, self.cell_clip, self.projection_clip) == (None, None, None)

    @property
    def recurrence(self) -> Settings:
        """What the layers have that is no parameter."""
        return Settings(self.forget_bias, self.cell_clip, self.projection_clip)

    @property
    def thins(self) -> bool:
        return self.word_dropout > 0 or self.weight_dropout > 0

    @property
    def penalties(self) -> tuple[float, float]:
        return self.activation_penalty, self.temporal_penalty

    def num_parameters(self) -> int:
        size, total = self.vocabulary_size, 0
        sizes = zip(self.layer_inputs, self.layer_cells, self.fed_back, strict=True)
        for inputs, cells, state in sizes:
            total += 4 * cells * (inputs + state + self.biases)
            total += cells * state * (self.projection is not None)
            total += (state + 1) * self.width * self.map_back
        tables = 1 if self.tied else 2
        return size * (self.width * tables + self.output_bias) + total

    def shape(self) -> dict[str, int | str]:
        # Runs have recorded the hash of all this since an LSTM had a transformer's settings too.
        old: dict[str, int | str] = {"num_heads": self.num_heads, "norm": "post"}
        old = {**super().shape(), **old, "hidden_width": 4 * self.width, "cells": self.cells}
        # Only where it is not as it always was, so that runs from before there was a choice go on.
        now: dict[str, int | str] = {
            "layer_units": " ".join(map(str, self.layer_units)),
            "map_back": self.map_back,
            "projection": _number(self.projection),
            "cell_clip": _number(self.cell_clip),
            "projection_clip": _number(self.projection_clip),
            "residual": self.residual,
            "biases": self.biases,
            "forget_bias": f"{self.forget_bias:g}",
            "tied": self.tied,
            "output_bias": self.output_bias,
        }
        usual = {"layer_units": "", "map_back": True, "biases": 1, "forget_bias": "1"}
        usual |= {"projection": "", "cell_clip": "", "projection_clip": "", "residual": False}
        usual |= {"tied": True, "output_bias": False}
        return old | {name: value for name, value in now.items() if value != usual[name]}

    def describe(self) -> str:
        if self.layer_units:
            cells = f"{self.num_layers} layers of {', '.join(map(str, self.layer_units))} cells"
        else:
            cells = f"{self.num_layers} × {self.cells} cells"
        state = "" if self.projection is None else f", states of {self.projection}"
        return f"LSTM of {cells}{state}, width {self.width}"


def _number(value: int | float | None) -> str:
    return "" if value is None else f"{value:g}"
