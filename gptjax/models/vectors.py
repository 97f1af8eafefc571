"""A table of vectors, one for each token, and nothing above it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.models.config import ModelConfig
from gptjax.models.family import Columns, Family, LayerStates, RandomKey, Slot, States, Tokens


@dataclass(frozen=True)
class VectorsConfig(ModelConfig):
    """The shape of a table of vectors, such as GloVe's: what task models read without a context."""

    called: ClassVar[str] = "a table of vectors"
    # A preset of transformers can be given this kind.
    ignored: ClassVar[tuple[str, ...]] = ("attention", "attention_dropout", "num_heads")
    least_layers: ClassVar[int] = 0

    kind: Literal["vectors"] = "vectors"
    """The family of the model; each has options of its own (--model.kind transformer --help)."""

    num_layers: int = 0
    """Number of blocks above the table: 0, whatever else is said of it."""

    width: int = 300
    """Size of a vector."""

    initial_std: float = 0.01
    """Standard deviation of vectors that are drawn, and of a task head."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_layers", 0)
        super().__post_init__()

    @property
    def fixed_context(self) -> bool:
        return False

    @property
    def contextual(self) -> bool:
        return False

    def describe(self) -> str:
        return f"{self.vocabulary_size:,} vectors of {self.width}"


class Vectors(Family):
    """A table of vectors; a state tells of its own token alone."""

    config: VectorsConfig

    def setup(self) -> None:
        config = self.config
        normal = nn.initializers.normal(config.initial_std)
        shape = (config.vocabulary_size, config.width)
        self.token_embedding = self.param("token_embedding", normal, shape, jnp.float32)

    def __call__(self, tokens: Tokens, key: RandomKey | None = None) -> States:
        """The vectors of all positions; nothing is dropped."""
        self.config.check_length(tokens.shape[1])
        return self.embed(tokens)

    def layer_states(self, tokens: Tokens, key: RandomKey | None = None) -> LayerStates:
        """The one depth that there is."""
        return self(tokens, key)[None]

    def embed(self, tokens: Tokens) -> Float[Array, "B T D"]:
        """The same as the states."""
        # A numpy array in the parameters could not be indexed while a function is traced.
        table = jnp.asarray(self.token_embedding)
        return table[tokens].astype(jnp.dtype(self.config.dtype))

    def extend(self, tokens: Tokens, cache: Any, slot: Slot, first: Columns) -> tuple[States, Any]:
        """The vectors of further positions, which need nothing of those before."""
        return self.embed(tokens), cache

    @nn.nowrap
    def empty_cache(self, batch: int, slots: int) -> tuple[()]:
        """Nothing is remembered."""
        return ()
