"""CVODE: paths against exact exponentials, counts against calls, restarts of a schedule, exceptions through C."""

import itertools

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.flow import Flow
from stiffgrad.solvers.sundials import Cvode

STIFF = np.array([[3.0, 1.0, 0.0], [1.0, 20.0, 2.0], [0.0, 2.0, 100.0]])
START = np.array([1.0, -2.0, 0.5])
NAMES = ["cvode", "cvode-adams", "cvode-krylov"]


def quadratic(w):
    return 0.5 * w @ STIFF @ w


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


def exact(times):
    """exp(-STIFF t) START for each time."""
    values, vectors = np.linalg.eigh(STIFF)
    return np.exp(-np.outer(times, values)) * (vectors.T @ START) @ vectors.T


def path(objective, solver, end, **until):
    times, points = [], []

    def record(step):
        if step.row["steps"] > 0:
            times.append(step.row["flow_time"])
            points.append(np.array(step.w))
        return step.row["flow_time"] >= end

    solution = sg.solve(objective, solver, until=sg.Until(wall_seconds=30, **until), callback=record)
    return np.array(times), np.array(points), solution


@pytest.mark.parametrize("name", NAMES)
def test_the_path_is_the_exact_exponential(name):
    objective = sg.minimise(quadratic, START)
    times, points, _ = path(objective, sg.solvers.create(name, rtol=1e-8, atol=1e-8), end=0.2)
    assert np.max(np.abs(points - exact(times))) < 2e-6
    assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize("name", NAMES)
def test_evaluations_are_those_that_cvode_counts(name):
    flow = Flow(sg.minimise(rosenbrock, np.array([-1.2, 1.0])))
    stepper = Cvode(sg.solvers.create(name), flow, np.array([-1.2, 1.0]), 1e-5, 1e-5)
    told = [stepper._code.step(100.0, method="onestep") for _ in range(60)][-1]
    assert told.nfev == flow.counts["rhs_evaluations"]
    if name != "cvode-krylov":
        assert told.njev == flow.counts["jacobian_evaluations"] > 0
    else:
        assert flow.counts["hessian_products"] > 0
        assert flow.counts["jacobian_evaluations"] == 0


def test_newton_iterations_and_rejections_fit_the_evaluations():
    flow = Flow(sg.minimise(rosenbrock, np.array([-1.2, 1.0])))
    stepper = Cvode(sg.solvers.CVODE(), flow, np.array([-1.2, 1.0]), 1e-5, 1e-5)
    sizes = []
    first = None
    for _ in range(120):
        accepted = stepper.step()
        first = first or accepted
        sizes.append(accepted.step_size)
    counts = accepted.counts
    # Before its first step CVODE evaluates at the start, and at most 5 times more to choose a step size.
    sizing = flow.counts["rhs_evaluations"] - counts["newton_iterations"]
    assert 2 <= sizing <= 6
    assert first.counts["rejected_steps"] == 0
    # Every step sets out with one Newton iteration at least, each rejected one too.
    assert counts["newton_iterations"] >= counts["steps"] + counts["rejected_steps"]
    # After an error-test failure CVODE goes on with a smaller step.
    assert 0 < counts["rejected_steps"] <= sum(b < 0.95 * a for a, b in itertools.pairwise(sizes)) + 5


@pytest.mark.parametrize("kind", ["autodiff", "finite-difference", "gauss-newton"])
@pytest.mark.parametrize("name", NAMES)
def test_each_jacobian_reaches_the_minimum(name, kind):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(12, 3)) * [1.0, 3.0, 8.0], rng.normal(size=12))
    objective = sg.least_squares(residual, {"a": np.zeros(3)}, data)
    best = np.linalg.lstsq(*data, rcond=None)[0]
    solution = sg.solve(
        objective, sg.solvers.create(name, jacobian=kind), until=sg.Until(gradient_norm=1e-3, wall_seconds=20)
    )
    assert solution.outcome is sg.Outcome.TARGET
    smallest = np.linalg.eigvalsh(data[0].T @ data[0] / len(data[1]))[0]
    assert np.linalg.norm(solution.w - best) <= 1e-3 / smallest
    # CVODE makes differences inside, and does not tell how often: None, which is not 0.
    differences = kind == "finite-difference"
    assert (solution.statistics.newton_iterations is None) == differences
    told = solution.statistics.hessian_products if name == "cvode-krylov" else solution.statistics.jacobian_evaluations
    assert told is None if differences else told > 0


def residual(params, sample):
    x, y = sample
    return params["a"] @ x - y


def test_the_preconditioner_is_exact_where_the_hessian_is_diagonal():
    # Then GMRES needs one product for each linear system, whatever the spread of the eigenvalues.
    data = (np.diag([1.0, 10.0, 100.0, 1000.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    objective = sg.least_squares(residual, {"a": np.zeros(4)}, data)
    products = []
    for preconditioner in (None, "diagonal"):
        solver = sg.solvers.CVODEKrylov(preconditioner=preconditioner)
        solution = sg.solve(objective, solver, until=sg.Until(loss=1e-6, wall_seconds=20))
        assert solution.outcome is sg.Outcome.TARGET
        products.append(solution.statistics.hessian_products / solution.statistics.linear_solves)
    assert products[1] <= 1.1 < products[0]
    assert solution.trace["preconditioner_solves"][-1] > 0


def test_a_schedule_restarts():
    objective = sg.minimise(quadratic, START)
    schedule = sg.ToleranceSchedule(1e-2, 1e-8)
    times, points, solution = path(objective, sg.solvers.CVODE(rtol=schedule, atol=schedule), end=1.5, loss=1e-3)
    _, _, loose = path(objective, sg.solvers.CVODE(rtol=1e-2, atol=1e-2), end=1.5, loss=1e-3)
    # Six decades, a restart for each.
    assert 3 <= solution.trace["restarts"][-1] <= 6
    assert loose.trace["restarts"][-1] == 0
    late = times > 0.8
    assert np.max(np.abs(points[late] - exact(times[late]))) < 1e-3
    assert np.all(np.diff(times) > 0)


@pytest.mark.parametrize("name", NAMES)
def test_out_of_time_inside_a_callback_ends_the_run(name, capfd, ticking):
    solver = sg.solvers.create(name, rtol=1e-12, atol=1e-12)
    solution = sg.solve(sg.minimise(quadratic, START), solver, until=sg.Until(wall_seconds=0.03))
    assert solution.outcome is sg.Outcome.OUT_OF_TIME
    assert solution.wall_seconds < 0.1
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_failures_are_said_not_printed(capfd):
    def bottomless(w):
        return -((w**4).sum())

    solution = sg.solve(sg.minimise(bottomless, np.ones(2)), "cvode", until=sg.Until(wall_seconds=5), throw=False)
    assert solution.outcome.failure
    assert len(solution.message) > 20
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("cvode", {"max_order": 6}, "max_order=6"),
        ("cvode-adams", {"max_order": 13}, "max_order=13"),
        ("cvode-krylov", {"krylov_dim": 0}, "krylov_dim=0"),
        ("cvode-krylov", {"preconditioner": "ilu"}, "preconditioner='ilu'"),
        ("cvode-krylov", {"preconditioner": "diagonal"}, "outputs"),
        ("cvode", {"jacobian": "exact"}, "jacobian='exact'"),
    ],
)
def test_bad_options_are_named(name, options, words):
    with pytest.raises(ValueError, match=words):
        sg.solve(sg.minimise(quadratic, START), sg.solvers.create(name, **options))
