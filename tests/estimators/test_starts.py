"""Functions without noise from several starts: shares, what differs between them, and intervals that cover."""

import dataclasses

import numpy as np
import pytest

from stiffgrad.estimators import FlowRegressor, _noise, _starts, _training
from stiffgrad.estimators._training import Settings, Task
from stiffgrad.run.until import Until


def surface(rows, inputs, seed=0):
    X = np.random.default_rng(seed).uniform(-1, 1, (rows + 1000, inputs))
    y = np.sin(3 * X[:, 0]) * np.exp(-(X[:, 1] ** 2)) + X[:, 0] * X[:, -1]
    return X[:rows], y[:rows], X[rows:], y[rows:]


def error(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2)) / y.std()


def fits(left_out, noise=1e-4):
    """Fits of a line through 40 samples that differ in what they leave out."""
    X = np.random.default_rng(0).uniform(-1, 1, (40, 1))
    task = Task(X, X.copy(), np.ones(40), "squared", (1, 2, 1), "tanh")
    settings = Settings("evidence", None, Until(steps=20), 10, False)
    fitted = _training.train(task, settings, _training.start_of(task, 0), None)
    fitted = dataclasses.replace(fitted, noise=1e6 * (fitted.noise or 0.0))  # so that nothing is widened
    return task, [dataclasses.replace(fitted, left_out=task.y + errors) for errors in left_out]


def test_shares_fall_with_what_is_left_out():
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (3, 40, 1))
    task, found = fits([2e-4 * signs[0], 1e-4 * signs[1], 5e-3 * signs[2]])
    mixed = _starts.mixed(found, task)
    assert [each.share for each in mixed] == pytest.approx([2 / 3, 1 / 3])  # the third is worse by 50


def test_of_noisy_samples_a_start_that_is_clearly_worse_is_left_out():
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (2, 40, 1))
    for size, count in ((0.3, 1), (3e-4, 2)):
        task, found = fits([size * signs[0], 3 * size * signs[1]])
        assert len(_starts.mixed(found, task)) == count


def test_errors_that_cancel_make_variances_smaller():
    errors = np.ones((40, 1))
    opposite, alike = ([1e-4 * errors, sign * 1e-4 * errors] for sign in (-1.0, 1.0))
    task, found = fits(alike)
    same = _starts.mixed(found, task)
    assert same[0].noise == pytest.approx(found[0].noise)
    np.testing.assert_allclose(same[0].covariance, found[0].covariance)
    task, found = fits(opposite)
    assert _starts.mixed(found, task)[0].noise == pytest.approx(0.0, abs=1e-12 * found[0].noise)


def test_of_few_samples_the_best_start_was_lucky():
    sizes, shares = np.array([1e-3, 1e-3, 5e-3, 5e-3]), np.array([5, 5, 1, 1]) / 12
    task, found = fits([size * np.ones((40, 1)) for size in sizes])
    own, mean, median = shares @ sizes**2, (shares @ sizes) ** 2, 0.5 * (1e-3**2 + 5e-3**2)
    luck = (median / own) ** (50 / 90)
    assert _starts.mixed(found, task)[0].noise == pytest.approx(luck * mean / own * found[0].noise)


def test_several_starts_err_less_than_one():
    ratios = []
    for seed in range(3):
        X, y, points, values = surface(150, 2, seed)
        errors = [error(FlowRegressor(restarts=n, random_state=0).fit(X, y), points, values) for n in (1, "auto")]
        ratios.append(errors[1] / errors[0])
    assert np.exp(np.mean(np.log(ratios))) < 0.8


def test_intervals_cover_where_there_are_as_many_weights_as_samples():
    # There leaving out samples is too hopeful by itself: of one start intervals at 90% covered 0.80 on average.
    found = []
    for seed in range(3):
        X, y, points, values = surface(270, 4, seed)
        low, high = FlowRegressor(random_state=0).fit(X, y).predict(points, quantiles=[0.05, 0.95])
        found.append(np.mean((values >= low) & (values <= high)))
    assert min(found) > 0.82
    assert np.mean(found) > 0.87


def test_the_variance_of_the_mean_of_several_starts():
    X, y, points, _ = surface(100, 2)
    model = FlowRegressor(random_state=0).fit(X, y)
    inputs, mean = model._outputs(points[:5])
    shares = np.array([each.share for each in model._members])
    z = np.array([_training.outputs(model._network_of(each), each.params, inputs)[:, 0] for each in model._members])
    assert len(shares) > 1
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(shares @ z, mean[:, 0])
    within = sum(
        each.share * _training.covariances(model._network_of(each), each.params, each.covariance, inputs)[:, 0, 0]
        for each in model._members
    )
    unbiased = shares @ (z - shares @ z) ** 2 / (1 - shares @ shares)
    variance = within + shares @ shares * unbiased + model._noise
    std = model.predict(points[:5], return_std=True)[1]
    np.testing.assert_allclose(std, model._y_std[0] * np.sqrt(variance), rtol=1e-9)
    joint = model.predict(points[:5], return_cov=True)[1]
    np.testing.assert_allclose(np.diag(joint), std**2, rtol=1e-6)
    assert np.linalg.eigvalsh(joint).min() > 0


def test_of_one_start_the_network_is_the_prediction():
    X, y, _, _ = surface(60, 2)
    model = FlowRegressor(restarts=1, random_state=0).fit(X, y)
    assert len(model._members) == 1
    model = FlowRegressor((12, 12), random_state=0).fit(X, y)  # one network, as asked for
    assert len(model._members) == 1


def test_noise_is_no_smaller_than_what_is_left_out_tells():
    X = np.random.default_rng(0).uniform(0, 2, (60, 3))
    y = np.sqrt(X[:, :1] * X[:, 1:2] + 1) * np.exp(X[:, 2:])
    y = (y - y.mean()) / y.std()
    task = Task((X - 1) / X.std(), y, np.ones(60), "squared", (3, 10, 1), "tanh")
    settings = Settings("evidence", None, Until(steps=1000), 10, False)
    before = _training.train(task, settings, _training.start_of(task, 0), None)
    after = _noise.widened(task, before)
    assert after.noise == pytest.approx(_noise.noise_of(task, before).variance)
    assert after.noise > 1.2 * before.noise
    np.testing.assert_allclose(after.covariance, after.noise / before.noise * before.covariance)
    noisy = dataclasses.replace(before, noise=2 * after.noise)
    assert _noise.widened(task, noisy).noise == noisy.noise


def test_no_jobs_are_refused():
    X, y, _, _ = surface(20, 2)
    with pytest.raises(ValueError, match="n_jobs=0"):
        FlowRegressor(n_jobs=0).fit(X, y)


def test_further_starts_run_side_by_side():
    """In other processes, with the same members."""
    X, y, X_other, _ = surface(40, 2)
    alone, beside = (FlowRegressor(max_iter=100, random_state=0, n_jobs=n).fit(X, y) for n in (None, 2))
    assert len(alone._members) > 1
    assert [member.share for member in beside._members] == pytest.approx([m.share for m in alone._members], rel=1e-6)
    np.testing.assert_allclose(beside.predict(X_other), alone.predict(X_other), rtol=0, atol=1e-6)


def test_starts_that_reach_rounding_are_kept():
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (2200, 5))
    y = X @ np.linspace(-1, 2, 5)
    model = FlowRegressor(random_state=0).fit(X[:200], y[:200])  # rounding leaves a matrix of one start indefinite
    assert error(model, X[200:], y[200:]) < 1e-5


def test_noise_is_not_widened_by_starts_that_failed():
    # Some starts of a fast wave end at its mean: they have no share, and say nothing of the noise.
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2200, 1))
    wave = np.sin(6 * np.pi * X[:, 0])
    for seed in range(2):
        model = FlowRegressor(random_state=seed).fit(X[:200], wave[:200] + 0.1 * rng.normal(size=200))
        assert error(model, X[200:], wave[200:]) < 0.06
        std = model.predict(X[200:], return_std=True)[1]
        assert np.sqrt(np.mean(std**2)) == pytest.approx(0.1, rel=0.2)
