"""The driver alone: solvers of a few lines stand in for real ones, so that every number here is known beforehand."""

import dataclasses
import time
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import Outcome, SolveError, Until, solve
from stiffgrad.objective import derivatives
from stiffgrad.run import driver
from stiffgrad.solvers import Finished, Solver, _compiled
from stiffgrad.solvers._compiled import DIVERGED, SteppedSolver

START = np.array([3.0, 4.0])  # E = |w|^2/2, so loss 12.5 and gradient norm 5


def bowl(params):
    return 0.5 * (params**2).sum()


@pytest.fixture
def objective():
    return sg.minimise(bowl, START)


@dataclasses.dataclass(frozen=True)
class Toy(Solver):
    """Halves w in every step; what goes wrong is an option."""

    name: ClassVar[str] = "toy"
    family: ClassVar[str] = "test"
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    factor: float = 0.5
    fails_after: int = 10**9
    ends: Outcome = Outcome.FAILED
    interrupt_after: int = 10**9
    pause: float = 0.0

    def start(self, flow, w):
        flow.warm_up()
        return flow, np.array(w), 0

    def advance(self, state, monitor):
        flow, w, count = state
        if count >= self.fails_after:
            raise Finished(self.ends, "as it was told")
        if count >= self.interrupt_after:
            raise KeyboardInterrupt
        time.sleep(self.pause)
        w = self.factor * w
        flow.value_and_gradient(w)
        monitor.step(w, flow_time=count + 1.0, step_size=0.5, order=1, counts={"rejected_steps": 0}, height=w[1])
        return flow, w, count + 1


@partial(jax.tree_util.register_dataclass, data_fields=["rate"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Descent(SteppedSolver):
    """Gradient descent, compiled."""

    name: ClassVar[str] = "compiled-toy"
    family: ClassVar[str] = "test"
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ("steps", "loss", "gradient_norm", "presentations", "rhs_evaluations")
    reasons: ClassVar[dict[int, str]] = {DIVERGED: "it exploded"}
    rate: float = 0.5

    def initial(self, objective, w):
        return self._row(objective, w, jnp.zeros(()))

    def step(self, objective, state):
        w, slope, count = state
        return self._row(objective, w - self.rate * slope, count + 1)

    def _row(self, objective, w, count):
        loss, slope = derivatives.value_and_gradient(objective, w)
        row = {"steps": count, "loss": loss, "gradient_norm": jnp.linalg.norm(slope)}
        row |= {"presentations": count + 1, "rhs_evaluations": count + 1, "ended": jnp.where(loss > 1e6, DIVERGED, 0)}
        return (w, slope, count), row

    def weights(self, state):
        return state[0]


KINDS = pytest.mark.parametrize("solver", [Toy(), Descent()], ids=["python", "compiled"])


@KINDS
def test_a_loss_target_stops_at_the_first_step_that_reaches_it(objective, solver):
    # w halves, so the loss is 12.5 / 4^k: 12.5 / 4^5 = 0.0122 is the first below 0.02.
    solution = solve(objective, solver, until=Until(loss=0.02))
    assert solution.outcome is Outcome.TARGET
    assert solution.statistics.steps == 5
    assert solution.loss == pytest.approx(12.5 / 4**5)
    np.testing.assert_allclose(solution.params, START / 2**5)
    np.testing.assert_allclose(solution.trace["loss"], 12.5 / 4.0 ** np.arange(6))
    np.testing.assert_allclose(solution.trace["gradient_norm"], 5 / 2.0 ** np.arange(6))
    assert solution.gradient_norm == pytest.approx(5 / 2**5)


@KINDS
@pytest.mark.parametrize(
    ("until", "outcome", "steps"),
    [
        (Until(gradient_norm=0.7), Outcome.TARGET, 3),
        (Until(steps=7), Outcome.OUT_OF_STEPS, 7),
        (Until(loss=0.02, steps=3), Outcome.OUT_OF_STEPS, 3),
        (Until(loss=12.5), Outcome.TARGET, 0),
        (Until(wall_seconds=0), Outcome.OUT_OF_TIME, 0),
        (Until(steps=0), Outcome.OUT_OF_STEPS, 0),
    ],
    ids=["gradient_norm", "steps", "both", "start", "no time", "no steps"],
)
def test_budgets_and_targets(objective, solver, until, outcome, steps):
    solution = solve(objective, solver, until=until)
    assert solution.outcome is outcome
    assert (solution.statistics.steps or 0) == steps
    assert outcome.value in solution.message
    assert outcome.advice in solution.message


def test_presentations_are_a_budget(objective):
    assert solve(objective, Toy(), until=Until(presentations=4)).statistics.presentations == 4
    assert solve(objective, Descent(), until=Until(presentations=4)).statistics.presentations == 4


@KINDS
def test_an_exactly_zero_gradient_is_stationary(solver):
    solution = solve(sg.minimise(bowl, np.zeros(2)), solver, until=Until(loss=-1.0))
    assert solution.outcome is Outcome.STATIONARY
    assert solution.outcome.success


def test_wall_time_is_kept_inside_a_step_and_between_steps(objective):
    solution = solve(objective, Toy(factor=1.0, pause=0.01), until=Until(wall_seconds=0.15))
    assert solution.outcome is Outcome.OUT_OF_TIME
    assert 0.14 < solution.wall_seconds < 0.3
    solution = solve(objective, Descent(rate=0.0), until=Until(wall_seconds=0.3))
    assert solution.outcome is Outcome.OUT_OF_TIME
    assert 0.25 < solution.wall_seconds < 0.6
    assert solution.statistics.steps > 1000
    assert len(solution.trace) <= 4098


@KINDS
def test_a_callback_sees_rows_and_stops(objective, solver, monkeypatch):
    monkeypatch.setattr("stiffgrad.solvers._compiled.WARM_UP", 0)  # the first chunk is one step, not the whole run
    seen = []

    def callback(step):
        seen.append((step.row["steps"], float(np.sum(step.params))))
        return step.row["steps"] >= 3

    solution = solve(objective, solver, until=Until(steps=10_000, loss=1e-300), callback=callback)
    assert solution.outcome is Outcome.INTERRUPTED
    assert "callback" in solution.message
    for steps, total in seen:
        assert total == pytest.approx(7.0 / 2**steps)
    assert seen[0][0] == 0
    assert solution.statistics.steps >= 3


def test_a_callback_may_raise_stop_iteration(objective):
    def callback(step):
        raise StopIteration

    assert solve(objective, Toy(), callback=callback).outcome is Outcome.INTERRUPTED


@pytest.mark.parametrize("ends", [Outcome.FAILED, Outcome.DIVERGED])
def test_failure_raises_or_returns_what_there_is(objective, ends):
    solver = Toy(fails_after=3, ends=ends)
    with pytest.raises(SolveError, match="as it was told") as caught:
        solve(objective, solver)
    assert caught.value.outcome is ends
    assert ends.advice in str(caught.value)
    for solution in (caught.value.solution, solve(objective, solver, throw=False)):
        assert solution.outcome is ends
        assert solution.statistics.steps == 3
        np.testing.assert_allclose(solution.params, START / 8)


def test_ends_that_are_no_failures_do_not_raise(objective):
    assert solve(objective, Toy(fails_after=2, ends=Outcome.STALLED)).outcome is Outcome.STALLED


def test_a_loss_that_is_not_finite_has_diverged(objective):
    solution = solve(objective, Toy(factor=1e200), throw=False)
    assert solution.outcome is Outcome.DIVERGED
    with pytest.raises(SolveError, match="it exploded"):
        solve(objective, Descent(rate=10.0))


def test_ctrl_c_returns_what_there_is(objective):
    solution = solve(objective, Toy(interrupt_after=4))
    assert solution.outcome is Outcome.INTERRUPTED
    assert solution.statistics.steps == 4
    np.testing.assert_allclose(solution.params, START / 16)


def test_ctrl_c_before_the_first_row_returns_the_start(objective, monkeypatch):
    def interrupted(self, state, monitor):
        raise KeyboardInterrupt

    for name in ("rosenbrock", "quasi-newton", "auto", "adam", "bdf"):
        with monkeypatch.context() as patch:
            patch.setattr(sg.solvers.solver_class(name), "advance", interrupted)
            solution = solve(objective, name)
        assert solution.outcome is Outcome.INTERRUPTED
        assert np.array_equal(solution.w, START)
        assert solution.loss == pytest.approx(12.5)


@KINDS
def test_validation_is_recorded_and_its_best_parameters_are_kept(objective, solver):
    # Along w = START / 2^k the distance to START / 4 is least at k = 2.
    best = START / 4
    solution = solve(
        objective, solver, until=Until(steps=6), validation=lambda params: np.sum((np.asarray(params) - best) ** 2)
    )
    np.testing.assert_allclose(solution.best_params, best)
    np.testing.assert_allclose(solution.params, START / 2**6)
    expected = [np.sum((START / 2**k - best) ** 2) for k in range(7)]
    np.testing.assert_allclose(solution.trace["validation"], expected, atol=1e-15)


def test_validation_may_be_an_objective(objective):
    away = sg.minimise(lambda p: ((p - START / 2) ** 2).sum(), START)
    solution = solve(objective, Toy(), until=Until(steps=5), validation=away)
    np.testing.assert_allclose(solution.best_params, START / 2)
    assert solve(objective, Toy(), until=Until(steps=1)).best_params is None


def test_what_a_solver_reports_is_in_the_trace(objective):
    trace = solve(objective, Toy(), until=Until(steps=3)).trace
    assert trace["flow_time"].tolist() == [0, 1, 2, 3]
    assert trace["steps"].tolist() == [0, 1, 2, 3]
    assert trace["rhs_evaluations"].tolist()[1:] == [1, 2, 3]
    np.testing.assert_allclose(trace["height"][1:], [2.0, 1.0, 0.5])
    assert np.all(np.diff(trace["wall_seconds"]) >= 0)
    assert np.isnan(trace["newton_iterations"]).all()


def test_near_a_target_the_loss_is_exact_at_the_accepted_point(objective):
    class Ahead(Toy):
        def advance(self, state, monitor):
            flow, w, count = state
            w = 0.5 * w
            flow.value_and_gradient(0.9 * w)  # its last evaluation is not where the step ends
            monitor.step(w)
            return flow, w, count + 1

    # Seen: 0.81 * 12.5/4^k. At k = 2 that is 0.633 <= 0.7, but the loss is 0.781: it must go on to k = 3.
    solution = solve(objective, Ahead(), until=Until(loss=0.7))
    assert solution.statistics.steps == 3
    assert solution.trace["loss"][-1] == pytest.approx(solution.loss) == pytest.approx(12.5 / 64)


def test_a_second_run_compiles_nothing(objective):
    solve(objective, Descent(), until=Until(loss=1e-9))
    before = [f._cache_size() for f in (_compiled._initial, _compiled._quick)]
    again = sg.minimise(bowl, np.array([1.0, -7.0]))
    solve(again, Descent(rate=0.3), until=Until(loss=1e-5, steps=99))
    assert [f._cache_size() for f in (_compiled._initial, _compiled._quick)] == before


def test_compilation_is_not_solving_time():
    def slow_to_compile(p):
        for _ in range(300):
            p = jnp.sin(p) + p
        return (p**2).sum()

    solution = solve(sg.minimise(slow_to_compile, START), Descent(rate=0.0), until=Until(steps=2))
    assert solution.compile_seconds > 5 * solution.wall_seconds


def _share_of_recording(objective, solver, until):
    """Part of the solving time spent in the monitor, recording and judging."""
    spent = 0.0

    def timed(method):
        def call(self, *args, **kwargs):
            nonlocal spent
            begin = time.perf_counter()
            stop = method(self, *args, **kwargs)
            spent += time.perf_counter() - begin
            return stop

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver.Run, "step", timed(driver.Run.step))
        patch.setattr(driver.Run, "chunk", timed(driver.Run.chunk))
        solution = solve(objective, solver, until=until)
    return spent / solution.wall_seconds


@pytest.mark.parametrize("solver", [Toy(factor=0.99), Descent(rate=0.01)], ids=["python", "compiled"])
def test_recording_costs_less_than_a_twentieth(solver):
    # As large as `digits`: one gradient takes some milliseconds.
    rng = np.random.default_rng(0)
    apply, params = sg.mlp([64, 32, 10])
    digits = sg.supervised(apply, params, rng.normal(size=(1500, 64)), rng.integers(0, 10, 1500), "cross_entropy")
    shares = [_share_of_recording(digits, solver, Until(steps=60)) for _ in range(3)]
    assert min(shares) < 0.05


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"loss": "a"}, TypeError, "loss='a'"),
        ({"loss": float("nan")}, ValueError, "loss=nan"),
        ({"gradient_norm": -1.0}, ValueError, "gradient_norm=-1.0"),
        ({"wall_seconds": -5}, ValueError, "wall_seconds=-5"),
        ({"wall_seconds": True}, TypeError, "wall_seconds=True"),
        ({"steps": -1}, ValueError, "steps=-1"),
        ({"steps": [3]}, TypeError, r"steps=\[3\]"),
        ({"presentations": -1}, ValueError, "presentations=-1"),
    ],
)
def test_until_refuses_what_is_no_budget(arguments, error, named):
    with pytest.raises(error, match=named):
        Until(**arguments)


def test_until_as_plain_numbers():
    assert Until(loss=1e-3, wall_seconds=None).limits() == (1e-3, -np.inf, *[np.inf] * 5)
    assert Until(gradient_norm=1e-3, steps=5, presentations=7).limits() == (-np.inf, 1e-3, 5, 7, *[np.inf] * 3)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"objective": bowl}, TypeError, "objective must be a stiffgrad.Objective, not function"),
        ({"solver": "euler"}, ValueError, "solver='euler' is unknown; use one of .*vode"),
        ({"solver": "L-BFGS"}, ValueError, "solver='L-BFGS' is unknown, did you mean 'lbfgs'"),
        ({"solver": 3}, TypeError, "solver must be a name or an object"),
        ({"until": 3.0}, TypeError, "until must be"),
        ({"validation": 3.0}, TypeError, "validation must be"),
        ({"callback": 3.0}, TypeError, "callback must be"),
    ],
)
def test_bad_arguments_are_named(arguments, error, named):
    given = {"objective": sg.minimise(bowl, START), "solver": Toy(), **arguments}
    with pytest.raises(error, match=named):
        solve(given.pop("objective"), given.pop("solver"), **given)


def test_progress_shows_the_newest_row(objective, capsys):
    solve(objective, Toy(), until=Until(steps=3), progress=True)
    shown = capsys.readouterr().out
    assert "toy" in shown
    assert "loss" in shown


def test_a_printed_solution_says_what_matters(objective):
    text = repr(solve(objective, Toy(), until=Until(loss=0.02)))
    assert "Solution by toy: reached a target" in text
    assert "steps=5" in text
    assert "None" not in text
