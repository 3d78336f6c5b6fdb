"""SciPy's solvers: inner counts against calls made, paths against exact exponentials, orders, tolerance schedules."""

import concurrent.futures
import itertools

import numpy as np
import pytest
from scipy import integrate

import stiffgrad as sg
from stiffgrad.flow import Flow
from stiffgrad.solvers._ode import Guard
from stiffgrad.solvers._scipy import Lsoda, Vode, _owners, turn

STIFF = np.array([[3.0, 1.0, 0.0], [1.0, 20.0, 2.0], [0.0, 2.0, 100.0]])
NAMES = ["vode", "zvode", "lsoda", "dopri5", "dop853", "radau", "bdf"]
IMPLICIT = ["vode", "zvode", "lsoda", "radau", "bdf"]


def quadratic(w):
    matrix = np.array(STIFF)
    return 0.5 * w @ matrix @ w


def rosenbrock(w):
    return (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2


START = np.array([1.0, -2.0, 0.5])


def exact(times):
    """exp(-STIFF t) START for each time."""
    values, vectors = np.linalg.eigh(STIFF)
    return np.exp(-np.outer(times, values)) * (vectors.T @ START) @ vectors.T


def path(objective, solver, end, **until):
    """Times and weights of every accepted step up to a flow time, and the solution."""
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
    # The local errors of 1e-8 a step add up; the flow contracts, so they do not grow.
    assert np.max(np.abs(points - exact(times))) < 2e-6
    assert np.all(np.diff(times) > 0)


def test_vode_and_zvode_take_the_same_steps():
    # SciPy 1.17 fails this: its translated vode takes 5,484 steps; 1.16.3 takes 471.
    objective = sg.minimise(rosenbrock, np.array([-1.2, 1.0]))
    steps = []
    for name in ("vode", "zvode"):
        times, _, _ = path(objective, sg.solvers.create(name, rtol=1e-6, atol=1e-9), end=50.0)
        steps.append(len(times))
    assert abs(steps[0] - steps[1]) <= 0.02 * steps[1]
    assert 460 < steps[1] < 482


@pytest.mark.parametrize("name", ["vode", "zvode"])
@pytest.mark.parametrize("jacobian", ["autodiff", "finite-difference"])
def test_vode_counts_what_the_flow_counts(name, jacobian):
    objective = sg.minimise(rosenbrock, np.array([-1.0, 1.0]))
    flow = Flow(objective)
    stepper = Vode(sg.solvers.create(name, jacobian=jacobian), flow, np.array([-1.0, 1.0]), 1e-5, 1e-5)
    for _ in range(80):
        counts = stepper.step().counts
    iwork = stepper._ode._integrator.iwork
    assert iwork[11] == flow.counts["rhs_evaluations"]
    if jacobian == "autodiff":
        assert counts["jacobian_evaluations"] == flow.counts["jacobian_evaluations"]
        # One slope at the start, one more for the first step size, then one a Newton iteration.
        assert iwork[11] <= counts["newton_iterations"] + 2 + counts["rejected_steps"] + counts["steps"]
    else:
        assert counts["jacobian_evaluations"] > 0
        assert flow.counts["rhs_evaluations"] > counts["newton_iterations"] + counts["jacobian_evaluations"]
    assert counts["steps"] == 80
    assert 0 < counts["jacobian_evaluations"] <= counts["factorizations"] <= counts["newton_iterations"]
    assert counts["rejected_steps"] == counts["error_test_failures"] + counts["newton_failures"]


def test_lsoda_counts_what_the_flow_counts():
    flow = Flow(sg.minimise(rosenbrock, np.array([-1.0, 1.0])))
    stepper = Lsoda(sg.solvers.LSODA(), flow, np.array([-1.0, 1.0]), 1e-5, 1e-5)
    seen = [stepper.step() for _ in range(80)]
    assert stepper._code.iwork[11] == flow.counts["rhs_evaluations"]
    assert seen[-1].counts["jacobian_evaluations"] == flow.counts["jacobian_evaluations"] > 0
    assert seen[-1].counts["steps"] == 80
    # It starts with Adams, and the valley makes it switch to BDF.
    assert [seen[0].extra["stiff_method"], seen[-1].extra["stiff_method"]] == [0.0, 1.0]


@pytest.mark.parametrize("name", ["dopri5", "dop853"])
def test_rejected_steps_are_those_of_the_code(name, monkeypatch):
    made = []

    class Spy(integrate.ode):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(integrate, "ode", Spy)
    objective = sg.minimise(rosenbrock, np.array([-1.0, 1.0]))
    _, _, solution = path(objective, sg.solvers.create(name, rtol=1e-4, atol=1e-4), end=5.0)
    evaluations, attempts, accepted, _ = made[-1]._integrator.iwork[16:20]
    statistics = solution.statistics
    assert statistics.rhs_evaluations == evaluations
    assert statistics.steps == accepted
    assert statistics.rejected_steps == attempts - accepted > 0


@pytest.mark.parametrize("name", ["radau", "bdf"])
def test_python_codes_agree_with_the_flow(name):
    objective = sg.minimise(rosenbrock, np.array([-1.0, 1.0]))
    _, _, solution = path(objective, name, end=20.0)
    code, statistics = solution.state._stepper._code, solution.statistics
    assert code.nfev == statistics.rhs_evaluations
    assert code.njev == statistics.jacobian_evaluations
    assert code.nlu == statistics.factorizations
    assert statistics.rejected_steps > 0
    if name == "bdf":  # two evaluations come before the first step, then one each iteration
        assert statistics.newton_iterations == statistics.linear_solves == code.nfev - 2
    else:  # three stages an iteration, one slope an accepted step
        after_rejection = code.nfev - 2 - 3 * statistics.newton_iterations - statistics.steps
        assert 0 <= after_rejection <= statistics.rejected_steps


def test_rejected_steps_of_bdf_are_told_exactly(monkeypatch):
    from scipy.integrate._ivp import bdf

    sizes = []
    original = bdf.solve_bdf_system

    def spy(fun, t_new, *rest):
        sizes.append(t_new)
        return original(fun, t_new, *rest)

    monkeypatch.setattr(bdf, "solve_bdf_system", spy)
    _, _, solution = path(sg.minimise(rosenbrock, np.array([-1.0, 1.0])), "bdf", end=20.0)
    tried = 1 + sum(a != b for a, b in itertools.pairwise(sizes))
    assert tried == solution.statistics.steps + solution.statistics.rejected_steps


@pytest.mark.parametrize("name", ["vode", "zvode", "lsoda"])
@pytest.mark.parametrize("order", [1, 2])
def test_max_order_is_kept(name, order):
    objective = sg.minimise(rosenbrock, np.array([-1.0, 1.0]))
    _, _, solution = path(objective, sg.solvers.create(name, max_order=order), end=5.0)
    assert np.nanmax(solution.trace["order"]) == order


def test_vode_uses_higher_orders_unless_told():
    objective = sg.minimise(rosenbrock, np.array([-1.0, 1.0]))
    _, _, solution = path(objective, sg.solvers.VODE(rtol=1e-8, atol=1e-8), end=5.0)
    assert 3 <= np.nanmax(solution.trace["order"]) <= 5


def test_adams_needs_no_jacobian_and_no_newton():
    objective = sg.minimise(quadratic, START)
    _, _, solution = path(objective, sg.solvers.VODE(method="adams"), end=0.1)
    assert solution.statistics.jacobian_evaluations == 0
    assert solution.statistics.newton_iterations is None


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_takes_effect(name):
    # Both start with the same tolerance. In a contracting flow the errors made early, while it is loose, die out.
    objective = sg.minimise(quadratic, START)
    late = []
    for tolerance in (1e-2, sg.ToleranceSchedule(1e-2, 1e-9)):
        solver = sg.solvers.create(name, rtol=tolerance, atol=tolerance)
        times, points, solution = path(objective, solver, end=1.5, loss=1e-3)
        seen = times > 0.8
        late.append(np.max(np.abs(points[seen] - exact(times[seen]))))
    assert late[1] < late[0] / 5
    rtol = solution.trace["rtol"][1:]
    assert rtol[0] == 1e-2
    assert np.all(np.diff(rtol) <= 1e-12)
    assert rtol[-1] < 1e-6


@pytest.mark.parametrize("name", ["dopri5", "dop853"])
def test_tolerances_are_numbers_where_scipy_reads_them_once(name, monkeypatch):
    # SciPy 1.17 raises TypeError for vectors of them.
    objective = sg.minimise(quadratic, START)
    before = path(objective, sg.solvers.create(name, rtol=1e-6), end=0.2)
    monkeypatch.setattr("stiffgrad.solvers._scipy.takes_vectors", lambda: False)
    monkeypatch.setattr("stiffgrad.solvers.scipy.takes_vectors", lambda: False)
    after = path(objective, sg.solvers.create(name, rtol=1e-6), end=0.2)
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2].statistics == after[2].statistics
    scheduled = sg.solvers.create(name, rtol=sg.ToleranceSchedule(1e-2, 1e-9))
    with pytest.raises(ValueError, match=r"this SciPy reads rtol and atol once.* use 'tsit5'"):
        sg.solve(objective, scheduled)


def test_the_schedule_is_log_linear_between_start_and_target():
    schedule = sg.ToleranceSchedule(1e-1, 1e-5)
    assert schedule.at(10.0, 10.0, 1e-3) == pytest.approx(1e-1)
    assert schedule.at(1e-1, 10.0, 1e-3) == pytest.approx(1e-3)
    assert schedule.at(1e-3, 10.0, 1e-3) == schedule.at(-1.0, 10.0, 1e-3) == 1e-5
    assert schedule.at(1e-3, 10.0, -np.inf) == pytest.approx(1e-1 * 1e-4 ** (4 / 8))


@pytest.mark.parametrize("name", NAMES)
def test_out_of_time_inside_a_callback_ends_the_run(name, capfd, ticking):
    objective = sg.minimise(quadratic, START)
    solver = sg.solvers.create(name, rtol=1e-10, atol=1e-10)
    solution = sg.solve(objective, solver, until=sg.Until(wall_seconds=0.05))
    assert solution.outcome is sg.Outcome.OUT_OF_TIME
    assert solution.wall_seconds < 0.1
    assert np.all(np.isfinite(solution.w))
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_guard_keeps_the_first_exception_and_always_answers():
    def fail(t, w):
        raise KeyError("first")

    guard = Guard(2)
    assert guard.vector(fail)(0.0, np.ones(2)).tolist() == [0.0, 0.0]
    assert guard.matrix(fail)(0.0, np.ones(2)).shape == (2, 2)
    with pytest.raises(KeyError, match="first"):
        guard.raise_kept()
    guard.raise_kept()


@pytest.mark.parametrize("name", IMPLICIT)
def test_stationary_is_found_without_a_target(name):
    objective = sg.minimise(quadratic_with_floor, np.array([1.0, -2.0, 0.5]))
    solution = sg.solve(objective, name, until=sg.Until(wall_seconds=20))
    assert solution.outcome is sg.Outcome.STATIONARY
    assert solution.gradient_norm < 1e-6
    assert solution.loss == pytest.approx(1.0, abs=1e-12)


def quadratic_with_floor(w):
    return 1.0 + quadratic(w - 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_an_unbounded_loss_does_not_hang_or_warn(name):
    def bottomless(w):
        return -((w**4).sum())

    solution = sg.solve(sg.minimise(bottomless, np.ones(2)), name, until=sg.Until(wall_seconds=5), throw=False)
    assert solution.outcome.failure
    assert len(solution.message) > 20


@pytest.mark.parametrize("kind", ["autodiff", "finite-difference", "gauss-newton"])
@pytest.mark.parametrize("name", IMPLICIT)
def test_each_jacobian_reaches_the_same_path(name, kind):
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(12, 3)) * [1.0, 5.0, 20.0], rng.normal(size=12))
    objective = sg.least_squares(residual, {"a": np.zeros(3)}, data)
    # Linear residuals: the Gauss-Newton matrix is the Hessian, and the minimum is that of the normal equations.
    best = np.linalg.lstsq(*data, rcond=None)[0]
    solver = sg.solvers.create(name, jacobian=kind)
    solution = sg.solve(objective, solver, until=sg.Until(gradient_norm=1e-6, wall_seconds=20))
    assert solution.outcome is sg.Outcome.TARGET
    assert np.max(np.abs(solution.w - best)) < 1e-4
    if kind == "gauss-newton":  # a dense Gauss-Newton matrix of one output costs one presentation
        statistics = solution.statistics
        assert statistics.presentations == statistics.rhs_evaluations + statistics.jacobian_evaluations + (
            statistics.loss_evaluations or 0
        )


def residual(params, sample):
    x, y = sample
    return params["a"] @ x - y


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("vode", {"method": "euler"}, ValueError, "method='euler'"),
        ("vode", {"max_order": 6}, ValueError, "max_order=6"),
        ("vode", {"max_order": 2.5}, TypeError, "max_order"),
        ("lsoda", {"max_order": 0}, ValueError, "max_order=0"),
        ("radau", {"jacobian": "exact"}, ValueError, "jacobian='exact'"),
        ("bdf", {"jacobian": "gauss-newton"}, ValueError, "gauss-newton"),
        ("dopri5", {"rtol": -1.0}, ValueError, "rtol"),
        ("dop853", {"atol": "tight"}, TypeError, "atol"),
        ("zvode", {"rtol": np.nan}, ValueError, "rtol"),
    ],
)
def test_bad_options_are_named(name, options, error, words):
    objective = sg.minimise(quadratic, START)
    with pytest.raises(error, match=words):
        sg.solve(objective, sg.solvers.create(name, **options))


@pytest.mark.parametrize(("start", "error"), [(0.0, ValueError), (np.inf, ValueError), (None, TypeError)])
def test_a_bad_schedule_is_named(start, error):
    with pytest.raises(error, match="start"):
        sg.ToleranceSchedule(start, 1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_callback_raises_comes_out(name):
    def fail(step):
        if step.row["steps"] == 2:
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        sg.solve(sg.minimise(quadratic, START), name, callback=fail)


@pytest.mark.parametrize("name", NAMES)
def test_float32_objectives_are_solved(name):
    objective = sg.minimise(lambda w: 0.5 * w @ STIFF.astype(np.float32) @ w, START, dtype="float32")
    assert sg.solve(objective, name, until=sg.Until(loss=1e-3, wall_seconds=20)).outcome is sg.Outcome.TARGET


# ---- threads


@pytest.mark.parametrize("name", ["vode", "zvode", "lsoda", "dopri5", "bdf"])
def test_runs_in_threads_are_those_of_one_after_the_other(name):
    objectives = [
        sg.minimise(lambda w, a=a: ((w - a) ** 2).sum() + 50 * (w[0] - a) ** 2, np.zeros(2)) for a in (1, 2, 3)
    ]

    def run(objective):
        return sg.solve(objective, name, until=sg.Until(steps=40, wall_seconds=None)).w

    alone = [run(objective) for objective in objectives]
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, objectives * 2))
    for seen, expected in zip(together, alone * 2, strict=True):
        assert np.array_equal(seen, expected)


def test_a_run_inside_a_run_of_the_same_code_is_refused():
    objective = sg.minimise(quadratic, START)

    def nested(step):
        sg.solve(objective, "lsoda", until=sg.Until(steps=2))

    with pytest.raises(RuntimeError, match="solver 'lsoda' is running in this thread already"):
        sg.solve(objective, "lsoda", until=sg.Until(steps=3), callback=nested)
    assert sg.solve(objective, "lsoda", until=sg.Until(steps=2)).statistics.steps == 2


def test_a_turn_that_has_ended_has_no_owner():
    # Or a thread whose run has ended would be told that it runs, while another is about to own the next turn.
    turn("lsoda")()
    assert "lsoda" not in _owners
    turn("lsoda")()
