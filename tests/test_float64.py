"""64-bit numbers are ours alone: other arrays keep their type, and our results do not depend on JAX's switch."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.estimators import FlowRegressor

X = np.random.default_rng(0).uniform(-1, 1, (20, 2))
y = np.sin(X[:, 0]) * X[:, 1]


@pytest.fixture(params=[False, True], ids=["single outside", "double outside"])
def outside(request):
    with jax.enable_x64(request.param):
        yield np.float64 if request.param else np.float32


def objective(seed=0):
    return sg.supervised(*sg.mlp([2, 4, 1], seed=seed), X, y, weight_decay=1e-6)


OTHERS = """
import jax, jax.numpy as jnp, numpy as np
import stiffgrad as sg
import equinox as eqx
from flax import nnx

objective = sg.minimise(lambda w: jnp.sum((w - 1.0) ** 2), np.zeros(2))
sg.solve(objective, "lbfgs")
model = eqx.nn.Linear(2, 1, key=jax.random.key(0))
print(jnp.ones(2).dtype, jnp.asarray(np.ones(2)).dtype, model.weight.dtype)
print(nnx.Linear(2, 1, rngs=nnx.Rngs(0)).kernel.dtype)
print(model(np.ones(2)).dtype, objective.w0.dtype)
"""


def test_arrays_and_models_built_after_the_import_stay_float32():
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    done = subprocess.run([sys.executable, "-c", OTHERS], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["float32"] * 5 + ["float64"]


def test_every_derivative_is_a_numpy_array_of_64_bits(outside):
    here = objective()
    w = here.w0 + 0.1
    v = np.ones(here.size)
    results = [here.w0, here.flatten(here.unflatten(w)), here.value(w), *here.value_and_gradient(w), here.gradient(w)]
    results += [here.hessian(w), here.hessian_rows(w, 0), here.gauss_newton(w), here.hvp(w, v), here.gnvp(w, v)]
    results += [here.residual(w), here.scaled_jacobian(w)]
    for result in results:
        assert isinstance(result, np.ndarray | np.float64)
        assert result.dtype == np.float64
    step = 1e-5  # a difference of this step would be rounding alone in float32
    slope = (here.value(w + step * v) - here.value(w - step * v)) / (2 * step)
    assert slope == pytest.approx(here.gradient(w) @ v, rel=1e-8)
    assert jnp.ones(1).dtype == outside


def test_lists_and_arrays_of_32_bits_are_widened(outside):
    here = objective()
    single = here.w0.astype(np.float32)
    for w in (list(map(float, single)), single, jnp.asarray(single, jnp.float32)):
        assert here.value(w) == here.value(single.astype(float))


@pytest.mark.parametrize("solver", ["rosenbrock", "vode", "dopri5", "cvode", "tsit5", "adam", "lbfgs"])
def test_solvers_run_as_they_do_in_64_bits(solver):
    solutions = []
    for switch in (False, True):
        with jax.enable_x64(switch):
            solutions.append(sg.solve(objective(), solver, until=sg.Until(steps=8)))
    np.testing.assert_array_equal(solutions[0].w, solutions[1].w)
    assert solutions[0].w.dtype == np.float64


def test_the_rest_of_the_interface(outside):
    here = objective()
    few = sg.Until(steps=40)
    runs = sg.multistart(here, [objective(seed).unflatten(objective(seed).w0) for seed in (0, 1)], few)
    assert all(run.w.dtype == np.float64 for run in runs)
    a, b = (run.params for run in runs)
    assert sg.minimum(here, a).eigenvalues.dtype == np.float64
    assert sg.stiffness(here, a).eigenvalue_max > 0
    assert sg.same_minimum(here, a, b).distance >= 0
    assert sg.spectrum(here, a, products=5).products > 0
    model = FlowRegressor().fit(X, y)
    assert model.predict(X).dtype == np.float64
    problem = pde.Problem(
        [(0, 1)], [pde.interior(lambda u, t: pde.derivative(u, t) + u(t), points=8), pde.initial(1.0)]
    )
    assert pde.solve(problem, until=few).u([1.0]).dtype == np.float64
    assert jnp.ones(1).dtype == outside


def test_inside_the_users_own_programs_results_are_traced():
    here = objective()
    w = jnp.asarray(here.w0)
    np.testing.assert_allclose(jax.jit(here.gradient)(w), here.gradient(here.w0), rtol=1e-12)
    np.testing.assert_allclose(jax.grad(here.value)(w), here.gradient(here.w0), rtol=1e-10, atol=1e-14)


def test_an_array_that_a_function_closes_over_is_of_the_type_of_each_use():
    """JAX 0.10 to 0.12 keep one copy of it: compiled in float32 before, and used again after."""
    data = np.random.default_rng(0).uniform(-1, 1, 50)
    with jax.enable_x64(False):
        loss = jax.jit(lambda p: jnp.sum((p * data - data * 1.0) ** 2))
        before = float(loss(jnp.float32(0.3)))
        inside = sg.minimise(lambda p: jnp.sum((p * data) ** 2), 1.0)
        assert float(inside.value(inside.w0)) == pytest.approx(float(data @ data), rel=1e-15)
        sg.solve(sg.minimise(loss, 0.3), "lbfgs", until=sg.Until(steps=3))
        assert float(loss(jnp.float32(0.3))) == before
        assert jnp.asarray(data).dtype == np.float32
        assert jax.jit(lambda p: jnp.sum(p * data))(jnp.float32(1.0)).dtype == np.float32
