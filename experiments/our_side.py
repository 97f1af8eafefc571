"""What the benchmarks let gptjax do: steps, and the training loop around them.

`turns.Side` makes these in a process of their own.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from instruments import RandomBatches, compilations

from gptjax.batch import Batch
from gptjax.models.backbone import init_backbone
from gptjax.models.config import ModelConfig
from gptjax.models.decode import sample
from gptjax.models.objective import lm, task
from gptjax.models.task_head import NUM_SPECIALS, HeadShape, TaskHeadConfig
from gptjax.models.vectors import VectorsConfig
from gptjax.training import parallel
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer
from gptjax.training.step import Progress, make_train_step


def training(
    model: Mapping[str, Any], batch_size: int, streams: bool = False
) -> Callable[[int], dict[str, Any]]:
    """Steps of pre-training on random tokens.

    The result of a turn: "compiled", the seconds of each compilation so far, and on an accelerator
    "memory", the device's peak in GB.
    """
    config = ModelConfig(**model)
    batches = RandomBatches(
        config.vocabulary_size, batch_size, config.context_length, streams=streams
    )
    train, _ = gptjax_step(config, batches, streams=streams)
    compiled: list[float] = []

    def turn(count: int) -> dict[str, Any]:
        with compilations() as seconds:
            train(count)
        compiled.extend(seconds)
        stats = jax.local_devices()[0].memory_stats() or {}
        memory = stats["peak_bytes_in_use"] / 1e9 if "peak_bytes_in_use" in stats else None
        return {"compiled": compiled, "memory": memory}

    return turn


def comparing(
    width: int,
    vocabulary: int,
    batch_size: int,
    length: int,
    dtype: Any,
    classes: int,
    dropout: float,
    clip_norm: float,
) -> Callable[[int], None]:
    """Steps of ESIM on word vectors, with pairs of random texts of one length."""
    model = VectorsConfig(
        vocabulary_size=vocabulary - NUM_SPECIALS, context_length=length, width=width, dtype=dtype
    )
    shape = HeadShape(model="co-attention")
    objective = task(model, TaskHeadConfig("classify", classes, dropout, shape=shape)).objective
    optimizer = make_optimizer(OptimizerConfig(warmup=0.0, clip_norm=clip_norm), 10**6)
    step = make_train_step(objective, optimizer, accumulate=1)
    params = jax.jit(objective.init)(jax.random.key(0))
    progress = Progress(jnp.int32(0), jnp.zeros((), bool), jnp.int32(0))
    placed = parallel.replicate((params, jax.jit(optimizer.init)(params), progress))
    state = (*placed, parallel.shard_all(objective.init_carry(batch_size)))
    rng, size = np.random.default_rng(0), (batch_size, 2, length)
    tokens = rng.integers(0, model.vocabulary_size, size, np.int32)
    tokens[..., 0], tokens[..., -1] = model.vocabulary_size, vocabulary - 1
    extract = np.full(size[:2], length - 1, np.int32)
    targets = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, batch_size)]
    ones = np.ones(batch_size, np.float32)
    batch = parallel.shard(Batch(tokens, np.zeros(size, np.float32), extract, targets, ones))
    vote = parallel.vote(False)

    def train(count: int) -> None:
        nonlocal state
        for _ in range(count):
            *state, metrics = step(*state, batch, vote)
        jax.block_until_ready((state, metrics))

    return train


def looping(model: Mapping[str, Any], batch_size: int, steps: int) -> Callable[[int], float]:
    """The share of the training loop's time in which no step runs, over a number of turns."""
    config = ModelConfig(**model)
    batches = RandomBatches(config.vocabulary_size, batch_size, config.context_length)
    bare, _ = gptjax_step(config, batches)
    return lambda turns: outside_share(config, batch_size, bare, steps, turns)


def generating(
    model: Mapping[str, Any], rows: int, prompt: int, count: int
) -> Callable[[int], None]:
    """Greedy generation from random parameters, all rows together."""
    config = ModelConfig(**model)
    params = jax.jit(partial(init_backbone, config))(jax.random.key(0))
    tokens, first = np.ones((rows, prompt), np.int32), np.zeros(rows, np.int32)
    options = (np.int32(-1), np.float32(0), np.int32(0), np.float32(1))

    def run(texts: int) -> None:
        for _ in range(texts):
            key = jax.random.key(0)
            written = sample(config, params, tokens, first, key, *options, max_tokens=count)
            written.block_until_ready()

    return run


def gptjax_step(
    model: ModelConfig, batches: RandomBatches, *, streams: bool = False
) -> tuple[Callable[[int], None], Callable[[], Any]]:
    """Two functions: train for a number of steps and wait; and give the parameters.

    With ``streams`` what the model remembers goes on from step to step.
    """
    objective = lm(model, streams=streams)
    optimizer = make_optimizer(OptimizerConfig(warmup=0.0), 10**6)
    step = make_train_step(objective, optimizer, accumulate=1)
    params = jax.jit(objective.init)(jax.random.key(0))
    progress = Progress(jnp.int32(0), jnp.zeros((), bool), jnp.int32(0))
    placed = parallel.replicate((params, jax.jit(optimizer.init)(params), progress))
    state = (*placed, parallel.shard_all(objective.init_carry(batches.batch_size)))
    batch = parallel.shard(batches.batch(0, 0))
    vote = parallel.vote(False)

    def train(count: int) -> None:
        nonlocal state
        for _ in range(count):
            *state, metrics = step(*state, batch, vote)
        jax.block_until_ready((state, metrics))

    return train, lambda: state[0]


def outside_share(
    model: ModelConfig, batch_size: int, bare: Callable[[int], None], steps: int, blocks: int
) -> float:
    """The share of the training loop's time in which no step runs.

    Blocks of ``steps`` updates of `gptjax.training.loop.fit` take turns with blocks of as many
    bare steps, which stand in the place of its evaluations: the median, over the blocks, of
    1 - bare / loop. Both wait for their last step, so that the loop is charged with the end of
    its pipeline as well.
    """
    batches = RandomBatches(model.vocabulary_size, batch_size, model.context_length)
    config = TrainConfig(
        steps=steps * (blocks + 1), batch_size=batch_size, evaluate_every=steps, seed=0
    )
    ended: list[float] = []
    shares: list[float] = []

    def take_turns(params: Any) -> dict[str, float]:
        start = time.perf_counter()
        bare(steps)
        if ended:  # the first block compiles
            shares.append(1 - (time.perf_counter() - start) / (start - ended[-1]))
        ended.append(time.perf_counter())
        return {"loss": 0.0}

    optimizer = make_optimizer(OptimizerConfig(warmup=0.0), config.steps or 0)
    fit(lm(model), batches, config, optimizer, evaluate=take_turns)
    return statistics.median(shares)
