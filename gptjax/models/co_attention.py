"""Two texts that are read beside each other: ESIM, and KIM where relations of words are known.

ESIM is of Chen et al. (2017, arXiv 1609.06038), KIM of Chen et al. (2018, arXiv 1711.04289). What
the papers leave open is as in the released code of KIM. A premise a and a hypothesis b are read by
one LSTM in both directions. With r_ij, what is known of their words at i and j:

    e_ij = a_i · b_j + λ 1[r_ij ≠ 0]
    ã_i = Σ_j β_ij b_j,  k_i = Σ_j β_ij r_ij,  where β is the softmax of e over j
    m_i = relu(W [a_i, ã_i, a_i ⊙ ã_i, a_i − ã_i, k_i] + c)

and the same of the other side, where the softmax is over i. A second LSTM reads [m_i, k_i] in both
directions. Of its states v the head reads the mean, the highest of each component, and
Σ_i softmax_i(relu(w · k_i + d)) v_i. Without knowledge there is no k, and no last part.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gptjax.batch import NUM_RELATIONS
from gptjax.models.bilstm import DIRECTIONS, bilstm_arrays
from gptjax.models.dropout import dropout
from gptjax.models.family import RandomKey
from gptjax.models.layers import linear, product
from gptjax.models.lstm_recurrence import recurrence
from gptjax.models.pooling import pool
from gptjax.models.recurrent import nothing

ENCODER, LOCAL, COMPOSITION, GATE = "encoder_", "local_", "composition_", "gate_"
# Seen from the other word, relations are the same, but hypernymy and hyponymy change places.
TURNED = (1, 0, 2, 3, 4)
SIDES = 2  # premise and hypothesis
ABSENT = -1e30  # the score of what has no part in a softmax; finite, so that nothing becomes NaN


@dataclass(frozen=True)
class Uses:
    """Where the relations of words act; nowhere is ESIM."""

    attention: float = 0.0  # λ
    inference: bool = False  # k beside what is compared, and beside what the second LSTM reads
    composition: bool = False  # the third way of pooling


NOWHERE = Uses()


def co_attention_arrays(width: int, units: int, uses: Uses) -> dict[str, tuple[int, ...]]:
    """The names and shapes of its arrays: N cells in each direction, on states of this width.

    ``encoder_`` and ``composition_`` with the names of `gptjax.models.bilstm.bilstm_arrays` are the
    two LSTMs, ``local_`` is W and c, ``gate_`` w and d.
    """
    known = NUM_RELATIONS if uses.inference else 0
    both = len(DIRECTIONS) * units
    arrays = {f"{ENCODER}{name}": size for name, size in bilstm_arrays(width, units).items()}
    arrays |= {f"{LOCAL}kernel": (4 * both + known, units), f"{LOCAL}bias": (units,)}
    second = bilstm_arrays(units + known, units)
    arrays |= {f"{COMPOSITION}{name}": size for name, size in second.items()}
    if uses.composition:
        arrays |= {f"{GATE}kernel": (NUM_RELATIONS, 1), f"{GATE}bias": (1,)}
    return arrays


def co_attention_width(units: int, uses: Uses) -> int:
    """E of `read_pair`."""
    return (3 if uses.composition else 2) * SIDES * len(DIRECTIONS) * units


def init_co_attention(arrays: Mapping[str, tuple[int, ...]], key: RandomKey) -> dict[str, Array]:
    """Fresh arrays by name and shape: matrices N(0, 1 / inputs), biases 0.

    Those that an LSTM multiplies its state with are orthogonal, gate by gate.
    """
    found: dict[str, Array] = {}
    for number, (name, shape) in enumerate(arrays.items()):
        own = jax.random.fold_in(key, number)
        if len(shape) == 1:
            found[name] = jnp.zeros(shape, jnp.float32)
        elif name.endswith("recurrent"):
            gates = jax.vmap(partial(orthogonal, size=shape[0]))
            found[name] = jnp.concatenate(list(gates(jax.random.split(own, 4))), axis=1)
        else:
            found[name] = shape[0] ** -0.5 * jax.random.normal(own, shape, jnp.float32)
    return found


def orthogonal(key: RandomKey, size: int) -> Float[Array, "N N"]:
    """An orthogonal matrix, all of which are equally likely (Stewart 1980).

    It is a product of reflections. Each takes an axis to a random direction of the space that this
    axis and those after it span. A QR decomposition would do, but several of them in one program
    have waited for each other for ever, on a CPU whose BLAS has threads of its own.
    """
    drawn = jnp.triu(jax.random.normal(key, (size, size), jnp.float32))
    length = jnp.sqrt(jnp.square(drawn).sum(1, keepdims=True))
    normals = drawn - length * jnp.eye(size)

    def reflect(number: Array, found: Array) -> Array:
        normal = normals[number]
        # The last one is 0 half of the time, which reflects nothing.
        scale = 2.0 / jnp.maximum(jnp.square(normal).sum(), jnp.finfo(jnp.float32).tiny)
        moved: Array = found - scale * jnp.outer(found @ normal, normal)
        return moved

    result: Array = jax.lax.fori_loop(0, size, reflect, jnp.eye(size))
    return result


def read_pair(
    params: Mapping[str, Array],
    states: Float[Array, "B 2 T D"],
    there: Bool[Array, "B 2 T"],
    knowledge: Float[Array, "B T T 5"] | None = None,
    uses: Uses = NOWHERE,
    key: RandomKey | None = None,
    rate: float = 0.0,
    highest: Bool[Array, "B 2 T"] | None = None,
) -> Float[Array, "B E"]:
    """What is pooled of both sides, float32; the products are in the type of the states.

    Args:
        params: arrays by the names of `co_attention_arrays`.
        states: of premise and hypothesis.
        there: where there is a token; nothing depends on any other position.
        knowledge: r, where ``uses`` says that there is some; None is 0.
        uses: where it acts.
        key: of the dropout of what the encoder reads and of m, or None for none.
        rate: of this dropout.
        highest: of which positions the highest component is taken. None: ``there``. The released
            code takes padding for states of 0, so that a short text depends on its batch.
    """
    keys = (None, None) if key is None else jax.random.split(key)
    if knowledge is None:
        rows, _, length, _ = states.shape
        knowledge = jnp.zeros((rows, length, length, NUM_RELATIONS), jnp.float32)
    read = _both_ways(params, ENCODER, dropout(states, keys[0], rate), there)
    aligned = alignment(read, there, knowledge, uses.attention)
    known = gathered(aligned, knowledge)
    beside = [known.astype(read.dtype)] if uses.inference else []
    local = dropout(_compared(params, read, _heard(aligned, read), beside), keys[1], rate)
    found = _both_ways(params, COMPOSITION, jnp.concatenate([local, *beside], axis=-1), there)
    counts = there if highest is None else highest
    parts = [pool(found, there, "mean"), pool(found, counts, "max")]
    pooled = jnp.concatenate(parts, axis=-1).reshape(len(found), -1)
    if not uses.composition:
        return pooled
    gate = jax.nn.relu(known @ params[f"{GATE}kernel"] + params[f"{GATE}bias"][0])[..., 0]
    weighed = jnp.einsum("bkt,bktd->bkd", shares(gate, there, -1), found.astype(jnp.float32))
    return jnp.concatenate([pooled, weighed.reshape(len(found), -1)], axis=-1)


class Aligned(NamedTuple):
    """What each position takes of the other side, float32; the axes are premise and hypothesis."""

    of_hypothesis: Float[Array, "B T T"]  # β, which adds to 1 over the hypothesis
    of_premise: Float[Array, "B T T"]  # α, over the premise


def alignment(
    read: Float[Array, "B 2 T E"],
    there: Bool[Array, "B 2 T"],
    knowledge: Float[Array, "B T T 5"],
    strength: float,
) -> Aligned:
    """The softmax of e over either side; ``strength`` is λ."""
    scores = jnp.einsum("bid,bjd->bij", read[:, 0], read[:, 1], preferred_element_type=jnp.float32)
    if strength:
        scores = scores + strength * (knowledge != 0).any(-1).astype(jnp.float32)
    both = there[:, 0, :, None] & there[:, 1, None, :]
    return Aligned(shares(scores, both, -1), shares(scores, both, -2))


def gathered(aligned: Aligned, knowledge: Float[Array, "B T T 5"]) -> Float[Array, "B 2 T 5"]:
    """k of both sides."""
    premise = jnp.einsum("bij,bijr->bir", aligned.of_hypothesis, knowledge)
    hypothesis = jnp.einsum("bij,bijr->bjr", aligned.of_premise, knowledge)
    return jnp.stack([premise, hypothesis[..., TURNED]], axis=1)


def shares(scores: Float[Array, "*S"], counts: Bool[Array, "*S"], axis: int) -> Float[Array, "*S"]:
    """A softmax over what counts; what does not is 0, and all are alike where nothing counts."""
    return jax.nn.softmax(jnp.where(counts, scores, ABSENT), axis)


def _heard(aligned: Aligned, read: Float[Array, "B 2 T E"]) -> Float[Array, "B 2 T E"]:
    """ã of both sides."""
    of_hypothesis, of_premise = (one.astype(read.dtype) for one in aligned)
    premise = product("bij,bjd->bid", of_hypothesis, read[:, 1])
    return jnp.stack([premise, product("bij,bid->bjd", of_premise, read[:, 0])], axis=1)


def _compared(
    params: Mapping[str, Array],
    read: Float[Array, "B 2 T E"],
    heard: Float[Array, "B 2 T E"],
    beside: list[Array],
) -> Float[Array, "B 2 T N"]:
    """m. W has four parts for the states; as a − ã is linear, three products make up for them."""
    kernel, size = params[f"{LOCAL}kernel"], read.shape[-1]
    own, other, both, difference = (kernel[i * size : (i + 1) * size] for i in range(4))
    joined = [own + difference, other - difference, both, kernel[4 * size :]]
    inputs = jnp.concatenate([read, heard, read * heard, *beside], axis=-1)
    rows = inputs.reshape(-1, *inputs.shape[2:])
    found = linear(rows, jnp.concatenate(joined), params[f"{LOCAL}bias"])
    return jax.nn.relu(found).reshape(*read.shape[:-1], -1)


def _both_ways(
    params: Mapping[str, Array],
    prefix: str,
    x: Float[Array, "B 2 T D"],
    there: Bool[Array, "B 2 T"],
) -> Float[Array, "B 2 T E"]:
    """The states of an LSTM in both directions, side by side; 0 where there is no token."""
    rows, mask = x.reshape(-1, *x.shape[2:]), there.reshape(-1, there.shape[-1])
    found = []
    for direction in DIRECTIONS:
        kernel, kept, bias = (
            params[f"{prefix}{direction}_{name}"] for name in ("kernel", "recurrent", "bias")
        )
        carry = nothing(len(rows), len(kept), x.dtype)
        gates = linear(rows, kernel, bias)
        states, _ = recurrence(gates, kept, mask, None, carry, 0.0, direction == "backward")
        found.append(states)
    states = jnp.concatenate(found, axis=-1)
    return jnp.where(mask[..., None], states, jnp.zeros_like(states)).reshape(*x.shape[:-1], -1)
