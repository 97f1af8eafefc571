"""One update as pure functions: the gradient of sums, the judgement, and its application.

Nothing here knows how many devices there are: `parallel.train_step` puts the sum over
them between the parts.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from gptjax.batch import Batch, Objective, Sums
from gptjax.training import parallel
from gptjax.training.optimizer import Optimizer, clip_scale, global_norm
from gptjax.training.stages import join, split

PyTree = Any
OF_UPDATE = 2**32 - 1  # in the place of a device's number: the key that all of them share


class Progress(NamedTuple):
    """How far training has come, on the device."""

    step: Int[Array, ""]
    """The number of updates done."""
    stopped: Bool[Array, ""]
    """A loss or gradient was not finite, and all updates since are withheld."""
    seed: Int[Array, ""]
    """Of the dropout keys. It is no constant of the program, so that runs which differ by it alone
    share what jax's compilation cache keeps."""
    factor: Float[Array, ""] | None = None
    """What worse evaluations have left of the learning rate; None: they leave it alone."""


class TrainState(NamedTuple):
    """All that an update changes, donated to the next step. Replicated on every device, but for
    the carry."""

    params: PyTree
    optimizer_state: PyTree
    progress: Progress
    carry: PyTree
    """What the rows remember of the batches before: arrays [devices, B', …], spread over the
    devices, rows in global order. ``()`` where the objective has no state."""


class StepSums(NamedTuple):
    """What a device contributes to an update, to be added up."""

    gradients: PyTree
    """The gradient of ``sums.loss``, shaped like the parameters that are trained."""
    sums: Sums
    tokens: Int[Array, ""]
    """Predicted tokens, to measure speed."""


def make_train_step(
    objective: Objective, optimizer: Optimizer, accumulate: int
) -> parallel.TrainStep:
    """The compiled update of `parallel.train_step` for an objective and an optimiser.

    What it minimises is loss sum over weight sum, over the whole global batch. ``accumulate`` is
    the number of micro-batches. Its metrics are float32 [] unless
    noted: ``loss`` and the objective's metrics as means, ``learning_rate``, ``grad_norm`` (before
    clipping), ``tokens`` (int32), ``finite`` (bool).
    """
    gradient = _gradient(objective, optimizer.trained, accumulate)

    def judge(
        progress: Progress, total: StepSums
    ) -> tuple[PyTree, Progress, Bool[Array, ""], dict[str, Array]]:
        sums = total.sums
        weight = jnp.where(sums.weight == 0, 1.0, sums.weight)
        means = {name: x / weight for name, x in {"loss": sums.loss, **sums.metrics}.items()}
        norm = global_norm(total.gradients) / weight
        finite = jnp.isfinite(means["loss"]) & jnp.isfinite(norm)
        accept = finite & ~progress.stopped
        scale = clip_scale(norm, optimizer.clip_norm) / weight
        gradients = jax.tree.map(lambda g: g * scale, total.gradients)
        metrics = {
            **means,
            "learning_rate": _rate(optimizer, progress),
            "grad_norm": norm,
            "tokens": total.tokens,
            "finite": finite,
        }
        progress = progress._replace(step=progress.step + accept.astype(jnp.int32), stopped=~accept)
        return gradients, progress, accept, metrics

    def apply(
        params: PyTree,
        optimizer_state: PyTree,
        gradients: PyTree,
        progress: Progress,
        accept: Bool[Array, ""],
    ) -> tuple[PyTree, PyTree]:
        def update(params: PyTree, optimizer_state: PyTree) -> tuple[PyTree, PyTree]:
            return _updated(optimizer, gradients, progress, params, optimizer_state)

        if _waits_for_branches():
            changed = update(params, optimizer_state)
            kept: tuple[PyTree, PyTree] = jax.tree.map(
                partial(jnp.where, accept), changed, (params, optimizer_state)
            )
            return kept
        # A branch, because a select between new and old arrays keeps XLA from updating them in
        # place: 0.77 s instead of 0.24 s for GPT-1's 116 million parameters on two CPU cores,
        # where 0.16 s is what moving 7 × 466 MB takes.
        new: tuple[PyTree, PyTree] = jax.lax.cond(
            accept, update, lambda *unchanged: unchanged, params, optimizer_state
        )
        return new

    return parallel.train_step(gradient, judge, apply)


def _updated(
    optimizer: Optimizer,
    gradients: PyTree,
    progress: Progress,
    params: PyTree,
    optimizer_state: PyTree,
) -> tuple[PyTree, PyTree]:
    """Parameters and optimiser state after an update."""
    own, rest = _parts(params, optimizer.trained)
    updates, new_state = optimizer.update(gradients, optimizer_state, own)
    if progress.factor is not None:
        rate = _rate(optimizer, progress)
        updates = jax.tree.map(lambda x: rate * x, updates)
    new = _whole(optax.apply_updates(own, updates), rest)
    return new, new_state if optimizer.note is None else optimizer.note(new, new_state)


def _rate(optimizer: Optimizer, progress: Progress) -> Float[Array, ""]:
    """The learning rate of the update after ``progress``."""
    rate = jnp.asarray(optimizer.schedule(progress.step), jnp.float32)
    return rate if progress.factor is None else rate * progress.factor


def _waits_for_branches() -> bool:
    """Whether the host has to hear which branch it is, so that the devices wait for it."""
    backend: str = jax.default_backend()
    return backend == "gpu"


def _parts(params: PyTree, trained: Callable[[PyTree], PyTree] | None) -> tuple[PyTree, PyTree]:
    """What is trained, and the rest; None is no rest."""
    return (params, None) if trained is None else split(params, trained(params))


def _whole(own: PyTree, rest: PyTree) -> PyTree:
    return own if rest is None else join(own, rest)


def _gradient(
    objective: Objective,
    trained: Callable[[PyTree], PyTree] | None,
    accumulate: int,
) -> Callable[[PyTree, Progress, PyTree, Batch, Array], tuple[StepSums, PyTree]]:
    """What one device contributes to an update, over its micro-batches, and its rows' carry."""

    def micro_gradient(
        params: PyTree, batch: Batch, carry: PyTree, key: Array, shared: Array
    ) -> tuple[StepSums, PyTree]:
        # What is frozen is no argument, so that nothing of its gradients is computed.
        own, rest = _parts(params, trained)

        def loss(own: PyTree) -> tuple[Array, tuple[Sums, PyTree]]:
            params = _whole(own, rest)
            if objective.thin is not None:
                params = objective.thin(params, shared)
            sums, after = objective.loss(params, batch, key, carry)
            return sums.loss, (sums, after)

        (_, (sums, after)), gradients = jax.value_and_grad(loss, has_aux=True)(own)
        # Position 0 predicts nothing; see `Batch`.
        predicted = (batch.lm_weights[..., 1:] > 0) & (batch.weights[:, None, None] > 0)
        return StepSums(gradients, sums, predicted.sum(dtype=jnp.int32)), after

    def gradient(
        params: PyTree, progress: Progress, carry: PyTree, batch: Batch, device: Array
    ) -> tuple[StepSums, PyTree]:
        # Derived, never carried: resuming needs the numbers only. The rbg generator makes the
        # bits several times faster than threefry.
        key = jax.random.key(progress.seed, impl="rbg")
        key = jax.random.fold_in(key, progress.step)
        shared = key if objective.thin is None else jax.random.fold_in(key, OF_UPDATE)
        key = jax.random.fold_in(key, device)
        if accumulate == 1:
            return micro_gradient(params, batch, carry, jax.random.fold_in(key, 0), shared)

        def split_rows(x: Array) -> Array:
            return x.reshape(accumulate, -1, *x.shape[1:])  # a micro-batch has its own rows always

        parts = jax.tree.map(split_rows, (batch, carry))

        def add(
            total: StepSums, part: tuple[Array, tuple[Batch, PyTree]]
        ) -> tuple[StepSums, PyTree]:
            index, given = part
            now, after = micro_gradient(params, *given, jax.random.fold_in(key, index), shared)
            return jax.tree.map(jnp.add, total, now), after

        first = jax.tree.map(lambda x: x[0], parts)
        shapes, _ = jax.eval_shape(micro_gradient, params, *first, key, shared)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        total, after = jax.lax.scan(add, zeros, (jnp.arange(accumulate), parts))
        return total, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), after)

    return gradient
