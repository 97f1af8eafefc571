"""The LSTM that the paper puts in the transformer's place (table 5), and that of AWD-LSTM."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models import projected
from gptjax.models.family import RandomKey, Tokens
from gptjax.models.layers import Linear
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.lstm_recurrence import recurrence
from gptjax.models.masks import WORD_MASK, SequenceMasks, draw, parameter_masks, thin
from gptjax.models.recurrent import Carry, Recurrent, Where, nothing


class Layer(nn.Module):
    """One LSTM layer (Hochreiter and Schmidhuber 1997) and a linear map back to the width.

    With [a, f, g, o] = W x + U h + b: c' = σ(f + 1) c + σ(a) tanh(g), h' = σ(o) tanh(c'). The map
    from N cells to the width D (Sak et al. 2014) lets the number of cells differ from that of the
    table which is input and output at once. Matrices start at N(0, 1 / inputs). The 1 at the
    forget gate, the map and a second bias are settings. So is a projection within the layer, whose
    P numbers are h then (`gptjax.models.projected`), and what is clipped.
    """

    config: LSTMConfig
    features: int  # I, of what it reads
    cells: int  # N

    def setup(self) -> None:
        config, cells = self.config, self.cells
        normal = nn.initializers.normal
        self.inputs = Linear(4 * cells, self.features**-0.5)
        fed_back = cells if config.projection is None else config.projection
        self.recurrent = self.param(
            "recurrent", normal(fed_back**-0.5), (fed_back, 4 * cells), jnp.float32
        )
        if config.projection is not None:
            self.state_projection = self.param(
                "state_projection", normal(cells**-0.5), (cells, fed_back), jnp.float32
            )
        if config.biases == 2:
            self.recurrent_bias = self.param(
                "recurrent_bias", nn.initializers.zeros, (4 * cells,), jnp.float32
            )
        if config.map_back:
            self.projection = Linear(config.width, fed_back**-0.5)

    def __call__(
        self, x: Float[Array, "B T I"], carry: Carry, mask: Where, fresh: Where
    ) -> tuple[Float[Array, "B T O"], Carry]:
        config = self.config
        gates = self.inputs(x, self.recurrent_bias if config.biases == 2 else None)
        if config.is_plain:
            bias = config.forget_bias
            hidden, carry = recurrence(gates, self.recurrent, mask, fresh, carry, bias)
        else:
            inner = None if config.projection is None else self.state_projection
            given = (gates, self.recurrent, inner, mask, fresh, carry)
            hidden, carry = projected.recurrence(config.recurrence, *given)
        return self.projection(hidden) if config.map_back else hidden, carry


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
        given = config.layer_outputs[:-1]
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
        if (size := config.projection) is not None:
            return tuple(projected.nothing(rows, one, size, dtype) for one in config.layer_cells)
        by_size = {cells: nothing(rows, cells, dtype) for cells in config.layer_cells}
        return tuple(by_size[cells] for cells in config.layer_cells)

    @nn.nowrap
    def summed(
        self, number: int, read: Float[Array, "B T D"], given: Float[Array, "B T O"]
    ) -> Float[Array, "B T O"]:
        """What a layer gives, with what it read where there are residual sums."""
        return read + given if self.config.residual and number > 0 else given

    @nn.nowrap
    def thinned(self, params: Any, key: RandomKey) -> Any:
        """The parameters without rows of the embedding and elements of the recurrent matrices."""
        config = self.config
        masks = parameter_masks(
            key,
            len(params["token_embedding"]),
            config.layer_cells,
            config.projection,
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
