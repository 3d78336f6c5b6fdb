"""Easier problems that lead to the one that is meant: equations that weigh little, and a shorter interval.

Continuation, as of Allgower and Georg 1990 (chapter 1); that in time is in `stiffgrad.pde.march`.
"""

from __future__ import annotations

from collections.abc import Mapping

from stiffgrad._types import Params
from stiffgrad.pde.points import Points
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.rounds import Rounds
from stiffgrad.pde.verdict import TRUSTED
from stiffgrad.pde.watch import STAGE_STEPS

SHARES, SHARE_STEPS = (1e-4, 1e-2), 40  # what equations weigh first, where observations come before them
PART, LEAST_PART = 0.25, 1 / 64  # of an interval: how much longer the next part may be, and must be


def in_weight(problem: Problem, points: Mapping[str, Points], rounds: Rounds) -> None:
    """Observations first: equations weigh little, and then more, until the run is down to a loss or out of steps."""
    for share in SHARES:
        rounds.run(problem.with_points(points, rounds.params, share), rounds.levels.end, steps=SHARE_STEPS)


def in_length(problem: Problem, rounds: Rounds) -> Params:
    """Where to begin on all of an interval, from a solution on a part of it.

    The condition at the far end of a boundary layer is met by something else before it is met by the solution; near to
    the wall it is not. A part that is not met is begun again, half as much longer than the last.
    """
    lowest, loss = rounds.params, rounds.last.loss
    params, reached, longer = problem.params, 0.0, PART
    while rounds.going and reached < 1.0 and longer >= LEAST_PART:
        part = min(reached + longer, 1.0)
        rounds.back_to(params)
        rounds.run(problem.with_points(problem.shortened(part), params), TRUSTED**2, steps=STAGE_STEPS)
        if rounds.last.loss <= TRUSTED**2:
            params, reached, longer = rounds.params, part, min(2.0 * longer, PART)
        else:
            longer *= 0.5
    found = reached == 1.0 and rounds.last.loss < loss
    rounds.back_to(params if found else lowest)
    return params if found else lowest
