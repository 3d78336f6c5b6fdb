"""The limited memory against the dense BFGS recursion, and sweeps against a quadratic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stiffgrad.curvature import secant

N, SIZE = 9, 4
H = np.diag(np.geomspace(0.1, 20.0, N))
PAIRS = [(s, H @ s) for s in np.random.default_rng(0).normal(size=(7, N))]
remember = jax.jit(secant.remember)
inverse_product = jax.jit(secant.inverse_product)


def filled(count, dtype=jnp.float64):
    memory = secant.empty(SIZE, N, dtype)
    for s, y in PAIRS[:count]:
        memory = remember(memory, jnp.asarray(s), jnp.asarray(y))
    return memory


def dense_inverse(pairs):
    """BFGS updates of the inverse, one pair after the other, from the scaled identity (Nocedal and Wright, 7.20)."""
    s, y = pairs[-1]
    inverse = np.eye(N) * (s @ y) / (y @ y)
    for s, y in pairs:
        rho = 1.0 / (s @ y)
        left = np.eye(N) - rho * np.outer(s, y)
        inverse = left @ inverse @ left.T + rho * np.outer(s, s)
    return inverse


@pytest.mark.parametrize("count", [1, 3, 4, 5, 7])
def test_product_is_that_of_the_dense_bfgs_inverse_of_the_newest_pairs(count):
    g = np.random.default_rng(1).normal(size=N)
    expected = dense_inverse(PAIRS[max(0, count - SIZE) : count]) @ g
    assert np.asarray(inverse_product(filled(count), g)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("scale", [1e-9, 0.1, 1e9])
def test_the_product_is_linear(scale):
    g = np.random.default_rng(2).normal(size=N)
    memory = filled(4)
    np.testing.assert_allclose(inverse_product(memory, scale * g), scale * inverse_product(memory, g), rtol=1e-10)


def test_secant_equation_holds_for_the_newest_pair():
    s, y = PAIRS[4]
    assert np.asarray(inverse_product(filled(5), y)) == pytest.approx(s, rel=1e-10)
    low = filled(5, jnp.float32)
    assert low.rows.dtype == jnp.float32
    assert np.asarray(inverse_product(low, y)) == pytest.approx(s, rel=1e-4, abs=1e-4)


def test_a_pair_of_negative_curvature_is_not_stored():
    memory = filled(2)
    after = remember(memory, jnp.ones(N), -jnp.ones(N))
    assert int(after.filled) == 2
    cleared = memory._replace(filled=jnp.zeros_like(memory.filled))
    g = np.full(N, 3.0)
    assert np.asarray(inverse_product(cleared, g)) == pytest.approx(g / np.linalg.norm(g))
