"""Runs on one objective after the other, as stages, points and networks change, within the budgets of one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from stiffgrad._types import Outcome, Params
from stiffgrad.curvature.dense import GaussNewton
from stiffgrad.objective import Objective
from stiffgrad.pde.confidence import Path
from stiffgrad.pde.division import Division
from stiffgrad.pde.levels import Levels
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.slices import energy
from stiffgrad.pde.verdict import FAR
from stiffgrad.pde.watch import Watch
from stiffgrad.run.driver import Callback
from stiffgrad.run.driver import solve as integrate
from stiffgrad.run.promotion import continued
from stiffgrad.run.trace import Solution as Run
from stiffgrad.run.trace import Trace
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Solver

ENDS = (Outcome.TARGET, Outcome.STATIONARY, Outcome.STALLED)
DOUBLINGS = 4  # of the number of points, at most
TARGET = 1e-15  # of the loss, whose root is about the relative error or some times as much


class Rounds:
    """Runs on one objective after the other within the budgets of one, and their common solution.

    Attributes
    ----------
    problem, objective : Problem, Objective
        What the last run was on.
    last : Watch
        What the last run has seen; there is none before the first.
    levels : Levels
        Losses of the problem that runs are compared to.
    path : Path
        Weights along the runs on the problem itself.
    count, doublings : int
        How many runs there were, and how often points were added.
    going : bool
        Whether the budgets allow another run, and none has failed or was stopped.
    whole : bool
        Whether the last run was on the problem itself, and not on an easier one.
    wants_points : bool
        Whether the last run ended because new points are wanted.
    divided : bool
        Whether the time is to be divided.
    division : Division or None
        How it was divided.
    """

    last: Watch

    def __init__(
        self,
        problem: Problem,
        solver: Solver,
        until: Until,
        resample: int | str | None,
        options: dict[str, Any],
        callback: Callback | None,
    ) -> None:
        self.problem, self._solver, self._until, self._resample = problem, solver, until, resample
        self._options, self._callback = options, callback
        self._total: Run | None = None
        self._back: Params | None = None
        self.objective, self.levels, self.path = problem.objective, Levels(problem), Path()
        self.count = self.doublings = 0
        self.going = True
        self.whole = self.wants_points = self.divided = False
        self._step = (0.0, np.inf)  # seconds of a step of the last run, and its operations
        self._too_dear = False  # whether the next run was left out, as what is left of the time holds no step of it
        self.division: Division | None = None

    @property
    def params(self) -> Params:
        """Where the next run starts."""
        if self._back is not None:
            return self._back
        return self.problem.params if self._total is None else self._total.params

    def back_to(self, params: Params) -> None:
        """Let the next run start at parameters of before."""
        self._back = params

    @property
    def divisible(self) -> bool:
        """Whether the time can be divided, for a solver of Gauss-Newton steps: others need too many for a piece."""
        return self.problem.divisible and hasattr(self._solver, "h0")

    @property
    def adds(self) -> bool:
        """Whether new points come beside the old ones."""
        return self._resample == "auto"

    @property
    def may_draw(self) -> bool:
        """Whether points may be added."""
        return bool(self.adds and self.problem.drawn and self.doublings < DOUBLINGS)

    def run(
        self,
        objective: Objective,
        loss: float | None,
        steps: int | None = None,
        apart: float | None = None,
        held_out: Objective | None = None,
        nowhere: float | None = None,
        whole: bool = False,
        patience: int | None = None,
    ) -> None:
        """Down to a loss, for so many steps, or until new points are wanted; if the budgets allow any.

        A run of which the time that is left holds no step, on many more points than the last one, is left out.

        `apart`: points are waiting, and are wanted where the held-out residual is so many times the training one.
        `held_out`: the held-out points, where these are not the problem's.
        `nowhere`: a loss above which a run leads nowhere, and ends, after STAGE_STEPS steps.
        `patience`: steps after which a run that is far from a solution ends.
        `whole`: a stage that is on all of the time interval.
        """
        if not self.going:
            return
        left, operations = self._left(), self._operations(objective)
        seconds, before = self._step
        if operations > before and seconds * operations / before > (left.wall_seconds or np.inf):
            self.going, self._too_dear = False, True
            return
        stage, draws = steps is not None, self.may_draw
        self.whole, self.objective = whole or not stage, objective
        if not stage and isinstance(self._resample, int):
            steps = self._resample
        most = min((number for number in (steps, left.steps) if number is not None), default=None)
        self.last = watch = Watch(
            objective,
            self.problem.held_out if held_out is None else held_out,
            self.levels,
            self._callback,
            path=self.path if self.whole else None,
            apart=apart if apart is not None else FAR if draws and self.whole else None,
            nowhere=nowhere,
            patience=patience,
        )
        until = dataclasses.replace(left, loss=loss, steps=most)
        run = watch.end(integrate(objective, self._begun(), until=until, callback=watch, **self._options))
        self._back = None
        self._total = run if self._total is None else continued(self._total, run, "points")
        self._step = run.wall_seconds / (run.statistics.steps or 1), operations
        self.count += 1
        left = self._left()
        spent = 0 in (left.wall_seconds, left.steps, left.presentations)
        stopped = run.outcome is Outcome.INTERRUPTED and not (watch.wants_points or watch.nowhere or watch.far)
        self.going = not (spent or stopped or run.outcome.failure)
        self.wants_points = watch.wants_points
        if apart is not None:
            return
        if isinstance(self._resample, int):
            self.wants_points = run.outcome is Outcome.OUT_OF_STEPS
        elif draws and not stage:
            self.doublings += 1
            if run.outcome in ENDS:  # an end on these points, and on no others
                self.wants_points = watch.stands_out(FAR) and self.doublings <= DOUBLINGS

    def end_with(self, problem: Problem, params: Params, division: Division | None = None) -> None:
        """Let these be the end of all runs: of a problem whose network a division has found, or of the first."""
        assert self._total is not None
        objective = problem.objective
        w = objective.flatten(params)
        loss, done = float(energy(objective, w)), division is not None and division.done
        # Every piece has met its own target; only who asked for a lower one than that has not got it.
        within = self._until.loss in (None, TARGET) or loss <= self._until.loss
        outcome = self._total.outcome if not done else Outcome.TARGET if within else Outcome.OUT_OF_STEPS
        self._total = dataclasses.replace(
            self._total, params=params, w=np.asarray(w), loss=loss, outcome=outcome, best_params=None
        )
        self.problem, self.objective, self.division, self.whole = problem, objective, division, done

    def solution(self) -> Run:
        """The runs as one, whose message tells the budgets of all."""
        run = self._total
        assert run is not None
        outcome = run.outcome
        if self._too_dear:
            outcome = Outcome.OUT_OF_TIME
        elif self.wants_points and not self.going:  # a budget ended on the step that asked for new points
            outcome = Outcome.OUT_OF_STEPS if self._left().wall_seconds else Outcome.OUT_OF_TIME
        if self.count == 1:
            columns = {name: run.trace[name] for name in run.trace}
            run = dataclasses.replace(run, trace=Trace({**columns, "points": np.zeros(len(run.trace))}))
            if outcome is run.outcome:
                return run
        counts = f"{run.statistics.steps} steps on {self.count} sets of points, {run.wall_seconds:.3g} s"
        name = run.message.split(":")[0]
        message = f"{name}: {outcome.value} ({counts}; loss {run.loss:.3e}). {outcome.advice}"
        return dataclasses.replace(run, outcome=outcome, message=message)

    def _left(self) -> Until:
        """What is left of the budgets."""
        return self._until if self._total is None else self._until.after(self._total)

    def _begun(self) -> Solver:
        """The solver, to begin with the step at which the last run left off, where both follow the flow by steps."""
        solver: Any = self._solver
        if self._total is None or getattr(solver, "h0", 0.0) is not None:
            return self._solver
        row = self._total.trace.row(-1)
        if row.get("jacobian") != 1.0 or not row["step_size"] > 0:  # another method of `auto` made it
            return self._solver
        return dataclasses.replace(solver, h0=float(row["step_size"]))

    def _operations(self, objective: Objective) -> float:
        """Of a step: dense ones on many points take as much longer as they have more of them."""
        return GaussNewton().step_flops(objective) if hasattr(self._solver, "h0") else float(objective.rows)
