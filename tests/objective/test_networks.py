"""The multilayer perceptron against plain NumPy, and its starts against their definitions."""

import jax
import numpy as np
import pytest
from scipy.special import erf, expit

from stiffgrad import MLP, mlp
from stiffgrad.objective.networks import ACTIVATIONS

FORMULAS = {
    "tanh": np.tanh,
    "sigmoid": expit,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "sine": np.sin,
}


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_outputs_are_those_of_plain_numpy(activation):
    apply, params = mlp([3, 5, 4, 2], activation, seed=1)
    x = a = np.array([0.3, -2.0, 1.0])
    for layer in params[:-1]:
        a = FORMULAS[activation](layer["weight"] @ a + layer["bias"])
    expected = params[-1]["weight"] @ a + params[-1]["bias"]
    tolerance = 2e-3 if activation == "gelu" else 1e-12  # jax's gelu is the tanh approximation
    np.testing.assert_allclose(apply(params, x), expected, rtol=tolerance, atol=tolerance)


def test_without_hidden_layers_it_is_linear():
    apply, params = mlp([2, 3])
    x = np.array([1.0, -2.0])
    np.testing.assert_allclose(apply(params, x), params[0]["weight"] @ x + params[0]["bias"])


@pytest.mark.parametrize(
    ("initial", "limit"), [("glorot", np.sqrt(6 / 1200)), ("he", np.sqrt(6 / 400))], ids=["glorot", "he"]
)
def test_start_is_uniform_within_its_limit(initial, limit):
    _, params = mlp([400, 800], initial=initial)
    weight = params[0]["weight"]
    assert np.abs(weight).max() <= limit
    # 320,000 draws: the standard deviation is known to about 0.1%.
    assert weight.std() == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert np.abs(params[0]["bias"]).max() <= 1 / np.sqrt(400)


def test_relu_starts_as_he_and_tanh_as_glorot():
    for activation, initial in (("relu", "he"), ("tanh", "glorot"), ("sigmoid", "glorot"), ("silu", "he")):
        seen, expected = mlp([4, 6], activation, seed=3)[1], mlp([4, 6], activation, seed=3, initial=initial)[1]
        np.testing.assert_array_equal(seen[0]["weight"], expected[0]["weight"])


def test_seeds_repeat_and_differ():
    first, again, other = (mlp([2, 3, 1], seed=seed)[1] for seed in (5, 5, 6))
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not np.array_equal(first[0]["weight"], other[0]["weight"])


def test_equal_networks_are_equal_objects():
    assert mlp([2, 3, 1], seed=0)[0] == mlp((2, 3, 1), seed=9)[0]
    assert hash(mlp([2, 3, 1])[0]) == hash(MLP((2, 3, 1), "tanh"))
    assert mlp([2, 3, 1])[0] != mlp([2, 3, 1], "relu")[0]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"sizes": [3]}, ValueError, "sizes"),
        ({"sizes": [3, 0, 1]}, ValueError, "sizes"),
        ({"sizes": [3, -2]}, ValueError, "sizes"),
        ({"sizes": [3, 2.5]}, TypeError, "sizes"),
        ({"sizes": "32"}, TypeError, "sizes"),
        ({"sizes": 3}, TypeError, "sizes"),
        ({"sizes": [3, 1], "activation": "swish"}, ValueError, "activation='swish'.*tanh, sigmoid"),
        ({"sizes": [3, 1], "activation": ["tanh"]}, ValueError, "activation"),
        ({"sizes": [3, 1], "initial": "zeros"}, ValueError, "initial='zeros'"),
        ({"sizes": [3, 1], "seed": -1}, ValueError, "seed=-1"),
        ({"sizes": [3, 1], "seed": "a"}, TypeError, "seed='a'"),
        ({"sizes": [True, True]}, TypeError, "sizes=.*whole numbers"),
    ],
)
def test_bad_input_names_the_argument(arguments, error, named):
    with pytest.raises(error, match=named):
        mlp(**arguments)
