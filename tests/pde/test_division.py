"""Time in pieces, each with a network of its own: what they hand on, how long they are, and what is said of them."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.pde import division as divisions
from stiffgrad.pde import solving
from stiffgrad.pde.defect import defect_of_pieces
from stiffgrad.pde.jumps import orders
from stiffgrad.pde.levels import Levels
from stiffgrad.pde.pieces import Frame, Framed, Onset, Pieces
from stiffgrad.pde.slices import energy
from stiffgrad.pde.solving import _strayed
from stiffgrad.solvers.w_method import WMethod

D = pde.derivative
SWING = pde.interior(lambda u, t: D(u, t, 0, 0) + u(t))
FROM_REST = pde.initial(lambda u, t: [u(t) - 1, D(u, t)])
# Van der Pol's oscillator; equations that are the same object share what is compiled.
TURNS = pde.interior(lambda u, t: D(u, t, 0, 0) - 5 * (1 - u(t) ** 2) * D(u, t) + u(t))
FROM_TWO = pde.initial(lambda u, t: [u(t) - 2, D(u, t)])


def marched(problem):
    """A division all through, each run with the step at which the last has ended."""
    division, solver = divisions.Division(problem), WMethod()
    while not (division.done or division.hopeless):
        objective, held_out = division.next()
        run = sg.solve(objective, solver, until=sg.Until(loss=divisions.GOAL, steps=divisions.STEPS))
        solver = WMethod(h0=float(run.trace["step_size"][-1]))
        left = max(run.loss, energy(held_out, run.w))
        division.judge(run.params, left, run.statistics.steps)
    return division


@pytest.fixture(scope="module")
def swing():
    return marched(pde.Problem([(0, 7)], [SWING, FROM_REST]))


def test_the_order_in_each_component_is_read_off_ripples():
    """However large a damping is beside the second derivative."""
    equation = pde.interior(lambda u, t: [D(u, t, 0, 0)[0] - 1e3 * D(u, t)[0] + u(t)[1], D(u, t)[1] - u(t)[0], u(t)[2]])
    problem = pde.Problem([(0, 80)], [equation, pde.initial(0.0)], [4], outputs=3)
    assert orders([problem.terms["interior"]], problem.domain, problem.scales, problem.params) == (2, 1, 1)


def test_an_onset_is_seen_in_units_of_its_frame():
    frame = Frame(np.array([1.0]), np.array([3.0]), np.array([5.0, 0.0]), np.array([10.0, 2.0]))
    onset = Onset(lambda w, z: np.array([1.0, -1.0]) * z[0], 0, (2, 1))
    seen = onset.seen(lambda x: Framed(onset.network, frame)(None, x), np.array([2.5]))
    np.testing.assert_allclose(seen, [5 + 10 * 0.5, 10.0, -2 * 0.5])  # z is 0.5 there, and dz/dx is 1
    np.testing.assert_allclose(onset.factor(frame), [1 / 10, 2 / 10, 1 / 2])


def test_pieces_go_on_with_the_value_and_the_slope_where_the_last_has_ended(swing):
    assert len(swing.found) > 2
    for before, after in zip(swing.found[:-1], swing.found[1:], strict=True):
        assert before.frame.high == after.frame.low
        ends = [
            swing.onset.seen(lambda x, p=p: Framed(swing.network, p.frame)(p.weights, x), before.frame.high)
            for p in (before, after)
        ]
        np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


def test_pieces_as_one_network_are_the_solution(swing):
    network, params = swing.whole
    assert isinstance(network, Pieces)
    problem = swing.problem.with_network(network, params)
    t = np.linspace(0, 7, 500)
    np.testing.assert_allclose(problem.evaluate(params, t), np.cos(t), atol=1e-4)
    assert problem.residual("interior", params, t[:, None]).shape == (500, 1)
    assert np.max(np.abs(problem.residual("interior", params, t[:, None]))) < 1e-2


def test_the_defect_of_pieces_is_their_error_also_what_they_inherit(swing):
    """A first piece that is off by 1e-3 swings on as the others do: the change asks for all of it back."""
    t = np.linspace(0, 7, 400)[:, None]
    first = swing.found[0]
    off = [*first.weights[:-1], {**first.weights[-1], "bias": first.weights[-1]["bias"] + 1e-3 / first.frame.size}]
    found = defect_of_pieces(swing.onset, [first._replace(weights=off), *swing.found[1:]], t)
    late = t[:, 0] > first.frame.high[0]
    assert found.free == 0
    np.testing.assert_allclose(found.change[~late], -1e-3, rtol=0.05)
    assert np.max(np.abs(found.change[late] + 1e-3)) > 5e-4  # the pieces behind began from what was right
    network, params = swing.whole
    left = np.cos(t[:, 0]) - swing.problem.with_network(network, params).evaluate(params, t)
    np.testing.assert_allclose(defect_of_pieces(swing.onset, swing.found, t).change, left, atol=3e-6)


def test_a_piece_that_is_not_met_is_begun_again_shorter():
    division = divisions.Division(pde.Problem([(0, 7)], [SWING, FROM_REST]))
    division.next()
    length = division.length
    assert not division.judge(division._weights, 1e-3, divisions.STEPS)
    assert division.at == 0
    assert division.length == pytest.approx(divisions.FAR_SHORTER * length)
    division.next()
    assert not division.judge(division._weights, np.nan, 1)
    assert not division.done


def test_pieces_end_where_an_equation_jumps():
    switch = pde.interior(lambda u, t: D(u, t) + u(t) - np.where(t[0] > 0.25, 1.0, 0.0))
    division = divisions.Division(pde.Problem([(0, 5)], [switch, pde.initial(1.0)]))
    division.next()
    assert division._frame.high[0] == pytest.approx(0.25)


@pytest.fixture
def divided(monkeypatch):
    """Time is divided at once: whether one network gets through first may hang on the last digit."""

    def march(problem, points, rounds):
        rounds.divided = True
        return points

    monkeypatch.setattr(solving, "march", march)


@pytest.mark.usefixtures("divided")
def test_what_turns_in_little_time_is_solved_in_pieces_and_says_so():
    """Van der Pol's oscillator with a factor of 5: one network does not come around its corners."""
    problem = pde.Problem([(0, 12)], [TURNS, FROM_TWO])
    solution = pde.solve(problem, until=sg.Until(loss=1e-15, steps=2500, wall_seconds=None))
    rates = lambda t, y: [y[1], 5 * (1 - y[0] ** 2) * y[1] - y[0]]  # noqa: E731
    path = solve_ivp(rates, (0, 12), [2, 0], method="Radau", rtol=1e-10, atol=1e-12, dense_output=True).sol
    error = solution.errors(lambda t: path(t[0])[0]).relative_l2
    assert error < 1e-4
    assert error / 5 < solution.error_estimate < 5 * error
    assert solution.outcome is sg.Outcome.TARGET  # of each piece
    assert "pieces of time" in solution.verdict
    assert len(solution.params) > 4


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("steps", [5, 200])  # in the first piece, and after some
def test_a_budget_that_ends_between_pieces_is_said(steps):
    problem = pde.Problem([(0, 12)], [TURNS, FROM_TWO])
    solution = pde.solve(problem, until=sg.Until(loss=1e-15, steps=steps, wall_seconds=None))
    assert solution.verdict.startswith("Not solved")
    assert np.isnan(solution.error_estimate)


def test_pieces_that_leave_more_than_one_network_are_not_taken_for_the_solution():
    """Pieces may each be met in their own units where they have left the solution; what they leave together tells."""
    problem = pde.Problem([(0, 2)], [pde.interior(lambda u, t: pde.derivative(u, t) + u(t)), pde.initial(1.0)], [8])
    good = pde.solve(problem, until=sg.Until(loss=1e-10)).params
    levels = Levels(problem)
    bad = problem.with_network(problem.network, problem.params)  # the start, which is no solution
    assert _strayed(bad, problem, good, levels)
    assert not _strayed(problem.with_network(problem.network, good), problem, good, levels)
    assert not _strayed(problem.with_network(problem.network, good), problem, problem.params, levels)
