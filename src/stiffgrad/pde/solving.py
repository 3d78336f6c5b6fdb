"""`pde.solve`: easier problems first, then all of the problem on more and more points, or in pieces of time."""

from __future__ import annotations

from typing import Literal

from stiffgrad._float64 import float64
from stiffgrad._types import Params, SolveError
from stiffgrad.pde.continuation import in_length, in_weight
from stiffgrad.pde.division import GOAL, STEPS, Division
from stiffgrad.pde.judgement import judged
from stiffgrad.pde.levels import Levels
from stiffgrad.pde.march import march
from stiffgrad.pde.points import Points
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.resampling import check_resample, redrawn
from stiffgrad.pde.rounds import TARGET, Rounds
from stiffgrad.pde.slices import energy
from stiffgrad.pde.solution import Solution
from stiffgrad.pde.starts import start_well
from stiffgrad.pde.verdict import UNSOLVED
from stiffgrad.pde.watch import APART
from stiffgrad.run.driver import Callback
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Solver
from stiffgrad.solvers._registry import resolve

FIRST_POINTS = 1024  # of an interior condition, at first
LENGTHENED = 150  # steps after which a part of an interval is tried
DIVIDED = 500  # steps on all of the time, after which it is divided where the loss is far from a solution


@float64
def solve(
    problem: Problem,
    solver: str | Solver = "auto",
    *,
    until: Until | None = None,
    resample: int | Literal["auto"] | None = "auto",
    stages: bool = True,
    progress: bool = False,
    callback: Callback | None = None,
    throw: bool = True,
) -> Solution:
    """Solve a problem; nothing need be set.

    Parameters
    ----------
    problem : Problem
        What is solved, with its start.
    solver : str or Solver
        As for `stiffgrad.solve`.
    until : Until, optional
        Targets and budgets over all; by default a loss of 1e-15 or 60 seconds. The loss has no unit: see
        `Problem.weights`.
    resample : "auto", int or None
        Draw interior points by residual (Wu et al. 2023, k = 1, c = 1): a point's chance is its residual over the mean
        one, plus 1. An int: all of them anew, every that many accepted steps (RAD); their number stays, so nothing
        compiles again. "auto": as many again beside the old ones (RAR-D), where the held-out residual is more than 5
        times the training one after 50 steps, or sooner where it rises, at most four times; each compiles anew. None:
        never. The integrator starts afresh from the weights reached, because its energy is another.
    stages : bool
        Begin with easier problems, which lead to the solution that is meant. With an initial condition: all points in
        the first quarter of the time interval, then in half, in three quarters and in all of it; otherwise an equation
        is often met at late times first, by another solution than that which begins here. The time of an ordinary
        equation in which this is stuck is divided: each piece has a network of its own, and `params` is a list. With
        unknowns and observations: equations that weigh 1e-4, then 1e-2 of what they do in the end. A stage
        ends at 1e-4 (for all of the time: 1e-7) of the loss at the start, or of the network with all weights zero if
        that is less, or after 100 steps (200 for all of the time, 40 for the latter). With resample="auto" an interior
        equation begins with 1,024 of its points: steps on few points are cheap, and far from the solution as good.
        Where the held-out residual is twice the training one, as many again are drawn by residual, until there are as
        many as were asked for; where a run ends on fewer points, by a target or by itself, it goes on with those of the
        problem.
    progress : bool
        As for `stiffgrad.solve`.
    callback : callable, optional
        As for `stiffgrad.solve`.
    throw : bool
        As for `stiffgrad.solve`.

    Returns
    -------
    Solution
        The function found, its coefficients, and how the run ended.

    Examples
    --------
    >>> import numpy as np
    >>> from stiffgrad import Until, pde
    >>> decay = pde.interior(lambda u, t: pde.derivative(u, t) + 3 * u(t), points=32)
    >>> solution = pde.solve(pde.Problem([(0, 1)], [decay, pde.initial(1.0)], network=[8]), until=Until(loss=1e-8))
    >>> bool(abs(solution.u([1.0]) - np.exp(-3)) < 1e-3)
    True
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a pde.Problem, not {type(problem).__name__}; see stiffgrad.solve for objectives"
        )
    until = Until(loss=TARGET) if until is None else until
    if not isinstance(until, Until):
        raise TypeError(f"until must be stiffgrad.Until(...), as stiffgrad.Until(wall_seconds=60), not {until!r}")
    check_resample(resample, problem)
    problem.check_start()
    if problem.held_out is not None:
        energy(problem.held_out, problem.objective.w0)  # compiled here, and not in solving time
    rounds = Rounds(problem, resolve(solver), until, resample, {"progress": progress, "throw": False}, callback)
    points = {name: problem.points[name] for name in problem.interiors}
    if stages and resample == "auto":
        points |= problem.some_points(FIRST_POINTS)
    if stages and problem.interiors:
        if problem.inverse and problem.observed:
            in_weight(problem, points, rounds)
        elif problem.time is not None:
            points = march(problem, points, rounds)
    if not rounds.divided:
        _run_whole(problem, points, rounds, until.loss, stages)
    if rounds.divided and rounds.going:
        _run_pieces(problem, rounds, until.loss)
    solution = judged(rounds)
    if throw and solution.outcome.failure:
        raise SolveError(solution.run.message, solution.outcome, solution)
    return solution


def _run_whole(problem: Problem, points: dict[str, Points], rounds: Rounds, loss: float | None, stages: bool) -> None:
    """Run on all of the problem, on more and more of its points and then beyond them, down to a loss.

    Where time can be divided, a run that is still far from a solution after DIVIDED steps ends.
    """
    own = {name: problem.points[name] for name in problem.interiors}
    few = problem.inside(points) < problem.inside(own)
    divisible, lengthens = stages and rounds.divisible, stages and problem.lengthens

    def run(params: Params, trial: bool = False) -> None:
        objective = problem.with_points(points, params) if rounds.count or few else problem.objective
        nothing = None if problem.observed or not trial else rounds.levels.nothing
        nowhere = None if nothing is None else UNSOLVED * nothing
        patience = DIVIDED if divisible else LENGTHENED if lengthens else None
        rounds.run(objective, loss, apart=APART if few else None, nowhere=nowhere, patience=patience)
        rounds.divided = rounds.divided or (divisible and rounds.last.far)

    if stages and not rounds.count:
        start_well(problem, rounds, run)
    elif rounds.going:
        run(rounds.params)
    while rounds.going and not rounds.divided:
        if lengthens and rounds.last.far:
            lengthens = False
            run(in_length(problem, rounds) if rounds.last.slow else rounds.params)
            continue
        if rounds.wants_points:
            points = redrawn(problem, points, rounds.params, rounds.count, keep=few or rounds.adds)
        elif few:
            points = points | own
        else:
            break
        few = few and rounds.wants_points and problem.inside(points) < problem.inside(own)
        run(rounds.params)


def _run_pieces(problem: Problem, rounds: Rounds, loss: float | None) -> None:
    """March through the time in pieces, each with its own network; where that fails, go on with the one network."""
    before, division = rounds.params, Division(problem)
    while rounds.going and not (division.done or division.hopeless):
        objective, held_out = division.next()
        rounds.run(objective, GOAL, steps=STEPS, held_out=held_out)
        division.judge(rounds.params, rounds.last.energy, rounds.last.steps)
    met = division.found and not (rounds.going and division.hopeless)
    whole = problem.with_network(*division.whole) if met else None
    if whole is not None and not (division.done and _strayed(whole, problem, before, rounds.levels)):
        rounds.end_with(whole, whole.params, division)
    else:
        rounds.end_with(problem, before)
        if rounds.going:
            rounds.run(problem.with_points({}, before), loss)


def _strayed(pieces: Problem, one: Problem, params: Params, levels: Levels) -> bool:
    """Whether pieces that met their own targets together leave what no solution does, and more than one network did.

    Beyond a pole of the equation a piece may be as large as it likes, and met in its own units.
    """
    left = energy(pieces.objective, pieces.objective.w0)
    return left > max(energy(one.objective, one.objective.flatten(params)), UNSOLVED * (levels.nothing or 0.0))
