"""What the modules of all families have, as most of them have it."""

from typing import Any, NamedTuple, NoReturn

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from gptjax.errors import UserError
from gptjax.models.config import ModelConfig

Tokens = Int[Array, "B T"]
States = Float[Array, "B T D"]  # in the compute type
LayerStates = Float[Array, "N B T D"]  # N = L + 1 depths, in the compute type
RandomKey = Key[Array, ""]
Slot = Int[Array, ""]
Columns = Int[Array, " B"]  # one of each row
There = Bool[Array, "B T"] | None  # where a row has tokens, its first ones; None: everywhere


class Regularised(NamedTuple):
    """States of training, for penalties on them."""

    states: States
    """What the output and a task head read."""
    before: States
    """The same before the dropout of the last layer."""
    carry: Any
    """What is remembered after the last position."""


class Family(nn.Module):
    """A language model without its output: a flax module from tokens [B, T] to states [B, T, D].

    Its parameters are ``token_embedding`` [V, D], which is the output table too, further embeddings
    by names that end so, the blocks ``blocks_0``, ``blocks_1``, …, and perhaps ``output_bias`` [V].
    A family for which any of this is different has methods of its own. Dropout has the key that
    ``__call__`` is given, or that of ``apply(…, rngs={"dropout": key})``; without a key there is
    none. What each method does,
    `gptjax.models.backbone` says. Those that take ``params`` or sizes alone need no ``apply``.
    """

    config: ModelConfig

    def __call__(self, tokens: Tokens, key: RandomKey | None = None) -> States:
        """States of all positions."""
        raise NotImplementedError

    def layer_states(self, tokens: Tokens, key: RandomKey | None = None) -> LayerStates:
        """States after each depth."""
        raise NotImplementedError

    def lens_states(self, tokens: Tokens) -> LayerStates:
        """States after each depth as the output reads them (`gptjax.models.inside`)."""
        return self.layer_states(tokens)

    def embed(self, tokens: Tokens) -> States:
        """What the first block reads."""
        raise NotImplementedError

    def extend(self, tokens: Tokens, cache: Any, slot: Slot, first: Columns) -> tuple[States, Any]:
        """States of further positions, and the cache with them in it."""
        self._refuse()

    def advance(
        self, tokens: Tokens, key: RandomKey | None, carry: Any, fresh: Bool[Array, "B T"] | None
    ) -> tuple[States, Any]:
        """States of a window that goes on from the one before, and what is remembered after it."""
        self._refuse_state()

    def regularised(
        self, tokens: Tokens, key: RandomKey | None, carry: Any, fresh: Bool[Array, "B T"] | None
    ) -> Regularised:
        """``advance`` with what penalties need; without a carry nothing is remembered."""
        self._refuse_state()

    def dropout_key(self, key: RandomKey | None) -> RandomKey | None:
        """The key that was given, or else one of flax's stream `dropout` where there is one."""
        if key is None and self.has_rng("dropout"):
            return self.make_rng("dropout")
        return key

    @nn.nowrap
    def empty_cache(self, batch: int, slots: int) -> Any:
        """What ``extend`` begins with."""
        self._refuse()

    @nn.nowrap
    def empty_carry(self, rows: int) -> Any:
        """What ``advance`` begins with."""
        self._refuse_state()

    @nn.nowrap
    def output(self, params: Any) -> tuple[Float[Array, "V D"], Float[Array, " V"] | None]:
        """Output table and bias."""
        return params["token_embedding"], params.get("output_bias")

    @nn.nowrap
    def for_loss(
        self, params: Any, key: RandomKey | None, positions: int | None
    ) -> tuple[Any, Float[Array, "R D"], Float[Array, " R"] | None]:
        """The parameters to apply, and output table and bias of the loss."""
        return params, *self.output(params)

    @nn.nowrap
    def thinned(self, params: Any, key: RandomKey) -> Any:
        """The parameters that an update trains with; the family's config says if they differ."""
        del key
        return params

    def attention_weights(self, tokens: Tokens) -> Float[Array, "L B H T T"]:
        """How much each position takes of each before it."""
        raise UserError(f"{self.config.called} has no attention to look at")

    @nn.nowrap
    def row_width(self) -> int:
        """R, the numbers of a further token in ``with_rows``."""
        return self.config.width

    @nn.nowrap
    def with_rows(self, params: Any, rows: Float[Array, "S R"]) -> Any:
        """The parameters with further tokens, whose bias is 0."""
        tables = [params["token_embedding"], rows]
        longer = {**params, "token_embedding": jnp.concatenate(tables)}
        if "output_bias" in params:
            longer["output_bias"] = jnp.pad(params["output_bias"], (0, len(rows)))
        return longer

    @nn.nowrap
    def read_rows(self, params: Any, tokens: Int[Array, " S"]) -> Float[Array, "S R"]:
        """Rows for ``with_rows`` that are read as these tokens are; the rest of a row is 0."""
        found = jnp.asarray(params["token_embedding"])[tokens]
        return jnp.pad(found, ((0, 0), (0, self.row_width() - found.shape[-1])))

    @nn.nowrap
    def with_vocabulary(self, params: Any, rows: Int[np.ndarray, " V"]) -> Any:
        """The parameters of a model of other tokens, as numpy arrays."""

        def renewed(table: Any) -> np.ndarray:
            old: np.ndarray = np.asarray(table)
            new: np.ndarray = old[np.maximum(rows, 0)]
            new[rows < 0] = old.mean(0)
            return new

        names = ("token_embedding", "output_table", "output_bias")
        return {**params, **{name: renewed(params[name]) for name in names if name in params}}

    @nn.nowrap
    def with_spelling(self, params: Any, spelled: Int[Any, "V 50"]) -> Any:
        """The parameters with a vocabulary of words that are spelled so."""
        raise NotImplementedError  # of families that read spelling

    @nn.nowrap
    def depth(self, name: str) -> int:
        """Where a parameter stands: embeddings 0, then the blocks, then what follows them."""
        top = name.partition("/")[0]
        if top.endswith("_embedding"):
            return 0
        number = top.removeprefix("blocks_")
        return int(number) + 1 if number.isdigit() else self.config.num_layers + 1

    @nn.nowrap
    def _refuse(self) -> NoReturn:
        raise UserError(
            f"model.kind {self.config.kind}: {self.config.called} cannot write text token by token"
        )

    @nn.nowrap
    def _refuse_state(self) -> NoReturn:
        raise UserError(
            f"model.kind {self.config.kind}: {self.config.called} has no state that could be "
            "carried from window to window; take a recurrent one, such as model.kind lstm"
        )
