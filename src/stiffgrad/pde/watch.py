"""One run of `pde.solve` as it is watched: what its held-out points say, and whether it ends before its target."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.objective import Objective
from stiffgrad.pde.confidence import Path
from stiffgrad.pde.levels import Levels
from stiffgrad.pde.slices import energy
from stiffgrad.pde.verdict import TRUSTED
from stiffgrad.run.driver import Callback, Step
from stiffgrad.run.trace import Solution as Run
from stiffgrad.run.trace import Trace
from stiffgrad.solvers._compiled import nominal_seconds

LOOK_SECONDS, MOST_STEPS = 0.05, 25  # between two looks at the held-out points
STAGE_STEPS = 100  # of a stage, and of a run that leads nowhere
PATIENCE = 50  # steps on one set of points before more may be drawn
RISEN = 2.0  # a held-out energy so many times its lowest of the run rises
CERTAIN = 100.0  # a held-out residual so many times the training one needs no patience
APART = 2.0  # a held-out residual so many times the training one, and more points come in before all are
STUCK = 0.3  # a run is stuck where its loss fell to no less than so much of it in the second half of its steps


class Watch:
    """The callback of one run, and what it has seen.

    It looks at the held-out points every so many steps, however long the clock makes a chunk: so a run repeats exactly.

    Parameters
    ----------
    objective, held_out : Objective
        What is trained on, and the same on points that are not; None where there are none.
    levels : Levels
        Of the problem.
    callback : callable, optional
        The user's own, called after each look.
    path : Path, optional
        Takes the weights at each look, where the run is on the problem itself.
    apart : float, optional
        The held-out residual over the training one, from which on new points are wanted; None: never.
    nowhere : float, optional
        A loss above which a run leads nowhere, and ends, after STAGE_STEPS steps.
    patience : int, optional
        Steps after which a run that is far from a solution ends.

    Attributes
    ----------
    every : int
        Steps between two looks.
    wants_points, nowhere, far : bool
        Whether the run ended because new points are wanted, and whether it led nowhere or ended far from a solution.
    """

    def __init__(
        self,
        objective: Objective,
        held_out: Objective | None,
        levels: Levels,
        callback: Callback | None = None,
        *,
        path: Path | None = None,
        apart: float | None = None,
        nowhere: float | None = None,
        patience: int | None = None,
    ) -> None:
        self.every = _looks_every(objective)
        self.wants_points = self.nowhere = self.far = False
        self._held_out, self._levels, self._callback, self._path = held_out, levels, callback, path
        self._apart = apart
        self._limit = np.inf if nowhere is None else nowhere
        self._patience = np.inf if patience is None else patience
        # Held-out energies by the number of steps.
        self._seen = {} if held_out is None else {0.0: float(energy(held_out, objective.w0))}
        self._looked = 0.0
        self._losses, self._outcome = np.zeros(0), Outcome.INTERRUPTED

    def __call__(self, step: Step) -> bool:
        """Look, where it is time to, and say whether to end the run."""
        looks = step.row["steps"] // self.every
        if self._held_out is not None and looks > self._looked:
            self._looked = looks
            self._look(step.w, step.row)
            step = dataclasses.replace(step, row={**step.row, "validation": self.between})
            self.wants_points = self._too_few(step.row)
        if self.wants_points or self._leads_nowhere(step.row) or self._is_far(step.row):
            return True
        return bool(self._callback is not None and self._callback(step))

    def end(self, run: Run) -> Run:
        """Take the run that was watched; returns it with what was seen of the held-out points in its trace."""
        row = run.trace.row(-1)
        self._losses, self._outcome = run.trace["loss"], run.outcome
        self.nowhere, self.far = self._leads_nowhere(row), self._is_far(row)
        columns = {name: run.trace[name] for name in run.trace}
        if self._held_out is not None:
            self._look(run.w, row)
            columns["validation"] = np.array([self._seen.get(number, np.nan) for number in run.trace["steps"]])
        return dataclasses.replace(run, trace=Trace(columns))

    @property
    def loss(self) -> float:
        """At the end of the run."""
        return float(self._losses[-1])

    @property
    def between(self) -> float:
        """The held-out energy, as it was last seen; NaN where no points are held out."""
        return next(reversed(self._seen.values()), np.nan)

    @property
    def energy(self) -> float:
        """At the end of the run, on the points trained on or on those held out, whichever is higher."""
        return float(np.fmax(self.loss, self.between))

    @property
    def steps(self) -> int:
        """Of the run."""
        return len(self._losses) - 1

    @property
    def slow(self) -> bool:
        """Whether the loss fell by little in the second half of the steps."""
        return bool(self._losses[-1] > STUCK * self._losses[len(self._losses) // 2])

    @property
    def stuck(self) -> bool:
        """Whether the run ended by itself, or by its steps when it had become slow."""
        if self._outcome is Outcome.OUT_OF_STEPS:
            return self.slow
        return self._outcome in (Outcome.STATIONARY, Outcome.STALLED)

    def stands_out(self, times: float, loss: float | None = None) -> bool:
        """Whether the held-out residual is so many times that of the points trained on; by default at the end."""
        return self.between > times**2 * (self.loss if loss is None else loss)

    def _look(self, w: Any, row: Mapping[str, float]) -> None:
        """Note the energy on the held-out points."""
        assert self._held_out is not None
        between = self._seen[row["steps"]] = float(energy(self._held_out, w))
        if self._path is not None:
            self._path.add(max(between, row["loss"]), w)

    def _too_few(self, row: Mapping[str, float]) -> bool:
        """Whether points are wanted: the held-out residual is far larger, and does not follow any more."""
        if self._apart is None or not self.stands_out(self._apart, row["loss"]):
            return False
        rises = self.between > RISEN * min(self._seen.values())
        certain = row["loss"] <= self._levels.end and (rises or self.stands_out(CERTAIN, row["loss"]))
        return self._apart == APART or certain or row["steps"] >= PATIENCE

    def _leads_nowhere(self, row: Mapping[str, float]) -> bool:
        return bool(row["steps"] >= STAGE_STEPS and row["loss"] > self._limit)

    def _is_far(self, row: Mapping[str, float]) -> bool:
        return bool(row["steps"] >= self._patience and row["loss"] > TRUSTED**2)


def _looks_every(objective: Objective) -> int:
    """Steps of about LOOK_SECONDS, by the work of a gradient, which a step is some times of."""
    return int(np.clip(LOOK_SECONDS / (5.0 * nominal_seconds(objective)), 1, MOST_STEPS))
