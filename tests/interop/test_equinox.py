"""Equinox modules: trained as they are, and back as they were."""

import pathlib
import pickle
import re
import runpy

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.objective.networks import MLP

X = np.random.default_rng(0).uniform(-1, 1, (20, 2))
y = np.sin(X[:, 0]) * X[:, 1]
KEY = jax.random.key(0)
FEW = {"solver": "lbfgs", "until": sg.Until(steps=3)}  # compiles little


def network(activation=jnp.tanh):
    return eqx.nn.MLP(2, 1, 5, 2, activation=activation, key=KEY)


class Skip(eqx.Module):
    """Not a stack of dense layers; with a buffer of whole numbers and a static part."""

    first: eqx.nn.Linear
    last: eqx.nn.Linear
    order: jax.Array
    scale: float = eqx.field(static=True)

    def __init__(self):
        one, two = jax.random.split(KEY)
        self.first = eqx.nn.Linear(2, 2, key=one)
        self.last = eqx.nn.Linear(2, 1, key=two)
        self.order = jnp.array([1, 0])
        self.scale = 2.0

    def __call__(self, x):
        return self.last(x[self.order] + self.scale * jnp.tanh(self.first(x)))


@pytest.mark.parametrize("model", [network(), network(jax.nn.relu), Skip()])
def test_the_trained_model_has_the_loss_of_the_solution(model):
    objective = sg.supervised(model, X, y)
    solution = sg.solve(objective, **FEW)
    assert type(solution.model) is type(model)
    assert solution.model is solution.model
    outputs = jax.vmap(solution.model)(X)[:, 0]
    assert float(0.5 * jnp.mean((outputs - y) ** 2)) == pytest.approx(solution.loss, rel=1e-5)
    start = jax.vmap(model)(X)[:, 0]
    assert float(0.5 * jnp.mean((start - y) ** 2)) == pytest.approx(float(objective.value(objective.w0)), rel=1e-5)
    assert solution.loss < float(objective.value(objective.w0))


def test_number_types_and_static_parts_stay():
    model = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, Skip())
    trained = sg.solve(sg.supervised(model, X, y), **FEW).model
    assert trained.first.weight.dtype == jnp.float32
    assert trained.order.dtype == model.order.dtype
    assert trained.order.tolist() == [1, 0]
    assert trained.scale == 2.0
    assert trained.first.weight.tolist() != model.first.weight.tolist()


def test_dense_layers_are_recognised_by_what_they_compute():
    relu = eqx.nn.Sequential([eqx.nn.Linear(2, 4, key=KEY), eqx.nn.Lambda(jax.nn.relu), eqx.nn.Linear(4, 3, key=KEY)])
    assert sg.supervised(relu, X, np.zeros((20, 3))).blocks[0].function == MLP((2, 4, 3), "relu")
    assert sg.supervised(network(), X, y).blocks[0].function == MLP((2, 5, 5, 1), "tanh")
    assert sg.supervised(eqx.nn.Linear(2, 1, key=KEY), X, y).blocks[0].function == MLP((2, 1), "tanh")


@pytest.mark.parametrize(
    "model",
    [
        Skip(),
        network(jnp.cos),
        eqx.nn.MLP(2, 1, 5, 1, activation=jnp.tanh, final_activation=jnp.tanh, key=KEY),
        eqx.nn.MLP(2, 1, 5, 1, use_bias=False, key=KEY),
        eqx.nn.MLP(2, 1, 5, 2, activation=lambda x: jnp.clip(jnp.tanh(x), -0.999, 0.999), key=KEY),
    ],
)
def test_what_is_no_perceptron_is_not_taken_for_one(model):
    assert not isinstance(sg.supervised(model, X, y).blocks[0].function, MLP)


def test_models_of_equal_structure_share_compiled_code():
    other = eqx.nn.MLP(2, 1, 5, 1, activation=jnp.cos, key=jax.random.key(1))
    mine = eqx.nn.MLP(2, 1, 5, 1, activation=jnp.cos, key=jax.random.key(2))
    first, second = (sg.supervised(model, X, y).blocks[0].function for model in (mine, other))
    assert first == second
    assert hash(first) == hash(second)


def test_a_model_can_stand_for_the_params_everywhere():
    def slope(model, x):
        return jax.grad(lambda x: model(x)[0])(x) - jnp.array([x[1], x[0]])  # the gradient of x y

    objective = sg.least_squares(slope, network(), X)
    solution = sg.solve(objective, "lbfgs", until=sg.Until(steps=20))
    slopes = jax.vmap(jax.grad(lambda x: solution.model(x)[0]))(X)
    assert float(0.5 * jnp.mean(jnp.sum((slopes - X[:, ::-1]) ** 2, 1))) == pytest.approx(solution.loss, rel=1e-6)
    assert sg.minimum(objective, solution.model).gradient_norm == pytest.approx(solution.gradient_norm, rel=1e-6)
    again = objective.with_start(solution.model)
    np.testing.assert_allclose(again.w0, solution.w, rtol=1e-6)
    assert isinstance(again.restore(solution.params), eqx.nn.MLP)


def test_frozen_layers_pass_and_random_ones_are_named():
    dropout = eqx.nn.Sequential([eqx.nn.Linear(2, 1, key=KEY), eqx.nn.Dropout(0.2)])
    with pytest.raises(ValueError, match=r"model\.layers\[1\] is a Dropout of p=0.2.*inference_mode"):
        sg.supervised(dropout, X, y)
    assert sg.supervised(eqx.nn.inference_mode(dropout), X, y).size == 3
    with pytest.raises(TypeError, match=r"BatchNorm.*LayerNorm"):
        sg.supervised(eqx.nn.BatchNorm(2, "batch", mode="batch"), X, y)


class Norm(eqx.Module):
    first: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    last: eqx.nn.Linear

    def __init__(self, key):
        self.first = eqx.nn.Linear(2, 3, key=key)
        self.norm = eqx.nn.BatchNorm(3, "batch", mode="batch")
        self.last = eqx.nn.Linear(3, 1, key=key)

    def __call__(self, x, state):
        hidden, state = self.norm(jnp.tanh(self.first(x)), state)
        return self.last(hidden), state


def test_a_frozen_batch_norm_is_trained_as_its_message_says():
    model, state = eqx.nn.make_with_state(Norm)(KEY)
    _, state = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(jnp.asarray(X), state)
    with pytest.raises(TypeError, match=r"inference_mode\(model\) and supervised\(model, state, X, y\)"):
        sg.supervised(model, X, y)
    model = eqx.nn.inference_mode(model)
    with pytest.raises(ValueError, match="takes its state beside the sample"):
        sg.supervised(model, X, y)
    solution = sg.solve(sg.supervised(model, state, X, y), **FEW)
    outputs = jax.vmap(lambda x: solution.model(x, state)[0])(X)[:, 0]
    assert float(0.5 * jnp.mean((outputs - y) ** 2)) == pytest.approx(solution.loss, rel=1e-5)
    pair = sg.supervised((model, state), X, y)  # as make_with_state returns them
    as_function = sg.supervised(lambda model, x: model(x, state)[0], model, X, y)
    assert pair.value(solution.w) == pytest.approx(as_function.value(solution.w), rel=1e-12)
    again = pickle.loads(pickle.dumps(solution))
    np.testing.assert_array_equal(again.predict(X), solution.predict(X))


def test_a_state_goes_with_a_stack_of_layers():
    layers = [eqx.nn.Linear(2, 3, key=KEY), eqx.nn.BatchNorm(3, "batch", mode="ema"), eqx.nn.Linear(3, 1, key=KEY)]
    model, state = eqx.nn.make_with_state(eqx.nn.Sequential)(layers)
    model = eqx.nn.inference_mode(model)
    with pytest.raises(ValueError, match=r"its state beside the sample: give supervised\(model, state, X, y\)"):
        sg.supervised(model, X, y)  # a Sequential takes a sample without a state too
    solution = sg.solve(sg.supervised(model, state, X, y), **FEW)
    np.testing.assert_allclose(
        jax.vmap(lambda x: solution.model(x, state)[0])(X)[:, 0], solution.predict(X), rtol=1e-5, atol=1e-6
    )


class Counted(eqx.Module):
    """Sets its state at each call."""

    layer: eqx.nn.Linear
    calls: eqx.nn.StateIndex

    def __init__(self):
        self.layer = eqx.nn.Linear(2, 1, key=KEY)
        self.calls = eqx.nn.StateIndex(jnp.array(0))

    def __call__(self, x, state):
        return self.layer(x), state.set(self.calls, state.get(self.calls) + 1)


def test_a_state_that_a_layer_sets_stays_as_it_was():
    model, state = eqx.nn.make_with_state(Counted)()
    sg.solve(sg.supervised(model, state, X, y), **FEW)
    assert state.get(model.calls) == 0


def test_outputs_that_are_no_array_get_a_sentence():
    class Named(eqx.Module):
        layer: eqx.nn.Linear

        def __call__(self, x):
            return {"u": self.layer(x)}

    with pytest.raises(TypeError, match="must return one non-empty array of real numbers, not a dict"):
        sg.supervised(Named(eqx.nn.Linear(2, 1, key=KEY)), X, y)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((eqx.nn.MLP, X, y), "is a class"),
        ((eqx.filter_jit(network()), X, y), "pass the module itself"),
        ((jax.jit(network()), X, y), "inside of jit or vmap: pass the model itself"),
        ((jax.vmap(network()), X, y), "inside of jit or vmap: pass the model itself"),
        ((jax.jit(lambda p, x: x), X, y), "compiled already"),
        ((lambda x: x, X, y), r"supervised\(apply, params, X, y\)"),
        ((network(), {}, X, y), "holds its own parameters"),
        ((network(), X), "needs X and y"),
        ((3, X, y), "give a function"),
        (((*eqx.partition(Skip(), eqx.is_array)[::-1], 0), X, y), r"the model itself in place of \(params, static\)"),
        (({"weight": X}, X, y), "dict of parameters: give the model itself"),
        ((network().__call__, X, y), "the method __call__ of a model: pass the model itself"),
    ],
)
def test_wrong_things_get_a_sentence(arguments, match):
    with pytest.raises(TypeError, match=match):
        sg.supervised(*arguments)


def test_a_loss_of_ones_own_may_stand_fourth():
    def loss(outputs, target):
        return jnp.sum(jnp.logaddexp(outputs - target, target - outputs))

    objective = sg.supervised(network(), X, y, loss)
    assert objective.blocks[0].loss.name == "loss"
    assert objective.size == network_size()


def network_size():
    return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(network(), eqx.is_inexact_array)))


POISSON = [
    sg.pde.interior(lambda u, z: sg.pde.laplacian(u, z) + 1, 64),
    sg.pde.boundary(0.0, 32),
]


def test_a_model_stands_for_the_solution_of_an_equation_and_comes_back_trained():
    model = eqx.nn.MLP(2, 1, 8, 2, activation=jnp.tanh, key=jax.random.key(0))
    problem = sg.pde.Problem([(0, 1), (0, 1)], POISSON, model)
    assert problem.network == MLP((2, 8, 8, 1), "tanh")
    solution = sg.pde.solve(problem, until=sg.Until(loss=1e-3))
    point = np.array([0.5, 0.4])
    assert isinstance(solution.model, eqx.nn.MLP)
    assert solution.model(jnp.asarray(point))[0] == pytest.approx(float(solution.u(point)), abs=1e-6)
    assert solution.u(np.stack([point, point])).shape == (2,)


def test_an_equations_model_is_given_alone_and_only_then_comes_back():
    with pytest.raises(TypeError, match="holds its own parameters"):
        sg.pde.Problem([(0, 1), (0, 1)], POISSON, (network(), {"a": np.ones(2)}))
    with pytest.raises(AttributeError, match=r"solution\.problem\.network"):
        _ = sg.pde.solve(sg.pde.Problem([(0, 1), (0, 1)], POISSON, [3]), until=sg.Until(steps=1)).model


def test_a_function_has_no_model():
    apply, params = sg.mlp([2, 3, 1])
    solution = sg.solve(sg.supervised(apply, params, X, y), **FEW)
    with pytest.raises(ValueError, match=r"solution\.params"):
        _ = solution.model


def test_the_example_runs(capsys):
    runpy.run_path(str(pathlib.Path(__file__).parents[2] / "examples" / "model_equinox.py"))
    assert re.search(r"MLP: RMS error \d\.\de-0[34]", capsys.readouterr().out)
