"""Which results of a linear program are parallel, and what they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.objective import derivatives
from stiffgrad.objective.parallel import scaled_results

MATRIX = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3)))
SLOPES = jnp.tanh(MATRIX[0])


def through(x):
    """A linear map of x, which passes products, sums and other operations."""
    y = MATRIX @ (0.5 * x)
    return -(y + y * SLOPES).reshape(3, 1)[:, 0]


def results(function, *inputs):
    found = scaled_results(function, *inputs)
    whole = jax.tree.leaves(function(*inputs))
    for seen, exact in zip(found, whole, strict=True):
        np.testing.assert_allclose(seen.value, exact, rtol=1e-14)
    return found


@pytest.mark.parametrize("other", [lambda s: -3.0 * s, lambda s: s * s, lambda s: jnp.sin(s), lambda s: 0.0 * s])
def test_numbers_are_taken_out(other):
    a, b = results(lambda s: [through(jnp.broadcast_to(t, 3)) for t in (s[0], other(s[0]))], jnp.array([0.7]))
    assert a.key == b.key
    np.testing.assert_allclose(b.value, other(0.7) / 0.7 * a.value, rtol=1e-14)


def test_other_results_are_not_called_parallel():
    """Another array, a sum of two of different factors, and an operation that is not linear."""
    x = jnp.array([0.7, 0.2])
    arrays = list(MATRIX[:2])
    parts = lambda s: [  # noqa: E731
        s[0] * arrays[0],
        s[0] * arrays[1],
        s[0] * arrays[0] + s[1] * arrays[1],
        jnp.tanh(s[0] * arrays[0]),
        jnp.flip(s[1] * arrays[0]),
    ]
    assert len({found.key for found in results(parts, x)}) == 5


def test_what_has_no_hash_and_what_calls_programs_is_evaluated():
    def function(s):
        loop = jax.lax.scan(lambda z, _: (MATRIX @ z, None), s[0] * jnp.ones(3), length=2)[0]
        branch = jax.lax.cond(s[1] > 0, lambda z: 2.0 * z, lambda z: z, loop)
        return [loop, branch, jax.jit(through)(s[1] * jnp.ones(3)), jnp.where(s[1] > 0, loop, 0.0), s]

    results(function, jnp.array([0.7, 0.2]))


# Outer products of an inner layer's rows: 1 for the value, and one for each derivative that is not merged.
PRODUCTS = {
    "one direction": (lambda u, x: pde.derivative(u, x, 1) + 40 * pde.derivative(u, x, 0), 2),
    "by the solution": (lambda u, x: pde.derivative(u, x, 1) + u(x) * pde.derivative(u, x, 0), 2),
    "gradient squared": (lambda u, x: pde.derivative(u, x, 1) + pde.derivative(u, x, 0) ** 2, 2),
    "heat": (lambda u, x: pde.derivative(u, x, 1) - pde.derivative(u, x, 0, 0), 3),
    "wave": (lambda u, x: pde.derivative(u, x, 1, 1) - 4 * pde.derivative(u, x, 0, 0), 4),
    "two points": (lambda u, x: u(x) - u(x + jnp.array([1.0, 0.0])), 2),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_derivatives_whose_signals_are_parallel_are_one_outer_product(name):
    equation, count = PRODUCTS[name]
    problem = pde.Problem([(0, 1), (0, 1)], [pde.interior(equation, 3)], [4, 3], balance=False)
    objective = problem.objective
    (block,) = objective.blocks
    found = derivatives.leaf_factors(block, objective.layout, objective.w0)
    inner = next(f for f in found if f.right is not None and f.left.shape[-1] == 3 and f.right.shape[-1] == 4)
    assert inner.left.shape[1] == count


def test_a_model_has_one_outer_product_a_layer():
    model, params = sg.mlp([2, 4, 3])
    objective = sg.supervised(lambda p, x: model(p, x) + 0.0, params, np.ones((5, 2)), np.ones((5, 3)))
    (block,) = objective.blocks
    found = derivatives.leaf_factors(block, objective.layout, objective.w0)
    assert [f.left.shape[1] for f in found if f.right is not None] == [1, 1]
