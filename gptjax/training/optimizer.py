"""Adam with decoupled weight decay, clipping by the global norm, and learning rate schedules."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gptjax.errors import UserError, check_settings

PyTree = Any
Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class OptimizerConfig:
    """Section `optimizer`. The defaults are GPT-1's pre-training (section 4.1 of the paper)."""

    learning_rate: float = 2.5e-4
    """The highest learning rate, reached at the end of the warm-up."""
    warmup: float = 2000.0
    """Length of the linear warm-up from 0, in updates; below 1, as a fraction of all updates."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """After the warm-up: cosine to 0, linear to 0 (fine-tuning; it already acts during the
    warm-up), or constant."""
    beta1: float = 0.9
    """Adam's decay of the first moment."""
    beta2: float = 0.999
    """Adam's decay of the second moment."""
    epsilon: float = 1e-8
    """Adam's addend to the root of the second moment."""
    update: Literal["adamw", "released"] | None = None
    """adamw: epsilon is added to the corrected moment's root, and decay is times the learning rate,
    as everywhere today. released: epsilon is added to the uncorrected root, and decay is times the
    bias correction too, as in GPT-1's released code. None: released with model.fidelity released,
    else adamw."""
    weight_decay: float = 0.01
    """Decoupled weight decay, times the learning rate; on matrices only, embeddings and
    positions included, not on biases and LayerNorm gains."""
    clip_norm: float | None = 1.0
    """Scale the gradient down to this global norm when it is longer; None never does."""

    def __post_init__(self) -> None:
        section, betas = "optimizer", "at least 0 and less than 1"
        check_settings(self, section, "learning_rate epsilon", lambda x: x > 0, "positive")
        check_settings(self, section, "warmup weight_decay", lambda x: x >= 0, "at least 0")
        check_settings(self, section, "beta1 beta2", lambda x: 0 <= x < 1, betas)
        check_settings(self, section, "clip_norm", lambda x: x > 0, "positive, or None")


class Optimizer(NamedTuple):
    """What the training loop needs from an optimiser."""

    init: Callable[[PyTree], PyTree]
    """params -> optimizer_state."""
    update: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
    """(gradients, optimizer_state, params) -> (updates to add, optimizer_state). Works element by
    element: clipping, which needs the whole gradient, is not in it."""
    schedule: Schedule
    """Number of updates done -> learning rate of the next."""
    clip_norm: float | None
    """The largest global norm of a gradient that ``update`` is to see, or None."""


def make_optimizer(
    config: OptimizerConfig, total_steps: int, trainable: Callable[[PyTree], PyTree] | None = None
) -> Optimizer:
    """Adam (Kingma and Ba, 2015) with decoupled decay (Loshchilov and Hutter, 2019).

    Args:
        config: the section `optimizer`.
        total_steps: number of updates of the whole run, over which the schedule extends.
        trainable: params -> True for each array that is trained (None: all are). The others have
            no moments and do not decay; their gradients must be 0.

    Raises:
        UserError: as :func:`make_schedule`.
    """
    schedule = make_schedule(config, total_steps)
    released = config.update == "released"
    adam = scale_by_uncorrected_adam if released else optax.scale_by_adam
    chain = optax.chain(
        adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon),
        optax.add_decayed_weights(config.weight_decay, mask=is_matrix),
        optax.scale_by_learning_rate(_corrected(schedule, config) if released else schedule),
    )
    if trainable is not None:
        chain = optax.masked(chain, trainable)
    return Optimizer(chain.init, chain.update, schedule, config.clip_norm)


def scale_by_uncorrected_adam(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam's m / (sqrt(v) + eps), without correction of the moments' bias.

    With a learning rate times sqrt(1 - b2^t) / (1 - b1^t) it is the efficient form at the end of
    section 2 of Kingma and Ba (2015), which GPT-1's released code has. Its eps weighs
    1 / sqrt(1 - b2^t) as much as usual (31 times in the first update), so that numbers with a
    tiny gradient, such as rows of tokens that do not occur, move less.
    """

    def init(params: PyTree) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        gradients: PyTree, state: optax.ScaleByAdamState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        del params
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, gradients)
        scaled = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mu, nu)
        return scaled, optax.ScaleByAdamState(state.count + 1, mu, nu)

    return optax.GradientTransformation(init, update)


def _corrected(schedule: Schedule, config: OptimizerConfig) -> Schedule:
    """The learning rate times Adam's bias correction of the update that it is for."""

    def rate(step: Any) -> Any:
        updates = jnp.asarray(step + 1, jnp.float32)
        root = jnp.sqrt(1 - jnp.float32(config.beta2) ** updates)
        return schedule(step) * root / (1 - jnp.float32(config.beta1) ** updates)

    return rate


def resolve_update(config: OptimizerConfig, fidelity: str) -> OptimizerConfig:
    """The config with the update that belongs to the model's fidelity, unless one was chosen."""
    follows = config.update is None and fidelity == "released"
    return replace(config, update="released") if follows else config


def make_schedule(config: OptimizerConfig, total_steps: int) -> Schedule:
    """The learning rate as a function of the number of updates done before.

    With t updates done, T in total, w of them warm-up and r the highest rate:

    - all: r · t/w while t < w (the first update has learning rate 0);
    - cosine: r · (1 + cos(π (t - w)/(T - w)))/2;
    - linear: r · min(t/w, 1) · (1 - t/T), as `warmup_linear` of GPT-1's released code;
    - constant: r.

    Raises:
        UserError: a warm-up that is longer than the run.
    """
    rate, total = config.learning_rate, total_steps
    warmup = config.warmup * total if config.warmup < 1 else config.warmup
    check_warmup(config, total)

    def ramp(step: Any) -> Any:
        return jnp.minimum(step / warmup, 1.0) if warmup > 0 else 1.0

    def cosine(step: Any) -> Any:
        done = jnp.clip((step - warmup) / max(total - warmup, 1), 0.0, 1.0)
        return rate * ramp(step) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))

    def linear(step: Any) -> Any:
        return rate * ramp(step) * jnp.maximum((total - step) / total, 0.0)

    def constant(step: Any) -> Any:
        return rate * ramp(step)

    return {"cosine": cosine, "linear": linear, "constant": constant}[config.schedule]


def check_warmup(config: OptimizerConfig, total_steps: int) -> None:
    """Refuse a warm-up that is longer than the run."""
    if config.warmup > total_steps:
        raise UserError(
            f"optimizer.warmup is {config.warmup:g}, but this run has {total_steps} updates: "
            "choose fewer, or a fraction such as 0.002"
        )


def is_matrix(params: PyTree) -> PyTree:
    """True for each array that decays: the ones with two dimensions or more."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The Euclidean norm of all numbers of a tree together."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(tree)))


def clip_scale(norm: Float[Array, ""], clip_norm: float | None) -> Float[Array, ""]:
    """The factor that shortens a gradient of this global norm to ``clip_norm`` at most."""
    if clip_norm is None:
        return jnp.ones_like(norm)
    return jnp.minimum(1.0, clip_norm / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny))
