"""`auto` picks by structure, size and memory, says so, and solves."""

import re

import jax
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.flow import Flow
from stiffgrad.laboratory import problems
from stiffgrad.solvers import _combination
from stiffgrad.solvers._base import Finished
from stiffgrad.solvers.auto import choose


def network(rows, sizes=(2, 8, 1), loss="squared", decay=0.0):
    apply, params = sg.mlp(sizes, seed=0)
    generator = np.random.default_rng(0)
    X = generator.normal(size=(rows, sizes[0]))
    y = (X[:, :1] > 0) if loss != "squared" else np.sin(X[:, :1])
    return sg.supervised(apply, params, X, y, loss=loss, weight_decay=decay)


@pytest.mark.parametrize(
    ("objective", "name", "word"),
    [
        (network(60), "rosenbrock", "cheap"),
        (network(10), "rosenbrock", "cheap"),
        (network(20, loss="binary_cross_entropy"), "quasi-newton", "secants is cheap"),
        (network(2000, (2, 20, 20, 1), decay=1e-3), "quasi-newton", "residuals stay"),
        (network(200, (2, 20, 20, 1), "binary_cross_entropy"), "secants", "not cheap"),
    ],
)
def test_choice_and_reason(objective, name, word):
    choice = choose(objective)
    assert choice.members[0].name == name
    assert word in choice.reason


def test_an_equation_is_worth_a_dearer_dense_step():
    """Secants have no coordinates there: a system on a network of 50 x 4 is solved by Gauss-Newton steps."""
    choice = choose(problems.get("kovasznay").objective(0))
    assert choice.members[0].name == "rosenbrock"
    gradients, worth = (float(number) for number in re.findall(r"[0-9]+", choice.reason))
    assert 160 < gradients < worth


def test_only_derivatives_of_a_network_are_worth_that_much():
    """A model of another kind, of the same size, is none: its weights multiply one vector each."""
    apply, params = sg.mlp([2, 50, 50, 50, 50, 3], seed=0)
    points = np.random.default_rng(0).uniform(size=(1400, 2))
    model = sg.supervised(lambda p, x: 2.0 * apply(p, x), params, points, np.zeros((1400, 3)))
    slopes = sg.least_squares(lambda p, x: jax.jvp(lambda z: apply(p, z), (x,), (x,))[1], params, points)
    worth = [re.search(r"worth ([0-9]+)", choose(objective).reason)[1] for objective in (model, slopes)]
    assert worth == ["320", "2000"]


def test_choice_by_memory(monkeypatch):
    monkeypatch.setattr("stiffgrad.solvers.auto.available_bytes", lambda: 1e4)
    choice = choose(network(60))
    assert choice.members[0].name == "secants"
    assert "GiB" in choice.reason


def test_solution_and_trace_say_what_was_chosen():
    solution = sg.solve(network(60), until=sg.Until(loss=1e-4))
    assert solution.outcome is sg.Outcome.TARGET
    assert solution.solver.startswith("auto: rosenbrock, n x n (n = 33, m = 60")
    assert np.all(solution.trace["chosen"][1:] == 0)


def test_large_squares_are_counted():
    choice = choose(network(4000, (2, 30, 30, 1)))
    assert "operations of" in choice.reason


def test_another_method_takes_over_where_residuals_stay():
    """Noise that no network can meet: Gauss-Newton converges only linearly, and secants are tried and kept."""
    apply, params = sg.mlp([3, 5, 1], seed=0)
    generator = np.random.default_rng(0)
    objective = sg.supervised(apply, params, generator.normal(size=(200, 3)), generator.normal(size=(200, 1)))
    solution = sg.solve(objective, until=sg.Until(gradient_norm=1e-9, presentations=200_000), throw=False)
    trace = solution.trace
    assert np.all(np.diff(trace["loss"]) <= 8 * np.finfo(float).eps * trace["loss"][:-1])
    for count in ("steps", "presentations", "cost", "flow_time"):
        assert np.all(np.diff(trace[count]) >= 0), count
    assert {0.0, 3.0} <= set(trace["chosen"])
    again = sg.solve(objective, until=sg.Until(gradient_norm=1e-9, presentations=200_000), throw=False)
    assert np.array_equal(again.w, solution.w)
    assert np.array_equal(again.trace["chosen"], trace["chosen"])


def test_a_run_resumed_anywhere_takes_the_same_turns(monkeypatch, tmp_path):
    """Stopped before, at and after a change of methods: its windows and the turn that is due are in the checkpoint."""
    monkeypatch.setattr(_combination, "COMPILE_SECONDS", 0.0)
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(200, 3)), generator.normal(size=(200, 1))
    objective = sg.supervised(sg.mlp([3, 5, 1], seed=0), X, y)
    whole = sg.solve(objective, until=sg.Until(steps=150), throw=False)
    turns = np.flatnonzero(np.diff(whole.trace["chosen"]))
    assert len(turns) >= 2
    steps = {int(whole.trace["steps"][turn]) + more for turn in turns[:3] for more in (-3, -1, 0, 1)}
    for stop in sorted(step for step in steps if step > 0):
        file = tmp_path / f"{stop}.npz"
        sg.solve(objective, until=sg.Until(steps=stop), checkpoint=file, throw=False)
        again = sg.solve(objective, until=sg.Until(steps=150), checkpoint=file, throw=False)
        np.testing.assert_array_equal(again.trace["chosen"], whole.trace["chosen"], err_msg=f"stopped at {stop}")
        assert np.array_equal(again.w, whole.w)
        assert again.statistics == whole.statistics


def test_a_method_that_was_stuck_may_go_on_once_another_has_moved():
    objective = network(60)
    contest = sg.solvers.create("auto").start(Flow(objective), np.asarray(objective.w0))
    stuck = {1: Finished(sg.Outcome.STALLED, "stuck")}

    def row(steps):
        columns = {"steps": steps, "loss": 1.0, "gradient_norm": 1.0, "cost": 1.0}
        return {name: np.array([value]) for name, value in columns.items()}

    contest.exhausted = dict(stuck)
    contest.record(row(0.0))
    assert contest.exhausted == stuck
    contest.record(row(1.0))
    assert contest.exhausted == {}
