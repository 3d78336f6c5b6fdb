"""Where a run stops: targets, budgets, and the row of the trace that meets one of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.run.trace import Solution
from stiffgrad.solvers._base import Limits

ALMOST = 1 - 1e-12  # of a flow time that is reached, but for rounding


@dataclasses.dataclass(frozen=True)
class Until:
    """Where to stop: whatever comes first.

    Parameters
    ----------
    loss : float, optional
        Target: stop when the objective is at or below.
    gradient_norm : float, optional
        Target: stop when the Euclidean norm of the gradient is at or below.
    wall_seconds : float, optional
        Budget of solving time in seconds; compilation comes before and is not counted. None: no limit.
    steps : int, optional
        Budget of accepted steps.
    presentations : int, optional
        Budget of presentations of the training set (see `Statistics`).
    flow_time : float, optional
        Integrate exactly to this time of the flow, which has no unit, and stop. For solvers that follow the flow: those
        of SciPy, SUNDIALS and Diffrax, "chebyshev", "ros2", and "ros34pw2".

    Raises
    ------
    ValueError, TypeError
        For a negative number or NaN, naming it.

    Examples
    --------
    >>> Until(loss=1e-6, steps=100)
    Until(loss=1e-06, gradient_norm=None, wall_seconds=60.0, steps=100, presentations=None, flow_time=None)
    """

    loss: float | None = None
    gradient_norm: float | None = None
    wall_seconds: float | None = 60.0
    steps: int | None = None
    presentations: int | None = None
    flow_time: float | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            number = getattr(self, field.name)
            if number is None:
                continue
            if isinstance(number, bool) or not isinstance(number, int | float | np.number):
                raise TypeError(f"Until({field.name}={number!r}) must be a number or None")
            if field.name in ("steps", "presentations") and np.isfinite(number) and float(number) % 1:
                raise ValueError(f"Until({field.name}={number!r}) must be a whole number, or None for no limit")
            if np.isnan(number) or (number < 0 and field.name != "loss"):
                raise ValueError(f"Until({field.name}={number!r}) must not be negative or NaN; use None for no limit")

    def after(self, solution: Solution) -> Until:
        """The same targets, and what a run has left of the budgets."""
        spent, seconds = solution.statistics, _left(self.wall_seconds, solution.wall_seconds)
        steps, presentations = _left(self.steps, spent.steps), _left(self.presentations, spent.presentations)
        time = None if self.flow_time is None else _left(self.flow_time, float(solution.trace["flow_time"][-1]))
        return dataclasses.replace(self, wall_seconds=seconds, steps=steps, presentations=presentations, flow_time=time)

    def limits(self) -> Limits:
        """The same as plain numbers for a solver's loop."""
        low = [-np.inf if v is None else float(v) for v in (self.loss, self.gradient_norm)]
        high = [np.inf if v is None else float(v) for v in (self.steps, self.presentations)]
        return Limits(*low, *high)


class Ending(NamedTuple):
    """How a run ended, why, and what to do where that is not the advice of the outcome."""

    outcome: Outcome
    reason: str
    advice: str = ""


class Stops:
    """Says of each row of a trace whether it is the last.

    Parameters
    ----------
    until : Until
        Targets and budgets.
    seconds_left : callable
        The wall seconds until the budget ends.
    """

    def __init__(self, until: Until, seconds_left: Callable[[], float]) -> None:
        self._limits, self._seconds_left, self._wall_seconds = until.limits(), seconds_left, until.wall_seconds
        self._flow_time = np.inf if until.flow_time is None else float(until.flow_time)

    def ending(self, row: Mapping[str, float]) -> Ending | None:
        """What ends the run at a row; None as after most steps."""
        limits = self._limits
        if (
            limits.loss < row["loss"] < math.inf
            and limits.gradient_norm < row["gradient_norm"] > 0.0
            and row.get("steps", 0) < limits.steps
            and row.get("presentations", 0) < limits.presentations
            and not row.get("flow_time", 0.0) >= self._flow_time * ALMOST
            and self._seconds_left() > 0
        ):
            return None
        return self._first(row)

    def _first(self, row: Mapping[str, float]) -> Ending | None:
        """What comes first."""
        limits, loss, norm = self._limits, row["loss"], row["gradient_norm"]
        if not math.isfinite(loss) and not row.get("steps"):
            advice = "Start from other parameters, or correct the function or the data: nothing was trained."
            return Ending(Outcome.DIVERGED, f"the loss is {loss} at the start", advice)
        if not math.isfinite(loss):
            return Ending(Outcome.DIVERGED, f"the loss is {loss} after {row['steps']:.0f} steps")
        if loss <= limits.loss:
            return Ending(Outcome.TARGET, f"loss {loss:.3e} is at or below {limits.loss:g}")
        if norm <= limits.gradient_norm:
            return Ending(Outcome.TARGET, f"gradient norm {norm:.3e} <= {limits.gradient_norm:g}")
        if row.get("flow_time", 0.0) >= self._flow_time * ALMOST:
            return Ending(Outcome.TARGET, f"flow time {self._flow_time:g} is reached")
        if norm == 0.0:
            return Ending(Outcome.STATIONARY, "the gradient is exactly zero")
        if row.get("steps", 0) >= limits.steps:
            return Ending(Outcome.OUT_OF_STEPS, f"{limits.steps:.0f} steps were allowed")
        if row.get("presentations", 0) >= limits.presentations:
            return Ending(Outcome.OUT_OF_STEPS, f"{limits.presentations:.0f} presentations were allowed")
        if self._seconds_left() <= 0:
            return self.out_of_time
        return None

    @property
    def out_of_time(self) -> Ending:
        """The end of the budget of seconds."""
        return Ending(Outcome.OUT_OF_TIME, f"{self._wall_seconds:g} s were allowed")


def _left(budget: Any, spent: float | None) -> Any:
    """What remains of a budget, None being no limit."""
    return None if budget is None else max(budget - (spent or 0), 0)
