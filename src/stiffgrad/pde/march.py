"""The march in time: an equation with an initial condition is solved on parts of its time interval first."""

from __future__ import annotations

import functools

import numpy as np

from stiffgrad._types import Params
from stiffgrad.pde.levels import STAGE_END
from stiffgrad.pde.points import Points
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.resampling import redrawn
from stiffgrad.pde.rounds import Rounds
from stiffgrad.pde.starts import start_well
from stiffgrad.pde.verdict import FAR, UNSOLVED
from stiffgrad.pde.watch import APART, STAGE_STEPS

PART = 0.25  # of the time interval, which comes before all of it, and how much longer the next part may be
SHORTER, RETRIES = 0.25, 6  # how much longer a part may be instead where the run is stuck, and how often it may be so
WHOLE_STEPS = 200  # on all of the time
STRICT, STRICT_STEPS, NEAR = 1e-3, 50, 10.0  # a second march: where parts end, or are near enough to go on
SHORTENED = 1  # a part of the time so often, and it is divided where it can be


def march(problem: Problem, points: dict[str, Points], rounds: Rounds) -> dict[str, Points]:
    """Parts of the time interval, each a quarter longer than the last, down to `end`; returns the points to go on with.

    A part in which the run is stuck is begun again from before, a quarter as much longer; what then goes well may be
    twice as much longer again. What grows from a small start is lost in a long interval: near a solution that stays,
    such as nobody ill, there is a minimum, and a run that has come there does not leave it. A part in which the
    equation holds on its points only goes on with as many again: the next one would begin with what is no solution. On
    all of the time those that wait come in as soon as the held-out residual stands out.

    A solution that is wrong from one moment on leaves a residual at that moment only, and may come below `end`. So the
    whole interval is tried down to STRICT times `end`; where that is stuck, the march begins again, with every part
    down to there. Where that leads no further, the lower of both energies is gone on with.
    """
    end = rounds.levels.end

    def waiting(part: float) -> bool:
        return part == 1.0 and problem.inside(points) < problem.inside(problem.points)

    def run(part: float, params: Params, trial: bool = False) -> None:
        whole = part == 1.0
        rounds.run(
            problem.with_points(problem.marched(part, points), params),
            STRICT * end if strict or whole else end,
            steps=STRICT_STEPS if strict else WHOLE_STEPS if whole else STAGE_STEPS,
            apart=APART if waiting(part) else None,
            held_out=None if whole else problem.held_out_until(part),
            nowhere=UNSOLVED / STAGE_END * end if trial else None,
            whole=whole,
        )

    strict = False
    start = start_well(problem, rounds, functools.partial(run, PART))
    good, reached, longer, failures, lowest = start, 0.0, PART, 0, (np.inf, start)
    while rounds.going:
        last, part, begin = rounds.last, min(reached + longer, 1.0), rounds.params
        stuck = last.stuck and not problem.observed  # whose noise stays, and looks the same
        near = not strict or last.loss <= NEAR * STRICT * end
        retries = 1 if strict and reached == 0.0 else RETRIES  # no other part of the start is any better
        if rounds.wants_points or (rounds.may_draw and last.loss <= end and last.between > FAR**2 * end):
            rounds.doublings += not waiting(part)
            points = redrawn(problem, points, begin, rounds.count, keep=True, part=part)
        elif stuck and rounds.divisible and (part == 1.0 or failures == SHORTENED):
            rounds.divided = True
            return points
        elif stuck and part == 1.0 and not strict:
            lowest, strict = (last.energy, begin), True
            begin = good = start
            reached, longer, failures = 0.0, PART, 0
        elif stuck and not (strict and near) and failures < retries:
            failures += 1
            longer *= SHORTER
            begin = good
        elif near:
            good, reached, longer = begin, part, min(2.0 * longer, PART)
            failures = 0 if strict else failures
        elif stuck:
            break
        if reached == 1.0:
            break
        run(min(reached + longer, 1.0), begin)
    if rounds.going and strict and not (reached == 1.0 and rounds.last.energy < lowest[0]):
        rounds.back_to(lowest[1])
    return points
