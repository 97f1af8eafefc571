import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.models.dropout import dropout, keep_mask

pytestmark = pytest.mark.usefixtures("strict_dtypes")

SIDE = 1024


def masks(count, rate=0.1, shape=(SIDE, SIDE)):
    words = jax.random.bits(jax.random.key(7, impl="rbg"), (count, 2), jnp.uint32)
    return [np.asarray(keep_mask(word, rate, shape)) for word in words]


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_the_rate_is_the_rate(rate):
    kept = np.stack(masks(4, rate))
    deviation = np.sqrt(rate * (1 - rate) / kept.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * deviation


def test_decisions_are_independent():
    """Counts of dropped elements by row, column, bit of the index and lag look binomial."""
    rate = 0.1
    for kept in masks(4, rate):
        dropped = ~kept
        for counts in (dropped.sum(0), dropped.sum(1)):
            # The sum of squared deviations over the variance is chi-squared: SIDE ± sqrt(2 SIDE).
            chi = ((counts - rate * SIDE) ** 2).sum() / (SIDE * rate * (1 - rate))
            assert abs(chi - SIDE) < 5 * np.sqrt(2 * SIDE)
        flat = dropped.reshape(-1)
        for lag in (1, 2, 3, 64, 256, SIDE, 3 * SIDE, 2**16, 2**19):
            both = (flat[lag:] & flat[:-lag]).sum()
            n = flat.size - lag
            assert abs(both - n * rate**2) < 5 * np.sqrt(n * rate**2)


def test_masks_of_two_keys_are_independent():
    drawn = [~kept for kept in masks(6)]
    expected = drawn[0].size * 0.01
    for i in range(6):
        for j in range(i):
            for shift in (0, 1, SIDE):
                both = (drawn[i] & np.roll(drawn[j].reshape(-1), shift).reshape(SIDE, SIDE)).sum()
                assert abs(both - expected) < 5 * np.sqrt(expected)


def test_keys_that_differ_in_one_bit_give_unrelated_masks():
    base = keep_mask(jnp.asarray([1, 2], jnp.uint32), 0.1, (SIDE, SIDE))
    for words in ([0, 2], [1, 3], [1 | 1 << 31, 2], [1, 2 | 1 << 31], [2, 1]):
        other = keep_mask(jnp.asarray(words, jnp.uint32), 0.1, (SIDE, SIDE))
        both = float((~base & ~other).sum())
        assert abs(both - 0.01 * SIDE**2) < 5 * np.sqrt(0.01 * SIDE**2)


def test_the_mean_stays_and_survivors_are_scaled():
    x = jnp.full((SIDE, SIDE), 3.0)
    y = np.asarray(dropout(x, jax.random.key(0, impl="rbg"), 0.25))
    assert set(np.unique(y)) == {0.0, 4.0}
    assert y.mean() == pytest.approx(3.0, rel=5e-3)


def test_the_gradient_passes_where_the_value_did():
    key, x = jax.random.key(0, impl="rbg"), jnp.ones((4, 64))
    gradient = jax.grad(lambda x: dropout(x, key, 0.5).sum())(x)
    np.testing.assert_array_equal(gradient, dropout(x, key, 0.5))


def test_nothing_happens_without_a_key_or_a_rate():
    x = jnp.ones((3, 3))
    assert dropout(x, None, 0.5) is x
    assert dropout(x, jax.random.key(0), 0.0) is x
