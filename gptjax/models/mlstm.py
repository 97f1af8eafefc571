"""The multiplicative LSTM of the Sentiment Neuron, behind the same interface."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.errors import UserError, check_counts
from gptjax.models.config import ModelConfig
from gptjax.models.family import States
from gptjax.models.multiplicative import Matrices, normalised, run_with
from gptjax.models.recurrent import Carry, Recurrent, Where


@dataclass(frozen=True)
class MLSTMConfig(ModelConfig):
    """The shape of a multiplicative LSTM.

    Its states are what its N cells give, so that the width is N. The embedding has a width of its
    own, and the output a table of its own.
    """

    called: ClassVar[str] = "a multiplicative LSTM"
    # A preset of transformers can be given this kind.
    ignored: ClassVar[tuple[str, ...]] = ("attention", "attention_dropout", "num_heads")

    kind: Literal["mlstm"] = "mlstm"
    """The family of the model; each has options of its own (--model.kind transformer --help)."""

    num_layers: int = 1
    """Number of layers; each reads what the one below it gives."""

    initial_std: float = 0.1
    """Standard deviation of the initial embeddings, of the output's table and of a task head. The
    columns of the layers' matrices begin with the length 1. 0.02 learns much later."""

    units: int | None = None
    """Memory cells of each layer (None: the width). The width is this number then, whatever else
    is said of it."""

    embedding_width: int = 64
    """Size of the embedding of a token, at most the width."""

    embedding_dropout: float = 0.0
    """Probability of dropping a component of the token embedding."""

    residual_dropout: float = 0.0
    """Probability of dropping a component of what a layer gives to the next one or to the
    output."""

    def __post_init__(self) -> None:
        if self.units is not None:
            check_counts(self, "model", "units")
            object.__setattr__(self, "width", self.units)
        super().__post_init__()
        if self.embedding_width > self.width:
            raise UserError(
                f"model.embedding_width is {self.embedding_width}: it must be at most the number "
                f"of cells (model.units), which is {self.width}"
            )

    @property
    def fixed_context(self) -> bool:
        return False

    @property
    def cells(self) -> int:
        """The memory cells of a layer."""
        return self.width

    @property
    def depth_widths(self) -> tuple[int, ...]:
        return (self.embedding_width, *(self.width,) * self.num_layers)

    def num_parameters(self) -> int:
        cells, below = self.cells, [self.embedding_width] + [self.cells] * (self.num_layers - 1)
        # Five columns of each cell, with a gain each; four of them have a bias.
        layers = sum(5 * cells * (inputs + cells + 2) + 4 * cells for inputs in below)
        return self.vocabulary_size * (self.embedding_width + cells + 1) + layers

    def shape(self) -> dict[str, int | str]:
        return {**super().shape(), "embedding_width": self.embedding_width}

    def describe(self) -> str:
        return (
            f"multiplicative LSTM of {self.num_layers} × {self.cells} cells, embedding "
            f"{self.embedding_width}"
        )


class Normalised(nn.Module):
    """The parameters of a matrix with weight normalisation; calling it gives the matrix, float32.

    Each column is a direction (a column of ``kernel`` [I, O]) times its length (``gain`` [O]), so
    that the two are learned apart (Salimans and Kingma 2016). The kernel starts at N(0, 1 / I), a
    column at the length 1.
    """

    inputs: int
    features: int

    def setup(self) -> None:
        shape, normal = (self.inputs, self.features), nn.initializers.normal(self.inputs**-0.5)
        self.kernel = self.param("kernel", normal, shape, jnp.float32)
        self.gain = self.param("gain", nn.initializers.ones, (self.features,), jnp.float32)

    def __call__(self) -> Float[Array, "I O"]:
        return normalised(self.kernel, self.gain)


class Layer(nn.Module):
    """One layer, whose equations `gptjax.models.multiplicative.run` has; biases start at 0."""

    config: MLSTMConfig
    features: int  # I, of what it reads

    def setup(self) -> None:
        cells = self.config.cells
        self.inputs = Normalised(self.features, 4 * cells)
        self.input_factor = Normalised(self.features, cells)
        self.recurrent = Normalised(cells, 4 * cells)
        self.recurrent_factor = Normalised(cells, cells)
        self.bias = self.param("bias", nn.initializers.zeros, (4 * cells,), jnp.float32)

    def __call__(
        self, x: Float[Array, "B T I"], carry: Carry, mask: Where, fresh: Where
    ) -> tuple[States, Carry]:
        matrices = (self.inputs(), self.input_factor(), self.recurrent(), self.recurrent_factor())
        return run_with(Matrices(*matrices, self.bias), x, mask, fresh, carry)


class MLSTM(Recurrent):
    """A multiplicative LSTM, from tokens to states.

    Its parameters are ``token_embedding`` [V, E], the layers ``blocks_0``, …, and the output's own
    ``output_table`` [V, N] and ``output_bias`` [V]. A further token has a row of E + N numbers:
    that of the embedding, and then that of the output.
    """

    config: MLSTMConfig

    def setup(self) -> None:
        config = self.config
        size, normal = config.vocabulary_size, nn.initializers.normal(config.initial_std)
        below = [config.embedding_width] + [config.cells] * (config.num_layers - 1)
        self.token_embedding = self.param("token_embedding", normal, (size, below[0]), jnp.float32)
        self.blocks = [Layer(config, inputs) for inputs in below]
        self.output_table = self.param("output_table", normal, (size, config.cells), jnp.float32)
        self.output_bias = self.param("output_bias", nn.initializers.zeros, (size,), jnp.float32)

    @nn.nowrap
    def output(self, params: Any) -> tuple[Float[Array, "V N"], Float[Array, " V"]]:
        """Output table and bias."""
        return params["output_table"], params["output_bias"]

    @nn.nowrap
    def row_width(self) -> int:
        """E + N."""
        return self.config.embedding_width + self.config.cells

    @nn.nowrap
    def with_rows(self, params: Any, rows: Float[Array, "S R"]) -> Any:
        """The parameters with further tokens, whose bias is 0."""
        width, added = self.config.embedding_width, {}
        for name, own in (("token_embedding", rows[:, :width]), ("output_table", rows[:, width:])):
            added[name] = jnp.concatenate([params[name], own])
        bias = jnp.pad(params["output_bias"], (0, len(rows)))
        return {**params, **added, "output_bias": bias}
