"""Training by stages: which depths of the model learn in which epoch, the others frozen.

Gradual unfreezing and chain-thaw (Howard and Ruder 2018, section 3.3; Felbo et al. 2017) are lists
of ranges of depth, one for each epoch.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gptjax.errors import UserError
from gptjax.training.optimizer import (
    Optimizer,
    OptimizerConfig,
    Schedule,
    check_warmup,
    corrected,
    halvings_of,
    layer_factors,
    make_schedule,
    moments_and_decay,
    own_rate,
)

PyTree = Any
HEAD = "head"


class Stage(NamedTuple):
    """Some epochs in which the same depths are trained."""

    first: int  # the epoch it begins with, from 0
    depths: range


def read_stages(unfreeze: Sequence[str], epochs: int, highest: int, *, head: bool) -> list[Stage]:
    """The stages that `train.unfreeze` says.

    Neighbours that are equal are one stage, and the last one holds on.

    Args:
        unfreeze: for each epoch LOW:HIGH, depths with HIGH excluded, or "head". LOW left out is 0,
            HIGH left out is to the end.
        epochs: of the whole run.
        highest: the highest depth that there is.
        head: whether the highest depth is a task head.

    Raises:
        UserError: a range that is none, or that has no depth; more ranges than epochs.
    """
    if len(unfreeze) > epochs:
        raise UserError(
            f"train.unfreeze has {len(unfreeze)} ranges, one for each epoch, and the run has "
            f"{epochs} epochs: name fewer, or set train.epochs"
        )
    stages: list[Stage] = []
    for epoch, word in enumerate(unfreeze):
        depths = _read_range(word, highest, head)
        if not stages or stages[-1].depths != depths:
            stages.append(Stage(epoch, depths))
    return stages


def _read_range(word: str, highest: int, head: bool) -> range:
    there = f"the depths are 0 (embeddings) to {highest}{' (head)' if head else ''}"
    if word == HEAD:
        if not head:
            raise UserError(
                f"train.unfreeze: {word!r} is of a task head, and here is none; {there}"
            )
        return range(highest, highest + 1)
    low, colon, high = word.partition(":")
    if not colon or not all(one == "" or (one.isascii() and one.isdigit()) for one in (low, high)):
        raise UserError(
            f"train.unfreeze: {word!r} is no range of depths; write LOW:HIGH with HIGH excluded, "
            f"such as 2:, or head; {there}"
        )
    depths = range(int(low or 0), int(high) if high else highest + 1)
    if not depths or depths[-1] > highest:
        raise UserError(f"train.unfreeze: {word!r} has no depth, or one too many; {there}")
    return depths


def make_staged_optimizer(
    config: OptimizerConfig,
    stages: Sequence[Stage],
    epochs: int,
    per_epoch: int,
    depths: Callable[[PyTree], PyTree],
    highest: int,
    *,
    restart_schedule: bool,
    matrices: Callable[[PyTree], PyTree] | None = None,
) -> Optimizer:
    """The optimiser of the first stage, which names those of the later ones.

    Each depth has moments and a count of updates of its own, which stand still while it is frozen:
    the correction of Adam's bias begins when it thaws.

    Args:
        config: the section `optimizer`.
        stages: from `read_stages`.
        epochs: of the whole run.
        per_epoch: updates of an epoch.
        depths: params -> the depth of each array, from 0 to ``highest``.
        highest: the highest of them.
        restart_schedule: each stage has a schedule of its own instead of its part of one.
        matrices: as of `gptjax.training.optimizer.make_optimizer`.

    Raises:
        UserError: a warm-up that is longer than what it is for.
    """
    firsts = [stage.first * per_epoch for stage in stages]
    ends = [*firsts[1:], epochs * per_epoch]
    if restart_schedule:
        for number, (first, end) in enumerate(zip(firsts, ends, strict=True), start=1):
            check_warmup(config, end - first, f"stage {number}")
        schedule = _restarted(config, firsts, ends)
    else:
        schedule = make_schedule(config, ends[-1])
    direction = moments_and_decay(config, matrices)
    made = []
    until = [*(stage.first for stage in stages[1:]), epochs]
    for number, (stage, end) in enumerate(zip(stages, until, strict=True), start=1):
        about = _describe(number, len(stages), stage, end, highest)
        optimizer = _of_stage(config, direction, set(stage.depths), depths, highest, schedule)
        made.append(optimizer._replace(about=about, halvings=halvings_of(config)))
    later = tuple(zip(firsts[1:], made[1:], strict=True))
    return made[0]._replace(later=later)


def _describe(number: int, count: int, stage: Stage, end: int, highest: int) -> str:
    first = stage.first + 1
    epochs = f"epoch {end}" if first == end else f"epochs {first} to {end}"
    low, high = stage.depths[0], stage.depths[-1]
    depths = f"depth {low}" if low == high else f"depths {low} to {high}"
    return f"stage {number} of {count}, {epochs}: trains {depths} of 0 to {highest}"


def _of_stage(
    config: OptimizerConfig,
    direction: Sequence[optax.GradientTransformation],
    own: Collection[int],
    depths: Callable[[PyTree], PyTree],
    highest: int,
    schedule: Schedule,
) -> Optimizer:
    """The optimiser that updates the depths of ``own``; its state is the same for any."""

    def labels(params: PyTree) -> PyTree:
        return jax.tree.map(str, depths(params))

    def trained(params: PyTree) -> PyTree:
        return jax.tree.map(lambda depth: depth in own, depths(params))

    factors = layer_factors(list(range(highest + 1)), config.layer_decay)
    groups = {}
    for depth, factor in enumerate(factors):
        transformation = optax.chain(*direction, optax.scale(-factor))
        if config.update == "released":
            # Its correction of the bias is of the updates of this depth, unlike the schedule.
            correction = optax.scale_by_schedule(corrected(lambda _: 1.0, config))
            transformation = optax.chain(transformation, correction)
        groups[str(depth)] = transformation if depth in own else _held(transformation)
    rate = optax.scale_by_schedule(own_rate(config, schedule))
    chain = optax.chain(optax.partition(groups, labels), rate)
    return Optimizer(chain.init, chain.update, schedule, config.clip_norm, trained)


def _held(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same state, which stays as it is."""

    def update(updates: PyTree, state: PyTree, params: PyTree = None) -> tuple[PyTree, PyTree]:
        del params
        return updates, state

    return optax.GradientTransformation(transformation.init, update)


def _restarted(config: OptimizerConfig, firsts: Sequence[int], ends: Sequence[int]) -> Schedule:
    """A schedule of its own for each stage, one after the other."""
    schedules = [
        make_schedule(config, end - first) for first, end in zip(firsts, ends, strict=True)
    ]

    def rate(step: Any) -> Any:
        found = schedules[0](step)
        for first, schedule in zip(firsts[1:], schedules[1:], strict=True):
            found = jnp.where(step >= first, schedule(step - first), found)
        return found

    return rate


def split(params: PyTree, trained: PyTree) -> tuple[PyTree, PyTree]:
    """The arrays that are trained and the others, each with `optax.MaskedNode` for the rest."""
    hidden = optax.MaskedNode()
    own = jax.tree.map(lambda leaf, yes: leaf if yes else hidden, params, trained)
    rest = jax.tree.map(lambda leaf, yes: hidden if yes else leaf, params, trained)
    return own, rest


def join(own: PyTree, rest: PyTree) -> PyTree:
    """What `split` took apart."""

    def is_hidden(leaf: Any) -> bool:
        return isinstance(leaf, optax.MaskedNode)

    return jax.tree.map(lambda a, b: b if is_hidden(a) else a, own, rest, is_leaf=is_hidden)
