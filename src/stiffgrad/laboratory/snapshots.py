"""Weights kept during a run, and scored after it, so that nothing is evaluated for show inside the timed part."""

from __future__ import annotations

from typing import Any

import numpy as np

from stiffgrad.laboratory.problems import Problem
from stiffgrad.objective import Objective
from stiffgrad.run.driver import Step

LOSS_FACTOR = 0.8  # a snapshot whenever the loss fell by that much since the last one,
TIME_FACTOR = 1.3  # or that much more time went by: even steps on both logarithmic axes
MAX_KEPT = 300
MAX_SCORED = 80


class Snapshots:
    """A callback of `solve` that keeps weights at geometrically falling losses and growing times.

    It stores references only, which costs microseconds a step.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[dict[str, float], Any]] = []
        self._last: tuple[dict[str, float], Any] | None = None

    def __call__(self, step: Step) -> None:
        """Keep the weights if enough has changed."""
        row = dict(step.row)
        self._last = (row, step.w)
        if not self._kept or self._is_due(row):
            if len(self._kept) >= MAX_KEPT:
                self._kept = self._kept[::2]
            self._kept.append(self._last)

    def _is_due(self, row: dict[str, float]) -> bool:
        last = self._kept[-1][0]
        return (
            row["loss"] <= LOSS_FACTOR * last["loss"] or row["wall_seconds"] >= TIME_FACTOR * last["wall_seconds"] > 0
        )

    def scores(self, problem: Problem, objective: Objective) -> list[dict[str, float | None]]:
        """Scores on both parts, of at most 80 snapshots evenly spread over those kept; the last one is among them."""
        return [self._score(problem, objective, *kept) for kept in self._chosen(MAX_SCORED)]

    def path(self, count: int) -> list[dict[str, Any]]:
        """At most `count` rows of the trace with their weights "w", as evenly spread."""
        return [{**row, "w": np.asarray(w)} for row, w in self._chosen(count)]

    def _chosen(self, count: int) -> list[tuple[dict[str, float], Any]]:
        kept = list(self._kept)
        if self._last is not None and kept[-1] is not self._last:
            kept.append(self._last)
        chosen = np.linspace(0, len(kept) - 1, min(len(kept), count)).round().astype(int)
        return [kept[index] for index in np.unique(chosen)]

    @staticmethod
    def _score(problem: Problem, objective: Objective, row: dict[str, float], w: Any) -> dict[str, float | None]:
        params = objective.unflatten(np.asarray(w))
        columns = ("wall_seconds", "presentations", "steps", "loss")
        scores = {part: problem.score(params, part) for part in ("train", "test")}
        return {**{name: row.get(name) for name in columns}, **scores}
