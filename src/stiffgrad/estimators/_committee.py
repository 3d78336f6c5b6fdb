"""Several networks as one classifier: starts of one architecture share a decay, architectures are stacked.

A start is one more sample of what the data allow. Starts of the same architecture climb the same decays, and the decay
is the one where the mean of their outputs, of each sample as left out, has the lowest loss. Another start joins for as
long as it lowers that loss by more than its standard error. Architectures get shares c >= 0 of the outputs (stacking:
Wolpert 1992, Neural Networks 5:241), so as to minimise the loss of the outputs sum of c_a z_a, each sample as left out:
a convex problem. Shares do not add up to one: their sum is a temperature. A prior pulls each of n shares to 1/n.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize

from stiffgrad._types import Params
from stiffgrad.estimators import _leave_one_out, _training
from stiffgrad.estimators._leave_one_out import FIRST, RATIO, Step
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._problem import LOSSES, Problem
from stiffgrad.estimators._record import Record
from stiffgrad.estimators._training import Fitted, Settings, Task
from stiffgrad.run.until import Until

STARTS = 5  # of one architecture at most
BUDGET = 5e6  # entries of the Jacobians of all of them, where their number is free
PULL = 3.0  # weight of the prior of shares, in nats
LEAST = 0.02  # of all shares: an architecture with less is left out

Start = Callable[[Task, int], tuple[Params, Matrix | None]]  # and the decays to begin with


Begun = tuple[Params, Record, list[Step]]  # a start, and the way from it


@dataclasses.dataclass
class _Team:
    """Starts of one architecture."""

    task: Task
    problem: Problem
    judges: Problem
    begun: list[Begun]

    @property
    def best(self) -> tuple[float, Matrix, Matrix]:
        """The decay whose mean outputs are best, these outputs (N, k), and their losses (N,)."""
        paths = [{round(np.log10(step.level), 6): step for step in steps} for _, _, steps in self.begun]
        shared = set.intersection(*(set(path) for path in paths))
        found = []
        for key in shared:
            z = np.mean([path[key].left_out for path in paths], axis=0)
            found.append((paths[0][key].level, z, LOSSES[self.problem.loss].value(z, self.judges.y)))
        return min(found, key=lambda each: (float(each[2] @ self.judges.weights), -each[0]))

    def members(self, settings: Settings) -> list[Fitted]:
        """A fit of each start, at the decay that is best for all of them."""
        level, found = self.best[0], []
        for start, record, steps in self.begun:
            step = min(steps, key=lambda each: abs(np.log(each.level / level)))
            fitted = _training.fitted_at(self.problem, record, step.w, step.level)
            found.append(_training.retrained(self.task, self.problem, fitted, settings, start))
        return found


def committee(tasks: Sequence[Task], settings: Settings, start: Start, starts: int | None) -> list[Fitted]:
    """Networks with their shares; `starts` of each architecture, or as many as pay."""
    begin = time.perf_counter()
    teams: list[_Team] = []
    for task in tasks:
        left = _left(settings, begin)
        if teams and left is not None and left <= 0:
            break
        teams.append(_team(task, settings, start, starts, begin))
    z = [team.best[1] for team in teams]
    shares = stacked(z, teams[0].judges)
    for team, share in zip(teams, shares):
        if share < LEAST * shares.sum():
            team.begun = []
    teams = [team for team in teams if team.begun]
    if len(teams) < len(z):
        shares = stacked([team.best[1] for team in teams], teams[0].judges)
    members = []
    for team, share in zip(teams, shares):
        fits = team.members(settings)
        members += [dataclasses.replace(fitted, share=float(share) / len(fits)) for fitted in fits]
    return members


def _left(settings: Settings, begin: float) -> float | None:
    limit = settings.until.wall_seconds
    return None if limit is None else limit - (time.perf_counter() - begin)


def _team(task: Task, settings: Settings, start: Start, starts: int | None, begin: float) -> _Team:
    params, decays = start(task, 0)
    problem = _training.problem_of(task, params, False)
    team = _Team(task, problem, _leave_one_out.judging(problem), [])
    entries = len(team.judges.X) * problem.network.size * problem.y.shape[1]
    most = starts or min(STARTS, max(1, int(BUDGET // entries)))
    most = 1 if len(task.sizes) == 2 else most  # a linear model has one minimum
    # All are drawn, whether they join or not: what is drawn later does not depend on it.
    others = [start(task, index) for index in range(1, most)]
    team.begun.append(_climb(problem, params, decays, None, _until(settings, begin), settings.progress))
    before, found = team.best[2], (team.best[0], team.begun[0][2][0].level)
    for batch in settings.jobs.batches(others):
        until = _until(settings, begin)
        if until.wall_seconds == 0.0:
            break
        shown = settings.progress and settings.jobs.at_once == 1
        for each in settings.jobs.map(_climb, [(problem, *other, found, until, shown) for other in batch]):
            team.begun.append(each)
            losses = team.best[2]
            if starts is None and not _leave_one_out.pays(losses, before, team.judges.weights):
                return team
            before = losses
    return team


def _until(settings: Settings, begin: float) -> Until:
    """What is left of the budgets."""
    left = _left(settings, begin)
    return dataclasses.replace(settings.until, wall_seconds=None if left is None else max(left, 0.0))


def _climb(
    problem: Problem,
    params: Params,
    decays: Matrix | None,
    found: tuple[float, float] | None,
    until: Until,
    shown: bool,
) -> Begun:
    """The way from a start; the decay that the first one found, and its weakest, save the others most of theirs."""
    first, last = FIRST, None
    if decays is not None:
        first = max(float(decays[0]) / RATIO, _leave_one_out.RANGE[0])
    elif found is not None:
        first, last = max(found[0] / RATIO**2, found[1]), found[0] * RATIO
    with Record("leave-one-out", until, 0, shown, None) as record:
        steps = _leave_one_out.climb(problem, _training.decay_by(problem), _training.flat(params), record, first, last)
    return params, record, steps


def stacked(z: Sequence[Matrix], judges: Problem) -> Matrix:
    """Shares of outputs (N, k) of each architecture."""
    loss, n, samples = LOSSES[judges.loss], len(z), judges.samples

    def objective(c: Matrix) -> tuple[float, Matrix]:
        mixed = sum(share * each for share, each in zip(c, z))
        value = float(judges.weights @ loss.value(mixed, judges.y)) / samples
        slope = judges.weights[:, None] * loss.slope(mixed, judges.y) / samples
        gradient = np.array([float((slope * each).sum()) for each in z])
        return value + PULL * float((n * c - np.log(n * c)).sum()) / samples, gradient + PULL * (n - 1.0 / c) / samples

    found = minimize(objective, np.full(n, 1.0 / n), jac=True, method="L-BFGS-B", bounds=[(1e-6, 10.0)] * n)
    return np.asarray(found.x)


def predicts_better(new: Sequence[Fitted], old: Sequence[Fitted]) -> bool:
    """Whether a committee predicts samples that are left out better than another one, by a standard error."""
    judges = new[0].judges
    assert judges is not None
    value = LOSSES[judges.loss].value
    first, second = (np.sum([each.share * np.asarray(each.left_out) for each in found], axis=0) for found in (new, old))
    return _leave_one_out.pays(value(first, judges.y), value(second, judges.y), judges.weights)


__all__ = ["committee", "predicts_better", "stacked"]
