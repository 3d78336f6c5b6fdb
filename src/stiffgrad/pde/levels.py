"""Losses of a problem to which those of a run are compared."""

from __future__ import annotations

import functools

import jax
import numpy as np

from stiffgrad.pde.problem import Problem
from stiffgrad.pde.slices import energy

STAGE_END = 1e-4  # where a stage ends, over the loss at the start or that of a network that gives nothing


class Levels:
    """Losses that tell how far a run on a problem has come; each is computed where it is first asked for."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    @functools.cached_property
    def nothing(self) -> float | None:
        """Where the network gives nothing, all its weights being zero: mostly u = 0, which many equations admit.

        None where it is no scale: it vanishes, or is not finite.
        """
        problem = self._problem
        network = problem.of_network(problem.params)
        zero = jax.tree.map(np.zeros_like, network)
        params = {**problem.params, "network": zero} if problem.inverse else zero
        loss = float(energy(problem.objective, problem.objective.layout.flatten(params)))
        return loss if 0 < loss < np.inf else None

    @functools.cached_property
    def end(self) -> float:
        """Where an equation holds on its points well enough for a stage."""
        start = float(energy(self._problem.objective, self._problem.objective.w0))
        return STAGE_END * min(start, self.nothing or start)
