"""Few of many columns: which terms are seen, when others go, and that nothing but the columns changes."""

import dataclasses
import pickle

import numpy as np
import pytest
from scipy import stats

from stiffgrad.estimators import FlowClassifier, FlowRegressor, _committee, _files, _screening, _training
from stiffgrad.estimators._training import Settings, Task
from stiffgrad.run.until import Until

SETTINGS = Settings("evidence", None, Until(steps=1000), 10, False)


def table(rows, columns, function, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (rows + 1000, columns))
    y = function(X)
    return X[:rows], y[:rows] + noise * rng.normal(size=rows), X[rows:], y[rows:]


def product(X):
    return X[:, 3] * X[:, 7]


def columns_of(X, y, weights=None):
    y = y if y.ndim == 2 else y[:, None]
    return _screening.columns_of(X, y - y.mean(0), np.ones(len(X)) if weights is None else weights).tolist()


def test_columns_that_only_a_product_or_a_square_shows_are_seen():
    extra = 0
    for seed in range(5):
        for function, columns in ((product, {3, 7}), (lambda X: X[:, 5] ** 2 - X[:, 1], {1, 5})):
            X, y, _, _ = table(300, 30, function, seed=seed)
            assert columns <= set(columns_of(X, y))
            extra += len(columns_of(X, y)) - 2
    assert extra < 5  # by chance one in twenty tables has a further term, of one column or two


def test_units_and_places_change_nothing():
    X, y, _, _ = table(300, 30, lambda X: X[:, 5] ** 2 - X[:, 1], seed=1)
    assert columns_of(X, y) == [1, 5]
    assert columns_of(1e6 * X + 3, -1e-3 * y) == [1, 5]


def test_several_targets_have_the_columns_of_all():
    X, y, _, _ = table(300, 30, product)
    assert columns_of(X, np.column_stack([y, X[:, 0] + 0.1 * y])) == [0, 3, 7]


def test_the_chance_of_a_correlation_is_that_of_students_t():
    for r, rows in ((0.2, 50), (0.6, 12), (0.9, 300)):
        t = r * np.sqrt((rows - 2) / (1 - r**2))
        expected = np.log(2.0) + stats.t.logsf(t, rows - 2)
        assert _screening._log_chance(r, rows - 2.0) == pytest.approx(expected, rel=1e-6)
    chances = [_screening._log_chance(r, 4000.0) for r in (0.55, 0.6, 0.8)]  # too small for a number, and in order
    assert chances == sorted(chances, reverse=True)
    assert np.all(np.isfinite(chances))


def test_without_dependence_no_column_is_seen_but_by_chance():
    rng = np.random.default_rng(1)
    seen = [len(columns_of(rng.normal(size=(60, 20)), rng.normal(size=60))) > 0 for _ in range(200)]
    assert np.mean(seen) < 3 * 2 * _screening.LEVEL  # two kinds of terms


def test_a_weight_of_two_is_two_rows():
    X, y, _, _ = table(80, 12, product, 0.3)
    weights = np.where(np.arange(80) < 30, 2.0, 1.0)
    twice = np.r_[np.arange(80), np.arange(30)]
    assert columns_of(X, y, weights) == columns_of(X[twice], y[twice])


def test_constant_columns_are_none():
    X, y, _, _ = table(100, 12, product)
    X[:, 0] = 4.0
    assert columns_of(X, y) == [3, 7]


def test_a_product_of_two_of_many_inputs_is_learned():
    for seed in range(2):
        X, y, points, values = table(300, 30, product, seed=seed)
        model = FlowRegressor(random_state=0).fit(X, y)
        assert model.score(points, values) > 0.98
        assert set(np.argsort(model.feature_importances_)[-2:]) == {3, 7}


def test_where_all_columns_matter_all_stay():
    rng = np.random.default_rng(2)
    slopes = np.r_[2.0, 1.5, 1.0, np.full(27, 0.25)]
    X, y, points, values = table(200, 30, lambda X: 2 * X @ slopes, 1.0)
    assert 0 < len(columns_of(X, y)) < 30
    model = FlowRegressor(random_state=0).fit(X, y)
    assert model._columns is None
    assert model.score(points, values) > 0.8
    assert len(columns_of(X, rng.normal(size=200))) < 5


def fitted(rows=80, columns=30, **options):
    X, y, points, _ = table(rows, columns, product)
    return X, y, points, FlowRegressor(random_state=0, **options).fit(X, y)


def test_a_fit_of_few_columns_is_that_of_a_table_of_them():
    X, y, points, model = fitted()
    assert model._columns.tolist() == [3, 7]
    other = FlowRegressor(random_state=0).fit(X[:, [3, 7]], y)
    for options in ({}, {"return_std": True}, {"return_cov": True}, {"quantiles": [0.1, 0.9]}):
        found, expected = model.predict(points[:30], **options), other.predict(points[:30][:, [3, 7]], **options)
        for one, two in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)
    slopes = model.gradient(points)
    np.testing.assert_allclose(slopes[:, [3, 7]], other.gradient(points[:, [3, 7]]), rtol=1e-8, atol=1e-10)
    assert not np.any(np.delete(slopes, [3, 7], 1))
    assert model.log_evidence_ == pytest.approx(other.log_evidence_)
    assert model.coefs_[0].shape[0] == len(model.feature_importances_) == model.n_features_in_ == 30
    np.testing.assert_allclose(model.export()(points), model.predict(points))
    assert model.minimum_.kind in ("minimum", "flat")
    assert model.solution_.w.size == sum(a.size for a in model.coefs_ + model.intercepts_)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(points), model.predict(points))


def test_a_warm_start_goes_on_with_the_columns():
    X, y, points, model = fitted(warm_start=True)
    first = model.predict(points)
    model.fit(X, y)
    assert model._columns.tolist() == [3, 7]
    np.testing.assert_allclose(model.predict(points), first, atol=0.1)
    model.set_params(warm_start=False, alpha=0.1, max_iter=20).fit(X, y)
    assert model._columns is None


def test_another_fit_knows_nothing_of_the_columns_before():
    X, y, points, model = fitted()
    wide = FlowRegressor(random_state=0).fit(np.column_stack([X[:, ::-1], X[:, ::-1]]), y)
    expected = model.predict(points)
    np.testing.assert_array_equal(wide.fit(X, y).predict(points), expected)
    again = wide.set_params(warm_start=True).fit(X[:, :9], y)
    assert np.std(again.predict(points[:, :9]) - expected) < 0.1
    X, y, points, _ = classes(300, 40)
    labels = FlowClassifier(random_state=0).fit(X, y)
    expected = labels.predict(points)
    np.testing.assert_array_equal(labels.fit(X[:, ::-1], y).fit(X, y).predict(points), expected)


def test_a_widened_fit_and_back():
    _, _, points, model = fitted()
    task = Task(points[:, [3, 7]], np.zeros((1000, 1)), np.ones(1000), "squared", (2, 5, 1), "tanh")
    start = _training.start_of(task, 0)
    rng = np.random.default_rng(3)
    root = rng.normal(size=(21, 21))
    fit = _training.Fitted(
        dataclasses.replace(model.solution_, params=start),
        None,
        covariance=root @ root.T,
        sizes=(2, 5, 1),
        activation="tanh",
    )
    wide = _screening.widened(fit, np.array([3, 7]), 30)
    whole = Task(points, task.y, task.weights, "squared", wide.sizes, "tanh")
    np.testing.assert_allclose(
        _training.outputs(whole.network, wide.solution.params, points), _training.outputs(task.network, start, task.X)
    )
    member = _training.Member(wide.sizes, wide.solution.params, 1.0, wide.covariance)
    back = _screening.restricted(member, np.array([3, 7]))
    assert back.sizes == (2, 5, 1)
    np.testing.assert_array_equal(_training.flat(back.params), _training.flat(start))
    np.testing.assert_array_equal(back.covariance, fit.covariance)


def test_parts_that_are_held_out_decide_where_rows_are_few():
    for function, few in ((lambda X: X[:, 0] - 2 * X[:, 1] + X[:, 2], True), (lambda X: X @ np.ones(50) / 4, False)):
        X, y, _, _ = table(100, 50, function, 0.3)
        task = Task(X, (y[:, None] - y.mean()) / y.std(), np.ones(100), "squared", (50, 10, 1), "tanh")
        assert _screening._parts_say_so(task, SETTINGS) == few


def classes(rows, columns, seed=0):
    """Two classes by the sign of a product, with noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows + 1000, columns))
    y = (X[:, 3] * X[:, 7] + 0.3 * rng.normal(size=len(X)) > 0).astype(int)
    return X[:rows], y[:rows], X[rows:], y[rows:]


def test_classes_that_a_product_of_two_of_many_inputs_tells():
    X, y, points, labels = classes(300, 40)
    model = FlowClassifier(random_state=0).fit(X, y)
    assert {3, 7} <= set(model._columns)
    assert model.score(points, labels) > 0.78  # of the sign of the product itself 0.83
    assert set(np.argsort(model.feature_importances_)[-2:]) == {3, 7}
    other = FlowClassifier(random_state=0).fit(X[:, model._columns], y)
    assert other.score(points[:, model._columns], labels) == pytest.approx(model.score(points, labels), abs=0.02)
    np.testing.assert_allclose(model.export()(points).ravel() > 0, model.predict(points) == 1)


def test_classes_that_all_columns_tell_keep_them():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(1200, 40))
    y = (X @ rng.normal(size=40) > 0).astype(int)
    model = FlowClassifier(random_state=0).fit(X[:200], y[:200])
    assert model._columns is None
    assert model.score(X[200:], y[200:]) > 0.85


def test_a_committee_that_predicts_better_does_so_on_the_left_out():
    X, y, _, _ = classes(300, 40)
    target = y[:, None].astype(float)
    task = Task(X[:, [3, 7]], target, np.ones(300), "binary_cross_entropy", (2, 12, 12, 1), "silu")
    whole = Task(X, target, np.ones(300), "binary_cross_entropy", (40, 12, 12, 1), "silu")
    few, all_of_them = (
        _committee.committee([each], SETTINGS, lambda task, index: (_training.start_of(task, index), None), 1)
        for each in (task, whole)
    )
    assert _committee.predicts_better(few, all_of_them)
    assert not _committee.predicts_better(all_of_them, few)
    assert not _committee.predicts_better(few, few)


def test_columns_whose_networks_would_be_too_large_are_screened():
    rng = np.random.default_rng(6)
    X = rng.normal(size=(1100, 400))
    y = X[:, 0] - X[:, 1] + 0.5 * X[:, 2] + 0.3 * rng.normal(size=1100)
    model = FlowRegressor(random_state=0).fit(X[:100], y[:100])
    assert {0, 1, 2} <= set(model._columns)
    assert model.score(X[100:], y[100:]) > 0.85
    std = model.predict(X[100:], return_std=True)[1]
    assert np.mean(std) == pytest.approx(0.35, abs=0.1)
    labels = FlowClassifier(random_state=0).fit(X[:100], y[:100] > 0)
    assert labels.score(X[100:], y[100:] > 0) > 0.8
    assert labels.predict_proba(X[100:]).shape == (1000, 2)


def test_a_model_file_keeps_the_columns():
    _, _, points, model = fitted()
    settings, arrays = _files.state_of(model)
    again = _files.restore(FlowRegressor(), settings, arrays)
    inputs = model._inputs(points)
    np.testing.assert_array_equal(again._covariances(inputs), model._covariances(inputs))
    assert _files._few(settings["few"], 30) == 2
    for wrong in ([], [7, 3], [3, 3]):
        with pytest.raises(ValueError, match="not in order"):
            _files._few(wrong, 30)
    with pytest.raises(ValueError, match="column"):
        _files._few([3, 30], 30)
