"""The exponential integrator: exact on quadratics, an energy that never rises, counts that are those of the calls."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_iris

import stiffgrad as sg
from stiffgrad.solvers import Exponential, Krylov, Secants

EXACT = Exponential(pairs=0, tolerance=0.0, curvature="hessian", krylov=12)
N = 12


def flow_map(eigenvalues, time):
    return np.exp(-np.asarray(eigenvalues) * time)


@functools.cache
def quadratic(kind):
    eigenvalues = {"stiff": np.geomspace(1e-3, 1e3, N), "saddle": np.linspace(-2.0, 9.0, N)}[kind]
    orthogonal, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(N, N)))
    matrix = jnp.asarray(orthogonal * eigenvalues @ orthogonal.T)
    objective = sg.minimise(lambda w: 0.5 * jnp.vdot(w, matrix @ w), np.random.default_rng(4).normal(size=N))
    return objective, eigenvalues, orthogonal


@pytest.mark.parametrize("kind", ["stiff", "saddle"])
def test_steps_on_a_quadratic_are_the_exact_flow(kind):
    objective, eigenvalues, orthogonal = quadratic(kind)
    for steps in (1, 3):
        solution = sg.solve(objective, EXACT, until=sg.Until(steps=steps, loss=-1e300))
        time = solution.trace["flow_time"][-1]
        exact = orthogonal @ (flow_map(eigenvalues, time) * (orthogonal.T @ objective.w0))
        assert np.linalg.norm(solution.w - exact) < 1e-10 * np.linalg.norm(exact)


def test_a_quadratic_takes_steps_that_grow_without_bound():
    objective, _, _ = quadratic("stiff")
    solution = sg.solve(objective, EXACT, until=sg.Until(gradient_norm=1e-8))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.trace["flow_time"][-1] > 1e4  # ten times the slowest time constant, 1e3
    assert solution.statistics.steps < 12  # explicit Euler needs at least 1e4 * 1e3 / 2
    assert solution.statistics.rejected_steps == 0


@functools.cache
def iris(decay=0.0, dtype="float64", chunk=None):
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    apply, params = sg.mlp([4, 10, 3], seed=1)
    return sg.supervised(
        apply, params, x, y, loss="cross_entropy", weight_decay=decay, dtype=dtype, chunk_samples=chunk
    )


@pytest.mark.parametrize("options", [{}, {"pairs": 0}])
def test_energy_never_rises_and_the_gradient_reaches_its_target(options):
    objective = iris(1e-3)
    solution = sg.solve(objective, Exponential(**options), until=sg.Until(gradient_norm=1e-6, wall_seconds=60))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.gradient_norm <= 1e-6
    loss = solution.trace["loss"]
    assert np.all(np.diff(loss) <= 8 * np.finfo(float).eps * loss[:-1])
    products = np.diff(solution.trace["hessian_products"])
    assert np.array_equal(products > 0, solution.trace["lanczos"][1:] > 0)
    assert (products > 0).any() == ("pairs" in options)  # secants alone suffice here
    if "pairs" in options:
        assert (products > 0).all()
    else:
        assert (products == 0).all()


def test_both_kinds_of_step_find_the_same_minimum_value_of_a_convex_problem():
    x, y = load_iris(return_X_y=True)
    apply, params = sg.mlp([4, 3], seed=0)  # linear: with the decay the minimum is unique
    objective = sg.supervised(apply, params, (x - x.mean(0)) / x.std(0), y, loss="cross_entropy", weight_decay=1e-2)
    until = sg.Until(gradient_norm=1e-9)
    found = [sg.solve(objective, Exponential(**options), until=until).w for options in ({}, {"pairs": 0})]
    assert np.linalg.norm(found[0] - found[1]) < 2e-9 / 1e-2 * 1.01  # |w - w*| <= |g| / decay, twice


def test_counts_are_those_of_the_calls():
    calls = []

    def loss(w):
        jax.debug.callback(lambda: calls.append(1))
        return 0.25 * jnp.sum(w**4) + 0.5 * jnp.sum(w**2 * jnp.arange(1.0, 5.0))

    objective = sg.minimise(loss, np.array([1.0, -2.0, 3.0, 0.5]))
    for solver in (Secants(), Krylov()):
        state, _ = solver.initial(objective, np.asarray(objective.w0))
        step = jax.jit(solver.step)
        jax.effects_barrier()
        calls.clear()
        for _ in range(12):
            state, row = step(objective, state)
        jax.effects_barrier()
        made = int(row["rhs_evaluations"]) + int(row["loss_evaluations"]) + int(row["hessian_products"])
        assert len(calls) == made
        assert int(row["presentations"]) == made + int(row["hessian_products"])


@pytest.mark.parametrize("options", [{}, {"pairs": 0}])
def test_negative_curvature_leaves_a_saddle(options):
    # E = x^4/4 - x^2/2 + y^2/2 has a saddle at the origin and its minima, -1/4, at x = -1 and 1.
    objective = sg.minimise(lambda w: 0.25 * w[0] ** 4 - 0.5 * w[0] ** 2 + 0.5 * w[1] ** 2, np.array([1e-6, 1.0]))
    solution = sg.solve(objective, Exponential(**options), until=sg.Until(loss=-0.25 + 1e-12))
    assert solution.outcome is sg.Outcome.TARGET
    assert abs(solution.w[0]) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("curvature", ["hessian", "gauss-newton"])
def test_chunks_of_samples_change_nothing_but_rounding(curvature):
    solver = Exponential(pairs=0, curvature=curvature)
    until = sg.Until(steps=4)
    whole, chunked = (sg.solve(iris(chunk=chunk), solver, until=until) for chunk in (None, 40))
    assert whole.w == pytest.approx(chunked.w, abs=1e-8)
    assert whole.statistics == chunked.statistics


def test_secant_steps_run_in_chunks():
    solution = sg.solve(iris(chunk=40), "exponential", until=sg.Until(loss=0.05))
    assert solution.outcome is sg.Outcome.TARGET


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ends_at_rounding_level(dtype):
    objective = iris(1e-2, dtype)
    solution = sg.solve(objective, "exponential", until=sg.Until(gradient_norm=0.0, wall_seconds=60))
    assert solution.outcome in (sg.Outcome.STALLED, sg.Outcome.STATIONARY)
    eps = np.finfo(dtype).eps
    # |g|^2 / (2 lambda) hides below the rounding of E where |g| < sqrt(2 lambda eps E); the gradient judges beyond it.
    assert solution.gradient_norm < np.sqrt(eps)


@pytest.mark.parametrize("penalty", [4, 2**20, 2**62])
def test_where_float32_spoils_every_sweep_exact_steps_go_on_until_one_counts(penalty):
    # Near the minimum float32 sees no slope; a trial in full precision that was too long is followed by a shorter one.
    objective = sg.minimise(lambda w: 1.0 + jnp.sum(jnp.arange(1.0, 5.0) * 1e6 * w**2), np.full(4, 1e-7))
    solver = Secants()
    with jax.enable_x64(True):
        state, _ = solver.initial(objective, np.asarray(objective.w0))
        state = state._replace(penalty=np.asarray(penalty))
        step = jax.jit(solver.step)
        silent = 0
        for _ in range(200):
            state, row = step(objective, state)
            silent = 0 if row["recorded"] or row["ended"] else silent + 1
            assert silent < 30, "trials that are no steps must come to an end"
            assert state.penalty > 0
            if row["ended"]:
                break
    assert row["ended"]


def test_at_a_stationary_point_nothing_moves():
    objective = sg.minimise(lambda w: jnp.sum(w**2), np.zeros(3))
    solution = sg.solve(objective, "exponential", until=sg.Until(loss=-1.0))
    assert solution.outcome is sg.Outcome.STATIONARY
    assert np.all(solution.w == 0.0)


def test_options_that_cannot_work_are_named():
    objective, _, _ = quadratic("stiff")
    for options, words in (
        ({"curvature": "newton"}, "curvature='newton'"),
        ({"curvature": "gauss-newton"}, "needs outputs"),
        ({"krylov": 0}, "krylov=0"),
    ):
        with pytest.raises(ValueError, match=words):
            sg.solve(objective, Exponential(**options))


def test_a_step_that_nothing_comes_of_is_one_rejection():
    # Beside the start the energy is infinite in the direction in which it falls: no size of step will do.
    objective = sg.minimise(lambda w: jnp.where(w[0] < 1.0, jnp.inf, 0.5 * w[0] ** 2), np.ones(1))
    solver = Krylov(curvature="hessian")
    with jax.enable_x64(True):
        state, _ = solver.initial(objective, np.asarray(objective.w0))
        step = jax.jit(solver.step)
        state, row = step(objective, state)
        assert (int(row["rejected_steps"]), int(row["steps"])) == (0, 0)  # the start is no step
        state, row = step(objective, state)
    assert (int(row["rejected_steps"]), int(row["steps"])) == (1, 0)


def test_a_row_is_a_step_and_not_a_trial_inside_a_sweep():
    solver, objective = Secants(), iris(1e-2)
    with jax.enable_x64(True):
        state, _ = solver.initial(objective, np.asarray(objective.w0))
        step = jax.jit(solver.step)
        rows = []
        for _ in range(40):
            state, row = step(objective, state)
            rows.append((bool(row["recorded"]), int(row["steps"]), float(row["loss"])))
    recorded, steps, losses = map(np.array, zip(*rows, strict=True))
    np.testing.assert_array_equal(steps[recorded], np.arange(recorded.sum()))
    np.testing.assert_array_equal(np.diff(steps) == 1, recorded[1:])
    assert np.all(np.diff(losses[recorded]) < 0)
    assert 3 < recorded.sum() < 20  # sweeps of up to eight gradients


@pytest.mark.parametrize(("solver", "least"), [(Krylov(krylov=50), 50.0), (Secants(pairs=50), 50.0)])
def test_a_basis_that_does_not_fit_is_refused_before_it_is_made(monkeypatch, solver, least):
    objective = sg.minimise(lambda w: w @ w, np.ones(10_000))
    basis = 8.0 * least * objective.size  # bytes
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: basis)
    with pytest.raises(MemoryError, match="lower"):
        solver.check(objective)
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: 1.5 * basis)
    solver.check(objective)
