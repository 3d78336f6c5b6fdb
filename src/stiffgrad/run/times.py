"""Times of the flow that a run meets exactly: those at which weights are kept, and its end."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad.run.trace import FlowPath
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Solver


def checked_times(save_at: Any) -> NDArray[np.float64] | None:
    """Times (k,) at which weights are kept, ascending; None where there are none."""
    if save_at is None:
        return None
    try:
        times = np.atleast_1d(np.asarray(save_at, float))
    except (TypeError, ValueError):
        raise TypeError(f"save_at={save_at!r} must be an array of flow times") from None
    if (
        times.ndim != 1
        or not times.size
        or not np.all(np.isfinite(times))
        or times[0] < 0
        or np.any(np.diff(times) <= 0)
    ):
        raise ValueError(f"save_at={save_at!r} must be flow times from 0 on, finite and ascending")
    return times


def with_end(until: Until, times: NDArray[np.float64] | None, method: Solver) -> Until:
    """The same, with the flow time at which the run ends."""
    if times is None and until.flow_time is None:
        return until
    if not method.follows_flow:
        asked = "Until(flow_time=...)" if times is None else "save_at"
        raise ValueError(
            f"solver {method.name!r} does not follow the flow in time, so {asked} has no meaning: use 'chebyshev', "
            "'vode', 'zvode', 'lsoda', 'dopri5', 'dop853', 'radau', 'bdf', 'cvode', 'cvode-adams', 'cvode-krylov', "
            "'tsit5', 'kvaerno5', 'implicit-euler', 'ros2', or 'ros34pw2'"
        )
    if times is None:
        return until
    if until.flow_time is None:
        return dataclasses.replace(until, flow_time=float(times[-1]))
    if times[-1] > until.flow_time:
        raise ValueError(f"save_at goes on to {times[-1]:g}, past Until(flow_time={until.flow_time:g})")
    return until


class Times:
    """The times of a run, and the weights that were kept at them so far.

    Parameters
    ----------
    save_at : array of shape (k,), optional
        Times at which weights are kept, ascending.
    end : float
        The flow time at which the run ends; inf where there is none.
    """

    def __init__(self, save_at: NDArray[np.float64] | None, end: float) -> None:
        self._save_at, self.end = save_at, end
        self._kept: list[Any] = []

    @property
    def next(self) -> float:
        """The next time that is wanted."""
        return self.end if self._all_kept else float(self._at[len(self._kept)])

    def begin(self, w: Any) -> None:
        """Keep the weights at the start, where they are asked for."""
        if not self._all_kept and self._at[0] == 0.0:
            self.reach(w)

    def reach(self, w: Any) -> bool:
        """Take the weights at `next`; whether the run ends there."""
        if self._all_kept:
            return True
        self._kept.append(np.array(w))
        return bool(self._at[len(self._kept) - 1] == self.end)

    @property
    def path(self) -> FlowPath | None:
        """What was kept; None where nothing was asked for."""
        return None if self._save_at is None else FlowPath(self._at[: len(self._kept)], np.array(self._kept))

    @property
    def _at(self) -> NDArray[np.float64]:
        return np.zeros(0) if self._save_at is None else self._save_at

    @property
    def _all_kept(self) -> bool:
        return len(self._kept) == len(self._at)
