"""Data without noise: the steps and the judgement against dense formulas, and how far fits go."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from stiffgrad.estimators import FlowRegressor, _exact
from stiffgrad.estimators._network import Network
from stiffgrad.estimators._problem import Problem
from stiffgrad.estimators._record import Record
from stiffgrad.run.driver import Until

RNG = np.random.default_rng(0)


def problem_of(network, X, y, weights=None):
    weights = np.ones(len(X)) if weights is None else weights
    return Problem(network, "squared", X, y, weights, np.zeros(network.size, int), 1)


@pytest.mark.parametrize("sizes", [(3, 2), (3, 5, 4, 2)])
def test_second_derivatives_along_a_direction(sizes):
    network, X = Network(sizes, "silu"), RNG.normal(size=(6, 3))
    w, d = RNG.normal(size=(2, network.size))
    h = 1e-4
    z = [network.forward(w + s * h * d, X).z for s in (-1, 0, 1)]
    np.testing.assert_allclose(
        network.bent(w, network.forward(w, X), d), (z[0] - 2 * z[1] + z[2]) / h**2, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("rows", [30, 4], ids=["primal", "dual"])
def test_a_linear_model_is_judged_by_leaving_one_out(rows):
    # At the minimum of a ridge regression, leaving one sample out is a formula: here every fit is made.
    network, X = Network((5, 1)), RNG.normal(size=(rows, 5))
    y = X @ np.arange(5.0)[:, None] + 0.3 * RNG.normal(size=(rows, 1))
    problem, design = problem_of(network, X, y), np.column_stack([np.ones(rows), X])

    def ridge(used, decay):
        a = design[used]
        return np.linalg.solve(a.T @ a + decay * np.eye(6), a.T @ y[used, 0])

    everything = np.arange(rows)
    at = _exact._Rows.at(problem, ridge(everything, 0.5))
    found = _exact._judge(problem, at, design, _exact._small(design), 0.5)
    exact = [y[i, 0] - design[i] @ ridge(np.delete(everything, i), 0.5) for i in everything]
    assert found.left_out == pytest.approx(np.mean(np.square(exact)), rel=1e-9)


def test_a_sample_of_weight_two_is_two_samples():
    network, X = Network((2, 4, 1), "silu"), RNG.normal(size=(25, 2))
    y, w = np.sin(X[:, :1]), 0.5 * RNG.normal(size=network.size)
    weights = RNG.integers(1, 4, 25).astype(float)
    copies = np.repeat(np.arange(25), weights.astype(int))
    found = []
    for problem in (problem_of(network, X, y, weights), problem_of(network, X[copies], y[copies])):
        rows = _exact._Rows.at(problem, w)
        a = problem.network.jacobian(w, rows.seen, problem.heads(rows.seen))
        judged = _exact._judge(problem, rows, a, _exact._small(a), 0.1)
        found.append((judged.left_out, judged.noise, rows.energy(0.1)))
    np.testing.assert_allclose(*found, rtol=1e-9)


def surface(n, inputs, noise=0.0):
    X = RNG.uniform(-1, 1, (n, inputs))
    y = np.sin(3 * X[:, 0]) * np.exp(-(X[:, 1] ** 2)) + X[:, 0] * X[:, -1]
    return X, y + noise * y.std() * RNG.normal(size=n)


def test_every_step_lowers_the_loss_and_counts():
    X, y = surface(100, 2)
    problem = problem_of(Network((2, 6, 1), "silu"), X, y[:, None])
    with Record("least squares", Until(steps=50), 0, False, None) as record:
        found = _exact.follow(problem, RNG.normal(size=problem.network.size), record)
    trace = record.solution(None, found.w, 0.0, 0.0, None).trace
    assert np.all(np.diff(trace["loss"]) < 0)  # the decay falls as well
    assert trace["steps"][-1] >= 50
    assert len(trace["loss"]) < 1 + trace["steps"][-1]  # several steps with one matrix


def error(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2)) / y.std()


def test_a_surface_without_noise_is_found_as_well_as_by_a_gaussian_process():
    X, y = surface(1200, 2)
    train, test = slice(0, 250), slice(250, None)
    kernel = ConstantKernel() * RBF(np.ones(2), (1e-2, 1e3)) + WhiteKernel(1e-2, (1e-10, 10))
    peer = GaussianProcessRegressor(kernel, normalize_y=True).fit(X[train], y[train])
    model = FlowRegressor(random_state=0).fit(X[train], y[train])
    assert error(model, X[test], y[test]) < 3 * error(peer, X[test], y[test])
    assert error(model, X[test], y[test]) < 3e-4
    low, high = model.predict(X[test], quantiles=[0.05, 0.95])
    assert np.mean((y[test] >= low) & (y[test] <= high)) > 0.7
    assert model.loss_ <= model.best_loss_
    assert "gradient is zero" not in model.solution_.message


@pytest.mark.parametrize("function", [np.square, lambda x: np.exp(-4 * x**2)], ids=["square", "peak"])
def test_smooth_functions_of_one_input(function):
    X = RNG.uniform(-2, 2, (60, 1))
    model = FlowRegressor(random_state=0).fit(X, function(X[:, 0]))
    grid = np.linspace(-1.8, 1.8, 101)[:, None]
    assert error(model, grid, function(grid[:, 0])) < 1e-3


def test_noise_is_not_taken_for_a_function():
    X, y = surface(1300, 2, noise=0.01)
    model = FlowRegressor(random_state=0).fit(X[:300], y[:300])
    assert error(model, X[300:], y[300:]) < 0.013  # the noise alone is 0.01
    assert np.sqrt(model._noise) == pytest.approx(0.01, rel=0.2)
