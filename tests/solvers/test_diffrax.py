"""Diffrax's methods: paths against exact exponentials and Diffrax's own loop, and counts against evaluations made."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg

STIFF = np.array([[3.0, 1.0, 0.0], [1.0, 20.0, 2.0], [0.0, 2.0, 100.0]])
START = np.array([1.0, -2.0, 0.5])
NAMES = ["tsit5", "kvaerno5", "implicit-euler"]


def quadratic(w):
    return 0.5 * w @ STIFF @ w


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def exact(times):
    """exp(-STIFF t) START for each time."""
    values, vectors = np.linalg.eigh(STIFF)
    return np.exp(-np.outer(times, values)) * (vectors.T @ START) @ vectors.T


def path(objective, solver, end):
    times, points = [], []

    def record(step):
        if step.row["steps"] > 0:
            times.append(step.row["flow_time"])
            points.append(np.array(step.w))
        return step.row["flow_time"] >= end

    # A validation makes the compiled loop come back after every step.
    solution = sg.solve(
        objective, solver, until=sg.Until(wall_seconds=60, loss=None), callback=record, validation=lambda _: 0.0
    )
    return np.array(times), np.array(points), solution


@pytest.mark.parametrize(("name", "tolerance", "error"), [("tsit5", 1e-8, 1e-6), ("kvaerno5", 1e-8, 1e-6)])
def test_the_path_is_the_exact_exponential(name, tolerance, error):
    objective = sg.minimise(quadratic, START)
    times, points, _ = path(objective, sg.solvers.create(name, rtol=tolerance, atol=tolerance), end=0.2)
    assert np.max(np.abs(points - exact(times))) < error
    assert np.all(np.diff(times) > 0)


def test_implicit_euler_is_of_order_one():
    # Its error control is of order 2 a step: a tolerance 100 times smaller takes steps 10 times smaller.
    objective = sg.minimise(quadratic, START)
    errors, steps = [], []
    for tolerance in (1e-3, 1e-5):
        times, points, _ = path(objective, sg.solvers.ImplicitEuler(rtol=tolerance, atol=tolerance), end=0.2)
        errors.append(np.max(np.abs(points - exact(times))))
        steps.append(len(times))
    assert 6 < errors[0] / errors[1] < 15
    assert 6 < steps[1] / steps[0] < 15


@pytest.mark.parametrize("name", NAMES)
def test_the_steps_are_those_of_diffeqsolve(name):
    objective = sg.minimise(rosenbrock, np.array([-1.2, 1.0]))
    method = {"tsit5": diffrax.Tsit5(), "kvaerno5": diffrax.Kvaerno5(), "implicit-euler": diffrax.ImplicitEuler()}
    solver = sg.solvers.create(name, rtol=1e-5, atol=1e-5)
    times, points, solution = path(objective, solver, end=0.5)
    own = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: -jax.grad(rosenbrock)(y)),
        method[name],
        t0=0.0,
        t1=float(times[-1]),
        dt0=solver.initial(objective, jnp.asarray(objective.w0))[0].step_size,
        y0=jnp.array([-1.2, 1.0]),
        stepsize_controller=diffrax.PIDController(rtol=1e-5, atol=1e-5),
        max_steps=4096,
    )
    assert np.allclose(points[-1], own.ys[-1], atol=1e-9)
    # Its last step is cut off at t1. Rounding (our steps begin at time 0) decides Newton's borderline failures.
    assert abs(int(own.stats["num_accepted_steps"]) - solution.statistics.steps) <= 4
    assert abs(int(own.stats["num_rejected_steps"]) - solution.statistics.rejected_steps) <= 4


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_evaluations_made(name, monkeypatch):
    monkeypatch.setattr("stiffgrad.solvers._compiled.WARM_UP", 0)  # no step before the run
    made = 0

    def bump():
        nonlocal made
        made += 1

    def counted(w):
        jax.debug.callback(bump)
        return rosenbrock(w)

    objective = sg.minimise(counted, np.array([-1.2, 1.0]))
    statistics = sg.solve(objective, name, until=sg.Until(steps=12, wall_seconds=60)).statistics
    jax.effects_barrier()
    # The start is evaluated 3 times to compile; by the driver, at the start and at the end; and once in each
    # linearisation, which is part of a Jacobian.
    matrices = statistics.jacobian_evaluations or 0
    assert made - 5 == statistics.rhs_evaluations + statistics.loss_evaluations + matrices
    assert statistics.presentations == statistics.rhs_evaluations + statistics.loss_evaluations + 2 * 2 * matrices
    assert statistics.steps == 12


def test_failures_add_up():
    statistics = sg.solve(
        sg.minimise(rosenbrock, np.array([-1.2, 1.0])), "kvaerno5", until=sg.Until(steps=40, wall_seconds=60)
    ).statistics
    assert statistics.newton_failures + statistics.error_test_failures == statistics.rejected_steps > 0
    # Diffrax makes two in each attempt, the first of them of a step of size zero.
    attempts = statistics.steps + statistics.rejected_steps
    assert statistics.jacobian_evaluations == statistics.factorizations == 2 * attempts
    # Six stages, each of 2 to 10 iterations; none once numbers overflow.
    assert 11 * attempts < statistics.newton_iterations <= 60 * attempts


def test_stationary_is_found_without_a_target():
    objective = sg.minimise(lambda w: 1.0 + quadratic(w - 1.0), START)
    solution = sg.solve(objective, "implicit-euler", until=sg.Until(wall_seconds=30))
    assert solution.outcome is sg.Outcome.STATIONARY
    assert solution.loss == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", ["tsit5", "kvaerno5"])
def test_an_unbounded_loss_ends(name):
    objective = sg.minimise(lambda w: -((w**4).sum()), np.ones(2))
    solution = sg.solve(objective, name, until=sg.Until(wall_seconds=5), throw=False)
    assert solution.outcome is not sg.Outcome.TARGET
    assert np.all(np.isfinite(solution.w))


def test_compiled_code_is_never_shared_between_methods():
    structures = [jax.tree.structure(sg.solvers.create(name)) for name in NAMES]
    assert len(set(structures)) == 3
    assert structures[0] != structures[1] != structures[2] != structures[0]


def test_a_second_run_does_not_compile():
    objective = sg.minimise(rosenbrock, np.array([-1.2, 1.0]))
    sg.solve(objective, "kvaerno5", until=sg.Until(steps=5))
    again = sg.solve(objective, sg.solvers.Kvaerno5(rtol=1e-5), until=sg.Until(steps=5))
    assert again.compile_seconds + again.wall_seconds < 0.5


@pytest.mark.parametrize("name", ["tsit5", "implicit-euler"])
def test_float32_stays_float32(name):
    objective = sg.minimise(lambda w: 0.5 * w @ jnp.asarray(STIFF, w.dtype) @ w, START, dtype="float32")
    solution = sg.solve(objective, name, until=sg.Until(loss=1e-3))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.w.dtype == np.float32
