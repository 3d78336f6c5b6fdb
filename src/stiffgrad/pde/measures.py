"""How far a solution is from a reference: the three measures in which the literature reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from stiffgrad.pde.points import Points, box, interior_points

TEST_POINTS = 10_000


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors on a set of points.

    Attributes
    ----------
    relative_l2 : float
        |u - v| / |v| over all points and components, v being the reference.
    maximum : float
        The largest |u - v|.
    rms : float
        Root of the mean square of u - v.
    """

    relative_l2: float
    maximum: float
    rms: float

    def __str__(self) -> str:
        return f"relative L2 {self.relative_l2:.2e}, maximum {self.maximum:.2e}, RMS {self.rms:.2e}"


def errors(found: Any, reference: Any) -> Errors:
    """The errors of values against those of a reference at the same points.

    Raises
    ------
    ValueError
        Where the shapes differ (a last axis of length 1 may be missing), or nothing is given.

    Examples
    --------
    >>> print(errors([1.0, 2.1], [1.0, 2.0]))
    relative L2 4.47e-02, maximum 1.00e-01, RMS 7.07e-02
    """
    u, v = (np.asarray(values, float) for values in (found, reference))
    u, v = (a[..., 0] if a.ndim > 1 and a.shape[-1] == 1 else a for a in (u, v))
    if u.shape != v.shape:
        raise ValueError(f"the values have shape {u.shape} and the reference {v.shape}: give one for each point")
    if not u.size:
        raise ValueError("there are no values to compare")
    difference = np.abs(u - v)
    size = float(np.linalg.norm(v))
    # Against a zero reference a relative error has no meaning.
    relative = float(np.linalg.norm(difference)) / size if size else float("nan")
    return Errors(relative, float(difference.max()), float(np.sqrt(np.mean(difference**2))))


def grid_points(domain: Any) -> Points:
    """Fixed points to measure errors on: an even grid of about 10,000, Sobol points from four dimensions on."""
    sides = box(domain)
    return interior_points(sides, TEST_POINTS, "grid" if len(sides) < 4 else "sobol")


def reference_values(reference: Callable[[Any], Any] | Any, points: Points) -> Points:
    """The reference at points (N, d): a function of one point is called for each."""
    if not callable(reference):
        return np.asarray(reference, float)
    try:
        return np.array([np.asarray(reference(point), float) for point in points])
    except Exception as error:  # the user's own function may raise anything
        raise ValueError(
            f"the reference fails: {type(error).__name__}: {error}. It is called with ONE point of shape "
            f"{points[0].shape}, so use x[0] and not x[:, 0]"
        ) from error
