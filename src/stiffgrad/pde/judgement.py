"""What is told of a solution: what its conditions leave on and between their points, its error, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Params
from stiffgrad.pde import verdict
from stiffgrad.pde.confidence import scatter
from stiffgrad.pde.defect import defect, defect_of_pieces
from stiffgrad.pde.points import Points, interior_points, some_of
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.resampling import root_means
from stiffgrad.pde.rounds import Rounds
from stiffgrad.pde.slices import energy
from stiffgrad.pde.solution import Solution
from stiffgrad.run.trace import Solution as Run

Values = NDArray[np.float64]
MANY = 2**14  # points of one coordinate, on which equations are looked at once at the end
MANY_ON_FACES = 2**12
JUDGED = 1024  # points on which solutions along the run are compared
WITHOUT_NOISE = 1e-12  # observations met to such a part of the loss of nothing have none


def judged(rounds: Rounds) -> Solution:
    """The solution that runs have found, with what is to be told of it."""
    problem, run, weights = rounds.problem, rounds.solution(), rounds.problem.weights
    residuals = root_means(rounds.objective, run.w, weights)
    held_out, worst = _between(problem, run)
    free = problem.free_constants(run.params)
    error, doubt = float("nan"), ""
    if held_out and (not problem.observed or run.loss <= WITHOUT_NOISE * (rounds.levels.nothing or 0.0)):
        error, doubt = _error(rounds, run, worst, free)
    solved = _solved(rounds, run.loss)
    untold = bool(held_out) and np.isnan(error) and not (solved or problem.observed)
    doubts = verdict.lost(problem.jumps) + doubt
    if doubts or not rounds.whole:  # what was seen of the whole problem was before
        error = float("nan")
    parts = {name: (run.loss / weight / len(weights)) ** 0.5 for name, weight in weights.items()}
    told = [
        *(verdict.missed(name, *_fit(problem, name, residuals[name])) for name in problem.observed),
        doubts,
        solved,
        verdict.between(residuals, held_out, _fallen(run), parts),
        verdict.trusted(error),
        verdict.UNTOLD if untold else "",
        verdict.undetermined(free, len(problem.scales.size)),
        verdict.zero(_part_of_unit(problem, run.params)),
    ]
    return Solution(problem, run, residuals, held_out, error, "".join(told))


def _between(problem: Problem, run: Run) -> tuple[dict[str, float], float]:
    """What conditions leave on points never trained on, root mean squares by name, and the highest energy seen."""
    if problem.held_out is None:
        return {}, run.loss
    weights = {name: problem.weights[name] for name in problem.interiors + problem.faces}
    held_out = root_means(problem.held_out, run.w, weights)
    worst = max(run.loss, float(energy(problem.held_out, run.w)))
    for name, dense in _on_many(problem, run.params).items():
        worst += max(0.5 * weights[name] * (dense**2 - held_out[name] ** 2), 0.0)
        held_out[name] = max(held_out[name], dense)
    return held_out, worst


def _on_many(problem: Problem, params: Params) -> dict[str, float]:
    """Root mean squares, on very many points, of what is cheap there: a jump may lie between fewer.

    Of equations of one coordinate, whose solution may jump; of conditions on faces otherwise, whose values may. None
    lies on an end, where a coefficient may have a pole: u'' + 2 u' / x of what is round.
    """
    if len(problem.domain) > 1:
        points = {name: problem.draw(name, MANY_ON_FACES, "sobol", seed=0) for name in problem.faces}
    else:
        (low, high) = problem.domain[0]
        points = dict.fromkeys(problem.drawn, low + (high - low) * (np.arange(MANY)[:, None] + 0.5) / MANY)
    left = {name: problem.residual(name, params, many).reshape(len(many), -1) for name, many in points.items()}
    return {name: float(np.sqrt(np.mean(np.sum(r**2, axis=1)))) for name, r in left.items()}


def _error(rounds: Rounds, run: Run, worst: float, free: tuple[int, ...]) -> tuple[float, str]:
    """The relative L2 error to expect, NaN where nothing tells it; and a sentence, where the equations are in doubt.

    The larger of what the run tells and of what the equations do at its end; of a solution in pieces, the latter.
    """
    problem, division, points = rounds.problem, rounds.division, _judged_at(rounds.problem)
    values: Callable[[Any], Values] = lambda w: _less_constants(  # noqa: E731
        problem.evaluate(rounds.objective.unflatten(w), points), free
    )
    if division is not None:
        error, left = float("nan"), defect_of_pieces(division.onset, division.found, points)
    else:
        error = rounds.path.error(worst, run.w, values)
        if not np.isfinite(error):
            return error, ""
        left = defect(problem, run.params, points)
    change = np.linalg.norm(_less_constants(left.change, free)) / np.linalg.norm(values(run.w))
    doubt = verdict.OPEN if left.free > len(free) else verdict.BENT if left.bent else ""
    return float(np.fmax(error, change)), doubt


def _part_of_unit(problem: Problem, params: Params) -> float:
    """Root mean square of the solution in its units, of the largest component."""
    values = problem.evaluate(params, _judged_at(problem)).reshape(-1, len(problem.scales.size))
    return float(np.max(np.sqrt(np.mean(values**2, axis=0)) / np.array(problem.scales.size)))


def _judged_at(problem: Problem) -> Points:
    """Points of the domain; or those that were given, where all were: outside of their region the network is free."""
    if problem.drawn or not problem.interiors:
        return interior_points(problem.domain, JUDGED)
    points = np.concatenate([problem.points[name] for name in problem.interiors])
    return points[some_of(len(points), JUDGED)]


def _less_constants(values: Values, free: tuple[int, ...]) -> Values:
    """Values of the solution, (N,) or (N, k), less the mean of components in which nothing determines it."""
    if not free:
        return values
    means = values.mean(axis=0)
    return np.asarray(
        values - (means if values.ndim == 1 else np.where(np.isin(np.arange(len(means)), free), means, 0.0))
    )


def _solved(rounds: Rounds, loss: float) -> str:
    """A sentence about whether, and how far, the problem is solved; or none."""
    problem, division = rounds.problem, rounds.division
    if division is not None:
        return verdict.in_pieces(len(division.found), division.at, problem.domain[division.axis][1])
    if not rounds.whole:
        return verdict.IN_A_STAGE
    # With observations their noise leaves a loss that no solution takes away.
    return verdict.unsolved(loss, None if problem.observed else rounds.levels.nothing)


def _fit(problem: Problem, name: str, left: float) -> tuple[float, float]:
    """How far observations are missed, and how far they are scattered themselves; NaN where that cannot be seen."""
    points, condition = problem.points[name], problem.conditions[name]
    values = np.asarray(condition.value, float).reshape(len(points), -1)
    noise = scatter(points[:, 0], values) if len(problem.domain) == 1 else float("nan")
    return left / values.shape[1] ** 0.5, noise


def _fallen(run: Run) -> float:
    """How many times the held-out residual has fallen, from the first row of the trace to the last."""
    seen = run.trace["validation"] if "validation" in list(run.trace) else np.ones(1)
    seen = seen[np.isfinite(seen)]
    return float(np.sqrt(seen[0] / max(seen[-1], 1e-300)))
