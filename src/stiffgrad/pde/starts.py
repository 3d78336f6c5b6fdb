"""From which start of the network a problem is solved: where that of the problem leads nowhere, from sharper ones."""

from __future__ import annotations

from collections.abc import Callable

from stiffgrad._types import Params
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.rounds import Rounds

SHARPER = (3.0, 9.0)  # starts to try in turn, where the loss is still that of no solution


def start_well(problem: Problem, rounds: Rounds, run: Callable[[Params, bool], None]) -> Params:
    """Run from the problem's start; where that leads nowhere, from sharper ones, then on from the lowest energy.

    `run(params, trial)`: a trial ends where it leads nowhere. Returns the parameters from which the last run began.
    """
    ends: list[tuple[float, Params]] = []
    for times in (1.0, *SHARPER):
        start = problem.sharper(times)
        if start is None:
            break
        run(start, True)
        ends.append((rounds.last.energy, rounds.params))
        best = min(energy for energy, _ in ends)
        if not rounds.going or (not rounds.last.nowhere and rounds.last.energy == best):
            return start
    _, lowest = min(ends, key=lambda end: end[0])
    run(lowest, False)
    return lowest
