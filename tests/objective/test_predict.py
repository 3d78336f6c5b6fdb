"""Outputs of a trained function on new samples: shapes of the targets, numbers of the function itself."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (20, 2))
NEW = RNG.uniform(-1, 1, (7, 2))
FEW = {"solver": "lbfgs", "until": sg.Until(steps=3)}


@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_outputs_have_the_shape_of_the_targets(shape):
    apply, params = sg.mlp([2, 3, 1], seed=0)
    solution = sg.solve(sg.supervised(apply, params, X, RNG.normal(size=shape)), **FEW)
    found = solution.predict(NEW)
    assert found.shape == (7, *shape[1:])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.ravel(), [float(apply(solution.params, x)[0]) for x in NEW], rtol=1e-12)
    np.testing.assert_array_equal(solution.predict(NEW.tolist()), found)


def test_outputs_of_classes_are_logits():
    labels = np.arange(20) % 3
    solution = sg.solve(sg.supervised(sg.mlp([2, 3, 3]), X, labels, loss="cross_entropy"), **FEW)
    logits = solution.predict(X)
    picked = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), labels[:, None], 1)
    assert -picked.mean() == pytest.approx(solution.loss, rel=1e-12)


def test_a_model_is_evaluated_in_float64_where_it_is_float32_itself():
    model = eqx.nn.MLP(2, 1, 3, 1, activation=jnp.cos, key=jax.random.key(0), dtype=jnp.float32)
    objective = sg.supervised(model, X, X[:, 0])
    solution = sg.solve(objective, **FEW)
    assert 0.5 * np.mean((solution.predict(X) - X[:, 0]) ** 2) == pytest.approx(solution.loss, rel=1e-12)
    np.testing.assert_allclose(objective.predict(solution.model, NEW), solution.predict(NEW), rtol=1e-5)
    np.testing.assert_array_equal(objective.predict(solution.w, NEW), solution.predict(NEW))


def test_pytrees_of_samples_and_outputs_of_any_shape():
    def function(params, x):
        return params["a"] * jnp.outer(x["left"], x["right"])

    data = {"left": X, "right": X[:, :1]}
    solution = sg.solve(sg.supervised(function, {"a": 0.5}, data, RNG.normal(size=(20, 2, 1))), **FEW)
    assert solution.predict(data).shape == (20, 2, 1)
    np.testing.assert_allclose(solution.predict(data)[:, :, 0], solution.params["a"] * X * X[:, :1], rtol=1e-12)


def test_it_survives_files_and_says_what_it_cannot_do(tmp_path):
    objective = sg.supervised(sg.mlp([2, 3, 1]), X, X[:, 0])
    solution = sg.solve(objective, **FEW)
    expected = solution.predict(NEW)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(solution)).predict(NEW), expected)
    solution.save(tmp_path / "run.npz")
    np.testing.assert_array_equal(sg.load(tmp_path / "run.npz", objective).predict(NEW), expected)
    with pytest.raises(ValueError, match=r"load\(path, objective\)"):
        sg.load(tmp_path / "run.npz").predict(NEW)
    with pytest.raises(ValueError, match="one term"):
        sg.minimise(lambda w: (w**2).sum(), np.ones(2)).predict(np.ones(2), NEW)
    with pytest.raises(ValueError, match=r"sizes=\[2, 3, 1\] takes one sample of shape"):
        solution.predict(np.ones((5, 3)))
    with pytest.raises(ValueError, match=r"predict fails on X of shape \(2,\).*one alone is X\[None\]"):
        solution.predict(X[0])
