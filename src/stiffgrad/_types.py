"""Aliases and the outcome of a run, shared by every layer."""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

Params: TypeAlias = Any  # a pytree of arrays: the parameters as the user gave them
Array: TypeAlias = jax.Array | NDArray[np.floating]


class Outcome(enum.Enum):
    """How a run ended; the value is a sentence, `advice` says what to do next.

    Examples
    --------
    >>> Outcome.TARGET.success, Outcome.DIVERGED.failure
    (True, True)
    """

    TARGET = "reached a target"
    STATIONARY = "stationary: the gradient is zero to rounding"
    OUT_OF_TIME = "out of wall time"
    OUT_OF_STEPS = "out of steps or presentations"
    STALLED = "stalled at the precision of its number type"
    DIVERGED = "diverged: the loss is no longer finite or has exploded"
    FAILED = "the solver failed"
    INTERRUPTED = "interrupted"

    @property
    def success(self) -> bool:
        """Whether the run did what was asked: a target reached, or nothing left to descend."""
        return self in (Outcome.TARGET, Outcome.STATIONARY)

    @property
    def failure(self) -> bool:
        """Whether `solve(..., throw=True)` raises: budgets and interruptions are not failures."""
        return self in (Outcome.DIVERGED, Outcome.FAILED)

    @property
    def advice(self) -> str:
        """What a user can do next, in one sentence."""
        return _ADVICE[self]


_ADVICE = {
    Outcome.TARGET: "Use solution.params; ask for a lower target if you need more accuracy.",
    Outcome.STATIONARY: "Check stiffgrad.minimum(objective, solution.params), and try other starts with multistart.",
    Outcome.OUT_OF_TIME: "Continue from solution.params, or raise Until(wall_seconds=...).",
    Outcome.OUT_OF_STEPS: "Continue from solution.params, or raise Until(steps=..., presentations=...).",
    Outcome.STALLED: "Rounding hides any further decrease: use dtype='float64', or promote=True, or accept this.",
    Outcome.DIVERGED: "Lower learning_rate or the tolerances, or use solver='auto', whose loss never rises.",
    Outcome.FAILED: "Loosen or tighten rtol and atol, or use solver='auto'.",
    Outcome.INTERRUPTED: "Continue from solution.params.",
}


class SolveError(RuntimeError):
    """A run failed; `outcome` says how, and `solution` holds everything computed before the failure."""

    def __init__(self, message: str, outcome: Outcome, solution: Any = None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.solution = solution
