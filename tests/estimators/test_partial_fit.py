"""Rows that come later: what is found is what a fit to all of them finds."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_iris, make_friedman1, make_multilabel_classification

from stiffgrad.estimators import FlowClassifier, FlowRegressor, _kept

X, Y = make_friedman1(120, noise=1.0, random_state=0)
IRIS, LABELS = load_iris(return_X_y=True)
IRIS, LABELS = IRIS[::3], np.array(["a", "b", "cc"])[LABELS[::3]]  # sorted: the first rows are of one class
PARTS = slice(0, 40), slice(40, 45), slice(45, 120)


def test_parts_give_what_all_rows_give():
    whole, parts, after_fit = (FlowRegressor((4,), random_state=0) for _ in range(3))
    whole.fit(X, Y)
    for rows in PARTS:
        assert parts.partial_fit(X[rows], Y[rows]) is parts
    after_fit.fit(X[PARTS[0]], Y[PARTS[0]]).partial_fit(X[40:], Y[40:])
    for model in (parts, after_fit):
        np.testing.assert_array_equal(model.predict(X), whole.predict(X))
        assert model.log_evidence_ == whole.log_evidence_


def test_weights_count_rows_in_every_call():
    weights = np.r_[np.full(20, 2.0), np.zeros(10), np.ones(10)]
    one = FlowRegressor((4,), random_state=0).partial_fit(X[:60], Y[:60]).partial_fit(X[60:100], Y[60:100], weights)
    rows = np.r_[:60, np.repeat(np.arange(60, 100), weights.astype(int))]
    np.testing.assert_array_equal(one.predict(X), FlowRegressor((4,), random_state=0).fit(X[rows], Y[rows]).predict(X))


def test_classes_that_come_later():
    model = FlowClassifier((3,), random_state=0, class_weight="balanced")
    model.partial_fit(IRIS[:10], LABELS[:10], classes=["cc", "a", "b"])
    assert model.classes_.tolist() == ["a", "b", "cc"]
    assert model.predict_proba(IRIS).shape == (50, 3)
    model.partial_fit(IRIS[10:], LABELS[10:], classes=["a", "b", "cc"])
    whole = FlowClassifier((3,), random_state=0, class_weight="balanced").fit(IRIS, LABELS)
    np.testing.assert_array_equal(model.predict_proba(IRIS), whole.predict_proba(IRIS))
    with pytest.raises(ValueError, match="are not those of the first call"):
        model.partial_fit(IRIS, LABELS, classes=["a", "b"])
    with pytest.raises(ValueError, match=r"y has labels that are no classes: .*d"):
        model.partial_fit(IRIS[:2], ["a", "d"])


def test_several_labels_a_sample():
    data, labels = make_multilabel_classification(60, 5, n_classes=3, random_state=0)
    model = FlowClassifier((3,), random_state=0).partial_fit(data[:30], labels[:30], classes=[0, 1, 2])
    model.partial_fit(data[30:], labels[30:])
    np.testing.assert_array_equal(
        model.predict(data), FlowClassifier((3,), random_state=0).fit(data, labels).predict(data)
    )


def test_of_many_rows_a_part_is_kept_whatever_parts_they_came_in(monkeypatch):
    monkeypatch.setattr(_kept, "MOST", 50)
    kept = []
    for parts in (PARTS, (slice(0, 120),), (slice(0, 70), slice(70, 120))):
        model = FlowRegressor((2,), random_state=0, max_iter=5)
        for rows in parts:
            model.partial_fit(X[rows], Y[rows])
        kept.append(model._rows[0])
    assert kept[0].shape == (50, 10)
    np.testing.assert_array_equal(kept[0], kept[1])
    np.testing.assert_array_equal(kept[0], kept[2])
    places = [int(np.flatnonzero((row == X).all(1))[0]) for row in kept[0]]
    assert 40 < np.mean(places) < 80  # early rows and late ones


def test_pickles_hold_rows_only_where_they_are_needed():
    going = FlowRegressor((4,), random_state=0).partial_fit(X[:60], Y[:60])
    copy = pickle.loads(pickle.dumps(going)).partial_fit(X[60:], Y[60:])
    np.testing.assert_array_equal(copy.predict(X), FlowRegressor((4,), random_state=0).fit(X, Y).predict(X))
    fitted = pickle.loads(pickle.dumps(FlowRegressor((4,), random_state=0).fit(X, Y)))
    assert not hasattr(fitted, "_rows")
    with pytest.raises(ValueError, match="does not keep in a pickle"):
        fitted.partial_fit(X, Y)


def test_a_fit_begins_anew():
    model = FlowRegressor((4,), random_state=0).partial_fit(X[:60], Y[:60]).fit(X[60:], Y[60:])
    np.testing.assert_array_equal(model._rows[0], X[60:])


def test_what_is_refused():
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        FlowClassifier().partial_fit(X[:10], Y[:10] > 14)
    model = FlowRegressor((2,), random_state=0, max_iter=5).partial_fit(X[:20], Y[:20])
    with pytest.raises(ValueError, match=r"y has the shape \(20, 2\), and had \(20,\) in the calls before"):
        model.partial_fit(X[:20], np.column_stack([Y[:20], Y[:20]]))
    with pytest.raises(ValueError, match="3 features"):
        model.partial_fit(X[:20, :3], Y[:20])
