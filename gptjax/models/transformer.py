"""The backbone: GPT-1 (post-LayerNorm) and GPT-2 (pre-LayerNorm) are settings of one module."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, Shaped

from gptjax.errors import UserError
from gptjax.models.attention import (
    attention_weights,
    cached_attention,
    causal_attention,
    fused_attention,
)
from gptjax.models.config import ModelConfig
from gptjax.models.dropout import dropout
from gptjax.models.family import Columns, Family, LayerStates, RandomKey, Slot, States, Tokens
from gptjax.models.layers import LayerNorm, Linear, gelu, packed, unpacked
from gptjax.models.relation_bias import Bias, bias_arrays


@dataclass(frozen=True)
class TransformerConfig(ModelConfig):
    """The shape of a transformer. The defaults are GPT-1 (Radford et al. 2018, section 4.1)."""

    called: ClassVar[str] = "a transformer"

    kind: Literal["transformer"] = "transformer"
    """The family of the model; each has options of its own (--model.kind lstm --help)."""

    num_heads: int = 12
    """Number of attention heads; must divide the width."""

    mlp_width: int | None = None
    """Size of the hidden layer of each block's MLP (None: 4 × width)."""

    norm: Literal["post", "pre"] = "post"
    """Where LayerNorm stands: after each residual sum (GPT-1), or before each branch, with a final
    LayerNorm and residual projections initialised smaller by sqrt(2 × layers) (GPT-2)."""

    embedding_dropout: float = 0.1
    """Probability of dropping a component of the sum of token and position embedding."""

    attention_dropout: float = 0.1
    """Probability of dropping an attention weight."""

    residual_dropout: float = 0.1
    """Probability of dropping a component of what a branch adds to the residual stream."""

    fidelity: Literal["paper", "released"] = "paper"
    """Two oddities of the code that GPT-1's authors released, where the paper is silent. Paper: the
    softmax runs over the tokens, and embedding dropout acts on the sum of token and position
    embedding. Released: the softmax in the loss runs over the rows of the positions too, and
    embedding dropout acts on the two tables, the output table included."""

    attention: Literal["einsum", "fused"] = "einsum"
    """How attention is computed: einsum (fastest on a CPU, any dropout), or fused (cuDNN on a GPU;
    attention dropout must be 0)."""

    rematerialize: bool = False
    """Compute each block again in the backward pass instead of keeping its intermediate values:
    less memory for about a third more work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.num_heads:
            raise UserError(
                f"model.width {self.width} does not divide into model.num_heads {self.num_heads}: "
                "choose a multiple"
            )
        if self.attention == "fused" and self.attention_dropout > 0:
            raise UserError(
                "model.attention fused has no dropout: set model.attention-dropout to 0, "
                "or model.attention to einsum"
            )

    def attention_scores(self) -> int:
        return self.num_layers * self.width * self.context_length

    def num_parameters(self) -> int:
        width, hidden = self.width, self.hidden_width
        attention = 4 * width**2 + 4 * width
        mlp = 2 * width * hidden + hidden + width
        tables = (self.vocabulary_size + self.context_length) * width
        norms = 4 * width * self.num_layers + 2 * width * (self.norm == "pre")
        return tables + self.num_layers * (attention + mlp) + norms

    @property
    def hidden_width(self) -> int:
        """The size of the MLP's hidden layer."""
        return 4 * self.width if self.mlp_width is None else self.mlp_width

    @property
    def head_width(self) -> int:
        """The size of one head's queries, keys and values."""
        return self.width // self.num_heads

    def relation_arrays(self) -> dict[str, tuple[int, ...]]:
        return bias_arrays(self.num_layers, self.num_heads, self.attention)

    def for_perplexity(self) -> "TransformerConfig":
        return replace(self, fidelity="paper")

    def shape(self) -> dict[str, int | str]:
        own = {name: getattr(self, name) for name in ("num_heads", "hidden_width", "norm")}
        # Runs have recorded its hash since there was no other kind.
        return {name: size for name, size in super().shape().items() if name != "kind"} | own

    def describe(self) -> str:
        size = f"{self.num_layers} blocks of width {self.width}, {self.num_heads} heads"
        return f"{size}, LayerNorm {'after' if self.norm == 'post' else 'before'} each branch"


class LayerCache(NamedTuple):
    """The keys and values of one block at the positions seen so far, in S slots.

    Of a bfloat16 model as `gptjax.models.layers.packed` packs them: they are written at each token.
    """

    keys: Shaped[Array, "B H S _"]
    values: Shaped[Array, "B H S _"]


def _linear(config: TransformerConfig, features: int, *, residual: bool = False) -> Linear:
    """A linear map; ``residual`` if its output is added to the residual stream."""
    smaller = (2 * config.num_layers) ** 0.5 if residual and config.norm == "pre" else 1.0
    return Linear(features, config.initial_std / smaller)


class Attention(nn.Module):
    """Causal self-attention of several heads."""

    config: TransformerConfig

    def setup(self) -> None:
        self.qkv = _linear(self.config, 3 * self.config.width)
        self.projection = _linear(self.config, self.config.width, residual=True)

    def __call__(self, x: States, key: RandomKey | None, bias: Bias = None) -> States:
        q, k, v = self._heads(x)
        if self.config.attention == "fused":
            out = fused_attention(q, k, v)
        else:
            out = causal_attention(q, k, v, key, self.config.attention_dropout, bias)
        return self._merge(out)

    def extend(
        self, x: States, cache: LayerCache, slot: Slot, first: Columns
    ) -> tuple[States, LayerCache]:
        q, k, v = self._heads(x)
        cache = LayerCache(_put(cache.keys, k, slot), _put(cache.values, v, slot))
        keys, values = map(unpacked, cache)
        return self._merge(cached_attention(q, keys, values, slot, first)), cache

    def weights(self, x: States) -> Float[Array, "B H T T"]:
        """How much each position takes of each before it."""
        q, k, _ = self._heads(x)
        return attention_weights(q, k)

    def _heads(self, x: States) -> list[Float[Array, "B H T _"]]:
        """Queries, keys and values, from one product."""
        heads = (*x.shape[:2], self.config.num_heads, self.config.head_width)
        return [part.reshape(heads).swapaxes(1, 2) for part in jnp.split(self.qkv(x), 3, axis=-1)]

    def _merge(self, out: Float[Array, "B H T _"]) -> States:
        batch, _, length, _ = out.shape
        return self.projection(out.swapaxes(1, 2).reshape(batch, length, self.config.width))


def _put(cache: Array, new: Array, slot: Slot) -> Array:
    """The cache with further positions in it."""
    return jax.lax.dynamic_update_slice_in_dim(cache, packed(new), slot, axis=2)


class MLP(nn.Module):
    """The position-wise feed-forward network, GELU in its tanh form."""

    config: TransformerConfig

    def setup(self) -> None:
        self.expansion = _linear(self.config, self.config.hidden_width)
        self.projection = _linear(self.config, self.config.width, residual=True)

    def __call__(self, x: States) -> States:
        return self.projection(gelu(self.expansion(x)))


class Block(nn.Module):
    """One transformer block: attention and MLP, each with a residual sum and a LayerNorm."""

    config: TransformerConfig

    def setup(self) -> None:
        self.attention = Attention(self.config)
        self.norm_1 = LayerNorm()
        self.mlp = MLP(self.config)
        self.norm_2 = LayerNorm()

    def __call__(self, x: States, keys: Key[Array, " 3"] | None, bias: Bias = None) -> States:
        rate = self.config.residual_dropout
        attention_key, key_1, key_2 = (None, None, None) if keys is None else keys
        branch = self.attention(self._before(x), attention_key, bias)
        return self._rest(x, dropout(branch, key_1, rate), key_2)

    def extend(
        self, x: States, cache: LayerCache, slot: Slot, first: Columns
    ) -> tuple[States, LayerCache]:
        branch, cache = self.attention.extend(self._before(x), cache, slot, first)
        return self._rest(x, branch, None), cache

    def weights(self, x: States) -> Float[Array, "B H T T"]:
        """Those of the attention."""
        return self.attention.weights(self._before(x))

    def _before(self, x: States) -> States:
        """What the attention reads."""
        return self.norm_1(x) if self.config.norm == "pre" else x

    def _rest(self, x: States, branch: States, key: RandomKey | None) -> States:
        """What follows the attention."""
        rate = self.config.residual_dropout
        if self.config.norm == "pre":
            x = x + branch
            return x + dropout(self.mlp(self.norm_2(x)), key, rate)
        x = self.norm_1(x + branch)
        return self.norm_2(x + dropout(self.mlp(x), key, rate))


class Transformer(Family):
    """A decoder-only transformer, from tokens to states.

    Its parameters are ``token_embedding`` [V, D] (which is also the output table: logits are
    ``states @ token_embedding.T``, without bias), ``position_embedding`` [T, D], ``blocks_0``,
    ``blocks_1``, … and, with ``norm="pre"``, ``final_norm``.
    """

    config: TransformerConfig

    def setup(self) -> None:
        config = self.config
        normal = nn.initializers.normal(config.initial_std)
        self.token_embedding = self.param(
            "token_embedding", normal, (config.vocabulary_size, config.width), jnp.float32
        )
        self.position_embedding = self.param(
            "position_embedding", normal, (config.context_length, config.width), jnp.float32
        )
        block = nn.remat(Block) if config.rematerialize else Block
        self.blocks = [block(config) for _ in range(config.num_layers)]
        if config.norm == "pre":
            self.final_norm = LayerNorm()

    def __call__(self, tokens: Tokens, key: RandomKey | None = None, bias: Bias = None) -> States:
        """The states [B, T, D] of all positions (`gptjax.models.backbone.states`)."""
        return self._depths(tokens, key, bias)[-1]

    def layer_states(
        self, tokens: Tokens, key: RandomKey | None = None, bias: Bias = None
    ) -> LayerStates:
        """The states after each depth (`gptjax.models.backbone.layer_states`)."""
        return jnp.stack(self._depths(tokens, key, bias))

    def lens_states(self, tokens: Tokens) -> LayerStates:
        """`layer_states`, all of which have been through the final LayerNorm, if there is one."""
        *below, last = self._depths(tokens, None, None)
        if self.config.norm == "pre":
            below = [self.final_norm(x) for x in below]
        return jnp.stack([*below, last])

    def attention_weights(self, tokens: Tokens) -> Float[Array, "L B H T T"]:
        """The weights of every block (`gptjax.models.backbone.attention_weights`)."""
        self.config.check_length(tokens.shape[1])
        x, found = self.embed(tokens), []
        for block in self.blocks:
            found.append(block.weights(x))
            x = block(x, None)
        return jnp.stack(found)

    def _depths(self, tokens: Tokens, key: RandomKey | None, bias: Bias) -> list[States]:
        """What the first block reads, and what each block gives; the last is normalised at last."""
        self.config.check_length(tokens.shape[1])
        key = self.dropout_key(key)
        keys = None if key is None else jax.random.split(key, 3 * self.config.num_layers + 1)
        x = self.embed(tokens)
        if self.config.fidelity == "paper":  # else it was done to the tables (`for_loss`)
            x = dropout(x, None if keys is None else keys[-1], self.config.embedding_dropout)
        depths = [x]
        for i, block in enumerate(self.blocks):
            own = () if bias is None else (bias.of_layer(i),)
            x = block(x, None if keys is None else keys[3 * i : 3 * i + 3], *own)
            depths.append(x)
        if self.config.norm == "pre":
            depths[-1] = self.final_norm(x)
        return depths

    def embed(self, tokens: Tokens, positions: Int[Array, "_ T"] | None = None) -> States:
        """The sum of token and position embedding, without dropout; None is from position 0 on."""
        if positions is None:
            positions = jnp.arange(tokens.shape[1])[None]
        # A numpy array in the parameters could not be indexed while a function is traced.
        table, places = jnp.asarray(self.token_embedding), jnp.asarray(self.position_embedding)
        x = table[tokens] + places[positions]
        return x.astype(jnp.dtype(self.config.dtype))

    @nn.nowrap
    def for_loss(
        self, params: Any, key: RandomKey | None, positions: int | None
    ) -> tuple[Any, Float[Array, "R D"], None]:
        """The parameters to apply, and the output table of the loss.

        R is V, or with ``fidelity="released"`` V + T: there tokens and positions are one table,
        which is dropped from as a whole (once per step and device) and is all of the output table.
        """
        tokens, rate = params["token_embedding"], self.config.embedding_dropout
        if self.config.fidelity == "paper":
            return params, tokens, None
        places = params["position_embedding"]
        table = dropout(jnp.concatenate([tokens, places[:positions]]), key, rate)
        size = tokens.shape[0]
        rest = places[places.shape[0] if positions is None else positions :]
        own, places = table[:size], jnp.concatenate([table[size:], rest])
        return {**params, "token_embedding": own, "position_embedding": places}, table, None

    def extend(
        self, tokens: Tokens, cache: tuple[LayerCache, ...], slot: Slot, first: Columns
    ) -> tuple[States, tuple[LayerCache, ...]]:
        """States of further positions (`gptjax.models.backbone.extend`)."""
        columns = slot + jnp.arange(tokens.shape[1])
        x = self.embed(tokens, jnp.maximum(columns[None] - first[:, None], 0))
        extended = []
        for block, layer in zip(self.blocks, cache, strict=True):
            x, layer = block.extend(x, layer, slot, first)
            extended.append(layer)
        return (self.final_norm(x) if self.config.norm == "pre" else x), tuple(extended)

    @nn.nowrap
    def empty_cache(self, batch: int, slots: int) -> tuple[LayerCache, ...]:
        """A cache without positions."""
        shape = (batch, self.config.num_heads, slots, self.config.head_width)
        zeros = packed(jnp.zeros(shape, jnp.dtype(self.config.dtype)))
        return tuple(LayerCache(zeros, zeros) for _ in range(self.config.num_layers))
