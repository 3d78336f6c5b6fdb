"""What users of SciPy and JAX bring: it works, or a sentence says how it would."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse

import stiffgrad as sg

T = np.linspace(0, 4, 60)
Y = 2.5 * np.exp(-1.3 * T) + 0.5 + 0.01 * np.random.default_rng(0).standard_normal(60)
START = np.array([1.0, 1.0, 0.0])


def residuals(p):
    return p[0] * jnp.exp(-p[1] * T) + p[2] - Y


def test_residuals_of_the_parameters_alone_have_the_cost_of_scipy():
    objective = sg.least_squares(residuals, START)
    found = scipy.optimize.least_squares(lambda p: np.asarray(residuals(p)), START, xtol=1e-14, gtol=1e-12, ftol=1e-15)
    solution = sg.solve(objective, "minpack", until=sg.Until(gradient_norm=1e-9, wall_seconds=10))
    assert solution.loss == pytest.approx(found.cost, rel=1e-12)
    np.testing.assert_allclose(solution.params, found.x, rtol=1e-6)
    jacobian = np.stack([np.exp(-T), -T * np.exp(-T), np.ones(60)], 1)  # at the start, by hand
    np.testing.assert_allclose(objective.gauss_newton(START), jacobian.T @ jacobian, rtol=1e-12)


def test_a_start_of_whole_numbers_is_one_of_real_numbers():
    whole, real = sg.least_squares(residuals, [1, 1, 0]), sg.least_squares(residuals, START)
    assert float(whole.value(whole.w0)) == float(real.value(real.w0))


def curve(params, t):
    return params[0] * jnp.exp(-params[1] * t) + params[2]


def fit(function=curve, params=START, X=T, y=Y):
    return sg.supervised(function, params, X, y)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fit(lambda t, p: curve(p, t)), ValueError, "another order.*apply\\(x, params\\)"),
        (
            lambda: fit(lambda t, a, b, c: curve((a, b, c), t)),
            ValueError,
            "arguments of their own.*apply\\(x, \\*params",
        ),
        (lambda: fit(lambda t, a, b: a * t + b, {"a": 1.0, "b": 0.0}), ValueError, "arguments of their own"),
        (lambda: fit(lambda p: residuals(p)), ValueError, r"params alone: least_squares\(residual, params\)"),
        (
            lambda: sg.least_squares(lambda p, t, y: curve(p, t) - y, START, (T, Y)),
            ValueError,
            r"as one argument: give lambda params, sample: function\(params, \*sample\)",
        ),
        (lambda: fit(lambda p, t: p[0] * np.exp(t * p[1])), ValueError, r"use jax\.numpy"),
        (lambda: fit(lambda p, t: curve(p, t) if t > 0 else p[2]), ValueError, r"jax\.numpy\.where in place of `if`"),
        (lambda: fit(lambda p, t: float(p[0]) * t), ValueError, "no float"),
        (lambda: fit(lambda p, t: (curve(p, t), t)), TypeError, "not a tuple"),
        (lambda: sg.minimise(residuals, START), ValueError, r"least_squares\(residual, params\)"),
        (lambda: sg.minimise(lambda p: (p @ p, p), START), ValueError, "not a tuple.*without its gradient"),
        (lambda: sg.minimise(lambda p, x: p @ p, START), ValueError, r"loss\(params\) fails.*missing 1 required"),
        (lambda: sg.minimise(lambda p: np.sin(p).sum(), START), ValueError, r"loss\(params\) fails.*use jax\.numpy"),
        (lambda: sg.solve(residuals), TypeError, r"least_squares\(residual, params\)"),
        (lambda: sg.solve(fit(), until=1e-6), TypeError, r"such as Until\(loss=1e-6\)"),
        (lambda: fit(X=np.ma.masked_array(T, T > 3)), TypeError, "a masked array has holes"),
        (lambda: fit(X=np.arange(60).astype("datetime64[D]")), TypeError, "times are none; give their distance"),
        (lambda: sg.supervised(sg.mlp([2, 3, 1]), scipy.sparse.eye(60, 2).tocsr(), Y), TypeError, "its toarray"),
        (lambda: fit(X=iter(T)), TypeError, "samples must hold numbers"),
        (
            lambda: fit(lambda p, t: p["a"] * t, {"a": 1.0, "wide": True}),
            TypeError,
            r"params\['wide'\] is a truth value",
        ),
        (lambda: fit(lambda p, t: p["a"] * t, {"a": 1.0, "kind": "relu"}), TypeError, "belongs into the function"),
    ],
)
def test_what_fails_says_what_to_do(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_whole_numbers_among_real_ones_are_warned_of():
    with pytest.warns(UserWarning, match=r"params\['power'\] is a whole number, and is trained") as seen:
        fit(lambda p, t: p["a"] * t ** p["power"], {"a": 1.0, "power": 2})
    assert seen[0].filename == __file__
