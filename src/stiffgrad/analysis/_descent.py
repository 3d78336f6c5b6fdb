"""Follow a direction of zero or negative curvature, to see whether the loss falls."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stiffgrad.analysis._modes import Local
from stiffgrad.objective import Objective


def descends(objective: Objective, here: Local, direction: NDArray[np.float64], curvature: float) -> bool:
    """Whether the loss, less its slope at the start, falls along +direction or -direction before it rises.

    The first change that exceeds rounding decides, so a lower valley behind a ridge does not count. `curvature` is the
    largest |eigenvalue| that the caller takes for zero: a fall that it explains does not count either.

    Parameters
    ----------
    objective : Objective
    here : Local
        The point, with rounding errors.
    direction : array of shape (n,)
        Of any length but zero.
    curvature : float
        Not negative.
    """
    unit = direction / np.linalg.norm(direction)
    slope = float(here.slope @ unit)
    scale = max(1.0, float(np.linalg.norm(here.w)))
    return any(_falls(objective, here, sign * unit, sign * slope, scale, curvature) for sign in (1.0, -1.0))


def _falls(
    objective: Objective, here: Local, unit: NDArray[np.float64], slope: float, scale: float, curvature: float
) -> bool:
    for t in scale * np.logspace(-7, -1, 19):
        change = float(objective.value(here.w + t * unit)) - here.loss - t * slope
        doubt = here.loss_rounding + t * here.slope_rounding + t * t * curvature
        if not np.isfinite(change) or change > doubt:
            return False
        if change < -doubt:
            return True
    return False
