"""What a bfloat16 model multiplies, on accelerators too, and what its gradients are worth."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.batch import Batch
from gptjax.models import attention
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm

SHAPE = (2, 3, 300, 16)  # three blocks of queries


def inputs():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(0, 1, SHAPE), jnp.bfloat16) for _ in range(3)]


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_attentions_gradients_are_those_of_float32_but_for_rounding(rate):
    """With the same decisions of dropout."""
    weights = jnp.asarray(np.random.default_rng(1).normal(0, 1, SHAPE), jnp.float32)
    key = jax.random.key(0, impl="rbg")

    def total(q, k, v):
        out = attention.causal_attention(q, k, v, key, rate)
        return (out.astype(jnp.float32) * weights).sum()

    gradient = jax.jit(jax.grad(total, (0, 1, 2)))
    found = gradient(*inputs())
    expected = gradient(*(x.astype(jnp.float32) for x in inputs()))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        error = np.asarray(one.astype(jnp.float32) - other)
        # A bfloat16 has 8 bits: a relative step of 2^-8.
        assert np.abs(error).max() < 0.01 * jnp.abs(other).max()
        assert np.sqrt((error**2).mean()) < 0.006 * jnp.sqrt((other**2).mean())


def gradient_of_a_narrow_model(norm, length):
    """The function, and shapes to trace it with."""
    config = ModelConfig(
        vocabulary_size=60,
        context_length=length,
        num_layers=1,
        num_heads=2,
        width=32,
        norm=norm,
        dtype="bfloat16",
    )
    problem = lm(config)
    params = jax.eval_shape(problem.init, jax.random.key(0))
    batch = Batch(
        np.zeros((4, 1, length + 1), np.int32),
        np.ones((4, 1, length + 1), np.float32),
        np.zeros((4, 1), np.int32),
        np.ones((4, 1), np.float32),
        np.ones(4, np.float32),
    )
    gradient = jax.jit(
        jax.grad(lambda p, b: problem.loss(p, b, jax.random.key(0, impl="rbg"), ())[0].loss)
    )
    return gradient, (params, batch)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_no_product_of_a_narrow_model_has_wide_operands(platform, norm):
    """In the whole of an update's gradient; the sums are float32."""
    gradient, shapes = gradient_of_a_narrow_model(norm, 200)
    program = gradient.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
    products = re.findall(r"stablehlo\.dot_general .* : \(tensor<(\S+)>, tensor<(\S+)>\)", program)
    assert len(products) > 20
    wide = [pair for pair in products if any(operand.endswith("xf32") for operand in pair)]
    assert not wide
    # Nothing is turned in memory that a product can take as it is.
    assert not re.search(r"optimization_barrier %\S+ : tensor<\d+xbf16>", program)


def operands(compiled):
    """The types of the operands of each product of a compiled program."""
    text = compiled.as_text()
    types = dict(re.findall(r"%(\S+) = (\w+)\[", text))
    pairs = re.findall(r" dot\(%(\S+), %(\S+?)\)", text)
    return [(types[one], types[other]) for one, other in pairs]


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_cpu_multiplies_narrow_numbers_where_it_can(norm):
    """XLA's CPU compiler widens the operands of a product whose left side it finds turned."""

    def plain(x, y):
        return jnp.matmul(x, y, preferred_element_type=jnp.float32)

    square = jax.ShapeDtypeStruct((64, 64), jnp.bfloat16)
    able = operands(jax.jit(plain).lower(square, square).compile()) == [("bf16", "bf16")]
    gradient, shapes = gradient_of_a_narrow_model(norm, 256)
    found = operands(gradient.lower(*shapes).compile())
    assert len(found) > 20
    assert ("f32" in {kind for pair in found for kind in pair}) is not able
