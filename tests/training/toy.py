"""A tiny problem with dropout: an MLP over token embeddings predicts the next token."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.batch import Batch, Objective, Sums

VOCABULARY = 11
WIDTH = 8
LENGTH = 6


def objective(dropout: float = 0.0, *, state: bool = False) -> Objective:
    """Embedding, one hidden layer, softmax; weights differ from token to token.

    With ``state`` a row goes on from the mean state of the batch before, but where it is fresh.
    """

    def init(key):
        # Irregular numbers without jax.random's normal, which takes seconds to compile.
        shift = jax.random.key_data(key)[1].astype(jnp.float32)

        def irregular(*shape):
            index = jnp.arange(np.prod(shape), dtype=jnp.float32).reshape(shape)
            return 0.4 * jnp.sin(1000.0 * jnp.sin(index + 1.0 + shift))

        return {
            "embedding": irregular(VOCABULARY, WIDTH),
            "hidden": {"kernel": irregular(WIDTH, WIDTH), "bias": jnp.zeros(WIDTH)},
            "output": irregular(WIDTH, VOCABULARY),
        }

    def init_carry(rows):
        return {"mean": jnp.zeros((rows, WIDTH))} if state else ()

    def loss(params, batch, key, carry):
        states = params["embedding"][batch.tokens[:, 0, :-1]]
        if state:
            before = jnp.where(batch.fresh[:, 0, :1], 0.0, carry["mean"])
            states = states + before[:, None]
        states = jnp.tanh(
            states @ params["hidden"]["kernel"] + params["hidden"]["bias"][None, None]
        )
        if key is not None and dropout:
            kept = jax.random.bernoulli(key, 1 - dropout, states.shape)
            states = jnp.where(kept, states / (1 - dropout), 0.0)
        logits = jax.nn.log_softmax(states @ params["output"])
        targets = batch.tokens[:, 0, 1:]
        losses = -jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
        weights = batch.lm_weights[:, 0, 1:] * batch.weights[:, None]
        correct = (logits.argmax(-1) == targets) * weights
        if state:
            carry = {"mean": states.mean(1)}
        return Sums((losses * weights).sum(), weights.sum(), {"accuracy": correct.sum()}), carry

    return Objective(init, loss, init_carry)


@dataclasses.dataclass
class ToyBatches:
    """Cyclic sequences, shuffled by (seed, epoch); the last batch is padded with weight 0.

    ``poison`` is a (epoch, index) whose weights are NaN, so that the loss is not finite. With
    ``streams`` the rows of a batch go on from the batch before.
    """

    batch_size: int = 8
    examples: int = 36
    seed: int = 0
    poison: tuple[int, int] | None = None
    shuffle: bool = True
    streams: bool = False

    def __len__(self) -> int:
        return -(-self.examples // self.batch_size)

    def batch(self, epoch: int, index: int, rows: slice = slice(None)) -> Batch:
        order = np.arange(self.examples)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        count = len(chosen)
        chosen = np.concatenate([chosen, np.zeros(self.batch_size - count, int)])[rows]
        weights = (np.arange(self.batch_size) < count)[rows].astype(np.float32)
        stride = 1 + chosen[:, None] % 3
        tokens = (chosen[:, None] + stride * np.arange(LENGTH)) % VOCABULARY
        # Sequences of very different lengths: devices get very different weights.
        lm_weights = np.arange(LENGTH) < 2 + (chosen[:, None] % (LENGTH - 1))
        lm_weights = lm_weights.astype(np.float32)
        if self.poison == (epoch, index):
            lm_weights[:, 1] = np.nan
        return Batch(
            tokens[:, None].astype(np.int32),
            lm_weights[:, None],
            np.zeros((len(chosen), 1), np.int32),
            np.zeros((len(chosen), 2), np.float32),
            weights,
            np.full((len(chosen), 1, LENGTH - 1), index == 0) if self.streams else None,
        )

    def describe(self, epoch: int, index: int) -> str:
        return f"toy batch {index} of epoch {epoch}"
