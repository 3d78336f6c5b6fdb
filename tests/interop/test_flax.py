"""Flax modules, NNX and Linen: trained as they are, and back as they were."""

import pathlib
import re
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.objective.networks import MLP

nnx = pytest.importorskip("flax.nnx")
nn = pytest.importorskip("flax.linen")

X = np.random.default_rng(0).uniform(-1, 1, (20, 2))
y = np.sin(X[:, 0]) * X[:, 1]
FEW = {"solver": "lbfgs", "until": sg.Until(steps=3)}  # compiles little


class Plain(nnx.Module):
    """Dense layers whose names are not in their order."""

    def __init__(self, rngs):
        self.first = nnx.Linear(2, 4, rngs=rngs)
        self.last = nnx.Linear(4, 1, rngs=rngs)
        self.inner = nnx.Linear(4, 4, rngs=rngs)

    def __call__(self, x):
        return self.last(nnx.tanh(self.inner(nnx.tanh(self.first(x)))))


class Skip(nnx.Module):
    """With a norm, dropout and a connection past a layer: frozen by `eval`."""

    def __init__(self, rngs):
        self.first = nnx.Linear(2, 4, rngs=rngs)
        self.last = nnx.Linear(4, 1, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.first(x))
        return self.last(x + nnx.tanh(self.dropout(x)))


def loss(outputs):
    return float(0.5 * jnp.mean((outputs[:, 0] - y) ** 2))


@pytest.mark.parametrize("kind", [Plain, Skip])
def test_nnx(kind):
    model = kind(nnx.Rngs(0))
    model.eval()
    before = model(jnp.asarray(X, jnp.float32))
    objective = sg.supervised(model, X, y)
    assert float(objective.value(objective.w0)) == pytest.approx(loss(before), rel=1e-5)
    solution = sg.solve(objective, **FEW)
    trained = solution.model
    assert type(trained) is kind
    assert trained.first.kernel[...].dtype == jnp.float32
    assert loss(trained(jnp.asarray(X, jnp.float32))) == pytest.approx(solution.loss, rel=1e-4)
    np.testing.assert_array_equal(model(jnp.asarray(X, jnp.float32)), before)  # the given model stays
    np.testing.assert_allclose(objective.flatten(trained), solution.w, rtol=1e-6)


def test_nnx_layers_are_recognised_in_the_order_in_which_they_act():
    assert sg.supervised(Plain(nnx.Rngs(0)), X, y).blocks[0].function == MLP((2, 4, 4, 1), "tanh")
    model = nnx.Sequential(nnx.Linear(2, 4, rngs=nnx.Rngs(0)), nnx.silu, nnx.Linear(4, 1, rngs=nnx.Rngs(1)))
    assert sg.supervised(model, X, y).blocks[0].function == MLP((2, 4, 1), "silu")


def test_nnx_modules_with_options_that_cannot_be_hashed():
    class Scaled(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(2, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
            self.options = {"scale": 1.5}

        def __call__(self, x):
            return self.options["scale"] * self.last(nnx.tanh(self.first(x)))

    objective = sg.supervised(Scaled(nnx.Rngs(0)), X, y)
    solution = sg.solve(objective, **FEW)
    assert solution.loss < float(objective.value(objective.w0))
    assert solution.model.options == {"scale": 1.5}
    assert loss(solution.model(X)) == pytest.approx(solution.loss, rel=1e-6)


def test_nnx_buffers_stay():
    model = Skip(nnx.Rngs(0))
    model.norm.mean[...] = jnp.array([1.0, 2.0, 3.0, 4.0], jnp.float32)
    model.eval()
    trained = sg.solve(sg.supervised(model, X, y), **FEW).model
    assert trained.norm.mean[...].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert trained.norm.mean[...].dtype == jnp.float32


@pytest.mark.parametrize(
    ("name", "match"), [("dropout", "model.dropout is a Dropout"), ("norm", "model.norm is a Bat")]
)
def test_nnx_layers_in_training_mode_are_named(name, match):
    model = Skip(nnx.Rngs(0))
    model.eval()
    getattr(model, name).train()
    with pytest.raises(ValueError, match=rf"{match}.*model\.eval\(\)"):
        sg.supervised(model, X, y)


def test_a_model_that_mixes_samples_is_refused():
    class Centred(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(2, 1, rngs=rngs)

        def __call__(self, x):
            return jnp.sin(self.layer(x - x.mean(0)))

    with pytest.raises(ValueError, match="a function of each sample alone"):
        sg.supervised(Centred(nnx.Rngs(0)), X, y)


class Compact(nn.Module):
    training: str = ""

    @nn.compact
    def __call__(self, x):
        x = nn.sigmoid(nn.Dense(4)(x))
        x = nn.Dropout(0.5, deterministic=self.training != "dropout")(x)
        if self.training != "none":
            x = nn.BatchNorm(use_running_average=self.training != "norm")(x)
        return nn.Dense(1)(x)


@pytest.mark.parametrize("alone", [False, True])
def test_linen(alone):
    model = Compact("none")
    variables = model.init(jax.random.key(0), X[:1])
    objective = sg.supervised(model, variables["params"] if alone else variables, X, y)
    assert objective.blocks[0].function == MLP((2, 4, 1), "sigmoid")
    solution = sg.solve(objective, **FEW)
    assert loss(solution.model(X)) == pytest.approx(solution.loss, rel=1e-6)
    assert jax.tree.structure(solution.model.variables) == jax.tree.structure(variables)


def test_linen_modules_that_hold_lists_and_are_no_perceptron():
    def model():
        return nn.Sequential([nn.Dense(4), nn.sigmoid, nn.Dense(3), nn.relu, nn.Dense(1)])

    variables = model().init(jax.random.key(0), X[:1])
    objective, other = (sg.supervised(model(), variables, X, y) for _ in range(2))
    assert not isinstance(objective.blocks[0].function, MLP)
    assert float(objective.value(objective.w0)) == float(other.value(other.w0))
    solution = sg.solve(objective, **FEW)
    assert loss(solution.model(X)) == pytest.approx(solution.loss, rel=1e-6)


def test_linen_keeps_frozen_statistics():
    model = Compact()
    variables = model.init(jax.random.key(0), X[:1])
    mean = jnp.array([0.1, 0.2, 0.3, 0.4])
    variables["batch_stats"]["BatchNorm_0"]["mean"] = mean
    solution = sg.solve(sg.supervised(model.apply, variables, X, y), **FEW)
    trained = solution.model.variables
    np.testing.assert_array_equal(trained["batch_stats"]["BatchNorm_0"]["mean"], mean)
    assert loss(model.apply(trained, X)) == pytest.approx(solution.loss, rel=1e-6)


@pytest.mark.parametrize(
    ("training", "match"),
    [("dropout", "deterministic=True.*Dropout_0"), ("norm", "use_running_average=True.*BatchNorm_0")],
)
def test_linen_layers_in_training_mode_are_named(training, match):
    model = Compact(training)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    with pytest.raises(ValueError, match=re.compile(match, re.DOTALL)):
        sg.supervised(model, model.init(keys, X[:1]), X, y)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [((Compact, X, y), "is a class"), ((Plain, X, y), "is a class"), ((Compact(), X, y), r"model\.init")],
)
def test_wrong_things_get_a_sentence(arguments, match):
    with pytest.raises(TypeError, match=match):
        sg.supervised(*arguments)


def test_a_linen_module_with_more_arguments_gets_a_sentence():
    class Trains(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.Dropout(0.1, deterministic=not train)(nn.Dense(1)(x))

    module = Trains()
    variables = module.init(jax.random.key(0), X[:1], False)
    with pytest.raises(ValueError, match=r"argument: 'train'.*lambda params, x: module\.apply"):
        sg.supervised(module, variables, X, y)
    assert sg.supervised(lambda params, x: module.apply(params, x[None], False)[0], variables, X, y).size == 3


def test_a_model_of_a_dict_gets_a_dict():
    class Parts(Plain):
        def __call__(self, x):
            return super().__call__(jnp.concatenate([x["left"], x["right"]], -1)) + x["left"]

    objective = sg.supervised(Parts(nnx.Rngs(0)), {"left": X[:, :1], "right": X[:, 1:]}, y + X[:, 0])
    same = sg.supervised(Plain(nnx.Rngs(0)), X, y)
    assert float(objective.value(objective.w0)) == pytest.approx(float(same.value(same.w0)), rel=1e-12)


def test_a_linen_module_and_its_variables_stand_for_the_solution_of_an_equation():
    module = nn.Sequential([nn.Dense(6), nn.tanh, nn.Dense(1)])
    decay = sg.pde.interior(lambda u, t: sg.pde.derivative(u, t) + u(t), 16)
    pair = module, module.init(jax.random.key(0), jnp.zeros((1, 1)))
    solution = sg.pde.solve(sg.pde.Problem([(0, 1)], [decay, sg.pde.initial(1.0)], pair), until=sg.Until(loss=1e-6))
    assert float(solution.model(jnp.array([[1.0]]))[0, 0]) == pytest.approx(float(solution.u([1.0])), abs=1e-6)
    assert float(solution.u([1.0])) == pytest.approx(np.exp(-1), abs=1e-2)


def test_the_example_runs(capsys):
    runpy.run_path(str(pathlib.Path(__file__).parents[2] / "examples" / "model_flax.py"))
    assert len(re.findall(r"RMS error \d\.\de-0[34]", capsys.readouterr().out)) == 2


class Squeezed(Plain):
    def __call__(self, x):
        return super().__call__(x).squeeze()


def test_nnx_models_that_squeeze_their_outputs():
    objective = sg.supervised(Squeezed(nnx.Rngs(0)), X, y)
    same = sg.supervised(Plain(nnx.Rngs(0)), X, y)
    assert float(objective.value(objective.w0)) == pytest.approx(float(same.value(same.w0)), rel=1e-12)

    class Wide(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(2, 3, rngs=rngs)

        def __call__(self, x):
            return self.first(x).squeeze() ** 2

    with pytest.raises(ValueError, match=r"squeeze\(-1\)"):
        sg.supervised(Wide(nnx.Rngs(0)), X, np.ones((20, 3)))


SERIES = np.random.default_rng(1).standard_normal((12, 5, 2))


def test_nnx_recurrent_networks():
    class Recurrent(nnx.Module):
        def __init__(self, rngs):
            self.cells = nnx.RNN(nnx.GRUCell(2, 3, rngs=rngs))
            self.last = nnx.Linear(3, 1, rngs=rngs)

        def __call__(self, x):
            return self.last(self.cells(x)[:, -1])

    model = Recurrent(nnx.Rngs(0))
    solution = sg.solve(sg.supervised(model, SERIES, SERIES[:, :, 0].sum(1)), **FEW)
    outputs = solution.model(jnp.asarray(SERIES, jnp.float32))[:, 0]
    np.testing.assert_allclose(outputs, solution.predict(SERIES), rtol=1e-4, atol=1e-5)
    assert solution.model.cells.cell.param_dtype == jnp.float32


def test_linen_recurrent_networks_start_in_float32():
    class Recurrent(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.RNN(nn.GRUCell(3))(x)[:, -1])

    module, targets = Recurrent(), SERIES[:, :, 0].sum(1)
    variables = module.init(jax.random.key(0), jnp.asarray(SERIES[:1], jnp.float32))
    with pytest.raises(ValueError, match=r"starts a loop with numbers of float32.*dtype='float32'"):
        sg.supervised(module, variables, SERIES, targets)
    solution = sg.solve(sg.supervised(module, variables, SERIES, targets, dtype="float32"), **FEW)
    outputs = solution.model(jnp.asarray(SERIES, jnp.float32))[:, 0]
    np.testing.assert_allclose(outputs, solution.predict(SERIES), rtol=1e-4, atol=1e-5)
