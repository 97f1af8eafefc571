"""The LSTM that the paper puts in the transformer's place (table 5), and that of AWD-LSTM."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.errors import UserError, check_counts
from gptjax.models.config import LIMITS, ModelConfig
from gptjax.models.family import RandomKey, Tokens
from gptjax.models.layers import Linear
from gptjax.models.lstm_recurrence import FORGET_BIAS, recurrence
from gptjax.models.masks import WORD_MASK, SequenceMasks, draw, parameter_masks, thin
from gptjax.models.recurrent import Carry, Recurrent, Where, nothing


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
        check_counts(self, "model", "units width")
        check_counts(self, "model", "num_layers", most=LIMITS["num_layers"])
        for name in ("activation_penalty", "temporal_penalty"):
            if not getattr(self, name) >= 0:
                raise UserError(f"model.{name} is {getattr(self, name)}: it must be at least 0")
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
        if not self.map_back and self.layer_cells[-1] != self.width:
            raise UserError(
                f"model.map_back is false, and the last layer has {self.layer_cells[-1]} cells: it "
                f"needs as many as model.width, {self.width} (model.layer_units)"
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
    def layer_inputs(self) -> tuple[int, ...]:
        """What each layer reads at a position: so many numbers."""
        below = (self.width,) * self.num_layers if self.map_back else self.layer_cells
        return (self.width, *below[:-1])

    @property
    def widest(self) -> int:
        return self.width if self.map_back else max(self.width, self.cells)

    @property
    def thins(self) -> bool:
        return self.word_dropout > 0 or self.weight_dropout > 0

    @property
    def penalties(self) -> tuple[float, float]:
        return self.activation_penalty, self.temporal_penalty

    def num_parameters(self) -> int:
        size, total = self.vocabulary_size, 0
        for inputs, cells in zip(self.layer_inputs, self.layer_cells, strict=True):
            total += 4 * cells * (inputs + cells + self.biases)
            total += (cells + 1) * self.width * self.map_back
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
            "biases": self.biases,
            "forget_bias": f"{self.forget_bias:g}",
            "tied": self.tied,
            "output_bias": self.output_bias,
        }
        usual = {"layer_units": "", "map_back": True, "biases": 1, "forget_bias": "1"}
        usual |= {"tied": True, "output_bias": False}
        return old | {name: value for name, value in now.items() if value != usual[name]}

    def describe(self) -> str:
        if self.layer_units:
            cells = f"{self.num_layers} layers of {', '.join(map(str, self.layer_units))} cells"
        else:
            cells = f"{self.num_layers} × {self.cells} cells"
        return f"LSTM of {cells}, width {self.width}"


class Layer(nn.Module):
    """One LSTM layer (Hochreiter and Schmidhuber 1997) and a linear map back to the width.

    With [a, f, g, o] = W x + U h + b: c' = σ(f + 1) c + σ(a) tanh(g), h' = σ(o) tanh(c'). The map
    from N cells to the width D (Sak et al. 2014) lets the number of cells differ from that of the
    table which is input and output at once. Matrices start at N(0, 1 / inputs). The 1 at the
    forget gate, the map and a second bias are settings.
    """

    config: LSTMConfig
    features: int  # I, of what it reads
    cells: int  # N

    def setup(self) -> None:
        config, cells = self.config, self.cells
        self.inputs = Linear(4 * cells, self.features**-0.5)
        self.recurrent = self.param(
            "recurrent", nn.initializers.normal(cells**-0.5), (cells, 4 * cells), jnp.float32
        )
        if config.biases == 2:
            self.recurrent_bias = self.param(
                "recurrent_bias", nn.initializers.zeros, (4 * cells,), jnp.float32
            )
        if config.map_back:
            self.projection = Linear(config.width, cells**-0.5)

    def __call__(
        self, x: Float[Array, "B T I"], carry: Carry, mask: Where, fresh: Where
    ) -> tuple[Float[Array, "B T O"], Carry]:
        gates = self.inputs(x, self.recurrent_bias if self.config.biases == 2 else None)
        bias = self.config.forget_bias
        hidden, carry = recurrence(gates, self.recurrent, mask, fresh, carry, bias)
        return self.projection(hidden) if self.config.map_back else hidden, carry


class LSTM(Recurrent):
    """A recurrent language model, from tokens to states, with the parameters of every family.

    Where the output is not tied, it has a table of its own, ``output_table`` [V, D]. A further
    token has a row of 2 D numbers then: that of the embedding, and that of the output.
    """

    config: LSTMConfig

    def setup(self) -> None:
        config = self.config
        normal = nn.initializers.normal(config.initial_std)
        table = (config.vocabulary_size, config.width)
        self.token_embedding = self.param("token_embedding", normal, table, jnp.float32)
        layers = zip(config.layer_inputs, config.layer_cells, strict=True)
        self.blocks = [Layer(config, inputs, cells) for inputs, cells in layers]
        if not config.tied:
            self.output_table = self.param("output_table", normal, table, jnp.float32)
        if config.output_bias:
            zeros = nn.initializers.zeros
            self.output_bias = self.param("output_bias", zeros, table[:1], jnp.float32)

    def embed(self, tokens: Tokens) -> Float[Array, "B T D"]:
        """The token embedding, without the words that an update drops."""
        if not self.has_variable("params", WORD_MASK):
            return super().embed(tokens)
        table = jnp.asarray(self.token_embedding)
        mask = jnp.asarray(self.get_variable("params", WORD_MASK))
        return (table[tokens] * mask[tokens]).astype(jnp.dtype(self.config.dtype))

    def sequence_masks(self, key: RandomKey | None, rows: int) -> SequenceMasks:
        """Masks by the rates of the config."""
        config = self.config
        if key is not None:  # the layers' own dropout has the numbers to num_layers
            key = jax.random.fold_in(key, config.num_layers + 1)
        given = config.layer_cells[:-1]
        if config.map_back:
            given = (config.width,) * len(given)
        sizes = (config.width, *given, config.width)
        rates = [config.hidden_dropout] * len(given)
        first, *hidden, last = (
            draw(None if key is None else jax.random.fold_in(key, depth), rate, rows, 1, size)
            for depth, (size, rate) in enumerate(
                zip(sizes, (config.input_dropout, *rates, config.output_dropout), strict=True)
            )
        )
        return SequenceMasks(first, tuple(hidden), last)

    @nn.nowrap
    def empty_carry(self, rows: int) -> tuple[Carry, ...]:
        """What is remembered before the first token."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        by_size = {cells: nothing(rows, cells, dtype) for cells in config.layer_cells}
        return tuple(by_size[cells] for cells in config.layer_cells)

    @nn.nowrap
    def thinned(self, params: Any, key: RandomKey) -> Any:
        """The parameters without rows of the embedding and elements of the recurrent matrices."""
        config = self.config
        masks = parameter_masks(
            key,
            len(params["token_embedding"]),
            config.layer_cells,
            of_words=config.word_dropout,
            of_weights=config.weight_dropout,
        )
        return thin(params, masks)

    @nn.nowrap
    def output(self, params: Any) -> tuple[Float[Array, "V D"], Float[Array, " V"] | None]:
        """Output table and bias."""
        table = params["token_embedding" if self.config.tied else "output_table"]
        return table, params.get("output_bias")

    @nn.nowrap
    def row_width(self) -> int:
        """D; 2 D where the output has a table of its own."""
        return self.config.width if self.config.tied else 2 * self.config.width

    @nn.nowrap
    def with_rows(self, params: Any, rows: Float[Array, "S R"]) -> Any:
        """The parameters with further tokens, whose bias is 0; an update drops none of them."""
        width = self.config.width
        longer = super().with_rows(params, rows[:, :width])
        if not self.config.tied:
            tables = [params["output_table"], rows[:, width:]]
            longer["output_table"] = jnp.concatenate(tables)
        if WORD_MASK in params:
            ones = jnp.ones((len(rows), 1), jnp.float32)
            longer[WORD_MASK] = jnp.concatenate([params[WORD_MASK], ones])
        return longer
