"""Data without noise: the steps and the judgement against dense formulas, and how far fits go."""

import pickle

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from stiffgrad.estimators import FlowRegressor, _exact, _files, _scale
from stiffgrad.estimators._network import Network
from stiffgrad.estimators._problem import Problem
from stiffgrad.estimators._record import Record
from stiffgrad.run.until import Until

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


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_function_of_many_periods_is_found(noise):
    # Both a tanh network and a wave that starts too slow end at the mean of the targets, with a relative error of 1.
    X = RNG.uniform(-1, 1, (200, 1))
    wave = np.sin(6 * np.pi * X[:, 0] + 0.5)
    model = FlowRegressor(random_state=0).fit(X, wave + noise * RNG.normal(size=200))
    grid = np.linspace(-0.98, 0.98, 301)[:, None]
    truth = np.sin(6 * np.pi * grid[:, 0] + 0.5)
    assert model.activation_ == "sine"
    assert error(model, grid, truth) < (1e-5 if noise == 0 else 0.5 * noise)
    slope = 6 * np.pi * np.cos(6 * np.pi * grid[:, 0] + 0.5)
    assert np.sqrt(np.mean((model.gradient(grid)[:, 0] - slope) ** 2)) < (1e-3 if noise == 0 else noise) * slope.std()
    if noise:
        assert np.sqrt(model._noise) * model._y_std[0] == pytest.approx(noise, rel=0.15)


def test_ishigami_of_three_inputs():
    # Ishigami and Homma 1990: R2 of 0.5 is what a network reaches that misses the two periods of the second input.
    X = RNG.uniform(-np.pi, np.pi, (1300, 3))
    y = np.sin(X[:, 0]) + 7 * np.sin(X[:, 1]) ** 2 + 0.1 * X[:, 2] ** 4 * np.sin(X[:, 0])
    model = FlowRegressor(random_state=0).fit(X[:300], y[:300])
    assert error(model, X[300:], y[300:]) < 0.02


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_an_activation_that_is_asked_for_is_kept(activation):
    X, y = surface(80, 2)
    model = FlowRegressor(activation=activation, random_state=0).fit(X, y)
    assert model.activation_ == activation
    np.testing.assert_allclose(model.export()(X), model.predict(X), rtol=1e-12)


def test_the_activation_that_was_chosen_is_saved():
    X = RNG.uniform(-1, 1, (120, 1))
    model = FlowRegressor(random_state=0).fit(X, np.sin(6 * np.pi * X[:, 0]))
    assert model.activation_ == "sine"
    settings, arrays = _files.state_of(model)
    for other in (_files.restore(FlowRegressor(), settings, arrays), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.predict(X, return_std=True), model.predict(X, return_std=True))
    np.testing.assert_allclose(model.export()(X), model.predict(X), rtol=1e-12, atol=1e-12)


def test_a_warm_start_goes_on_with_the_network_that_was_chosen():
    X = RNG.uniform(-1, 1, (200, 1))
    y = np.sin(6 * np.pi * X[:, 0])
    model = FlowRegressor(warm_start=True, random_state=0).fit(X[:150], y[:150])
    first = error(model, X[150:], y[150:])
    model.fit(X, y)
    assert (model.activation_, [len(b) for b in model.intercepts_]) == ("sine", [40, 1])
    assert first < 1e-4
    assert error(model, X[150:], y[150:]) < 1e-4  # the evidence goes on: less exactly than least squares


def test_units_that_are_asked_for_are_kept():
    X, y = surface(80, 2)
    model = FlowRegressor((7,), random_state=0).fit(X, y)
    assert (model.activation_, [len(b) for b in model.intercepts_]) == ("tanh", [7, 1])


def test_random_features_are_judged_by_leaving_one_out():
    X, y = RNG.normal(size=(12, 2)), RNG.normal(size=(12, 2))
    waves, phases = RNG.normal(size=(5, 2)), RNG.uniform(-3, 3, 5)
    features = np.column_stack([np.ones(12), X, np.sqrt(2 / 5) * np.sin(X @ waves.T + phases)])
    one = np.ones((12, 1))
    found = _scale._left_out(X, y, one, one, waves, phases)
    errors = []
    for decay in _scale.DECAYS:
        left = []
        for i in range(12):
            a, b = np.delete(features, i, 0), np.delete(y, i, 0)
            weights = np.linalg.solve(a.T @ a + decay * np.eye(8), a.T @ b)
            left.append(features[i] @ weights - y[i])
        errors.append(np.mean(np.square(left)))
    assert found == pytest.approx(min(errors), rel=1e-6)


def test_a_row_of_weight_two_is_two_rows_to_random_features():
    X, y, weights = RNG.normal(size=(20, 2)), RNG.normal(size=(20, 1)), RNG.integers(1, 4, 20)
    copies = np.repeat(np.arange(20), weights)
    found = _scale.scale_of(X, y, weights.astype(float))
    same = _scale.scale_of(X[copies], y[copies], np.ones(len(copies)))
    assert (found.value, found.left_out) == pytest.approx((same.value, same.left_out), rel=1e-8)


def test_the_scale_follows_the_function():
    X = RNG.uniform(-1.7, 1.7, (150, 1))
    scales = [_scale.scale_of(X, np.sin(f * X), np.ones(150)).value for f in (1.0, 4.0, 16.0)]
    assert scales[0] < scales[1] < scales[2]
    assert scales[2] / 16 == pytest.approx(1.0, rel=0.5)


def test_noise_without_a_function_is_left_alone():
    # Nothing is there: a network that follows the noise would leave samples out with errors above their variance.
    X = RNG.uniform(-1, 1, (300, 2))
    model = FlowRegressor(random_state=0).fit(X, RNG.normal(size=300))
    assert np.std(model.predict(RNG.uniform(-1, 1, (500, 2)))) < 0.25


def test_noise_is_not_taken_for_a_function():
    X, y = surface(1300, 2, noise=0.01)
    model = FlowRegressor(random_state=0).fit(X[:300], y[:300])
    assert error(model, X[300:], y[300:]) < 0.013  # the noise alone is 0.01
    assert np.sqrt(model._noise) == pytest.approx(0.01, rel=0.2)
