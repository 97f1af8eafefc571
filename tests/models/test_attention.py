"""The weights of attention, for people who look at them."""

import jax
import numpy as np

from gptjax.models import attention


def test_the_weights_are_those_of_the_output():
    q, k, v = (jax.random.normal(jax.random.key(n), (2, 3, 150, 8)) for n in range(3))
    weights = attention.attention_weights(q, k)
    expected = attention.causal_attention(q, k, v, None, 0.0)
    np.testing.assert_allclose(weights @ v, expected, rtol=1e-4, atol=1e-5)
