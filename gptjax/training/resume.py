"""Where a run begins: at fresh parameters, or at a checkpoint."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.batch import Objective
from gptjax.errors import NoCheckpointError, UserError
from gptjax.training import parallel
from gptjax.training.average import parted, put_together
from gptjax.training.checkpoint import Checkpoints, Restored
from gptjax.training.optimizer import Optimizer
from gptjax.training.step import Progress, TrainState

PyTree = Any


class Settings(NamedTuple):
    """What a checkpoint remembers of how it was made."""

    fixed: Mapping[str, int]
    """What makes a run what it is; other settings are refused."""
    layout: Mapping[str, int]
    """How the work is split; others are accepted with a notice, and give the same losses up to
    rounding where there is no dropout."""


def resume_or_start(
    objective: Objective,
    optimizer: Optimizer,
    seed: int,
    params: PyTree | None,
    checkpoints: Checkpoints | None,
    resume: str,
    settings: Settings,
    steps: int,
) -> tuple[TrainState, dict[str, Any], list[str]]:
    """The state from which training goes on, on all devices, to ``steps`` updates in all.

    Beside it: the ``history`` in the checkpoint's info (empty at a fresh start), and notices.
    """
    goes_back = optimizer.halvings is not None
    init, size = jax.jit(objective.init), settings.fixed["train.batch_size"]
    nothing = jax.eval_shape(lambda: objective.init_carry(size))
    shapes = jax.eval_shape(lambda: init(jax.random.key(seed)) if params is None else params)
    targets = items_of(shapes, jax.eval_shape(optimizer.init, shapes), nothing)
    if checkpoints is not None:
        restored = _restore_on_main(checkpoints, targets, resume, steps, goes_back)
        if restored is not None:
            items, step, info, notices = restored
            notices = [f"resuming after step {step}", *notices, *_compare(info, settings)]
            state, history = _on_devices(items, step, seed), info["history"]
            done = history.get("halvings", 0)
            return halved(state, done) if goes_back else state, history, notices
    if params is None:
        params = init(jax.random.key(seed))
    optimizer_state = jax.jit(optimizer.init)(params)
    state = _on_devices(items_of(params, optimizer_state, objective.init_carry(size)), 0, seed)
    return halved(state, 0) if goes_back else state, {}, []


def halved(state: TrainState, halvings: int) -> TrainState:
    """The state of a run whose learning rate was halved so often."""
    factor = parallel.replicate(jnp.array(0.5**halvings, jnp.float32))
    return state._replace(progress=state.progress._replace(factor=factor))


def back_to_best(
    checkpoints: Checkpoints, state: TrainState, best: int, halvings: int
) -> TrainState:
    """Parameters and moments of the best checkpoint, and the rate of so many halvings.

    The count of updates goes on, and with it the data and the keys of dropout. What the rows of
    streams remember is of the text that comes next, so it stays.

    Raises:
        NoCheckpointError: on all processes, if the best checkpoint is damaged or gone.
    """
    own = (state.params, state.optimizer_state)
    params, optimizer_state = jax.eval_shape(lambda *given: given, *own)
    targets = items_of(params, optimizer_state, ())

    def read() -> tuple[PyTree, list[Any]]:
        return checkpoints.read_best(best, targets), []

    found = _from_main(read, targets)
    assert found is not None
    items, _ = found
    params, optimizer_state = parallel.replicate((items["params"], put_together(items)))
    return halved(state._replace(params=params, optimizer_state=optimizer_state), halvings)


def items_of(params: PyTree, optimizer_state: PyTree, carry: PyTree) -> dict[str, PyTree]:
    """What a checkpoint to resume from holds; a carry only where there is a state, and an average
    only where there is one."""
    items = {"params": params, **parted(optimizer_state)}
    return {**items, "carry": carry} if jax.tree.leaves(carry) else items


def _compare(info: Mapping[str, Any], settings: Settings) -> list[str]:
    for name, value in settings.fixed.items():
        if info["fixed"][name] != value:
            raise UserError(
                f"{name} is {value}, but the checkpoint was made with {info['fixed'][name]}; "
                "resume with that, or start anew in another `out`"
            )
    return [
        f"the checkpoint was made with {info['layout'][name]} {name}, now there are {value}: "
        "the losses agree up to rounding and dropout, not bit by bit"
        for name, value in settings.layout.items()
        if info["layout"][name] != value
    ]


def _without_lost_best(restored: Restored, *, goes_back: bool) -> tuple[dict[str, Any], list[str]]:
    """Info and notices; the history names no best checkpoint that is damaged or gone.

    A run that ``goes_back`` to it forgets how good it was, too: it needs another one.
    """
    history = restored.info["history"]
    if (best := history.get("best_step")) in (None, restored.best):
        return restored.info, restored.notices
    forgotten: dict[str, Any] = {"best_step": None}
    if goes_back:
        forgotten["best_metrics"] = {}
    next_one = "the next" if goes_back else "the next better"
    lost = f"best/{best}, the best so far, is lost: {next_one} evaluation writes one anew"
    without = {**restored.info, "history": {**history, **forgotten}}
    return without, [*restored.notices, lost]


def _on_devices(items: Mapping[str, PyTree], step: int, seed: int) -> TrainState:
    progress = Progress(jnp.array(step, jnp.int32), jnp.array(False), jnp.array(seed, jnp.int32))
    replicated = parallel.replicate((items["params"], put_together(items), progress))
    params, optimizer_state, progress = replicated
    carry = parallel.shard_all(items.get("carry", ()))
    return TrainState(params, optimizer_state, progress, carry)


def _restore_on_main(
    checkpoints: Checkpoints, targets: PyTree, resume: str, steps: int, goes_back: bool
) -> tuple[PyTree, int, dict[str, Any], list[str]] | None:
    """Items, step, info and notices of the checkpoint to go on from, on every process."""

    def read() -> tuple[PyTree, list[Any]] | None:
        checkpoints.check_space(targets, steps, goes_back=goes_back)
        restored = checkpoints.restore(targets, resume, goes_back=goes_back)
        if restored is None:
            return None
        return restored.items, [restored.step, *_without_lost_best(restored, goes_back=goes_back)]

    found = _from_main(read, targets)
    return None if found is None else (found[0], *found[1])


def _from_main(
    read: Callable[[], tuple[PyTree, list[Any]] | None], targets: PyTree
) -> tuple[PyTree, list[Any]] | None:
    """Process 0 reads, which may be the only one that has the folder, and tells the others.

    It reads arrays like ``targets``, and facts as JSON; or nothing.
    """
    outcome: dict[str, Any] = {}
    arrays = None
    if parallel.is_main():
        try:
            if (read_here := read()) is not None:
                arrays, facts = read_here
                outcome = {"found": facts}
        except (UserError, NoCheckpointError) as error:
            outcome = {"error": str(error), "refused": isinstance(error, UserError)}
    outcome = parallel.broadcast_json(outcome)
    if "error" in outcome:
        raise (UserError if outcome["refused"] else NoCheckpointError)(outcome["error"])
    if not outcome:
        return None
    if arrays is None:
        arrays = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), targets)
    return parallel.broadcast_arrays(arrays), outcome["found"]
