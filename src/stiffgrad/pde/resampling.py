"""Which points an equation is trained on next: drawn by residual, and only where a condition is short of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from stiffgrad._types import Params
from stiffgrad.objective import Objective
from stiffgrad.pde.points import Points
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.slices import left, plain

SHARE = 4.0  # a condition with more than the so manieth part of the held-out energy gets more points
CANDIDATES = 10  # points that new ones are drawn from, for each of them


def check_resample(resample: Any, problem: Problem) -> None:
    """Raise ValueError for a `resample` that is nothing known, or that the problem has no drawn points for."""
    if resample is None or (isinstance(resample, str) and resample == "auto"):
        return
    if isinstance(resample, bool) or not isinstance(resample, int) or resample < 1:
        raise ValueError(f"resample={resample!r} must be 'auto', a positive number of accepted steps, or None")
    if not problem.drawn:
        raise ValueError("resample needs an interior equation whose points are drawn: give it a number of points")


def redrawn(
    problem: Problem, points: Mapping[str, Points], params: Params, seed: int, keep: bool, part: float = 1.0
) -> dict[str, Points]:
    """As many new points, drawn by residual from a fresh uniform set; or beside the old, first up to the problem's own.

    Of interior equations and, where points are kept, of faces; there only of conditions that hold on their points only,
    of all where none stands out.

    `part`: the residual counts where the points lie in the first part of the time interval.
    """
    drawn = dict(points)
    names = _short_of_points(problem, params, part) if keep else problem.drawn
    for index, name in enumerate(names):
        old = points.get(name, problem.points[name])
        count = len(old)
        if keep and count < len(problem.points[name]):
            count = min(count, len(problem.points[name]) - count)
        if name in problem.faces:  # evenly: at a jump or a kink of the data all of them would gather
            drawn[name] = np.concatenate([old, problem.draw(name, count, "sobol", 7919 * seed + index)])
            continue
        candidates = problem.draw(name, CANDIDATES * count, "uniform", 7919 * seed + index)
        where = problem.until(part, candidates)
        size = np.linalg.norm(problem.residual(name, params, where).reshape(len(where), -1), axis=1)
        mean = size.mean()
        chance = size / mean + 1.0 if mean > 0 else np.ones(len(size))
        generator = np.random.default_rng([seed, index])
        new = candidates[generator.choice(len(size), count, replace=False, p=chance / chance.sum())]
        drawn[name] = np.concatenate([old, new]) if keep else new
    return drawn


def _short_of_points(problem: Problem, params: Params, part: float) -> tuple[str, ...]:
    """Conditions whose held-out energy makes up much of all that is held out; all interior ones where none does."""
    held_out = problem.held_out
    if held_out is None or not problem.faces or part < 1.0:
        return problem.drawn
    weights = {name: problem.weights[name] for name in problem.interiors + problem.faces}
    means = root_means(held_out, held_out.layout.flatten(params), weights)
    energies = {name: weights[name] * mean**2 for name, mean in means.items()}
    shared = sum(energies.values()) / SHARE
    far = tuple(name for name in problem.drawn + problem.faces if energies[name] > shared)
    return far or problem.drawn


def root_means(objective: Objective, w: Any, weights: Mapping[str, float]) -> dict[str, float]:
    """Root mean square of each term's residual, its weight taken out."""
    means = {}
    for (name, weight), block, rows in zip(weights.items(), objective.blocks, left(objective, w), strict=True):
        _, units = plain(block.function)
        means[name] = float(np.linalg.norm(rows * units) / weight**0.5)
    return means
