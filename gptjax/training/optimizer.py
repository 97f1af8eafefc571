"""Adam with decoupled weight decay, clipping by the global norm, and learning rate schedules."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gptjax.config import alias
from gptjax.errors import UserError, check_settings
from gptjax.training.muon import with_muon

PyTree = Any
WARMUP = 2000.0
"""Updates of the warm-up that pre-training has where nothing else is said."""
Schedule = Callable[[Any], Any]


@dataclass(frozen=True)
class OptimizerConfig:
    """Section `optimizer`. The defaults are GPT-1's pre-training (section 4.1 of the paper)."""

    learning_rate: Annotated[float, alias("--lr")] = 2.5e-4
    """The highest learning rate, reached at the end of the warm-up."""
    warmup: float | None = None
    """Length of the linear warm-up from 0, in updates; below 1, as a fraction of all updates. None:
    2000, in fine-tuning 0.002; the slanted schedule has a rise of its own instead."""
    schedule: Literal["cosine", "linear", "constant", "slanted", "halve"] = "cosine"
    """After the warm-up: cosine to 0, linear to 0 (fine-tuning; it already acts during the
    warm-up), or constant. slanted: a triangle with a short rise and a long fall (ULMFiT). halve:
    constant, and half of it after each evaluation that is worse than the best one, from which
    training then goes on (KIM)."""
    halvings: int = 7
    """Of halve: end training after more halvings than this."""
    cut_fraction: float = 0.1
    """Of slanted: the share of the updates in which the rate rises."""
    slant_ratio: float = 32.0
    """Of slanted: how many times the lowest rate the highest is."""
    layer_decay: float = 1.0
    """The learning rate of each depth is so many times that of the one above it: the head (or, in
    pre-training, the last block) has learning_rate, the embeddings the lowest. 1: all have the
    same. ULMFiT: 0.3846, that is 1/2.6."""
    beta1: float = 0.9
    """Adam's decay of the first moment."""
    beta2: float = 0.999
    """Adam's decay of the second moment."""
    epsilon: float = 1e-8
    """Adam's addend to the root of the second moment."""
    update: Literal["adamw", "muon", "released"] | None = None
    """adamw: epsilon is added to the corrected moment's root, and decay is times the learning rate,
    as everywhere today. released: epsilon is added to the uncorrected root, and decay is times the
    bias correction too, as in GPT-1's released code. muon: the matrices of the blocks are updated
    by Muon, the rest by adamw. None: released with model.fidelity released, else adamw."""
    weight_decay: float = 0.01
    """Decoupled weight decay, times the learning rate; on matrices only, embeddings and
    positions included, not on biases and LayerNorm gains."""
    clip_norm: float | None = 1.0
    """Scale the gradient down to this global norm when it is longer; None never does."""
    average_from: int | None = None
    """Evaluate the mean of the parameters since so many updates, and keep it as the best ones;
    training goes on with the parameters themselves. None: no average."""

    def __post_init__(self) -> None:
        section, betas = "optimizer", "at least 0 and less than 1"
        check_settings(self, section, "learning_rate epsilon", lambda x: x > 0, "positive")
        check_settings(self, section, "warmup weight_decay", lambda x: x >= 0, "at least 0")
        check_settings(self, section, "beta1 beta2", lambda x: 0 <= x < 1, betas)
        check_settings(self, section, "average_from", lambda n: n >= 1, "at least 1")
        check_settings(self, section, "clip_norm", lambda x: x > 0, "positive, or None")
        check_settings(self, section, "cut_fraction", lambda x: 0 < x < 1, "between 0 and 1")
        check_settings(self, section, "slant_ratio", lambda x: x >= 1, "at least 1")
        check_settings(self, section, "halvings", lambda n: n >= 0, "at least 0")
        positive = "positive and at most 1"
        check_settings(self, section, "layer_decay", lambda x: 0 < x <= 1, positive)
        if self.schedule == "slanted" and self.warmup is not None:
            raise UserError(
                f"optimizer.warmup is {self.warmup:g}, but optimizer.schedule slanted rises for "
                "optimizer.cut_fraction of the updates: leave the warm-up out, or make it None"
            )
        if self.halves and self.average_from is not None:
            raise UserError(
                "optimizer.average_from: optimizer.schedule halve goes back to what was evaluated, "
                "and training cannot go on from an average; leave one of them out"
            )

    @property
    def halves(self) -> bool:
        """Whether a worse evaluation halves the rate."""
        return self.schedule == "halve"


class Optimizer(NamedTuple):
    """What the training loop needs from an optimiser."""

    init: Callable[[PyTree], PyTree]
    """params -> optimizer_state."""
    update: Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]
    """(gradients, optimizer_state, params) -> (updates to add, optimizer_state). Works array by
    array: clipping, which needs the whole gradient, is not in it."""
    schedule: Schedule
    """Number of updates done -> learning rate of the next."""
    clip_norm: float | None
    """The largest global norm of a gradient that ``update`` is to see, or None."""
    trained: Callable[[PyTree], PyTree] | None = None
    """params -> True for each array that has a gradient. The others are `optax.MaskedNode` in
    gradients and updates, and nothing is computed for them. None: all have one."""
    later: tuple[tuple[int, "Optimizer"], ...] = ()
    """What takes its place: the update with which each begins, and an optimiser of the same state.
    """
    note: Callable[[PyTree, PyTree], PyTree] | None = None
    """(parameters after an update, optimizer_state) -> optimizer_state, where that remembers them.
    """
    about: str = ""
    """What it trains, for people."""
    halvings: int | None = None
    """After more halvings than this training ends. The rate is then no part of ``update``: the step
    multiplies its result by the schedule and by what the halvings have left. None: none ever."""


def make_optimizer(
    config: OptimizerConfig,
    total_steps: int,
    trainable: Callable[[PyTree], PyTree] | None = None,
    *,
    depths: Callable[[PyTree], PyTree] | None = None,
    matrices: Callable[[PyTree], PyTree] | None = None,
    untouched: bool = False,
) -> Optimizer:
    """Adam (Kingma and Ba, 2015) with decoupled decay (Loshchilov and Hutter, 2019), or Muon.

    Args:
        config: the section `optimizer`.
        total_steps: number of updates of the whole run, over which the schedule extends.
        trainable: params -> True for each array that is trained (None: all are). The others have
            no moments and do not decay; their gradients must be 0.
        depths: params -> the depth of each array, from 0 (see `gptjax.models.backbone.groups`);
            needed for a ``layer_decay`` other than 1.
        matrices: params -> True for each array that is a matrix of a block (see
            `gptjax.models.backbone.matrices`); needed for ``update="muon"``.
        untouched: compute no gradients of the arrays that are not trained.

    Raises:
        UserError: as `make_schedule`.
    """
    schedule = make_schedule(config, total_steps)
    rate = own_rate(config, schedule)
    chain = optax.chain(
        *moments_and_decay(config, matrices),
        optax.scale_by_learning_rate(
            corrected(rate, config) if config.update == "released" else rate
        ),
    )
    if trainable is not None:
        chain = optax.masked(chain, trainable)
    update = chain.update
    if config.layer_decay != 1:
        assert depths is not None, "layer decay needs depths"
        update = _decayed(chain.update, config.layer_decay, depths)
    trained = trainable if untouched else None
    made = Optimizer(chain.init, update, schedule, config.clip_norm, trained)
    return made._replace(halvings=halvings_of(config))


def own_rate(config: OptimizerConfig, schedule: Schedule) -> Schedule:
    """The learning rate that is a part of ``update``; 1 where the step multiplies by it.

    Going back takes the count of updates back with the moments, for Adam's correction of the bias.
    The warm-up must not begin again with it.
    """
    return (lambda _: 1.0) if config.halves else schedule


def halvings_of(config: OptimizerConfig) -> int | None:
    """See `Optimizer.halvings`."""
    return config.halvings if config.halves else None


def moments_and_decay(
    config: OptimizerConfig, matrices: Callable[[PyTree], PyTree] | None
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """What the learning rate is for: the direction, and the decoupled decay."""
    adam = scale_by_uncorrected_adam if config.update == "released" else optax.scale_by_adam
    direction = adam(b1=config.beta1, b2=config.beta2, eps=config.epsilon)
    if config.update == "muon":
        assert matrices is not None, "Muon needs to know the matrices"
        direction = with_muon(direction, matrices)
    return direction, optax.add_decayed_weights(config.weight_decay, mask=is_matrix)


def layer_factors(depths: PyTree, layer_decay: float) -> PyTree:
    """What each array's learning rate is multiplied by: decay ^ (highest depth - its depth).

    Discriminative fine-tuning (Howard and Ruder 2018, section 3.2), whose decay is 1/2.6.
    """
    top = max(jax.tree.leaves(depths))
    return jax.tree.map(lambda depth: layer_decay ** (top - depth), depths)


def _decayed(
    update: Callable[..., tuple[PyTree, PyTree]],
    layer_decay: float,
    depths: Callable[[PyTree], PyTree],
) -> Callable[[PyTree, PyTree, PyTree], tuple[PyTree, PyTree]]:
    """An update whose result is scaled by depth; its state stays as it is."""

    def scaled(gradients: PyTree, state: PyTree, params: PyTree) -> tuple[PyTree, PyTree]:
        updates, state = update(gradients, state, params)
        factors = layer_factors(depths(params), layer_decay)
        return jax.tree.map(lambda factor, x: factor * x, factors, updates), state

    return scaled


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


def corrected(schedule: Schedule, config: OptimizerConfig) -> Schedule:
    """The learning rate of a schedule times Adam's bias correction of the update that it is for."""

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
    - constant: r; halve: the same, of which the step takes what the halvings have left;
    - slanted: r · (1 + p (ratio - 1))/ratio, where p rises from 0 to 1 in the first
      c = floor(T · cut_fraction) updates and falls by 1/(c (1/cut_fraction - 1)) in each one after
      (slanted triangular learning rates, Howard and Ruder 2018, section 3.2, equation 3).

    Raises:
        UserError: a warm-up that is longer than the run.
    """
    rate, total = config.learning_rate, total_steps
    if config.schedule == "slanted":
        return _slanted(config, total)
    config = settle_warmup(config, WARMUP)
    assert config.warmup is not None
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

    shapes = {"cosine": cosine, "linear": linear, "constant": constant, "halve": constant}
    return shapes[config.schedule]


def _slanted(config: OptimizerConfig, total: int) -> Schedule:
    # A run of few updates has a rise of one at least, or nothing could be divided by its length.
    cut = max(int(total * config.cut_fraction), 1)
    fall = cut * (1 / config.cut_fraction - 1)

    def rate(step: Any) -> Any:
        height = jnp.where(step < cut, step / cut, 1 - (step - cut) / fall)
        # Where T · cut_fraction is not whole, the last updates go below the lowest rate, and those
        # of a very short run would go below 0.
        rise = jnp.maximum(1 + height * (config.slant_ratio - 1), 0.0)
        return config.learning_rate * rise / config.slant_ratio

    return rate


def settle_warmup(config: OptimizerConfig, warmup: float) -> OptimizerConfig:
    """The config with this warm-up where it has none, but for a schedule that never has one."""
    unsaid = config.warmup is None and config.schedule != "slanted"
    return replace(config, warmup=warmup) if unsaid else config


def check_warmup(config: OptimizerConfig, total_steps: int, what: str = "this run") -> None:
    """Refuse a warm-up that is longer than the run, or than ``what`` else has so many updates."""
    if config.warmup is not None and config.warmup > total_steps:
        raise UserError(
            f"optimizer.warmup is {config.warmup:g}, but {what} has {total_steps} updates: "
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
