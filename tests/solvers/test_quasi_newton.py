"""The mathematics of `quasi-newton`: BFGS on quadratics, the secant equation, self-scaling, energy, rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.solvers import QuasiNewton
from stiffgrad.solvers.quasi_newton import Line, State, _change


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
    state = State(w, one, g, inverse, direction, one, jnp.asarray(pairs), one, {})
    return state, Line(one, 0.7 * one, w + s, 0.5 * one, g + y, one, jnp.asarray(True)), s, y


@pytest.mark.parametrize("pairs", [0, 1])
def test_the_update_fulfils_the_secant_equation_and_gives_the_next_direction(pairs):
    state, line, s, y = taken(0, pairs=pairs)
    change = _change(state, line)
    np.testing.assert_allclose(change.inverse @ y, s, rtol=1e-10)
    np.testing.assert_allclose(change.direction, -change.inverse @ line.gradient, rtol=1e-10)
    np.testing.assert_allclose(change.inverse, change.inverse.T, rtol=1e-12)
    assert float(jnp.linalg.eigvalsh(change.inverse)[0]) > 0


def test_scales_up_what_it_believed_too_stiff():
    state, line, s, y = taken(1)
    stiff = float(s @ jnp.linalg.solve(state.inverse, s) / (s @ y))
    scale = max(1.0, stiff)
    v = jnp.eye(5) - jnp.outer(y, s) / (s @ y)
    expected = scale * v.T @ state.inverse @ v + jnp.outer(s, s) / (s @ y)
    np.testing.assert_allclose(_change(state, line).inverse, expected, rtol=1e-9)


def test_no_secant_without_positive_curvature():
    state, line, _, y = taken(2)
    change = _change(state, line._replace(gradient=state.gradient - 0.1 * y))
    np.testing.assert_array_equal(change.inverse, state.inverse)
    assert int(change.pairs) == int(state.pairs)


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
