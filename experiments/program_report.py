"""What a training step consists of, counted without running it: products, bytes, memory.

    .venv/bin/python experiments/program_report.py --config gpt1-1gpu

The step is traced as for a GPU. So a first run on one can be compared with what it had to do: the
products by the types of their operands, what the rest reads and writes, and what is kept from the
forward for the backward pass. Loops count as often as they turn. XLA joins operations, so that the
bytes of the rest are an upper bound.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from instruments import RandomBatches
from jax.extend import core
from script import start

from gptjax.commands.pretrain import PretrainConfig
from gptjax.config import config_file, read
from gptjax.models.flops import flops_per_token
from gptjax.models.objective import lm
from gptjax.report.drawing import save
from gptjax.report.figures import Table, markdown
from gptjax.training.optimizer import make_optimizer
from gptjax.training.step import Progress, make_train_step


@dataclass(frozen=True, kw_only=True)
class ProgramConfig:
    """Count what a training step does."""

    config: str = "gpt1-1gpu"
    """A preset or a .toml file of pre-training; its batch is on one device."""
    out: Path = Path("runs/program-report")
    """Where the tables go."""


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Every operation and how often it runs; of a branch, the longer one."""
    for equation in jaxpr.eqns:
        inner = [
            one.jaxpr if isinstance(one, core.ClosedJaxpr) else one
            for value in equation.params.values()
            for one in (value if isinstance(value, tuple | list) else (value,))
            if isinstance(one, core.ClosedJaxpr | core.Jaxpr)
        ]
        turns = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        if equation.primitive.name == "cond":
            inner = [max(inner, key=lambda one: len(list(equations(one))))]
        if not inner:
            yield equation, times
        for one in inner:
            yield from equations(one, turns)


def flops(equation: Any) -> int:
    """Of a product: 2 for each multiplication and addition."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval
    return (
        2
        * math.prod(equation.outvars[0].aval.shape)
        * math.prod(left.shape[axis] for axis in contracted)
    )


def moved(equation: Any) -> int:
    """Bytes that an operation reads and writes, where nothing is joined."""
    avals = [x.aval for x in (*equation.invars, *equation.outvars)]
    return sum(x.size * x.dtype.itemsize for x in avals if hasattr(x.dtype, "itemsize"))


def kept(objective: Any, params: Any, batch: Any) -> int:
    """Bytes that the forward pass leaves for the backward pass, the parameters left out."""

    def forward(params: Any) -> Any:
        key = jax.random.key(0, impl="rbg")
        return jax.vjp(lambda p: objective.loss(p, batch, key, ())[0].loss, params)[1]

    left = jax.tree.leaves(jax.eval_shape(forward, params))
    own = Counter((x.shape, x.dtype) for x in jax.tree.leaves(params))
    left = [x for x in left if not own[(x.shape, x.dtype)]]
    return sum(x.size * getattr(x.dtype, "itemsize", 16) for x in left)


def tables(config: PretrainConfig) -> list[Table]:
    """Products by type, and all that there is beside them."""
    objective = lm(config.model)
    optimizer = make_optimizer(config.optimizer, 10**6)
    step = make_train_step(objective, optimizer, config.train.accumulate)
    rows, context = config.train.batch_size, config.model.context_length
    batch = RandomBatches(config.model.vocabulary_size, rows, context).batch(0, 0)
    params = jax.eval_shape(objective.init, jax.random.key(0))
    progress = Progress(np.int32(0), np.bool_(False), np.int32(0))
    state = (params, jax.eval_shape(optimizer.init, params), progress, ())
    one_device = jax.tree.map(lambda x: x[None], batch)
    jaxpr = jax.make_jaxpr(step)(*state, one_device, np.zeros(1, np.int32)).jaxpr

    work: Counter[tuple[str, str]] = Counter()
    count: Counter[tuple[str, str]] = Counter()
    rest: Counter[str] = Counter()
    for equation, times in equations(jaxpr):
        name = equation.primitive.name
        if name == "dot_general":
            left, right = (x.aval.dtype.name for x in equation.invars)
            kinds = (f"{left} × {right}", equation.outvars[0].aval.dtype.name)
            work[kinds] += times * flops(equation)
            count[kinds] += times
        else:
            rest[name] += times * moved(equation)
    total, tokens = sum(work.values()), rows * context
    model = flops_per_token(config.model) * tokens
    products = [
        (*kinds, f"{count[kinds]:,}", f"{work[kinds] / 1e12:.2f}", f"{work[kinds] / total:.1%}")
        for kinds, _ in work.most_common()
    ]
    products.append(("all", "", f"{sum(count.values()):,}", f"{total / 1e12:.2f}", "100.0%"))
    caption = (
        f"{rows} × {context} tokens. By the formula of the utilisation, a step is "
        f"{model / 1e12:.2f} TFLOPs."
    )
    heads = ("operands", "result", "products", "TFLOPs", "share")
    number = config.model.num_parameters()
    sizes = [
        ("parameters, two moments and the gradient, float32", 4 * 4 * number),
        ("kept for the backward pass", kept(objective, params, batch)),
        ("read and written outside of products, at most", sum(rest.values())),
        *((f"… by {name}", size) for name, size in rest.most_common(8)),
    ]
    memory = tuple((name, f"{size / 1e9:.2f}") for name, size in sizes)
    return [
        Table(
            "products", "Products of a step", caption, heads, tuple(products), ("",) * len(products)
        ),
        Table("memory", "Bytes of a step", "", ("what", "GB"), memory, ("",) * len(memory)),
    ]


def main(config: ProgramConfig) -> None:
    """Print the tables."""
    # What depends on the backend is as on a GPU; nothing is compiled.
    jax.default_backend = lambda: "gpu"
    made = tables(read(PretrainConfig, config_file(config.config)))
    save(config.out, [], made)
    for table in made:
        print(markdown(table), end="\n\n")


if __name__ == "__main__":
    start(main, ProgramConfig, __doc__)
