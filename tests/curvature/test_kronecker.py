"""The Kronecker-factored coordinates against dense Gauss-Newton matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.curvature import secant
from stiffgrad.curvature.kronecker import Kronecker

DAMPING = 0.01
DECAY = 1e-3


def objective(sizes=(3, 5, 2), rows=40, **options):
    generator = np.random.default_rng(0)
    apply, params = sg.mlp(sizes, seed=0)
    X = generator.normal(size=(rows, sizes[0]))
    y = generator.normal(size=(rows, sizes[-1]))
    return sg.supervised(apply, params, X, y, weight_decay=DECAY, **options)


def change(kronecker):
    """P as a dense matrix."""
    n = kronecker.layout.size
    return np.asarray(jax.vmap(kronecker.weights, out_axes=1)(jnp.eye(n)))


def test_exact_for_a_linear_model():
    linear = objective((3, 2))
    P = change(Kronecker.of(linear, linear.w0, DAMPING))
    # The Gauss-Newton matrix holds the decay already.
    expected = np.linalg.inv(linear.gauss_newton(linear.w0) + DAMPING * np.eye(linear.size))
    np.testing.assert_allclose(P @ P.T, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 16])
def test_diagonal_of_gauss_newton_becomes_one(chunk):
    network = objective(chunk_samples=chunk)
    P = change(Kronecker.of(network, network.w0, DAMPING))
    matrix = network.gauss_newton(network.w0) + DAMPING * np.eye(network.size)
    np.testing.assert_allclose(np.diagonal(P.T @ matrix @ P), 1.0, rtol=1e-9)


def test_the_four_maps_belong_together():
    network = objective()
    kronecker = Kronecker.of(network, network.w0, DAMPING)
    v, g = np.random.default_rng(1).normal(size=(2, network.size))
    P = change(kronecker)
    np.testing.assert_allclose(kronecker.weights(v), P @ v, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kronecker.coordinates(P @ v), v, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kronecker.slope(g), P.T @ g, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kronecker.gradient(P.T @ g), g, rtol=1e-9, atol=1e-12)


def test_secants_survive_a_change_of_coordinates():
    network = objective()
    n = network.size
    first = Kronecker.identity(network, jnp.float64)
    memory = secant.empty(4, n, jnp.float64, first)
    s = np.random.default_rng(2).normal(size=(3, n))
    y = s * np.linspace(0.5, 3.0, n)
    for pair in zip(s, y, strict=True):
        memory = secant.remember(memory, *map(jnp.asarray, pair))
    plain = secant.inverse_product(memory, jnp.asarray(y[-1]))
    np.testing.assert_allclose(plain, s[-1], rtol=1e-9)
    moved = secant.moved(memory, Kronecker.of(network, network.w0, DAMPING))
    np.testing.assert_allclose(secant.inverse_product(moved, jnp.asarray(y[-1])), s[-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "suits"),
    [
        (objective(), True),
        (objective(rows=20), False),  # too few samples
        (sg.minimise(lambda w: w @ w, np.ones(3)), False),
    ],
)
def test_suits(network, suits):
    assert Kronecker.suits(network) == suits


def test_makes_exponential_need_fewer_gradients():
    x = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    y = np.sin(np.pi * x[:, :1]) * np.sin(np.pi * x[:, 1:])
    apply, params = sg.mlp([2, 16, 16, 1], seed=0)
    plain = sg.supervised(lambda params, x: apply(params, x), params, x, y)
    suited = sg.supervised(apply, params, x, y)
    runs = [
        sg.solve(o, "exponential", until=sg.Until(loss=1e-5, wall_seconds=60), compilation="full")
        for o in (plain, suited)
    ]
    assert all(run.outcome is sg.Outcome.TARGET for run in runs)
    assert runs[1].statistics.presentations < 0.7 * runs[0].statistics.presentations
    assert runs[0].statistics.jacobian_evaluations == 0
    assert runs[1].statistics.jacobian_evaluations > 0
