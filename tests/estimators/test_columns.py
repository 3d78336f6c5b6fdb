"""A decay for each input column: kept where few of many columns matter, and not where there are too few samples."""

import dataclasses

import numpy as np

from stiffgrad.estimators import FlowRegressor, _columns, _training
from stiffgrad.estimators._training import Settings, Task
from stiffgrad.run.until import Until


def table(rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (rows + 1000, columns))
    y = X[:, 0] - 2 * X[:, 1] + X[:, 2] ** 2
    return X[:rows], y[:rows] + 0.3 * rng.normal(size=rows), X[rows:], y[rows:]


def shared(X, y):
    """A fit with one decay for all columns, and its task."""
    task = Task(X, (y[:, None] - y.mean()) / y.std(), np.ones(len(X)), "squared", (X.shape[1], 10, 1), "tanh")
    settings = Settings("evidence", None, Until(steps=1000), 10, False)
    return task, settings, _training.train(task, settings, _training.start_of(task, 0), None)


def error(task, fitted, points, values, y):
    found = _training.outputs(task.network, fitted.solution.params, points)[:, 0] * y.std() + y.mean()
    return float(np.mean((found - values) ** 2))


def test_few_of_many_columns_are_found():
    X, y, points, values = table(100, 30)
    task, settings, before = shared(X, y)
    after = _columns.by_column(before, task, settings)
    assert after is not before
    assert error(task, after, points, values, y) < 0.85 * error(task, before, points, values, y)
    assert after.log_evidence > before.log_evidence
    first = after.decay[10 : 10 + 300].reshape(10, 30)[0]  # of the weights of the first unit, after the biases
    assert first[:2].max() < 0.1 * np.median(first[3:])
    np.testing.assert_array_equal(after.decays, before.decays)


def test_it_is_kept_only_where_there_are_enough_samples(monkeypatch):
    X, y, _, _ = table(100, 30)
    task, settings, before = shared(X, y)
    monkeypatch.setattr(_columns, "SAMPLES", 1e6)
    assert _columns.by_column(before, task, settings) is before


def test_of_many_more_columns_than_rows_few_are_found():
    X, y, points, values = table(60, 200)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert model.score(points, values) > 0.75
    assert set(np.argsort(model.feature_importances_)[-2:]) == {0, 1}


def test_of_many_more_columns_than_rows_all_are_kept_where_all_matter():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (60, 150))
    y = X @ rng.normal(size=150) / np.sqrt(150) + 0.3 * rng.normal(size=60)
    task, settings, before = shared(X, y)
    assert _columns.by_column(before, task, settings) is before


def test_one_column_has_its_decay_already():
    X, y, _, _ = table(60, 3)
    task, settings, before = shared(X[:, :1], y)
    assert _columns.by_column(before, task, settings) is before
    assert _columns.by_column(dataclasses.replace(before, decays=None), task, settings).decays is None


def test_the_estimator_does_it():
    X, y, points, values = table(100, 30)
    model = FlowRegressor(random_state=0).fit(X, y)
    assert model.score(points, values) > 0.9
    importance = model.feature_importances_
    assert importance[:2].min() > 5 * importance[3:].max()
