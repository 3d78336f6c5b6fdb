"""The record of one fit: its trace, its budgets, and the best weights by validation score."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from stiffgrad._types import Outcome, Params
from stiffgrad.estimators._network import Matrix
from stiffgrad.run.progress import Progress
from stiffgrad.run.trace import Solution, Statistics, TraceBuilder
from stiffgrad.run.until import Until

ADVICE = {
    Outcome.TARGET: "Further steps would gain less than the fit's own threshold.",
    Outcome.OUT_OF_STEPS: "Raise max_iter, or go on with warm_start=True.",
    Outcome.OUT_OF_TIME: "Raise wall_seconds, or go on with warm_start=True.",
    Outcome.INTERRUPTED: "The validation score did not improve any more: its best weights are kept.",
}
ENDED = {Outcome.TARGET: "decays and weights are found"}


class Record:
    """Told of every step; says when to stop.

    `validation` is a score of flat weights, lower is better; after `patience` steps without a better one the run ends.
    """

    def __init__(
        self, name: str, until: Until, patience: int, shown: bool, validation: Callable[[Matrix], float] | None
    ) -> None:
        self.name = name
        self.outcome: Outcome | None = None
        self.steps = 0
        self.best_w: Matrix | None = None  # by validation
        self._until = until
        self._patience = patience
        self._validation = validation
        self._best_score = np.inf
        self._idle = 0
        self._trace = TraceBuilder()
        self._begin = time.perf_counter()
        self._progress = Progress(name, shown)

    def __enter__(self) -> Record:
        self._progress.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.__exit__(*error)

    def show(self, shown: bool) -> Record:
        """Whether to show the steps from here on."""
        self._progress = Progress(self.name, shown)
        return self

    @property
    def steps_left(self) -> int:
        """Steps that the budget allows."""
        return 2**31 if self._until.steps is None else self._until.steps - self.steps

    def step(self, w: Matrix, **row: float) -> bool:
        """Record where a step ended (the first call: the start). True: the run must end."""
        seconds = time.perf_counter() - self._begin
        self.steps = int(row["steps"])
        row["wall_seconds"] = seconds
        if self._validation is not None:
            row["validation"] = score = self._validation(w)
            better = score < self._best_score
            self._idle = 0 if better else self._idle + 1
            if better or self.best_w is None:
                self._best_score, self.best_w = score, w.copy()
        self._trace.append(row)
        self._progress.update(row)
        limit = self._until.wall_seconds
        if self.steps_left <= 0:
            self.outcome = Outcome.OUT_OF_STEPS
        elif limit is not None and seconds >= limit:
            self.outcome = Outcome.OUT_OF_TIME
        elif self._idle > self._patience:
            self.outcome = Outcome.INTERRUPTED
        return self.outcome is not None

    def solution(self, params: Params, w: Matrix, loss: float, gradient_norm: float, best: Params | None) -> Solution:
        """What the run leaves behind."""
        outcome = self.outcome or Outcome.TARGET  # the gradient need not vanish: decays and leave-one-out end it
        return Solution(
            params=params,
            w=w,
            loss=loss,
            gradient_norm=gradient_norm,
            outcome=outcome,
            message=f"{self.name}: {ENDED.get(outcome, outcome.value)}. {ADVICE[outcome]}",
            statistics=Statistics.from_row(self._trace.last),
            trace=self._trace.build(),
            wall_seconds=time.perf_counter() - self._begin,
            compile_seconds=0.0,
            solver=self.name,
            best_params=best,
        )
