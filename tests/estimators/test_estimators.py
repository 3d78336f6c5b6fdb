"""The scikit-learn estimators: attributes, data in and out, error bars, calibration, and what surrounds a fit."""

import pickle

import jax
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris, make_friedman1, make_multilabel_classification
from sklearn.linear_model import RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import stiffgrad as sg
from stiffgrad._types import Outcome
from stiffgrad.estimators import FlowClassifier, FlowRegressor, _base, _leave_one_out, _race, _training
from stiffgrad.estimators._network import Network
from stiffgrad.estimators._training import bucket
from stiffgrad.objective.networks import ACTIVATIONS, mlp

X, Y = make_friedman1(300, noise=1.0, random_state=0)
TRAIN, TEST = slice(0, 200), slice(200, 300)
IRIS, LABELS = load_iris(return_X_y=True)
EVEN, ODD = slice(0, None, 2), slice(1, None, 2)
QUICK = {"hidden_layer_sizes": (4,), "max_iter": 60, "random_state": 0, "restarts": 1}


@pytest.fixture(scope="module")
def regressor():
    return FlowRegressor(random_state=0).fit(X[TRAIN], Y[TRAIN])


@pytest.fixture(scope="module")
def classifier():
    return FlowClassifier(random_state=0).fit(IRIS[EVEN], LABELS[EVEN])


def test_it_beats_a_tuned_linear_model(regressor):
    assert regressor.score(X[TEST], Y[TEST]) > RidgeCV().fit(X[TRAIN], Y[TRAIN]).score(X[TEST], Y[TEST]) + 0.05


def test_attributes_of_a_regressor(regressor):
    assert [w.shape for w in regressor.coefs_] == [(10, 10), (10, 1)]
    assert [b.shape for b in regressor.intercepts_] == [(10,), (1,)]
    assert regressor.n_features_in_ == 10
    assert (regressor.n_outputs_, regressor.n_layers_) == (1, 3)
    assert regressor.n_iter_ == len(regressor.loss_curve_) - 1 == regressor.solution_.statistics.steps
    assert regressor.validation_scores_ is None
    assert regressor.best_loss_ == regressor.loss_
    assert regressor.loss_ == pytest.approx(regressor.solution_.loss)
    assert FlowRegressor(**QUICK).fit(X[TRAIN], Y[TRAIN]).minimum_.kind == "minimum"


def test_coefficients_act_on_unscaled_data():
    model = FlowRegressor((6,), "tanh", random_state=0).fit(X[TRAIN], Y[TRAIN])
    (w1, w2), (b1, b2) = model.coefs_, model.intercepts_
    np.testing.assert_allclose(np.tanh(X @ w1 + b1) @ w2.ravel() + b2, model.predict(X), rtol=1e-9)


def test_units_of_inputs_and_targets_do_not_matter(regressor):
    scale, shift = np.logspace(-3, 3, 10), np.arange(10.0)
    other = FlowRegressor(random_state=0).fit(X[TRAIN] * scale + shift, 1e4 * Y[TRAIN] - 7)
    np.testing.assert_allclose((other.predict(X * scale + shift) + 7) / 1e4, regressor.predict(X), rtol=1e-2)


def test_error_bars_cover_what_was_held_out():
    X, y = make_friedman1(1200, noise=1.0, random_state=1)
    model = FlowRegressor(random_state=0).fit(X[:200], y[:200])
    mean, std = model.predict(X[200:], return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X[200:]))
    # Of 1,000 points; the standard errors are 1.5% and 0.7%, the rest is left to the approximation.
    for width, share in ((1.0, 0.683), (1.96, 0.95)):
        assert np.mean(np.abs(mean - y[200:]) < width * std) == pytest.approx(share, abs=0.05)
    assert model.predict(X[200:] * 10, return_std=True)[1].mean() > std.mean()  # far from the data it knows less


def test_error_bars_are_the_dense_posterior():
    model = FlowRegressor(**QUICK).fit(X[TRAIN, :2], Y[TRAIN])
    objective, w = model._objective, model.solution_.w
    precision = np.asarray(objective.gauss_newton(w)) * 200 / model._noise
    inputs = model._inputs(X[TEST, :2])[:5]
    apply = mlp([2, 4, 1], "tanh")[0]
    for x, std in zip(inputs, model.predict(X[TEST, :2], return_std=True)[1][:5]):
        h = 1e-6
        J = [
            float((apply(objective.unflatten(w + h * e), x) - apply(objective.unflatten(w - h * e), x))[0]) / (2 * h)
            for e in np.eye(w.size)
        ]
        variance = J @ np.linalg.solve(precision, J) + model._noise
        assert std == pytest.approx(np.sqrt(variance) * model._y_std[0], rel=1e-4)


def test_relevance_finds_the_columns_that_matter():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (150, 6))
    y = np.sin(3 * X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=150)
    importance = FlowRegressor((4,), alpha="relevance", random_state=0).fit(X, y).feature_importances_
    assert importance.sum() == pytest.approx(1)
    assert importance[:2].min() > 3 * importance[2:].max()


def test_attributes_of_a_classifier(classifier):
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert [w.shape for w in classifier.coefs_] in ([(4, 3)], [(4, 20), (20, 3)], [(4, 20), (20, 20), (20, 3)])
    p = classifier.predict_proba(IRIS)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(classifier.classes_[p.argmax(1)], classifier.predict(IRIS))
    np.testing.assert_allclose(np.exp(classifier.predict_log_proba(IRIS)), p)
    assert classifier.score(IRIS[ODD], LABELS[ODD]) > 0.93


def test_probabilities_are_calibrated_on_noisy_labels():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1200, 2))
    truth = 1 / (1 + np.exp(-2 * X[:, 0] * X[:, 1]))
    y = (rng.random(1200) < truth).astype(int)
    p = FlowClassifier(random_state=0).fit(X[:400], y[:400]).predict_proba(X[400:])[:, 1]
    best = log_loss(y[400:], truth[400:])
    assert log_loss(y[400:], p) < best + 0.1
    for low in (0.0, 0.25, 0.5, 0.75):  # what is said with probability p happens about so often
        inside = (p >= low) & (p < low + 0.25)
        assert abs(p[inside].mean() - y[400:][inside].mean()) < 0.12


def test_moderation_keeps_the_class_and_lowers_confidence(classifier):
    _, z = classifier._outputs(IRIS)
    factor = classifier._moderation(classifier._covariances(classifier._inputs(IRIS)))
    assert np.all((factor > 0) & (factor < 1))
    np.testing.assert_array_equal((z * factor).argmax(1), z.argmax(1))


def test_labels_of_any_kind():
    names = np.array(["ham", "spam"])[(X[:, 0] > 0.5).astype(int)]
    model = FlowClassifier(**QUICK).fit(X, names)
    assert model.classes_.tolist() == ["ham", "spam"]
    assert model.predict_proba(X).shape == (300, 2)
    assert model.score(X, names) > 0.9
    assert set(FlowClassifier(**QUICK).fit(X, names == "ham").predict(X)) == {True, False}


def test_several_labels_a_sample():
    X, y = make_multilabel_classification(150, 6, n_classes=3, random_state=0)
    model = FlowClassifier(**QUICK).fit(X[:100], y[:100])
    assert model.predict(X).shape == model.predict_proba(X).shape == (150, 3)
    assert set(np.unique(model.predict(X))) == {0, 1}
    usual = y[:100].mean(0) > 0.5
    assert np.mean(model.predict(X[100:]) == y[100:]) > np.mean(usual == y[100:]) + 0.05


def test_several_targets():
    y = np.column_stack([Y, X[:, 0] * 100])
    model = FlowRegressor(**QUICK).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == y.shape
    assert model.score(X, y) > 0.7
    assert (std[:, 1] / std[:, 0]).min() > 1  # in the units of each target


def test_sample_weights_repeat_samples():
    counts = np.random.default_rng(0).integers(0, 3, 200)
    weighted = FlowRegressor(**QUICK).fit(X[TRAIN], Y[TRAIN], sample_weight=counts)
    repeated = FlowRegressor(**QUICK).fit(np.repeat(X[TRAIN], counts, axis=0), np.repeat(Y[TRAIN], counts))
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    order = np.random.default_rng(1).permutation(200)
    shuffled = FlowRegressor(**QUICK).fit(X[TRAIN][order], Y[TRAIN][order], sample_weight=counts[order])
    np.testing.assert_array_equal(weighted.predict(X), shuffled.predict(X))


def test_weights_repeat_samples_where_their_number_chooses_the_starts():
    X, y = make_friedman1(300, noise=1.0, random_state=3)
    weighted = FlowRegressor(random_state=0, max_iter=20).fit(X, y, sample_weight=np.full(300, 2))
    repeated = FlowRegressor(random_state=0, max_iter=20).fit(np.tile(X, (2, 1)), np.tile(y, 2))
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))


def test_copies_tell_nothing_about_the_noise():
    """No column of X or y has a value twice: alike rows are copies, and all five times is as once."""
    data, targets = np.repeat(X[:60], 5, axis=0), np.repeat(Y[:60], 5)
    once, copied = (FlowRegressor(**QUICK).fit(*given) for given in ((X[:60], Y[:60]), (data, targets)))
    np.testing.assert_array_equal(copied.predict(X), once.predict(X))
    assert copied._noise == once._noise
    assert FlowRegressor(**QUICK).fit(X[:60], Y[:60], np.full(60, 5.0))._noise == pytest.approx(once._noise)
    classes = Y[:60] > 14
    once = FlowClassifier(**QUICK).fit(X[:60], classes)
    copied = FlowClassifier(**QUICK).fit(data, np.repeat(classes, 5))
    np.testing.assert_array_equal(copied.predict_proba(X), once.predict_proba(X))


def test_alike_rows_of_whole_numbers_are_samples_each():
    rng = np.random.default_rng(0)
    data = rng.integers(0, 2, (600, 3)).astype(float)
    p = 1 / (1 + np.exp(-(data @ [2.0, -1.0, 1.0] - 1.0)))
    model = FlowClassifier(random_state=0).fit(data, rng.uniform(size=600) < p)
    np.testing.assert_allclose(model.predict_proba(data)[:, 1], p, atol=0.12)
    assert model._training_data[0].weights.sum() == 600


def test_a_number_as_alpha_takes_copies_for_rows():
    data, targets = np.repeat(X[:60], 5, axis=0), np.repeat(Y[:60], 5)
    assert FlowRegressor((2,), alpha=0.1, max_iter=2).fit(data, targets)._training_data[0].weights.sum() == 300


def test_class_weights_are_sample_weights():
    y, weight = (X[TRAIN, 0] > 0.8).astype(int), {0: 1.0, 1: 5.0}
    by_class = FlowClassifier(class_weight=weight, **QUICK).fit(X[TRAIN], y)
    by_sample = FlowClassifier(**QUICK).fit(X[TRAIN], y, sample_weight=np.where(y, 5.0, 1.0))
    np.testing.assert_array_equal(by_class.predict_proba(X), by_sample.predict_proba(X))


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_data_frames(frame):
    columns = {f"column{i}": X[:, i] for i in range(3)}
    model = FlowRegressor(**QUICK).fit(frame(columns), Y)
    assert model.feature_names_in_.tolist() == list(columns)
    plain = FlowRegressor(**QUICK).fit(X[:, :3], Y)
    np.testing.assert_allclose(model.predict(frame(columns)), plain.predict(X[:, :3]), rtol=1e-9)


def test_sparse_input_is_made_dense():
    inputs = np.where(np.abs(X) > 0.3, X, 0.0)
    model = FlowRegressor(**QUICK).fit(csr_array(inputs), Y)
    np.testing.assert_array_equal(
        model.predict(csr_array(inputs)), FlowRegressor(**QUICK).fit(inputs, Y).predict(inputs)
    )
    huge = csr_array((10**6, 10**9))
    with pytest.raises(MemoryError, match=r"dense copy of sparse X of shape \(1000000, 1000000000\).*TruncatedSVD"):
        FlowRegressor().fit(huge, np.zeros(10**6))


def test_validation_data_of_ones_own():
    parts = {"X_val": X[TEST], "y_val": Y[TEST]}
    model = FlowRegressor((30,), max_iter=100, random_state=0).fit(X[TRAIN], Y[TRAIN], **parts)
    assert model.score(X[TEST], Y[TEST]) == pytest.approx(model.best_validation_score_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    weights = np.arange(100) < 30  # of which only these count
    some = {"X_val": X[TEST][:30], "y_val": Y[TEST][:30]}
    weighted = FlowRegressor(**QUICK).fit(X[TRAIN], Y[TRAIN], **parts, sample_weight_val=weights)
    assert weighted.validation_scores_ == pytest.approx(
        FlowRegressor(**QUICK).fit(X[TRAIN], Y[TRAIN], **some).validation_scores_
    )
    names = np.array(["a", "b", "c"])[LABELS]
    labels = FlowClassifier(**QUICK).fit(IRIS[EVEN], names[EVEN], X_val=IRIS[ODD], y_val=names[ODD])
    assert labels.score(IRIS[ODD], names[ODD]) == pytest.approx(labels.best_validation_score_)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"X_val": X}, "one of them is missing"),
        ({"sample_weight_val": Y}, "without X_val and y_val"),
        ({"X_val": X[:, :3], "y_val": Y}, "3 features"),
        ({"X_val": X, "y_val": np.column_stack([Y, Y])}, "y_val has 2 columns"),
        ({"X_val": X, "y_val": Y, "sample_weight_val": np.zeros(300)}, "zero"),
    ],
)
def test_validation_data_that_do_not_fit_are_named(given, words):
    with pytest.raises(ValueError, match=words):
        FlowRegressor(**QUICK).fit(X, Y, **given)


def test_unknown_labels_of_validation_data_are_named():
    with pytest.raises(ValueError, match=r"y_val has labels that are no classes: .*7"):
        FlowClassifier(**QUICK).fit(IRIS, LABELS, X_val=IRIS[:2], y_val=[0, 7])


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"activation": "swish"}, "activation"),
        ({"alpha": "strong"}, "alpha"),
        ({"alpha": -1.0}, "alpha"),
        ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (2.5,)}, "hidden_layer_sizes"),
        ({"max_iter": 0}, "max_iter"),
        ({"restarts": 0}, "restarts"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"wall_seconds": -1}, "wall_seconds"),
        ({"alpha": 0.1, "solver": "newton"}, "solver='newton' is unknown"),
    ],
)
def test_bad_parameters_are_named(parameters, named):
    with pytest.raises(ValueError, match=named):
        FlowRegressor(**parameters).fit(X[TRAIN], Y[TRAIN])


def test_pickle_joblib_and_clone(regressor, tmp_path):
    expected = regressor.predict(X, return_std=True)
    joblib.dump(regressor, tmp_path / "model")
    for copy in (pickle.loads(pickle.dumps(regressor)), joblib.load(tmp_path / "model")):
        np.testing.assert_array_equal(copy.predict(X, return_std=True), expected)
        with pytest.raises(AttributeError, match="minimum_ needs the training data"):
            _ = copy.minimum_
    assert not hasattr(clone(regressor), "solution_")


def test_inside_scikit_learn_tools():
    assert cross_val_score(FlowClassifier(**QUICK), IRIS, LABELS, cv=3).mean() > 0.93
    pipeline = make_pipeline(StandardScaler(), FlowRegressor(**QUICK))
    search = GridSearchCV(pipeline, {"flowregressor__alpha": ["evidence", 1.0]}, cv=2).fit(X, Y)
    assert search.best_score_ > 0.5


@pytest.mark.parametrize("solver", [None, "auto", "lbfgs", "lsoda"])
def test_a_number_as_alpha_means_what_it_means_in_scikit_learn(solver):
    # Without hidden nonlinearity to speak of the objective is ridge: mean of squares/2 + alpha/(2 N) |w|^2.
    model = FlowRegressor((), alpha=5.0, solver=solver, random_state=0, standardise=False, max_iter=500).fit(X, Y)
    A, b = X - X.mean(0), Y - Y.mean()
    expected = np.linalg.solve(A.T @ A + 5.0 * np.eye(10), A.T @ b)
    np.testing.assert_allclose(model.coefs_[0].ravel(), expected, rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="return_std=True needs alpha='evidence'"):
        model.predict(X, return_std=True)


def test_the_solver_auto_is_the_one_of_that_name():
    own, named = (FlowRegressor((4,), solver=solver, random_state=0).fit(X, Y) for solver in (None, "auto"))
    assert own.solution_.solver == "evidence"
    start = _training.start_of(named._training_data[0], int(np.random.RandomState(0).randint(2**31 - 1)))
    objective = named._objective.with_start(start)
    solution = sg.solve(objective, "auto", until=sg.Until(gradient_norm=1e-7, steps=1000))
    np.testing.assert_array_equal(named.solution_.w, solution.w)
    assert named.solution_.solver == solution.solver


def test_sample_weights_are_routed():
    weights = np.random.default_rng(0).uniform(0.1, 2, 300)
    with sklearn.config_context(enable_metadata_routing=True):
        model = FlowRegressor(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model).fit(X, Y, sample_weight=weights)
        found = cross_validate(model, X, Y, cv=2, params={"sample_weight": weights})
    direct = FlowRegressor(**QUICK).fit(X, Y, sample_weight=weights)
    np.testing.assert_allclose(pipeline.predict(X), direct.predict(X), rtol=1e-6)
    assert found["test_score"].min() > 0.5


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_output_set_to_frames_reaches_the_estimator(kind):
    frame = pd.DataFrame({f"column{i}": X[:, i] for i in range(3)})
    pipeline = make_pipeline(StandardScaler(), FlowRegressor(**QUICK)).set_output(transform=kind).fit(frame, Y)
    assert pipeline[-1].feature_names_in_.tolist() == list(frame)
    assert pipeline.predict(frame).shape == (300,)


def test_another_solver_trains_with_the_decays_that_were_found():
    plain = FlowClassifier((3,), random_state=0).fit(IRIS[EVEN], LABELS[EVEN])
    other = FlowClassifier((3,), random_state=0, solver="lbfgs").fit(IRIS[EVEN], LABELS[EVEN])
    np.testing.assert_array_equal(other._decays, plain._decays)
    assert "lbfgs" in other.solution_.solver
    objective, w, order = other._objective, other.solution_.w, other._network.order
    precision = 75 * np.asarray(objective.gauss_newton(w))[np.ix_(order, order)]
    np.testing.assert_allclose(precision @ other._covariance, np.eye(w.size), atol=1e-6)


def test_a_table_too_large_for_its_matrix_is_stopped_by_validation(monkeypatch):
    monkeypatch.setattr(_base, "ENTRIES", 1000)
    model = FlowRegressor((3,), random_state=0, max_iter=30).fit(X, Y)
    assert model.validation_scores_ is not None
    assert model.log_evidence_ is None


STOPPED = {
    "evidence": {},
    "relevance": {"alpha": "relevance"},
    "lbfgs": {"alpha": 0.01, "solver": "lbfgs"},
    "adam": {"alpha": 0.01, "solver": "adam"},
    "vode": {"alpha": 0.01, "solver": "vode"},
    "rosenbrock": {"alpha": 0.01, "solver": "rosenbrock"},
}


@pytest.mark.parametrize("parameters", STOPPED.values(), ids=STOPPED)
def test_early_stopping_keeps_the_best_validation_score(parameters):
    model = FlowRegressor(early_stopping=True, **QUICK, **parameters).fit(X, Y)
    scores = model.validation_scores_
    assert model.best_validation_score_ == max(scores)
    assert model.best_loss_ is None
    assert model.solution_.best_params is not None
    for kept, best in zip(model._params, model.solution_.best_params):
        np.testing.assert_array_equal(kept["weight"], best["weight"])


def test_early_stopping_of_a_classifier():
    model = FlowClassifier(early_stopping=True, **QUICK).fit(IRIS, LABELS)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.predict_proba(IRIS).shape == (150, 3)


def test_warm_start_goes_on():
    model = FlowRegressor((4,), alpha=0.1, max_iter=3, warm_start=True, random_state=0)
    first = model.fit(X, Y).loss_
    model.fit(X, Y)
    assert model.loss_curve_[0] == pytest.approx(first, rel=1e-6)
    assert model.loss_ < first


def test_restarts_keep_the_highest_evidence():
    one, three = (
        [FlowRegressor((4,), restarts=n, random_state=seed).fit(X[TRAIN], Y[TRAIN]).log_evidence_ for seed in range(3)]
        for n in (1, 3)
    )
    assert np.all(np.subtract(three, one) >= 0)
    assert np.any(np.subtract(three, one) > 0)


@pytest.mark.parametrize("kind", [FlowRegressor, FlowClassifier])
def test_starts_at_once_find_the_same(kind):
    X_, y_ = (X[:80], Y[:80]) if kind is FlowRegressor else (IRIS[EVEN], LABELS[EVEN])
    random = [np.random.RandomState(0), np.random.RandomState(0)]
    alone, together = (
        kind((4,), restarts=3, n_jobs=n, max_iter=200, random_state=r).fit(X_, y_) for n, r in zip((None, 2), random)
    )
    np.testing.assert_array_equal(
        alone.predict(IRIS if kind is FlowClassifier else X), together.predict(IRIS if kind is FlowClassifier else X)
    )
    assert len(alone._members) == len(together._members)
    for one, other in zip(alone._members, together._members):
        np.testing.assert_array_equal(one.covariance, other.covariance)
    assert random[0].randint(2**31) == random[1].randint(2**31)


def test_what_is_drawn_does_not_depend_on_the_starts_that_join():
    """Two starts at once may draw one more than joins: a generator that goes on must not tell."""
    states = []
    for n in (1, 2):
        random = np.random.RandomState(0)
        FlowClassifier(n_jobs=n, random_state=random).fit(IRIS[EVEN], LABELS[EVEN])
        states.append(random.randint(2**31))
    assert states[0] == states[1]


def test_wall_seconds_is_a_limit_of_all_starts_together():
    model = FlowRegressor(wall_seconds=1e-3, restarts=50, random_state=0).fit(X, Y)
    assert model.solution_.outcome is Outcome.OUT_OF_TIME
    assert "Raise wall_seconds" in model.solution_.message
    assert model.n_iter_ <= 1


COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: COMPILED.append(event) if "backend_compile" in event else None
)


def test_decays_from_the_data_compile_nothing():
    before = len(COMPILED)
    FlowRegressor((3,), random_state=1).fit(X[:117], Y[:117]).predict(X, return_std=True)
    FlowClassifier((3,), random_state=1).fit(IRIS[::3], LABELS[::3]).predict_proba(IRIS)
    assert len(COMPILED) == before


def test_a_second_fit_of_the_same_shape_compiles_nothing():
    def fit(rows, seed):
        FlowRegressor((3,), alpha=0.5, random_state=seed, max_iter=5).fit(X[rows], Y[rows])

    fit(slice(0, 200), 0)
    before = len(COMPILED)
    fit(slice(100, 300), 1)
    fit(slice(0, 195), 2)  # the same bucket of rows
    assert len(COMPILED) == before
    fit(slice(0, 100), 3)
    assert len(COMPILED) > before  # the test sees what is compiled


def test_buckets_waste_at_most_an_eighth():
    for count in range(1, 5000):
        assert count <= bucket(count) <= max(8, count + count // 8 + 8)
    assert bucket(195) == bucket(200) == 208


def test_prediction_in_numpy_is_the_network():
    for activation in ACTIVATIONS:
        apply, params = mlp([10, 3, 2], activation, seed=1)
        expected = [apply(params, x) for x in X[:3]]
        found = _training.outputs(Network((10, 3, 2), activation), params, X[:3])
        np.testing.assert_allclose(found, expected, rtol=1e-9)


# ---- what else a user of scikit-learn expects


def test_missing_values_are_filled_and_flagged():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = X[:, 0] + 3 * (X[:, 1] > 0.5) + 0.1 * rng.normal(size=400)
    X[X[:, 1] > 0.5, 1] = np.nan  # that a value is missing says something
    model = FlowRegressor(**QUICK).fit(X[:200], y[:200])
    assert model.score(X[200:], y[200:]) > 0.9
    assert model.feature_importances_.shape == (3,)
    assert model.feature_importances_[:2].min() > 3 * model.feature_importances_[2]
    labels = FlowClassifier(**QUICK).fit(X[:200], y[:200] > 1)
    assert labels.score(X[200:], y[200:] > 1) > 0.9
    with pytest.raises(ValueError, match=r"X has missing values \(NaN\), and had none in fit"):
        FlowRegressor(**QUICK).fit(X[:, [0, 2]], y).predict(X[:, [0, 1]])


def test_gradients_are_those_of_the_prediction():
    model = FlowRegressor(**QUICK).fit(X[TRAIN, :3] * [1, 10, 100], 5 * Y[TRAIN])
    points, h = X[:4, :3] * [1, 10, 100], 1e-4
    numeric = [(model.predict(points + h * e) - model.predict(points - h * e)) / (2 * h) for e in np.eye(3)]
    np.testing.assert_allclose(model.gradient(points), np.transpose(numeric), rtol=1e-5)
    two = FlowRegressor(**QUICK).fit(X[TRAIN, :3], np.column_stack([Y[TRAIN], -Y[TRAIN]]))
    assert two.gradient(points).shape == (4, 2, 3)


def test_a_network_too_large_for_error_bars_says_so():
    rng = np.random.default_rng(0)
    model = FlowRegressor((2,), max_iter=3, random_state=0).fit(rng.normal(size=(12, 1600)), rng.normal(size=12))
    with pytest.raises(ValueError, match="this model has more than 3,000 weights"):
        model.predict(rng.normal(size=(2, 1600)), return_std=True)


def test_quantiles_and_covariances(regressor):
    mean, std = regressor.predict(X[TEST], return_std=True)
    low, middle, high = regressor.predict(X[TEST], quantiles=[0.05, 0.5, 0.95])
    np.testing.assert_allclose(middle, mean)
    np.testing.assert_allclose(high - low, 2 * 1.6448536 * std, rtol=1e-6)
    again, covariance = regressor.predict(X[TEST], return_cov=True)
    np.testing.assert_array_equal(again, mean)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), std, rtol=1e-6)
    assert np.linalg.eigvalsh(covariance).min() > 0
    with pytest.raises(ValueError, match=r"quantiles=\[0.5, 2\] must be"):
        regressor.predict(X[TEST], quantiles=[0.5, 2])
    with pytest.raises(ValueError, match="one of return_std, return_cov and quantiles"):
        regressor.predict(X[TEST], return_std=True, return_cov=True)


def test_the_exported_function_predicts_the_same(regressor, classifier):
    np.testing.assert_allclose(regressor.export()(X), regressor.predict(X), rtol=1e-12)
    np.testing.assert_array_equal(classifier.classes_[classifier.export()(IRIS).argmax(1)], classifier.predict(IRIS))


def test_importances_find_the_columns_that_matter(regressor):
    importances = regressor.feature_importances_
    assert importances.sum() == pytest.approx(1)
    assert importances[:5].min() > importances[5:].max()  # friedman1: the other five are noise


def test_the_name_that_scikit_learn_has_for_the_sigmoid():
    by_name = [FlowRegressor((4,), activation=name, random_state=0).fit(X, Y) for name in ("logistic", "sigmoid")]
    np.testing.assert_array_equal(by_name[0].predict(X), by_name[1].predict(X))


def test_a_class_of_one_member():
    labels = np.where(np.arange(75) == 0, 7, LABELS[EVEN])
    model = FlowClassifier(random_state=0).fit(IRIS[EVEN], labels)
    assert model.classes_.tolist() == [0, 1, 2, 7]
    assert np.isfinite(model.predict_proba(IRIS)).all()


@pytest.mark.parametrize("estimator", [FlowRegressor, FlowClassifier])
def test_errors_name_the_estimator(estimator):
    with pytest.raises(TypeError, match=estimator.__name__):
        estimator(layers=3)


def test_verbose_off_a_terminal_prints_lines(capsys):
    FlowRegressor(verbose=True, **QUICK).fit(X, Y)
    printed = capsys.readouterr().out
    assert printed.startswith("evidence")
    assert printed.endswith("\n")


def test_decays_of_very_many_rows_come_from_a_part_and_weights_from_all(monkeypatch):
    monkeypatch.setattr(_leave_one_out, "ROWS", 150)
    monkeypatch.setattr(_race, "JUDGES", 150)
    inputs, targets = make_friedman1(1500, noise=1.0, random_state=1)
    part = FlowRegressor(random_state=0).fit(inputs[:150], targets[:150])
    model = FlowRegressor(random_state=0).fit(inputs[:1000], targets[:1000])
    assert model.score(inputs[1000:], targets[1000:]) > part.score(inputs[1000:], targets[1000:]) + 0.003
    mean, std = model.predict(inputs[1000:], return_std=True)
    assert np.mean(np.abs(mean - targets[1000:]) < 1.645 * std) == pytest.approx(0.9, abs=0.08)
