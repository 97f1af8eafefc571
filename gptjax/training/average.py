"""The running average of a run's parameters, which is evaluated in their place.

Averaged stochastic gradient descent (Polyak and Juditsky 1992) with any optimiser: training goes on
with the parameters themselves. AWD-LSTM has it for its last epochs (Merity et al. 2017, section 5).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from gptjax.training.optimizer import Optimizer

PyTree = Any
AVERAGE = "average"  # the item of a checkpoint


class Averaged(NamedTuple):
    """An optimiser's state, and the average beside it."""

    state: PyTree
    """Of the optimiser itself."""
    mean: PyTree
    """Of the parameters so far, float32, shaped like all of them."""
    updates: Int[Array, ""]
    """The number of updates done."""


def averaged(optimizer: Optimizer, first: int | None) -> Optimizer:
    """The same optimiser, whose state has the average of the parameters from an update on.

    After n updates it is the mean of what the parameters were after ``first``, …, n updates, and
    before that the parameters themselves. PyTorch's ASGD leaves out one update more: its ``t0`` is
    ``first`` - 2, and its ``ax`` is the mean.

    Args:
        optimizer: of one stage, or of the first of several.
        first: the number of updates, from 1; None: the optimiser as it is.
    """
    if first is None:
        return optimizer
    begin = first

    def init(params: PyTree) -> Averaged:
        return Averaged(optimizer.init(params), params, jnp.zeros((), jnp.int32))

    def update(gradients: PyTree, state: Averaged, params: PyTree) -> tuple[PyTree, Averaged]:
        updates, inner = optimizer.update(gradients, state.state, params)
        return updates, state._replace(state=inner)

    def note(params: PyTree, state: Averaged) -> Averaged:
        updates = state.updates + 1
        count = updates - begin + 1  # of what is averaged

        def step(mean: Array, new: Array) -> Array:
            share = 1 / jnp.maximum(count, 1).astype(jnp.float32)
            return jnp.where(count <= 1, new, mean + (new - mean) * share)

        return Averaged(state.state, jax.tree.map(step, state.mean, params), updates)

    later = tuple((at, averaged(one, first)) for at, one in optimizer.later)
    return optimizer._replace(init=init, update=update, note=note, later=later)


def evaluated(params: PyTree, state: PyTree) -> PyTree:
    """What a run's evaluation is of: the average, where the optimiser's state has one."""
    return state.mean if isinstance(state, Averaged) else params


def parted(state: PyTree) -> dict[str, PyTree]:
    """The items of a checkpoint for an optimiser's state."""
    if not isinstance(state, Averaged):
        return {"optimizer": state}
    return {"optimizer": (state.state, state.updates), AVERAGE: state.mean}


def put_together(items: Mapping[str, PyTree]) -> PyTree:
    """The state that `parted` took apart."""
    if AVERAGE not in items:
        return items["optimizer"]
    inner, updates = items["optimizer"]
    return Averaged(inner, items[AVERAGE], updates)
