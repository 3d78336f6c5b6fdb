"""Noise with heavy tails: its mathematics against SciPy and refits, and what outliers do to a fit."""

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import HuberRegressor
from sklearn.metrics import r2_score

from stiffgrad.estimators import FlowRegressor, _leave_one_out, _noise
from stiffgrad.estimators._curvature import Curvature
from stiffgrad.estimators._network import Network
from stiffgrad.estimators._problem import Problem

RNG = np.random.default_rng(0)


def test_quantiles_of_t_noise_alone_are_those_of_t():
    q = np.array([0.001, 0.05, 0.3, 0.5, 0.9])
    found = _noise.quantiles(q, np.zeros(1), 4.0, 3.0)[:, 0]
    np.testing.assert_allclose(found, 2.0 * stats.t.ppf(q, 3), rtol=1e-3, atol=1e-9)


def test_quantiles_of_a_wide_prediction_are_normal():
    q = np.array([0.01, 0.25, 0.8])
    found = _noise.quantiles(q, np.full(1, 100.0), 1e-3, 4.0)[:, 0]
    np.testing.assert_allclose(found, 10.0 * stats.norm.ppf(q), rtol=1e-3)


def test_quantiles_of_a_sum_are_those_of_its_draws():
    q = np.array([0.05, 0.2, 0.95])
    draws = 0.7 * RNG.standard_t(4, 400_000) + 0.9 * RNG.normal(size=400_000)
    found = _noise.quantiles(q, np.full(1, 0.81), 0.49, 4.0)[:, 0]
    np.testing.assert_allclose(found, np.quantile(draws, q), rtol=0.02)


@pytest.mark.parametrize("degrees", [3.0, 10.0])
def test_the_scale_is_the_most_likely_one(degrees):
    r = 0.3 * RNG.standard_t(degrees, 500)
    found = _noise.most_likely(r**2, np.ones(500), 1, degrees)
    _, _, scale = stats.t.fit(r, fdf=degrees, floc=0.0)
    assert np.sqrt(found) == pytest.approx(scale, rel=1e-3)


def test_a_weight_of_two_is_two_residuals():
    r = RNG.standard_t(3, 40)
    twice = _noise.most_likely(np.repeat(r**2, 2), np.ones(80), 1, 4.0)
    assert _noise.most_likely(r**2, np.full(40, 2.0), 1, 4.0) == pytest.approx(twice)


def test_densities_are_those_of_the_multivariate_t():
    r = RNG.normal(size=(5, 2))
    expected = stats.multivariate_t(shape=0.7 * np.eye(2), df=4.0).logpdf(r)
    np.testing.assert_allclose(_noise._log_densities((r**2).sum(1), 2, 4.0, 0.7), expected)
    normal = stats.norm(scale=np.sqrt(0.7)).logpdf(r).sum(1)
    np.testing.assert_allclose(_noise._log_densities((r**2).sum(1), 2, np.inf, 0.7), normal)


def linear(precisions, rows=slice(None)):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 1))
    weights = np.where(np.arange(30) % 3 == 0, 2.0, 1.0)
    groups = np.zeros(4, int)
    return Problem(Network((3, 1)), "squared", X[rows], y[rows], weights[rows], groups, 1, precisions[rows])


def minimum(problem, decay):
    w = np.zeros(4)
    seen = problem.forward(w)
    a = problem.network.jacobian(w, seen, problem.heads(seen))
    return -Curvature.of(a, a.T @ a, decay).solve(problem.gradient(w, seen))


def test_precisions_weigh_the_loss_and_leave_the_number_of_samples():
    precisions = np.linspace(0.1, 1.3, 30)
    problem, w = linear(precisions), np.array([0.1, 0.5, -0.3, 0.2])
    r = problem.forward(w).z - problem.y
    assert problem.value(problem.forward(w)) == pytest.approx(0.5 * float(problem.weights * precisions @ r[:, 0] ** 2))
    assert problem.samples == 40.0
    step = 1e-6
    numeric = [
        (problem.value(problem.forward(w + step * e)) - problem.value(problem.forward(w - step * e))) / (2 * step)
        for e in np.eye(4)
    ]
    np.testing.assert_allclose(problem.gradient(w, problem.forward(w)), numeric, rtol=1e-6)


def test_left_out_predictions_with_precisions_are_those_of_a_refit():
    precisions, decay = np.linspace(0.1, 1.3, 30), np.full(4, 0.5)
    problem = linear(precisions)
    found = _leave_one_out.judge(problem, minimum(problem, decay), decay).left_out
    for sample in (1, 17):  # of weight 1
        rest = np.delete(np.arange(30), sample)
        without = linear(precisions, rest)
        w = minimum(without, decay)
        expected = problem.network.forward(w, problem.X[[sample]]).z
        np.testing.assert_allclose(found[sample], expected[0], rtol=1e-4)


def contaminated(seed, rows=200, share=0.05, one_sided=False, function=None):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (rows + 1000, 3))
    y = X @ [1.0, -2.0, 0.5] if function is None else function(X)
    seen = y[:rows] + 0.1 * rng.normal(size=rows)
    count = int(share * rows)
    seen[:count] += 10 * y.std() * (1.0 if one_sided else rng.choice([-1, 1], count))
    return X[:rows], seen, X[rows:], y[rows:]


@pytest.mark.parametrize("one_sided", [False, True])
def test_outliers_around_a_line_cost_no_more_than_with_huber(one_sided):
    X, y, points, values = contaminated(0, one_sided=one_sided)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert model.noise_ == "student-t"
    assert model.degrees_of_freedom_ < 10
    huber = HuberRegressor().fit(X, y).score(points, values)
    assert r2_score(values, model.predict(points)) > huber - 0.001
    assert FlowRegressor(random_state=0, noise="gaussian").fit(X, y).score(points, values) < 0.95


def test_outliers_around_a_surface():
    X, y, points, values = contaminated(1, 300, function=lambda X: np.sin(3 * X[:, 0]) * np.cos(2 * X[:, 1]) + X[:, 2])
    model = FlowRegressor(random_state=0).fit(X, y)
    assert r2_score(values, model.predict(points)) > 0.98
    low, high = model.predict(X[15:], quantiles=[0.05, 0.95])  # of the samples that are no outliers
    assert np.mean((y[15:] > low) & (y[15:] < high)) > 0.85


def test_with_normal_noise_nothing_changes():
    rng = np.random.default_rng(2)
    X = rng.uniform(-1, 1, (150, 2))
    y = np.sin(3 * X[:, 0]) + X[:, 1] + 0.2 * rng.normal(size=150)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert (model.noise_, model.degrees_of_freedom_) == ("gaussian", np.inf)
    other = FlowRegressor(random_state=0, noise="gaussian").fit(X, y)
    np.testing.assert_array_equal(model.predict(X, return_std=True), other.predict(X, return_std=True))


def test_intervals_of_t_noise_cover():
    rng = np.random.default_rng(3)
    X = rng.uniform(-1, 1, (3400, 2))
    y = 5 * X[:, 0] + np.sin(3 * X[:, 1]) + 0.3 * rng.standard_t(3, 3400)
    model = FlowRegressor(random_state=0).fit(X[:400], y[:400])
    assert model.noise_ == "student-t"
    for share in (0.5, 0.9, 0.98):
        low, high = model.predict(X[400:], quantiles=[0.5 - share / 2, 0.5 + share / 2])
        assert np.mean((y[400:] > low) & (y[400:] < high)) == pytest.approx(share, abs=0.04)
    mean, std = model.predict(X[:5], return_std=True)
    _, covariance = model.predict(X[:5], return_cov=True)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), std)
    nu, spread = model.degrees_of_freedom_, model._covariances(model._inputs(X[:5]))[:, 0, 0]
    np.testing.assert_allclose(std, model._y_std * np.sqrt(spread + model._noise * nu / (nu - 2)))
    np.testing.assert_allclose(model.predict(X[:5], quantiles=[0.5])[0], mean)


def test_the_mean_of_skewed_noise_is_kept():
    rng = np.random.default_rng(4)
    X = rng.uniform(-1, 1, (3000, 2))
    y = X[:, 0] + rng.exponential(1.0, 3000)
    model = FlowRegressor(random_state=0).fit(X[:1000], y[:1000])
    assert np.mean(model.predict(X) - X[:, 0]) == pytest.approx(1.0, abs=0.1)


def test_a_sample_of_weight_two_is_two_samples_with_outliers_too():
    X, y, points, _ = contaminated(5, 60)
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    weighted = FlowRegressor(random_state=0).fit(X, y, weights)
    repeated = FlowRegressor(random_state=0).fit(np.r_[X, X[:20]], np.r_[y, y[:20]])
    assert weighted.noise_ == repeated.noise_ == "student-t"
    np.testing.assert_allclose(weighted.predict(points), repeated.predict(points), rtol=1e-6)


def test_several_outputs_share_their_outliers():
    X, y, points, values = contaminated(6)
    model = FlowRegressor(random_state=0).fit(X, np.column_stack([y, 2 * y]))
    assert model.noise_ == "student-t"
    assert r2_score(np.column_stack([values, 2 * values]), model.predict(points)) > 0.99
    assert model.predict(points, quantiles=[0.1, 0.9]).shape == (2, 1000, 2)


def test_t_noise_needs_the_evidence():
    X, y, _, _ = contaminated(7)
    with pytest.raises(ValueError, match="needs a fit by the evidence"):
        FlowRegressor(alpha=1.0, noise="student-t", max_iter=5).fit(X, y)
    assert FlowRegressor((4,), noise="student-t", max_iter=20).fit(X[20:], y[20:]).noise_ == "student-t"


def test_the_minimum_of_a_weighted_fit():
    X, y, _, _ = contaminated(8)
    model = FlowRegressor((4,), random_state=0).fit(X, y)
    assert model._training_data[0].precisions is not None
    assert model._objective.value(model.solution_.w) == pytest.approx(
        model.loss_ * model._training_data[0].weights.sum() / model._training_data[0].rows.sum()
    )
    assert model.minimum_.kind in ("minimum", "flat")


def test_a_model_from_before_these_attributes_predicts():
    X, y, points, _ = contaminated(9)
    model = FlowRegressor((4,), "logistic", random_state=0, noise="gaussian").fit(X, y)
    state = model.__getstate__()
    for name in ("activation_", "_degrees", "noise", "n_jobs"):
        state.pop(name)
    state["solver"] = "auto"  # the name that None had then
    old = FlowRegressor.__new__(FlowRegressor)
    old.__setstate__(state)
    np.testing.assert_array_equal(old.predict(points), model.predict(points))
    assert old.noise_ == "gaussian"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(old)).predict(points), model.predict(points))
    assert old.get_params() == FlowRegressor((4,), "logistic", random_state=0).get_params()
