"""Every operator against exact derivatives, written with NumPy and with jax.numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiffgrad import pde
from stiffgrad.pde.conditions import Solution

number = st.floats(-2.0, 2.0)
power = st.integers(0, 4)


@given(a=power, b=power, x=number, y=number, axes=st.lists(st.integers(0, 1), min_size=1, max_size=3))
def test_partial_derivatives_of_monomials_are_exact(a, b, x, y, axes):
    point = np.array([x, y])
    factor, powers = 1.0, [a, b]
    for axis in axes:
        factor, powers[axis] = factor * powers[axis], powers[axis] - 1
    expected = factor * x ** max(powers[0], 0) * y ** max(powers[1], 0) if factor else 0.0
    found = pde.derivative(lambda z: z[0] ** a * z[1] ** b, point, *axes)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@given(point=st.lists(number, min_size=3, max_size=3))
def test_gradient_laplacian_and_divergence_of_a_wave(point):
    x, k = np.array(point), np.array([1.0, -2.0, 0.5])
    phase = float(k @ x)
    np.testing.assert_allclose(pde.gradient(lambda z: jnp.sin(k @ z), x), np.cos(phase) * k, atol=1e-13)
    np.testing.assert_allclose(pde.laplacian(lambda z: jnp.sin(k @ z), x), -(k @ k) * np.sin(phase), atol=1e-12)
    np.testing.assert_allclose(pde.divergence(lambda z: jnp.exp(0.1 * z) * k, x), 0.1 * k @ np.exp(0.1 * x), atol=1e-13)
    np.testing.assert_allclose(
        pde.laplacian(lambda z: jnp.sin(k @ z), x, axes=[0, -1]), -(k[0] ** 2 + k[2] ** 2) * np.sin(phase), atol=1e-12
    )


def test_operators_take_vectors_component_by_component():
    def u(z):
        return [z[0] ** 2 * z[1], z[1] ** 3]

    x = np.array([2.0, 3.0])
    np.testing.assert_allclose(pde.derivative(u, x, 1), [4.0, 27.0])
    np.testing.assert_allclose(pde.gradient(u, x), [[12.0, 4.0], [0.0, 27.0]])
    np.testing.assert_allclose(pde.laplacian(u, x), [6.0, 18.0])


@pytest.mark.parametrize(
    ("outputs", "transform"), [(2, None), (1, lambda x, n: jnp.sin(x[0]) * n * n + x[1] * x[1] * n)]
)
def test_the_laplacian_by_layers_is_the_trace_of_the_hessian(outputs, transform):
    network, params = pde.network(
        [(0, 2), (-1, 1), (0, 1)], [5, 4], outputs, periodic=[1], fourier=2, transform=transform, seed=3
    )
    u = Solution(network, params)
    for x in np.random.default_rng(0).uniform(0, 1, (1, 3)):
        hessian = jax.jacfwd(jax.jacfwd(u))(x)
        np.testing.assert_allclose(pde.laplacian(u, x), jnp.trace(hessian, axis1=-2, axis2=-1), rtol=1e-11)
        np.testing.assert_allclose(
            pde.laplacian(u, x, axes=[0, 2]), hessian[..., 0, 0] + hessian[..., 2, 2], rtol=1e-11, atol=1e-11
        )


def test_operators_nest_in_divergence_form():
    # div(k grad u) = k lap u + grad k . grad u, with k = 1 + x0^2 and u = x0 x1^2.
    def flux(z):
        return (1 + z[0] ** 2) * pde.gradient(lambda y: y[0] * y[1] ** 2, z)

    x = np.array([0.5, 3.0])
    assert float(pde.divergence(flux, x)) == pytest.approx((1 + 0.25) * 2 * 0.5 + 2 * 0.5 * 9.0)


def test_functions_of_numpy_can_be_differentiated():
    x = np.array([0.3, 2.0])
    assert float(pde.derivative(lambda z: np.sin(z[0]) * np.exp(z[1]), x, 0)) == pytest.approx(np.cos(0.3) * np.exp(2))
    np.testing.assert_allclose(pde.gradient(lambda z: np.array([z[0] * z[1], np.tan(z[0])])[0], x), [2.0, 0.3])


@pytest.mark.parametrize("sine", [np.sin, jnp.sin])
@pytest.mark.parametrize("made", [list, tuple, np.array])
def test_a_point_may_be_made_of_coordinates(made, sine):
    # Conditions that connect two places, as periodic ones do.
    def slopes(u, z):
        other = made([0.25, z[1]])
        return sine(pde.derivative(u, other, 0)) - sine(pde.derivative(u, z, 0)) + u(other)

    if made is np.array and sine is jnp.sin:
        made = jnp.array
    net = lambda params, x: x[0] ** 2 * x[1]  # noqa: E731
    problem = pde.Problem([(0, 1), (0, 2)], [pde.interior(slopes, [[0.5, 2.0]])], (net, {"unused": np.ones(1)}))
    left = problem.residual("interior", problem.params, [[0.5, 2.0]])
    np.testing.assert_allclose(left, np.sin(1.0) - np.sin(2.0) + 0.125, rtol=1e-12)


@pytest.mark.parametrize("sine", [np.sin, jnp.sin])
def test_many_points_outside_of_equations_give_one_row_each(sine):
    points = np.array([[0.5, 1.0], [2.0, -1.0], [0.3, 0.4]])
    x, y = points.T
    u = lambda z: sine(z[0]) * z[1] ** 2  # noqa: E731
    np.testing.assert_allclose(pde.derivative(u, points, 0, 1), 2 * np.cos(x) * y, atol=1e-12)
    np.testing.assert_allclose(pde.gradient(u, points), np.stack([np.cos(x) * y**2, 2 * np.sin(x) * y], 1), atol=1e-12)
    np.testing.assert_allclose(pde.laplacian(u, points, axes=[1]), 2 * np.sin(x), atol=1e-12)
    flux = lambda z: -z[1] * pde.gradient(u, z)  # noqa: E731
    expected = np.sin(x) * y**3 - 4 * np.sin(x) * y
    np.testing.assert_allclose(pde.divergence(flux, points), expected, atol=1e-12)


def test_the_axis_may_be_left_out_in_one_dimension():
    assert float(pde.derivative(lambda t: t[0] ** 3, np.array([2.0]))) == 12.0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pde.derivative(lambda x: x[0], np.ones(2)), ValueError, "2 coordinates: name them"),
        (lambda: pde.derivative(lambda x: x[0], np.ones(2), 2), ValueError, r"axis=2 is beyond .* 0 to 1"),
        (lambda: pde.derivative(lambda x: x[0], np.ones(2), "x"), TypeError, "axis='x' must be the whole number"),
        (lambda: pde.derivative(1.0, np.ones(2), 0), TypeError, r"function of a point, as u, not its value u\(x\)"),
        (lambda: pde.laplacian(lambda x: x[0], np.ones((3, 2, 1))), ValueError, r"one point of shape \(d,\)"),
        (lambda: pde.laplacian(lambda x: x[0], np.ones(2), axes=[]), ValueError, "axes is empty"),
        (
            lambda: pde.divergence(lambda x: x[0], np.ones(2)),
            ValueError,
            r"returns shape \(\) at a point of shape \(2,\)",
        ),
    ],
)
def test_bad_arguments_are_sentences(call, error, words):
    with pytest.raises(error, match=words):
        call()
