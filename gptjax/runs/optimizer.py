"""The optimiser that a run's settings ask for: of one stage, or of those of `train.unfreeze`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from gptjax.errors import UserError
from gptjax.models import backbone
from gptjax.runs.settings import RunConfig
from gptjax.training.average import averaged
from gptjax.training.optimizer import Optimizer, make_optimizer, resolve_update
from gptjax.training.stages import Stage, make_staged_optimizer, read_stages

PyTree = Any


def make(
    config: RunConfig,
    steps: int,
    per_epoch: int,
    trainable: Callable[[PyTree], PyTree] | None,
    *,
    untouched: bool,
) -> Optimizer:
    """The optimiser of a run of ``steps`` updates, ``per_epoch`` of them in an epoch.

    ``trainable`` and ``untouched`` are those of `gptjax.training.optimizer.make_optimizer`; stages
    say themselves what is trained.

    Raises:
        UserError: an average that begins after the run, or what these raise.
    """
    first = config.optimizer.average_from
    if first is not None and first > steps:
        raise UserError(
            f"optimizer.average_from is {first:,}, but this run has {steps:,} updates: choose fewer"
        )
    return averaged(_unaveraged(config, steps, per_epoch, trainable, untouched), first)


def _unaveraged(
    config: RunConfig,
    steps: int,
    per_epoch: int,
    trainable: Callable[[PyTree], PyTree] | None,
    untouched: bool,
) -> Optimizer:
    """The optimiser that moves the parameters."""
    train, depths = config.train, partial(backbone.groups, config.model)
    matrices = partial(backbone.matrices, config.model)
    update = resolve_update(config.optimizer, config.model.fidelity)
    if not train.unfreeze:
        return make_optimizer(
            update, steps, trainable, depths=depths, matrices=matrices, untouched=untouched
        )
    assert train.epochs is not None
    return make_staged_optimizer(
        update,
        stages(config),
        train.epochs,
        per_epoch,
        depths,
        config.highest_depth,
        restart_schedule=train.restart_schedule,
        matrices=matrices,
    )


def stages(config: RunConfig) -> list[Stage]:
    """The stages of `train.unfreeze`; a UserError where a range is none."""
    words, epochs = config.train.unfreeze, config.train.epochs or 0
    return read_stages(words, epochs, config.highest_depth, head=config.HAS_HEAD)


def check_same_state(before: RunConfig, now: RunConfig) -> None:
    """Refuse to go on with other stages, or another average: the optimiser's state is theirs."""
    names = [("train", "unfreeze"), ("train", "restart_schedule"), ("optimizer", "average_from")]
    if before.optimizer.halves != now.optimizer.halves:  # The best checkpoint is another one then.
        names.append(("optimizer", "schedule"))
    for section, name in names:
        old, new = (getattr(getattr(one, section), name) for one in (before, now))
        if old != new:
            raise UserError(
                f"{section}.{name} was {old} when the run was started, and is {new}: go on with "
                "what it was, or start anew in another `out`"
            )
