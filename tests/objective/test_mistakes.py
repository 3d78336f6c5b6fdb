"""Mistakes that would run: probabilities given to a loss of logits, a function of a batch given as one of a sample."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 1, (30, 4))
CLASSES = RNG.integers(0, 3, 30)
PARAMS = {"first": RNG.normal(size=(4, 6)), "last": RNG.normal(size=(6, 3)), "bias": RNG.normal(size=3)}


def logits(params, x):
    return jnp.tanh(x @ params["first"]) @ params["last"] + params["bias"]


def by_hand(params, x):
    powers = jnp.exp(logits(params, x))
    return powers / powers.sum()


SOFTMAX = {
    "softmax": lambda p, x: jax.nn.softmax(logits(p, x)),
    "by hand": by_hand,
    "compiled": jax.jit(by_hand),
    "cut off": lambda p, x: jnp.clip(jax.nn.softmax(logits(p, x)), 1e-7, 1 - 1e-7),
    "a batch of one": lambda p, x: jnp.squeeze(jax.nn.softmax(logits(p, x[None])), 0),
}
SIGMOID = {
    "sigmoid": lambda p, x: jax.nn.sigmoid(logits(p, x))[0],
    "by hand": lambda p, x: 1 / (1 + jnp.exp(-logits(p, x)[0])),
    "by tanh": lambda p, x: 0.5 * (1 + jnp.tanh(logits(p, x)[0])),
}


@pytest.mark.parametrize("name", SOFTMAX)
def test_a_softmax_before_cross_entropy_is_refused(name):
    with pytest.raises(ValueError, match=r"takes logits.*sum to 1.*Leave the softmax out"):
        sg.supervised(SOFTMAX[name], PARAMS, X, CLASSES, loss="cross_entropy")


@pytest.mark.parametrize("name", SIGMOID)
def test_a_sigmoid_before_a_loss_of_logits_is_refused(name):
    with pytest.raises(ValueError, match=r"takes logits.*between 0 and 1.*Leave the sigmoid out"):
        sg.supervised(SIGMOID[name], PARAMS, X, CLASSES > 0, loss="binary_cross_entropy")


def test_a_softmax_at_the_end_of_a_model_is_refused():
    dense = eqx.nn.MLP(4, 3, 5, 1, activation=jnp.tanh, key=jax.random.key(0))
    model = eqx.nn.Sequential([dense, eqx.nn.Lambda(jax.nn.softmax)])
    with pytest.raises(ValueError, match="Leave the softmax out"):
        sg.supervised(model, X, CLASSES, loss="cross_entropy")
    assert sg.supervised(model, X, np.eye(3)[CLASSES]).rows == 90  # with the squared loss it is what was meant


@pytest.mark.parametrize(
    "function",
    [
        logits,
        lambda p, x: jax.nn.log_softmax(logits(p, x)),  # log-probabilities are logits
        lambda p, x: jax.nn.relu(logits(p, x)),
        lambda p, x: 30 * jnp.tanh(logits(p, x) / 30),
        lambda p, x: (logits(p, x) + 50) / 100,  # between 0 and 1 at the start by chance
        lambda p, x: 0.0 * logits(p, x),
    ],
)
def test_logits_pass(function):
    sg.supervised(function, PARAMS, X, CLASSES, loss="cross_entropy")
    sg.supervised(lambda p, x: function(p, x)[0], PARAMS, X, CLASSES > 0, loss="binary_cross_entropy")


def test_probabilities_go_with_a_loss_of_ones_own():
    def log_likelihood(p, label):
        return -jnp.log(p[label])

    assert sg.supervised(by_hand, PARAMS, X, CLASSES, loss=log_likelihood).rows == 90


@pytest.mark.parametrize(
    "function",
    [
        lambda p, x: logits(p, x - x.mean(0)),
        lambda p, x: logits(p, (x - x.mean(0)) / x.std(0)),
        lambda p, x: logits(p, x / jnp.max(jnp.abs(x), axis=0)),
    ],
)
def test_a_function_of_a_batch_is_warned_of(function):
    with pytest.warns(UserWarning, match="is it written for a batch") as seen:
        sg.supervised(function, PARAMS, X, CLASSES, loss="cross_entropy")
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="is it written for a batch"):
        sg.supervised(lambda p, x: p["a"] * (x - x.mean()), {"a": 1.0}, X[:, 0], CLASSES)


def attention(params, x):  # of five tokens of four numbers
    keys = x @ params["keys"]
    weights = jax.nn.softmax(keys @ keys.T, axis=-1)
    return ((weights @ x).mean(0) + x.max(0)) @ params["keys"]


@pytest.mark.parametrize(
    "function",
    [
        logits,
        lambda p, x: logits(p, x - x.mean()),
        lambda p, x: logits(p, (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)),  # layer-norm
        lambda p, x: logits(p, x) * jnp.sum(x**2),
    ],
)
def test_functions_of_one_sample_pass(function):
    sg.supervised(function, PARAMS, X, CLASSES, loss="cross_entropy")  # a warning is an error here


def test_means_over_the_axes_of_a_sample_pass():
    tokens = RNG.normal(size=(30, 5, 4))
    sg.supervised(attention, {"keys": np.eye(4)}, tokens, RNG.normal(size=(30, 4)))
    sg.least_squares(lambda p, s: p["a"] * s[0].mean(0) - s[1], {"a": 1.0}, (tokens, tokens[:, 0]))


def test_lists_in_a_dict_are_arrays_and_records_get_a_sentence():
    def product(params, x):
        return params["a"] * x["one"] * x["two"][1]

    objective = sg.supervised(product, {"a": 1.0}, {"one": [1, 2, 3], "two": [[1, 2], [3, 4], [5, 6]]}, [2, 8, 18])
    assert float(objective.value(objective.w0)) == 0.0
    with pytest.raises(TypeError, match="X is a list with dicts in it, one a sample: give one dict of arrays"):
        sg.supervised(product, {"a": 1.0}, [{"one": 1, "two": [1, 2]}] * 3, [2, 8, 18])
    with pytest.raises(ValueError, match=r"X\['two'\] is a list of rows of different lengths"):
        sg.supervised(product, {"a": 1.0}, {"one": [1, 2], "two": [[1, 2], [3]]}, [2, 8])
