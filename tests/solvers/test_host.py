"""A method that runs by NumPy first takes the steps that its compiled program takes."""

import jax
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad._float64 import float64
from stiffgrad.solvers import _combination, _compiled
from stiffgrad.solvers._combination import Pace
from stiffgrad.solvers.auto import Auto
from stiffgrad.solvers.w_method import WMethod

X = np.random.default_rng(0).uniform(-1, 1, (60, 2))
METHODS = (sg.solvers.Secants(mixed=False, coordinates=False), sg.solvers.QuasiNewton(), WMethod(), WMethod("hessian"))


def objective(dtype="float64"):
    apply, params = sg.mlp([2, 6, 1], seed=0)
    return sg.supervised(apply, params, X, np.sin(3 * X[:, :1]) * X[:, 1:], weight_decay=1e-4, dtype=dtype)


@pytest.mark.parametrize(
    "method",
    METHODS,
    ids=lambda method: f"{method.name}-{method.curvature}" if hasattr(method, "curvature") else method.name,
)
@float64
def test_steps_are_those_of_the_compiled_program(method):
    problem = objective()
    compiled = jax.jit(_compiled.run_rows, static_argnums=6)
    state, row = _compiled.initial_rows(method, problem, np.asarray(problem.w0))
    rejected = 0
    for number in range(14):
        if number == 6:  # a step too long, which is rejected
            name = "length" if hasattr(state, "length") else "h"
            state = state._replace(**{name: np.asarray(1e3 * getattr(state, name))})
        before = state, row
        expected = compiled(method, problem, *before, _compiled.ALWAYS, 1)
        found = _compiled.run_rows(method, problem, *before, _compiled.ALWAYS, 1)
        for ours, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert isinstance(ours, np.ndarray | np.generic | float | int), "it would run by JAX, piece by piece"
            assert np.asarray(ours).dtype.kind == np.asarray(wanted).dtype.kind
            scale = np.nanmax(np.abs(np.asarray(wanted, float)), initial=1e-12)
            np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6 * max(scale, 1e-6))
        state, row = found[:2]
        rejected = max(rejected, row[method.columns.index("rejected_steps")])
    assert rejected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_run_passes_through_all_stages(method, dtype, monkeypatch):
    monkeypatch.setattr(_compiled, "HOST_SECONDS", 0.01)
    monkeypatch.setattr(_compiled, "QUICK_SECONDS", 0.001)
    monkeypatch.setattr(_compiled, "LASTING_SECONDS", 0.002)
    seen = []
    chunk = _compiled.CompiledRun._chunk

    def noted(self, *arguments):
        seen.append(self._stage)
        return chunk(self, *arguments)

    monkeypatch.setattr(_compiled.CompiledRun, "_chunk", noted)
    solution = sg.solve(objective(dtype), method, until=sg.Until(presentations=200), throw=False)
    assert list(dict.fromkeys(seen)) == ["host", "quick", "lasting", "full"]
    # A chunk ends at an accepted point, or after 40 tries of three presentations: in float32 rounding may end it here.
    assert 200 <= solution.statistics.presentations < 350
    assert np.all(np.diff(solution.trace["loss"]) <= 1e-6)
    again = sg.solve(objective(dtype), method, until=sg.Until(presentations=200), throw=False)
    assert np.array_equal(solution.w, again.w)


def test_turns_do_not_depend_on_how_long_a_chunk_is(monkeypatch):
    generator = np.random.default_rng(0)
    apply, params = sg.mlp([3, 5, 1], seed=0)
    problem = sg.supervised(apply, params, generator.normal(size=(200, 3)), generator.normal(size=(200, 1)))
    monkeypatch.setattr(Auto, "pace", Pace(patience=1.0))
    monkeypatch.setattr(_combination, "COMPILE_SECONDS", 0.0)
    runs = []
    for seconds in (0.05, 1e-9):
        monkeypatch.setattr(_compiled, "CHUNK_SECONDS", seconds)
        runs.append(sg.solve(problem, until=sg.Until(presentations=3000), throw=False))
    assert {0.0, 3.0} <= set(runs[0].trace["chosen"])
    assert np.array_equal(runs[0].w, runs[1].w)
