"""What the integrators of our own share: where a run is, and the row that it leaves at every point."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from stiffgrad._arrays import namespace
from stiffgrad.curvature.point import Point, chosen
from stiffgrad.objective import Objective
from stiffgrad.solvers._tally import COLUMNS, Prices, Tally

ROW = ("flow_time", "step_size", "order", "loss", "gradient_norm", *COLUMNS)


class Place(NamedTuple):
    """Where a run is.

    Attributes
    ----------
    point : Point
        The last one accepted.
    flow_time : scalar
        Of the flow, without unit.
    tally : Tally
        What was evaluated on the way.
    tries : scalar
        Trials from this point that were rejected.
    """

    point: Point
    flow_time: Any
    tally: Tally
    tries: Any

    @classmethod
    def start(cls, w: Any) -> Place:
        """The start, before its first evaluation: all of it NumPy's, so that nothing is compiled."""
        return cls(Point.unknown(w), np.zeros((), w.dtype), Tally.zero(), np.zeros((), np.int64))

    def moved(self, accepted: Any, new: Point, duration: Any, **counts: Any) -> Place:
        """After a trial: at `new` where it was accepted. Counts a step or a rejection, but not the start.

        `counts` are those of `Tally`; "rejected" among them where one trial is not one step.
        """
        xp, known = namespace(new.loss), self.point.known
        tally = self.tally.plus(**{"steps": accepted & known, "rejected": ~accepted & known, **counts})
        flow_time = self.flow_time + xp.where(accepted & known, duration, 0.0).astype(new.loss.dtype)
        # An energy that is not finite at the start is shown as it is, for the driver to judge.
        point = chosen(accepted | ~known, new, self.point)
        return Place(point, flow_time, tally, xp.where(accepted, 0, self.tries + 1))

    def row(self, objective: Objective, prices: Prices, **more: Any) -> dict[str, Any]:
        """The row of the trace; `more` adds to it or replaces."""
        norm = namespace(self.point.gradient).linalg.norm(self.point.gradient)
        row = {"flow_time": self.flow_time, "order": 1.0, "loss": self.point.loss, "gradient_norm": norm}
        return {**row, "step_size": np.nan, **self.tally.row(objective, prices), "ended": 0, **more}


def blank_row(columns: tuple[str, ...]) -> dict[str, Any]:
    """The row before the first evaluation."""
    return {**dict.fromkeys(columns, 0.0), "loss": np.inf, "gradient_norm": np.inf, "ended": 0}


def number(value: Any, kind: Any) -> Any:
    """A NumPy scalar, for the start of a compiled loop."""
    return np.asarray(value, kind)


def relative_length(step: jax.Array, gradient: jax.Array) -> jax.Array:
    """|step| / |g|: the time in which the flow, at its present speed, covers the length of a step."""
    xp = namespace(step)
    norm = xp.linalg.norm(gradient)
    return xp.linalg.norm(step) / xp.where(norm > 0, norm, 1.0)
