import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.layers import gelu, linear

pytestmark = pytest.mark.usefixtures("strict_dtypes")


def test_gelu_is_the_tanh_form_and_so_is_its_slope():
    x = np.linspace(-12, 12, 2001).astype(np.float32)
    wide, c = x.astype(np.float64), np.sqrt(2 / np.pi)
    tanh = np.tanh(c * (wide + 0.044715 * wide**3))
    value = 0.5 * wide * (1 + tanh)
    slope = 0.5 * (1 + tanh) + 0.5 * wide * (1 - tanh**2) * c * (1 + 3 * 0.044715 * wide**2)
    mine, pull = jax.vjp(gelu, jnp.asarray(x))
    np.testing.assert_allclose(mine, value, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(pull(jnp.ones_like(x))[0], slope, rtol=1e-5, atol=1e-6)


def test_linear_has_the_gradients_of_autodiff():
    keys = jax.random.split(jax.random.key(0), 4)
    x, kernel = jax.random.normal(keys[0], (2, 5, 7)), jax.random.normal(keys[1], (7, 3))
    bias, g = jax.random.normal(keys[2], (3,)), jax.random.normal(keys[3], (2, 5, 3))
    mine, back = jax.vjp(linear, x, kernel, bias)
    plain, plain_back = jax.vjp(lambda x, w, b: x @ w + b[None, None], x, kernel, bias)
    np.testing.assert_allclose(mine, plain, rtol=1e-6)
    for a, b in zip(back(g), plain_back(g), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_linear_in_bfloat16_gives_float32_gradients_to_its_parameters():
    x, kernel, bias = jnp.ones((1, 4, 2), jnp.bfloat16), jnp.ones((2, 3)), jnp.ones(3)
    y, back = jax.vjp(linear, x, kernel, bias)
    assert [y.dtype, *(g.dtype for g in back(y))] == ["bfloat16", "bfloat16", "float32", "float32"]
