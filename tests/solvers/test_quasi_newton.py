"""The mathematics of `quasi-newton`: BFGS on quadratics, the secant equation, self-scaling, energy, rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.curvature.point import Point
from stiffgrad.solvers import QuasiNewton
from stiffgrad.solvers._own import Place
from stiffgrad.solvers.quasi_newton import State, _secant


def quadratic(eigenvalues, seed=0):
    """E = 1/2 sum of the eigenvalues times squares, in rotated coordinates."""
    n = len(eigenvalues)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    rows = np.sqrt(n * np.asarray(eigenvalues))[:, None] * rotation
    return sg.least_squares(lambda w, x: x @ w, np.ones(n), rows)


def noisy(seed=0):
    generator = np.random.default_rng(seed)
    apply, params = sg.mlp([3, 6, 1], seed=seed)
    X = generator.normal(size=(40, 3))
    return sg.supervised(apply, params, X, generator.normal(size=(40, 1)), weight_decay=1e-3)


def taken(seed, n=5, pairs=1):
    """A step along -H g from random numbers, with a positive definite H."""
    key = jax.random.split(jax.random.key(seed), 3)
    half = jax.random.normal(key[0], (n, n))
    inverse = half @ half.T + jnp.eye(n)
    w, g = jax.random.normal(key[1], (2, n))
    direction = -inverse @ g
    s = 0.7 * direction
    y = jnp.linspace(0.5, 2.0, n) * s
    one = jnp.ones(())
    place = Place.start(np.asarray(w))._replace(point=Point(w, one, g))
    return State(place, inverse, direction, 0.7 * one, jnp.asarray(pairs)), Point(w + s, 0.5 * one, g + y), s, y


@pytest.mark.parametrize("pairs", [0, 1])
def test_the_update_fulfils_the_secant_equation_and_gives_the_next_direction(pairs):
    state, new, s, y = taken(0, pairs=pairs)
    secant = _secant(state, new, True)
    inverse = secant.update(state.inverse)
    np.testing.assert_allclose(inverse @ y, s, rtol=1e-10)
    np.testing.assert_allclose(secant.direction, -inverse @ new.gradient, rtol=1e-10)
    np.testing.assert_allclose(inverse, inverse.T, rtol=1e-12)
    assert float(jnp.linalg.eigvalsh(inverse)[0]) > 0


def test_scales_up_what_it_believed_too_stiff():
    state, new, s, y = taken(1)
    stiff = float(s @ jnp.linalg.solve(state.inverse, s) / (s @ y))
    scale = max(1.0, stiff)
    v = jnp.eye(5) - jnp.outer(y, s) / (s @ y)
    expected = scale * v.T @ state.inverse @ v + jnp.outer(s, s) / (s @ y)
    np.testing.assert_allclose(_secant(state, new, True).update(state.inverse), expected, rtol=1e-9)


@pytest.mark.parametrize("when", [True, False])
def test_no_secant_without_positive_curvature_or_after_a_rejection(when):
    state, new, _, y = taken(2)
    if when:
        new = new._replace(gradient=state.place.point.gradient - 0.1 * y)
    secant = _secant(state, new, when)
    np.testing.assert_array_equal(secant.update(state.inverse), state.inverse)
    assert not bool(secant.curved)


def test_solves_stiff_quadratics_to_rounding():
    objective = quadratic(np.geomspace(1e-3, 1e3, 12))
    solution = sg.solve(objective, "quasi-newton", until=sg.Until(gradient_norm=1e-9, steps=400))
    assert solution.outcome is sg.Outcome.TARGET
    assert np.abs(solution.w).max() < 1e-5  # 1e-9 over the smallest eigenvalue, with room


def test_energy_never_rises_and_every_gradient_counts():
    solution = sg.solve(noisy(), "quasi-newton", until=sg.Until(gradient_norm=1e-8))
    loss, counts = solution.trace["loss"], solution.statistics
    assert solution.outcome is sg.Outcome.TARGET
    assert np.all(np.diff(loss) <= 8 * np.finfo(float).eps * loss[:-1])
    assert counts.rhs_evaluations == counts.presentations == 1 + counts.steps + counts.rejected_steps
    assert sg.minimum(noisy(), solution.params).kind == "minimum"


def test_ends_where_rounding_hides_the_rest():
    solution = sg.solve(noisy(), QuasiNewton(), until=sg.Until(gradient_norm=0.0, steps=5000), throw=False)
    assert solution.outcome is sg.Outcome.STATIONARY
    assert solution.gradient_norm < 1e-9


def test_refuses_a_matrix_that_does_not_fit(monkeypatch):
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: 1e3)
    with pytest.raises(MemoryError, match="exponential"):
        sg.solve(noisy(), "quasi-newton")


@pytest.mark.parametrize("size", [0.1, 100.0])
def test_the_first_step_goes_down_the_gradient_and_is_at_most_one_long(size):
    objective = sg.minimise(lambda w: size * (0.6 * w[0] + 0.8 * w[1]) + 0.0 * w @ w, np.zeros(2))
    method = QuasiNewton()
    state, _ = method.initial(objective, np.asarray(objective.w0))
    after, _ = method.step(objective, state)  # the start is evaluated
    np.testing.assert_allclose(after.direction, -min(size, 1.0) * np.array([0.6, 0.8]), rtol=1e-12)
    np.testing.assert_allclose(after.direction, -after.inverse @ after.place.point.gradient, rtol=1e-12)
