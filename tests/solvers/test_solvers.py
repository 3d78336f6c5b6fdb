"""What holds for every solver of `stiffgrad.solvers.names()`: a new line in the registry is tested here at once."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_iris

import stiffgrad as sg
from stiffgrad import flow
from stiffgrad._config import QUICK, SOUND, Program
from stiffgrad.flow import PROGRAMS, _programs
from stiffgrad.run.trace import COLUMNS, COUNTS
from stiffgrad.solvers import _compiled
from stiffgrad.solvers._combination import Combination
from stiffgrad.solvers._compiled import CompiledSolver

NAMES = sg.solvers.names()
BEST = np.array([1.0, -2.0, 0.5])  # of the quadratic
MOST = 20_000  # presentations; a budget of counts, since seconds mean little on a busy machine
COMPILED_WITHIN = ("levenberg-marquardt", "adam-lbfgs")  # solvers whose parts are compiled
EASY = 0.1  # a cross entropy on iris that every method reaches


def residual(params, sample):
    x, y = sample
    return params["a"] @ x - y


@functools.cache
def quadratic():
    """E = 1/2 (w - BEST)' diag(1, 4, 9) (w - BEST), as a mean of squared residuals."""
    orthogonal, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 3)))
    x = 4.0 * orthogonal * np.array([1.0, 2.0, 3.0])
    return sg.least_squares(residual, {"a": np.zeros(3)}, (x, x @ BEST))


@functools.cache
def iris(name, seed=0):
    """Cross entropy; squared errors for those solvers that know nothing else."""
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(0)) / x.std(0)
    apply, params = sg.mlp([4, 10, 3], seed=seed)
    if sg.solvers.solver_class(name).squares_only:
        return sg.supervised(apply, params, x, np.eye(3)[y], loss="squared")
    return sg.supervised(apply, params, x, y, loss="cross_entropy")


@functools.cache
def short_run(name):
    """Eight steps on iris."""
    return sg.solve(iris(name), name, until=sg.Until(steps=8, wall_seconds=None))


def to_target(name, seed):
    return sg.solve(iris(name, seed), name, until=sg.Until(loss=EASY, presentations=MOST, wall_seconds=None))


def options(name):
    return {field.name for field in dataclasses.fields(sg.solvers.solver_class(name))}


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_minimum_of_a_quadratic(name):
    objective = quadratic()
    # With a constant learning rate, the methods that normalise the gradient end in a jitter of about that size.
    target = 1e-3 if "learning_rate" in options(name) else 1e-6
    solution = sg.solve(objective, name, until=sg.Until(loss=target, presentations=MOST, wall_seconds=None))
    assert solution.outcome is sg.Outcome.TARGET
    # The smallest eigenvalue is 1, so |w - BEST|^2 <= 2 E.
    assert np.linalg.norm(solution.w - BEST) <= np.sqrt(2 * target)
    assert solution.loss <= target
    assert solution.loss == pytest.approx(float(objective.value(solution.w)), rel=1e-9)
    assert np.allclose(solution.params["a"], solution.w)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_reaches_the_easy_target_of_iris(name, seed):
    solution = to_target(name, seed)
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.loss <= EASY
    # The stop is exact: no row before the last was at the target.
    losses = solution.trace["loss"]
    assert losses[-1] <= EASY
    assert np.all(losses[:-1] > EASY)
    assert np.isfinite(solution.gradient_norm)


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_counted_exactly(name):
    solution = short_run(name)
    assert solution.outcome is sg.Outcome.OUT_OF_STEPS
    assert solution.statistics.steps == 8
    assert solution.trace["steps"].tolist() == list(range(9))


@pytest.mark.parametrize("name", NAMES)
def test_the_trace_has_every_column_and_counts_never_fall(name):
    trace = short_run(name).trace
    assert set(COLUMNS) <= set(trace)
    for count in COUNTS:
        seen = trace[count][np.isfinite(trace[count])]
        assert np.all(np.diff(seen) >= 0), count
    assert np.all(np.diff(trace["wall_seconds"]) >= 0)
    assert np.all(np.isfinite(trace["loss"]))
    assert trace["presentations"][-1] > 0
    flow_time = trace["flow_time"][np.isfinite(trace["flow_time"])]
    assert np.all(np.diff(flow_time) > 0)


@pytest.mark.parametrize("name", NAMES)
def test_losses_in_the_trace_are_those_of_the_objective(name):
    solution = short_run(name)
    start = float(iris(name).value(iris(name).w0))
    assert solution.trace["loss"][0] == pytest.approx(start, rel=1e-12)
    # Implicit solvers show the loss of the step's last evaluation, which lies within their tolerance of the new point.
    assert solution.trace["loss"][-1] == pytest.approx(solution.loss, rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_presentations_stop_after_the_step_that_spends_them(name):
    solution = sg.solve(iris(name), name, until=sg.Until(presentations=100, wall_seconds=None))
    if solution.loss == 0.0:
        return  # it is at the end already
    assert solution.outcome is sg.Outcome.OUT_OF_STEPS
    presentations = solution.trace["presentations"]
    assert presentations[-1] >= 100
    assert np.all(presentations[:-1] < 100)


@pytest.mark.parametrize("name", NAMES)
def test_wall_time_is_respected(name, request):
    compiled = issubclass(sg.solvers.solver_class(name), CompiledSolver | Combination) or name == "levenberg-marquardt"
    if not compiled:  # which plans its chunks by the real clock; a test of the driver holds it to its plan
        request.getfixturevalue("ticking")
    solution = sg.solve(iris(name), name, until=sg.Until(wall_seconds=0.2), throw=False)
    assert compiled or solution.wall_seconds < 0.25
    if solution.statistics.steps:
        assert solution.loss < float(iris(name).value(iris(name).w0))
    if solution.outcome is sg.Outcome.OUT_OF_TIME:
        assert solution.wall_seconds >= 0.2


@pytest.mark.parametrize("name", NAMES)
def test_ctrl_c_returns_what_there_is(name):
    seen = []

    def interrupt(step):
        seen.append((step.row["steps"], np.array(step.w)))
        if step.row["steps"] >= 3:
            raise KeyboardInterrupt

    solution = sg.solve(iris(name), name, until=sg.Until(presentations=MOST, wall_seconds=None), callback=interrupt)
    assert solution.outcome is sg.Outcome.INTERRUPTED
    assert solution.statistics.steps == seen[-1][0]
    assert np.array_equal(solution.w, seen[-1][1])
    assert not np.array_equal(solution.w, iris(name).w0)


@pytest.mark.parametrize("name", NAMES)
def test_a_second_run_gives_the_same_numbers(name):
    again = sg.solve(iris(name), name, until=sg.Until(steps=8, wall_seconds=None))
    assert np.array_equal(again.w, short_run(name).w)
    assert np.array_equal(again.trace["loss"], short_run(name).trace["loss"])


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_calls_made(name, monkeypatch):
    if issubclass(sg.solvers.solver_class(name), CompiledSolver | Combination) or name in COMPILED_WITHIN:
        pytest.skip("a compiled loop makes no calls that Python sees")
    calls = dict.fromkeys(PROGRAMS, 0)

    def counting(objective):
        return {name: counted(name, program) for name, program in _programs(objective).items()}

    def counted(name, program):
        def call(*vectors):
            rest_of_a_matrix = name == "strip" and vectors[1] > 0
            calls[name] += not rest_of_a_matrix
            return program(*vectors)

        return call

    monkeypatch.setattr(flow, "_programs", counting)
    begin = {}

    def snapshot(step):  # the start is evaluated before the first step; its evaluation is the solver's first
        if step.row["steps"] == 0:
            begin.update(calls)
            begin["slope"] -= not sg.solvers.solver_class(name).squares_only
        return step.row["steps"] >= 12

    statistics = sg.solve(
        iris(name), name, callback=snapshot, until=sg.Until(presentations=MOST, wall_seconds=None)
    ).statistics
    made = {program: count - begin[program] for program, count in calls.items()}
    made["slope"] -= 1  # the exact loss of the solution
    losses = made["value"] + made["residual"]
    assert statistics.rhs_evaluations + (statistics.loss_evaluations or 0) == made["slope"] + losses
    matrices = sum(made[program] for program in ("autodiff", "strip", "gauss-newton", "scaled_jacobian"))
    assert (statistics.jacobian_evaluations or 0) == matrices
    assert (statistics.hessian_products or 0) == made["product"] + made["gauss-newton product"]


@pytest.mark.parametrize("name", NAMES)
def test_bad_options_are_named(name):
    with pytest.raises(TypeError, match="nonsense"):
        sg.solvers.create(name, nonsense=1)
    for option in options(name) & {"rtol", "atol", "learning_rate"}:
        for bad in (-1.0, np.nan, "fast"):
            with pytest.raises((ValueError, TypeError), match=option):
                sg.solve(quadratic(), sg.solvers.create(name, **{option: bad}))
    for option in options(name) & {"jacobian", "method"}:
        with pytest.raises((ValueError, TypeError), match=option):
            sg.solve(quadratic(), sg.solvers.create(name, **{option: "unheard of"}))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    cls = sg.solvers.solver_class(name)
    assert name in sg.solvers.create(name).describe()
    assert cls.family
    assert cls.summary == cls.summary.strip()
    assert "\n" not in cls.summary
    assert cls.source
    assert cls.__doc__


def test_unknown_solvers_are_refused_by_name():
    with pytest.raises(ValueError, match="adamm"):
        sg.solve(quadratic(), "adamm")
    with pytest.raises(TypeError, match="int"):
        sg.solve(quadratic(), 3)


def test_a_jax_that_has_dropped_an_option_of_a_compilation_compiles_without_it(monkeypatch):
    unknown = Program(_compiled.run_rows, {"xla_an_option_that_no_version_has": True})
    expected = sg.solve(quadratic(), "rosenbrock", until=sg.Until(steps=3), compilation="full")
    monkeypatch.setattr(_compiled, "_full", unknown)
    seen = sg.solve(quadratic(), "rosenbrock", until=sg.Until(steps=3), compilation="full")
    np.testing.assert_array_equal(seen.w, expected.w)


@pytest.mark.parametrize("name", ["krylov", "chebyshev", "adam", "tsit5"])
@pytest.mark.parametrize("compilation", ["quick", "full"])
def test_a_loop_is_traced_once(name, compilation, monkeypatch):
    """A number of another type in one of the calls (NumPy's for Python's) would trace and compile it again."""
    traced = []

    def run_rows(*arguments):
        traced.append(arguments)
        return original(*arguments)

    original = _compiled.run_rows
    for stage, options in (("_quick", QUICK), ("_full", SOUND)):
        monkeypatch.setattr(_compiled, stage, Program(run_rows, options))
    X = np.linspace(-1, 1, 7)[:, None]
    objective = sg.supervised(sg.mlp([1, 5, 1]), X, np.sin(3 * X))
    until = sg.Until(steps=20, presentations=10**6, loss=1e-12, wall_seconds=60)
    sg.solve(objective, name, until=until, compilation=compilation, throw=False)
    assert len(traced) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if sg.solvers.solver_class(name).family == "own"])
def test_a_loss_that_is_finite_at_the_start_alone_ends_the_run_there(name):
    w0 = np.array([1.0, -2.0])
    objective = sg.minimise(lambda w: jnp.where(jnp.all(w == w0), jnp.sum(w**2), jnp.nan), w0)
    solution = sg.solve(objective, name, until=sg.Until(wall_seconds=None), throw=False)
    assert solution.outcome in (sg.Outcome.STALLED, sg.Outcome.DIVERGED, sg.Outcome.FAILED)
    assert solution.loss == 5.0
    assert np.array_equal(solution.w, w0)
