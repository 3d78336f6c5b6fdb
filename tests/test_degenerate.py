"""Degenerate data work, or get a sentence; arrays of any kind and layout give the numbers of plain ones."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import polars
import pytest

import stiffgrad as sg
from stiffgrad.estimators import FlowClassifier, FlowRegressor

X = np.round(np.linspace(-2, 2, 24).reshape(12, 2), 1) * 4  # whole numbers after rounding, exact in every type
X = np.round(X)
Y = np.sin(X.sum(1))


def locked():
    array = X.copy()
    array.setflags(write=False)
    return array


KINDS = {
    "lists": X.tolist,
    "tuples": lambda: tuple(map(tuple, X)),
    "read-only": locked,
    "Fortran order": lambda: np.asfortranarray(X),
    "reversed view": lambda: X[::-1].copy()[::-1],
    "strided view": lambda: np.repeat(X, 2, axis=0)[::2],
    "int8": lambda: X.astype(np.int8),
    "int64": lambda: X.astype(np.int64),
    "float16": lambda: X.astype(np.float16),
    "float32": lambda: X.astype(np.float32),
    "bfloat16 of NumPy": lambda: X.astype(ml_dtypes.bfloat16),
    "bfloat16 of JAX": lambda: jnp.asarray(X, jnp.bfloat16),
    "big-endian": lambda: X.astype(">f8"),
    "pandas": lambda: pd.DataFrame(X, columns=["a", "b"]),
    "polars": lambda: polars.DataFrame(X, schema=["a", "b"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_any_kind_give_the_same_numbers(kind):
    apply, params = sg.mlp([2, 3, 1])
    plain, other = (sg.supervised(apply, params, data, Y) for data in (X, KINDS[kind]()))
    assert float(other.value(other.w0)) == float(plain.value(plain.w0))
    assert np.array_equal(other.gradient(other.w0), plain.gradient(plain.w0))
    assert other.w0.dtype == np.float64


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [(1, [2, 3, 1]), (1, [2, 400, 1]), (12, [2, 1]), (12, [2, *[4] * 20, 1])],
    ids=["one sample", "1,000 times more weights than samples", "no hidden layer", "20 layers"],
)
def test_odd_shapes_are_solved(samples, sizes):
    apply, params = sg.mlp(sizes)
    objective = sg.supervised(apply, params, X[:samples], Y[:samples])
    solution = sg.solve(objective, until=sg.Until(loss=1e-10, steps=60))
    assert solution.loss < float(objective.value(objective.w0))
    if samples == 1:
        assert solution.outcome is sg.Outcome.TARGET


@pytest.mark.parametrize(
    "columns",
    [(np.full(12, 3.0), X[:, 0]), (X[:, 0], X[:, 0]), (np.zeros(12), np.zeros(12)), (1e-150 * X[:, 0], X[:, 1])],
    ids=["constant", "twice the same", "zero", "1e-150"],
)
@pytest.mark.filterwarnings("ignore:column . of X has mean:UserWarning")
def test_odd_columns_are_solved(columns):
    apply, params = sg.mlp([2, 4, 1])
    objective = sg.supervised(apply, params, np.stack(columns, 1), Y)
    solution = sg.solve(objective, until=sg.Until(steps=40))
    assert np.isfinite(solution.loss)
    assert solution.loss < float(objective.value(objective.w0))


@pytest.mark.filterwarnings("ignore:column . of X has mean:UserWarning")
def test_numbers_too_large_get_a_sentence():
    apply, params = sg.mlp([2, 1])
    with pytest.raises(sg.SolveError, match="the loss is inf at the start"):
        sg.solve(sg.supervised(apply, params, 1e160 * (X + 0.5), Y))
    with pytest.raises(ValueError, match=r"too large for float32, first at .* rescale"):
        sg.supervised(apply, params, 1e150 * X, Y, dtype="float32")
    with pytest.raises(TypeError, match="samples must hold numbers"):
        sg.supervised(apply, params, np.array([["a", "b"]] * 12), Y)


def test_one_class_is_predicted_always():
    model = FlowClassifier(random_state=0).fit(X, np.full(12, 4))
    assert set(model.predict(X)) == {4}
    assert np.all(np.isfinite(model.predict_proba(X)))


@pytest.mark.parametrize("size", [1e-200, 1e-150, 1e150, 1e300])
def test_estimators_do_not_see_the_units_of_a_column(size):
    expected = FlowRegressor(random_state=0, restarts=1, max_iter=20).fit(X, Y).predict(X)
    found = FlowRegressor(random_state=0, restarts=1, max_iter=20).fit(X * [size, 1.0], Y).predict(X * [size, 1.0])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_estimators_stand_constant_and_doubled_columns():
    odd = np.column_stack([X[:, 0], X[:, 0], np.full(12, 7.0), 1e-150 * X[:, 1]])
    found = FlowRegressor(random_state=0, restarts=1).fit(odd, Y).predict(odd)
    assert np.all(np.isfinite(found))
    with pytest.raises(ValueError, match=r"at least|minimum|sample"):
        FlowRegressor().fit(odd[:0], Y[:0])


@pytest.mark.parametrize("value", [0.0, 3.5, -1e9])
def test_a_constant_target_is_predicted_without_a_warning(value):
    # A variance that changes was asked for where there is none, and 0 divided by 0.
    X = np.random.default_rng(0).normal(size=(60, 3))
    mean, std = FlowRegressor().fit(X, np.full(60, value)).predict(X, return_std=True)
    np.testing.assert_allclose(mean, value, rtol=1e-12, atol=1e-12)
    assert np.all((std > 0) & (std < 1e-3))


@pytest.mark.parametrize(("rows", "seed"), [(1, 8), (1, 13), (20, 14)])
def test_a_fit_goes_on_where_what_a_step_promises_underflows(rows, seed):
    # The network meets a constant target to 1e-160 and better: the square is zero, and a fall was divided by it.
    X = np.random.default_rng(0).normal(size=(rows, 3))
    model = FlowRegressor(random_state=seed).fit(X, np.full(rows, 3.5))
    np.testing.assert_allclose(model.predict(X), 3.5, rtol=1e-12)
