"""The objective as users meet it: what is summed, number types, chunks, compiled code that is shared, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stiffgrad as sg
from stiffgrad.objective import objective as module

APPLY, PARAMS = sg.mlp([2, 3, 2], seed=0)
X = np.array([[0.0, 1.0], [1.0, 0.5], [-1.0, 2.0], [0.3, 0.3]])
Y = np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
COMPILED = [
    getattr(module, f"_{name}")
    for name in ("value", "gradient", "value_and_gradient", "hessian", "gauss_newton", "hvp", "gnvp")
]


def test_the_pair_of_mlp_is_a_model():
    pair, X = sg.mlp([2, 3, 1], seed=4), np.random.default_rng(0).normal(size=(6, 2))
    one, other = sg.supervised(pair, X, X[:, 0]), sg.supervised(*pair, X, X[:, 0])
    np.testing.assert_array_equal(one.w0, other.w0)
    assert float(one.value(one.w0)) == float(other.value(other.w0))
    logits = sg.supervised(pair, X, np.array([0, 1, 0, 1, 1, 0]), "binary_cross_entropy")
    assert "binary_cross_entropy" in repr(logits)


def test_mean_squared_error_by_hand():
    objective = sg.supervised(lambda p, x: p @ x, np.array([2.0, -1.0]), X, np.array([1.0, 0.0, 0.0, 0.0]))
    errors = X @ [2.0, -1.0] - [1.0, 0.0, 0.0, 0.0]
    assert float(objective.value(objective.w0)) == pytest.approx(np.mean(errors**2) / 2)
    np.testing.assert_allclose(objective.gradient(objective.w0), X.T @ errors / 4)
    np.testing.assert_allclose(objective.hessian(objective.w0), X.T @ X / 4)


def test_sample_weights_are_a_weighted_mean_and_repeat_samples():
    repeated = sg.supervised(APPLY, PARAMS, X[[0, 1, 1, 2, 2, 2]], Y[[0, 1, 1, 2, 2, 2]])
    weighted = sg.supervised(APPLY, PARAMS, X, Y, sample_weight=[1, 2, 3, 0])
    doubled = sg.supervised(APPLY, PARAMS, X, Y, sample_weight=[2, 4, 6, 0])
    w = repeated.w0
    for name in ("value", "gradient", "hessian", "gauss_newton"):
        expected = getattr(repeated, name)(w)
        np.testing.assert_allclose(getattr(weighted, name)(w), expected, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(getattr(doubled, name)(w), expected, rtol=1e-12, atol=1e-14)


def test_labels_are_one_hot_rows():
    labels = sg.supervised(APPLY, PARAMS, X, np.array([0, 1, 1, 0]), loss="cross_entropy")
    rows = sg.supervised(APPLY, PARAMS, X, np.eye(2)[[0, 1, 1, 0]], loss="cross_entropy")
    assert float(labels.value(labels.w0)) == float(rows.value(rows.w0))


def test_decay_of_each_leaf_is_its_own():
    decay = [{"weight": 1.0, "bias": 0.0}, {"weight": 0.0, "bias": 3.0}]
    plain = sg.supervised(APPLY, PARAMS, X, Y)
    decayed = sg.supervised(APPLY, PARAMS, X, Y, weight_decay=decay)
    penalty = 0.5 * np.sum(PARAMS[0]["weight"] ** 2) + 1.5 * np.sum(PARAMS[1]["bias"] ** 2)
    assert float(decayed.value(plain.w0) - plain.value(plain.w0)) == pytest.approx(penalty)
    slope = plain.unflatten(decayed.gradient(plain.w0) - plain.gradient(plain.w0))
    np.testing.assert_allclose(slope[0]["weight"], PARAMS[0]["weight"])
    np.testing.assert_allclose(slope[1]["bias"], 3 * PARAMS[1]["bias"])
    np.testing.assert_allclose(slope[0]["bias"], 0, atol=1e-15)


@given(chunk=st.sampled_from([1, 3, 9]), seed=st.integers(0, 99))
def test_chunks_change_nothing(chunk, seed):
    w = np.random.default_rng(seed).normal(size=17)
    whole = sg.supervised(APPLY, PARAMS, X, Y, weight_decay=0.1)
    parts = sg.supervised(APPLY, PARAMS, X, Y, weight_decay=0.1, chunk_samples=chunk)
    assert (parts.samples, parts.rows) == (whole.samples, whole.rows) == (4, 8)
    for name in ("value", "gradient", "hessian", "gauss_newton"):
        np.testing.assert_allclose(getattr(parts, name)(w), getattr(whole, name)(w), rtol=1e-11, atol=1e-13)
    for name in ("hvp", "gnvp"):
        np.testing.assert_allclose(getattr(parts, name)(w, w), getattr(whole, name)(w, w), rtol=1e-11, atol=1e-13)


def test_float32_throughout():
    objective = sg.supervised(APPLY, PARAMS, X, Y, dtype="float32", weight_decay=0.1)
    exact = sg.supervised(APPLY, PARAMS, X, Y, weight_decay=0.1)
    w = np.asarray(exact.w0)
    assert objective.w0.dtype == jnp.float32
    for name in ("value", "gradient", "hessian", "gauss_newton"):
        seen = getattr(objective, name)(w)
        assert seen.dtype == jnp.float32
        np.testing.assert_allclose(seen, getattr(exact, name)(w), rtol=1e-5, atol=1e-6)
    assert objective.hvp(w, w).dtype == objective.gnvp(w, w).dtype == jnp.float32
    integers = sg.supervised(APPLY, PARAMS, np.ones((4, 2), int), Y, dtype="float32")
    assert integers.gradient(w).dtype == jnp.float32


def test_a_second_objective_of_equal_shapes_compiles_nothing():
    def use(seed, data):
        apply, params = sg.mlp([2, 3, 2], seed=seed)
        objective = sg.supervised(apply, params, X + data, Y, "cross_entropy", weight_decay=data)
        w = np.asarray(objective.w0)
        for call in (objective.value, objective.gradient, objective.hessian, objective.gauss_newton):
            call(w)
        objective.value_and_gradient(w)
        objective.hvp(w, w)
        objective.gnvp(w, w)
        return [function._cache_size() for function in COMPILED]

    first = use(0, 0.0)
    assert min(first) >= 1
    assert use(0, 0.0) == first
    assert use(1, 0.5) == first


def test_a_callable_loss_and_its_name():
    def huber(z, y):
        return jnp.sum(jnp.sqrt(1 + (z - y) ** 2) - 1)

    objective = sg.supervised(APPLY, PARAMS, X, Y, loss=huber)
    errors = np.array([APPLY(PARAMS, x) for x in X]) - Y
    assert float(objective.value(objective.w0)) == pytest.approx(np.mean(np.sum(np.sqrt(1 + errors**2) - 1, axis=1)))
    assert objective.has_gauss_newton
    assert not objective.has_rows
    assert "huber" in repr(objective)


def test_a_user_function_named_as_a_loss_of_ours_is_not_mistaken_for_it():
    def squared(z, y):  # of labels, not of numbers
        return 3.0 * jnp.sum((z - y) ** 2)

    objective = sg.supervised(lambda p, x: p @ x, np.array([1.0, 0.0]), X, np.ones((4, 5)), loss=squared)
    assert float(objective.value(np.zeros(2))) == pytest.approx(15.0)
    assert not objective.has_rows


def test_one_number_for_each_sample_may_be_flat_or_a_column():
    apply, params = sg.mlp([2, 3, 1])
    flat, column = (sg.supervised(apply, params, X, y) for y in (Y[:, 0], Y[:, :1]))
    assert float(flat.value(flat.w0)) == float(column.value(flat.w0))


def test_a_copy_with_other_weights_of_the_decay():
    objective = sg.supervised(APPLY, PARAMS, X, Y, weight_decay=1.0)
    np.testing.assert_array_equal(objective.decay, np.ones(17))
    np.testing.assert_array_equal(objective.flatten(objective.unflatten(objective.w0)), objective.w0)


TWO = np.random.default_rng(0).uniform(-1, 1, (200, 2))
PRODUCT = np.prod(TWO, axis=1)


@pytest.mark.parametrize(
    ("X", "y", "named"),
    [
        (TWO * [1e4, 1e-4], PRODUCT, "column 0 of X has mean .* and deviation 5.*Standardise"),
        (TWO + 20, PRODUCT, "of X has mean (20|19.9|20.1) .*units saturate"),
        (TWO * [1, 1e-3], PRODUCT, "column 1 of X.*hardly sees"),
        (1 + TWO * [1, 1e-3], PRODUCT, "column 1 of X.*hardly sees"),
        (30 * TWO, PRODUCT, "of X has mean .*units saturate"),
        (TWO, 1e3 * PRODUCT, "y has mean .*deviation"),
        (TWO, PRODUCT + 20, "y has mean 20"),
        (TWO, 1e6 * PRODUCT, "y has mean .*deviation .*FlowRegressor"),
        (TWO, 1e6 - PRODUCT, r"y has mean 1e\+06"),
        (TWO, np.stack([PRODUCT, PRODUCT - 1e6], 1), r"y has mean -1e\+06"),
    ],
)
def test_a_perceptron_warns_of_inputs_and_targets_far_from_size_1_at_the_line_of_the_call(X, y, named):
    with pytest.warns(UserWarning, match=named) as seen:
        sg.supervised(*sg.mlp([2, 3, np.size(y) // 200]), X, y)
    assert len(seen) == 1
    assert seen[0].filename == __file__


def test_sound_data_give_no_warning():  # a warning fails a test
    rare = np.zeros((200, 2))
    rare[7] = 1.0
    column = np.stack([TWO[:, 0], np.zeros(200)], 1)
    for X in (10 * TWO, 1e-2 * TWO, TWO + 5, rare, column, TWO.astype(np.float32), (TWO > 0), list(map(list, TWO))):
        sg.supervised(*sg.mlp([2, 3, 1]), X, PRODUCT)
    for y in (100 * PRODUCT, PRODUCT + 5, 1e-6 * PRODUCT, np.full(200, 1e3), np.zeros(200)):
        sg.supervised(*sg.mlp([2, 3, 1]), TWO, y)
    sg.supervised(*sg.mlp([2, 3, 2]), TWO, (PRODUCT > 0).astype(int), loss="cross_entropy")
    sg.supervised(lambda p, x: p @ (x / 1e4), np.ones(2), 1e4 * TWO, PRODUCT)  # scales by itself


def supervised(**changes):
    arguments = {"apply": APPLY, "params": PARAMS, "X": X, "y": Y, **changes}
    return sg.supervised(**arguments)


NAN = np.where(X == 2.0, np.nan, X)
BAD = [
    ({"loss": "hinge"}, ValueError, "loss='hinge'"),
    ({"loss": 3}, TypeError, "loss must be"),
    ({"loss": lambda z, y: z - y}, ValueError, "loss must return a scalar"),
    ({"loss": lambda z: z}, ValueError, "loss fails"),
    ({"apply": 3}, TypeError, "must be callable as function"),
    ({"apply": lambda p, x: None}, TypeError, "function must return one"),
    ({"apply": lambda p, x: jnp.zeros(0)}, TypeError, "function must return one"),
    ({"apply": lambda p, x: p["w"]}, ValueError, "function fails on one sample"),
    ({"X": np.ones((4, 3))}, ValueError, r"fails on one sample of shape \[\(3,\)\]"),
    ({"X": np.ones(4)}, ValueError, r"one sample of shape \[\(\)\].*X\[:, None\]"),
    ({"X": X[:0], "y": Y[:0]}, ValueError, "samples is empty"),
    ({"X": X[:3]}, ValueError, r"3 samples \(X\) but targets \(y\) of 4"),
    ({"X": NAN}, ValueError, "samples contains NaN or infinity"),
    ({"X": np.where(X == 2.0, np.inf, X)}, ValueError, "samples contains NaN or infinity"),
    ({"X": X + 1j}, TypeError, "samples must hold numbers"),
    ({"X": X.astype(str)[:, :1] + "m"}, TypeError, "samples must hold numbers"),
    ({"X": [[1.0, 2.0], [3.0]]}, ValueError, "X is a list of rows of different lengths"),
    ({"X": [["a", "b"]] * 4}, TypeError, "samples must hold numbers"),
    ({"X": X[:, :, None]}, ValueError, r"x has shape \(2, 1\), but a perceptron of sizes=\[2, 3, 2\] takes one"),
    ({"X": None}, ValueError, "samples must be arrays"),
    ({"y": None}, TypeError, "y is None"),
    ({"y": np.ones((4, 3))}, ValueError, r"give shape \(4, 2\)"),
    ({"y": NAN}, ValueError, r"targets \(y\) contains NaN"),
    ({"y": NAN}, ValueError, r"first at index \[2, 1\]"),
    ({"y": [0, 1, 1, 0]}, ValueError, r"give shape \(4, 2\)"),
    ({"y": [[0], [1], [1], [0]], "loss": "cross_entropy"}, ValueError, r"or labels of shape \(4,\)"),
    ({"apply": lambda p, x: np.tanh(np.asarray(p[0]["weight"])) @ x}, ValueError, "use jax.numpy in its place"),
    ({"y": np.array(list("abab"))}, TypeError, r"targets \(y\) must hold numbers"),
    ({"y": np.array([0, 1, 2, 0]), "loss": "cross_entropy"}, ValueError, "from 0 to 1 .*seen 0 to 2"),
    ({"y": np.array([0, 1, -1, 0]), "loss": "cross_entropy"}, ValueError, "seen -1 to 1"),
    ({"y": np.array([0, 1, 0.5, 0]), "loss": "cross_entropy"}, ValueError, "whole numbers"),
    ({"y": 2 * Y, "loss": "binary_cross_entropy"}, ValueError, r"lie in \[0, 1\], seen 0 to 2"),
    ({"apply": lambda x, p: p[0]["weight"] @ x}, ValueError, "another order than function"),
    ({"apply": lambda p, key, x: p[0]["weight"] @ x}, ValueError, "random key, as Haiku's"),
    ({"apply": jax.vmap(APPLY, (None, 0))}, ValueError, "without its vmap"),
    ({"apply": lambda p, x: p[0]["weight"] @ x[0] + x[:, 0, None]}, ValueError, r"shape \[\(2,\)\]"),
    ({"apply": PARAMS, "params": APPLY}, TypeError, "in the other order"),
    ({"apply": (PARAMS, APPLY), "params": X, "X": Y, "y": ...}, TypeError, "several parts"),
    ({"X": X.reshape(4, 2, 1)}, ValueError, "or flatten each"),
    ({"y": np.array(list("abab"))}, TypeError, "return_inverse=True"),
    ({"y": np.array([0, 1, 1, 0])}, ValueError, "loss='cross_entropy' where y is the number of a class"),
    ({"params": {}}, ValueError, "params is empty"),
    ({"params": [{"weight": np.array([np.nan, 1.0])}]}, ValueError, "params contains NaN"),
    ({"params": [{"weight": np.array([1j])}]}, TypeError, "params must be"),
    ({"params": "start"}, TypeError, "params must be"),
    ({"weight_decay": -1.0}, ValueError, "weight_decay=-1.0"),
    ({"weight_decay": np.inf}, ValueError, "weight_decay=inf"),
    ({"weight_decay": "strong"}, TypeError, "weight_decay='strong'"),
    ({"weight_decay": np.ones(17)}, TypeError, "weight_decay"),
    ({"weight_decay": [1.0, 2.0]}, ValueError, "weight_decay has structure"),
    ({"sample_weight": np.ones(3)}, ValueError, "sample_weight must be 4"),
    ({"sample_weight": [1, 1, 1, -1]}, ValueError, "sample_weight must be 4"),
    ({"sample_weight": np.zeros(4)}, ValueError, "sample_weight must be 4"),
    ({"sample_weight": [1, 1, 1, np.nan]}, ValueError, "sample_weight must be 4"),
    ({"sample_weight": list("abcd")}, TypeError, "sample_weight must be 4"),
    ({"dtype": "float16"}, ValueError, "dtype='float16'"),
    ({"chunk_samples": 0}, ValueError, "chunk_samples=0"),
    ({"chunk_samples": 2.5}, ValueError, "chunk_samples=2.5"),
    ({"chunk_samples": "a"}, TypeError, "chunk_samples='a'"),
]


@pytest.mark.parametrize(("changes", "error", "named"), BAD, ids=[named for _, _, named in BAD])
def test_bad_input_names_the_argument(changes, error, named):
    with pytest.raises(error, match=named):
        supervised(**changes)


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: sg.Objective(PARAMS, []), ValueError, "terms is empty"),
        (lambda: sg.Objective(PARAMS, [3]), TypeError, "terms must be a list of stiffgrad.Term"),
        (lambda: sg.Objective(PARAMS, sg.Term(APPLY, X)), TypeError, "terms must be a list"),
        (lambda: sg.Objective(PARAMS, [sg.Term(APPLY, X, weight=0.0)]), ValueError, r"terms\[0\]: weight=0.0"),
        (lambda: sg.Objective(PARAMS, [sg.Term(APPLY, X, weight="a")]), TypeError, r"terms\[0\]: weight='a'"),
        (lambda: sg.Objective(PARAMS, [sg.Term(APPLY, X), sg.Term(APPLY, NAN)]), ValueError, r"terms\[1\]: samples"),
        (lambda: sg.Objective(PARAMS, [sg.Term(APPLY, X, loss="cross_entropy")]), TypeError, r"targets \(y\)"),
        (lambda: sg.minimise(3, PARAMS), TypeError, "loss must be a callable"),
        (lambda: sg.minimise(lambda p: p, np.ones(2)), ValueError, "loss.params. must return a scalar"),
        (lambda: supervised().value(np.ones(3)), ValueError, r"w has shape \(3,\), expected the flat \(17,\)"),
        (lambda: supervised().hvp(np.ones(17), np.ones(2)), ValueError, r"v has shape \(2,\)"),
        (lambda: supervised().flatten({"a": 1.0}), ValueError, "built for"),
    ],
)
def test_bad_calls_name_the_argument(call, error, named):
    with pytest.raises(error, match=named):
        call()


def test_labels_may_be_a_list():
    listed, plain = (supervised(y=y, loss="cross_entropy") for y in ([0, 1, 1, 0], np.array([0, 1, 1, 0])))
    assert float(listed.value(listed.w0)) == float(plain.value(plain.w0))


def test_a_solution_in_the_place_of_its_parameters_is_named():
    objective = supervised()
    solution = sg.solve(objective, "lbfgs", until=sg.Until(steps=1))
    with pytest.raises(ValueError, match="params is a Solution: pass its parameters"):
        sg.minimum(objective, solution)
