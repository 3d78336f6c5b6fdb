"""Noise whose variance changes with the inputs: its mathematics, and intervals that follow it."""

import dataclasses
import pickle

import numpy as np
import pytest
from scipy import stats

from stiffgrad.estimators import FlowRegressor, _leave_one_out, _noise, _training, _variance
from stiffgrad.estimators._problem import LOSSES
from stiffgrad.estimators._training import Fitted, Task
from stiffgrad.estimators._variance import VarianceFunction, Waves


def table(rows, seed=0, points=2000):
    """A sine whose noise has the standard deviation 0.05 + 0.3 |x|: X, y, that deviation, of rows and of points."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-3, 3, (rows + points, 1))
    std = 0.05 + 0.3 * np.abs(X[:, 0])
    y = np.sin(X[:, 0]) + std * rng.normal(size=len(X))
    return X[:rows], y[:rows], X[rows:], y[rows:], std[rows:]


def test_the_loss_is_the_normal_likelihood_of_a_variance():
    rng = np.random.default_rng(0)
    z, r = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    loss = LOSSES["log_variance"]
    expected = -stats.norm(scale=np.exp(0.5 * z)).logpdf(r).sum(1) - np.log(2 * np.pi)
    np.testing.assert_allclose(loss.value(z, r**2), expected)
    step = 1e-6
    up, down = loss.value(z + step * np.eye(2)[0], r**2), loss.value(z - step * np.eye(2)[0], r**2)
    np.testing.assert_allclose(loss.slope(z, r**2)[:, 0], (up - down) / (2 * step), rtol=1e-7, atol=1e-9)
    heads = loss.heads(z)  # where the square is what its variance says, the expected Hessian is the Hessian
    change = (loss.slope(z + step, np.exp(z)) - loss.slope(z - step, np.exp(z))) / (2 * step)
    np.testing.assert_allclose((heads.transpose(0, 2, 1) @ heads)[0], np.diag(change[0]), rtol=1e-7, atol=1e-12)


def test_a_variance_function_is_that_of_its_features_and_bounded():
    rng = np.random.default_rng(1)
    a, mean, scale = rng.normal(size=(20, 3)), np.array([1.0, -2.0, 0.5]), np.array([2.0, 0.5, 3.0])
    waves = Waves(rng.normal(size=(5, 3)), rng.normal(size=5))
    features = waves.features((a - mean) / scale)
    w = rng.normal(size=9)
    g = features @ w[1:] + w[0]
    function = _variance.Candidate(waves, w, 1.0, g, g).function(mean, scale)
    np.testing.assert_allclose(np.log(function(a[:, :2], a[:, 2:])), g)
    far = function(100 * a[:, :2], a[:, 2:])
    assert far.min() >= np.exp(g.min()) * (1 - 1e-12)
    assert far.max() <= np.exp(g.max()) * (1 + 1e-12)
    np.testing.assert_allclose(function.times(3.0)(100 * a[:, :2], a[:, 2:]), 3.0 * far)


def test_a_log_linear_variance_is_found():
    rng = np.random.default_rng(2)
    inputs = rng.normal(size=(4000, 2))
    squares = np.exp(0.5 + 1.2 * inputs[:, 0]) * rng.normal(size=4000) ** 2
    line, whole, alone = (_variance.fitted(each, inputs, 1, squares, np.ones(4000)) for each in _variance.several(2, 1))
    np.testing.assert_allclose(line.w, [0.5, 1.2, 0.0], atol=0.1)
    assert np.std(whole.log_variance - 0.5 - 1.2 * inputs[:, 0]) < 0.2
    assert np.std(alone.log_variance) > 1.0  # the line of inputs is in all of them
    assert not np.any(alone.waves.directions[:, 0])


def test_two_outputs_are_two_observations_of_it():
    rng = np.random.default_rng(3)
    inputs, squares = rng.normal(size=(50, 2)), rng.chisquare(2, 50) / 2
    waves = _variance.several(2, 1)[0]
    both = _variance.fitted(waves, inputs, 2, squares, np.ones(50))
    twice = _variance.fitted(waves, np.repeat(inputs, 2, 0), 1, np.repeat(squares, 2), np.ones(100), both)
    features = np.column_stack([np.ones(50), inputs])
    for fit in (both, twice):  # both are minima of the same function, up to the tolerance of a search
        decay = np.array([_leave_one_out.BIASES, fit.level, fit.level])
        slope = decay * fit.w + features.T @ (1.0 - squares * np.exp(-features @ fit.w))
        np.testing.assert_allclose(slope, 0.0, atol=0.05)


def line(precisions, variances):
    """A linear fit with precisions, as a fit and its task, for noise of other variances."""
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(40, 2)), rng.normal(size=(40, 1))
    task = Task(X, y, np.ones(40), "squared", (2, 1), "tanh", precisions)
    start = _training.start_of(task, 0)
    problem = _training.problem_of(task, start, False)
    decay, noise = np.full(3, 0.7), 0.3
    H = _leave_one_out.gram_at(problem, _training.flat(start), double=True)
    H = np.tril(H) + np.tril(H, -1).T + np.diag(decay)
    return X, H, decay, noise, task, start


@pytest.mark.parametrize("precisions", [None, np.linspace(0.3, 2.0, 40)])
def test_the_covariance_is_that_of_the_weights(precisions):
    variances = np.linspace(0.1, 3.0, 40)
    X, H, decay, noise, task, start = line(precisions, variances)
    fit = Fitted(
        _Solution(start), decay / 40, noise=noise, covariance=noise * np.linalg.inv(H), sizes=(2, 1), activation="tanh"
    )
    nothing = np.zeros(40)
    found = _noise._covariance(fit, task, _noise.Noise(nothing, np.inf, 0.5, nothing, 0.0, 0.0, variances))
    A, P = np.column_stack([np.ones(40), X]), np.ones(40) if precisions is None else precisions
    rng = np.random.default_rng(5)
    errors = rng.normal(size=(40, 200_000)) * np.sqrt(0.5 * variances)[:, None]
    prior = rng.normal(size=(3, 200_000)) * np.sqrt(noise / 0.7)
    draws = np.linalg.solve(H, A.T @ (P[:, None] * errors) - 0.7 * prior)
    np.testing.assert_allclose(found, np.cov(draws), rtol=0.02, atol=2e-4)


@dataclasses.dataclass
class _Solution:
    params: list


def test_intervals_follow_the_noise():
    X, y, points, values, std = table(400)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert model.heteroscedastic_
    found = model.predict(points, return_std=True)[1]
    assert np.std(np.log(found / std)) < 0.35  # of a constant it is 0.67
    low, high = model.predict(points, quantiles=[0.05, 0.95])
    inside, wide = (values > low) & (values < high), std > np.median(std)
    assert np.mean(inside[wide]) == pytest.approx(0.9, abs=0.06)
    assert np.mean(inside[~wide]) == pytest.approx(0.9, abs=0.06)
    _, covariance = model.predict(points[:5], return_cov=True)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), found[:5])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(points, return_std=True)[1], found)
    fixed = FlowRegressor(random_state=0, noise="gaussian").fit(X, y)
    assert not fixed.heteroscedastic_
    score, other = (stats.norm(*each.predict(points, return_std=True)).logpdf(values).mean() for each in (model, fixed))
    assert score > other + 0.2


def test_units_change_nothing():
    X, y, points, _, _ = table(200)
    first = FlowRegressor(random_state=0).fit(X, y).predict(points, return_std=True)
    other = FlowRegressor(random_state=0).fit(1e3 * X + 7, 1e-3 * y - 5).predict(1e3 * points + 7, return_std=True)
    np.testing.assert_allclose(1e3 * other[1], first[1], rtol=1e-4)


def test_a_variance_that_changes_with_what_is_measured():
    rng = np.random.default_rng(6)
    X = rng.uniform(-1, 1, (2300, 3))
    mean = np.exp(1 + X @ [1.0, -0.5, 0.3])
    y = mean * (1 + 0.2 * rng.normal(size=2300))
    model = FlowRegressor(random_state=0).fit(X[:300], y[:300])
    ratio = model.predict(X[300:], return_std=True)[1] / (0.2 * mean[300:])
    assert model.heteroscedastic_
    assert np.std(np.log(ratio)) < 0.25


@pytest.mark.parametrize("seed", range(3))
def test_of_the_same_noise_everywhere_nothing_changes(seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (200, 2))
    y = np.sin(3 * X[:, 0]) + X[:, 1] + 0.2 * rng.normal(size=200)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert not model.heteroscedastic_
    other = FlowRegressor(random_state=0, noise="gaussian").fit(X, y)
    np.testing.assert_array_equal(model.predict(X, return_std=True), other.predict(X, return_std=True))


def test_heavy_tails_are_no_variance_that_changes():
    rng = np.random.default_rng(7)
    X = rng.uniform(-1, 1, (400, 2))
    y = 5 * X[:, 0] + np.sin(3 * X[:, 1]) + 0.3 * rng.standard_t(3, 400)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert (model.noise_, model.heteroscedastic_) == ("student-t", False)


def test_known_variances_divide_squares():
    """Twice the residual and four times the variance: the same density, less the logarithm of two."""
    residuals = _noise._Residuals(
        np.array([[1.0], [2.0], [-0.5]]), np.zeros((3, 1)), np.ones(3), np.zeros((3, 2)), None, None,
        np.zeros((3, 2)), None, 1.0,
    )  # fmt: skip
    ones = np.ones(3)
    first = residuals.noise_of((np.inf,), ones, None)
    doubled = dataclasses.replace(residuals, left_out=2 * residuals.left_out)
    other = doubled.noise_of((np.inf,), 4 * ones, 4 * ones)
    assert other.variance == pytest.approx(first.variance)
    np.testing.assert_allclose(other.densities, first.densities - np.log(2))
    np.testing.assert_allclose(other.precisions, 0.25)


def test_a_model_file_keeps_it(tmp_path):
    from stiffgrad.estimators import _files

    X, y, points, _, _ = table(200)
    model = FlowRegressor(random_state=0).fit(X, y)
    settings, arrays = _files.state_of(model)
    function = model._variance_function
    again = _files.restore(FlowRegressor(), settings, arrays)._variance_function
    assert isinstance(again, VarianceFunction)
    scaled = model._inputs(points)
    np.testing.assert_array_equal(again(scaled, scaled), function(scaled, scaled))
    shapes = _files._variance(settings["variance"], 2)
    assert {name: arrays[name].shape for name in shapes} == shapes
    with pytest.raises(ValueError, match="not in order"):
        _files._variance({**settings["variance"], "low": 3.0, "high": 2.0}, 2)
    assert _files._variance(None, 2) == {}


def test_each_decay_costs_the_variance_a_degree_of_freedom():
    residuals = np.array([[1.0], [2.0], [-0.5], [0.5]])
    plain = _noise._Residuals(
        residuals, np.zeros((4, 1)), np.ones(4), np.zeros((4, 2)), None, None, np.zeros((4, 2)), None, 1.0
    )
    squares = 1.0 + 4.0 + 0.25 + 0.25
    assert plain.known_noise(_noise.NORMAL).variance == pytest.approx(squares / 4)
    fitted = dataclasses.replace(plain, decays=3)
    assert fitted.known_noise(_noise.NORMAL).variance == pytest.approx(squares / (4 - 3))
    assert fitted.known_noise(_noise.NORMAL).log_density == plain.known_noise(_noise.NORMAL).log_density


def test_a_first_step_is_worth_what_it_is_without_each_sample():
    """The best of ridge regressions, each sample predicted by the one without it."""
    rng = np.random.default_rng(0)
    inputs, weights = rng.normal(size=(150, 2)), np.ones(150)
    squares = np.exp(inputs[:, 0]) * rng.chisquare(1, 150)
    waves = _variance.several(2, 1)[0]
    q, rows = squares / squares.mean(), np.column_stack([np.ones(150), waves.features(inputs)])
    found = []
    for decay in _variance.WEAK * _variance.RATIO ** np.arange(_variance.LEVELS):
        g = np.empty(150)
        for i in range(150):
            rest = np.arange(150) != i
            matrix = rows[rest].T @ rows[rest] + 2.0 * decay * np.eye(3)
            g[i] = rows[i] @ np.linalg.solve(matrix, rows[rest].T @ (q[rest] - 1.0))
        g = np.clip(g, -_variance.MOST, _variance.MOST)
        found.append(0.5 * float((q - g - q * np.exp(-g)).sum()))
    assert _variance.gain(waves, inputs, 1, squares, weights) == pytest.approx(max(found), rel=1e-9)
    assert max(found) > 1.0


def test_noise_that_is_the_same_everywhere_gets_no_variance_function():
    rng = np.random.default_rng(1)
    inputs, squares = rng.normal(size=(300, 2)), rng.chisquare(1, 300)
    gains = [_variance.gain(waves, inputs, 1, squares, np.ones(300)) for waves in _variance.several(2, 1)]
    assert max(gains) <= 0.0
