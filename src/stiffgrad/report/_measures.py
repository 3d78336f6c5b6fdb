"""The arithmetic of the pages: curves over seeds, costs of targets, counts in bands of accuracy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stiffgrad.report._cells import Result

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

# Upper ends of the bands of training accuracy; the last band is what lies above.
BANDS: tuple[float, ...] = (0.80, 0.90, 0.95, 0.99)
BAND_NAMES: tuple[str, ...] = ("up to 80%", "80–90%", "90–95%", "95–99%", "above 99%")


def best_so_far(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running minimum; NaN counts as "not yet"."""
    return np.fmin.accumulate(values)


def log_grid(curves: Sequence[Curve], points: int = 150) -> NDArray[np.float64]:
    """A common logarithmic grid from the first positive to the last abscissa of all curves."""
    positive = np.concatenate([x[np.isfinite(x) & (x > 0)] for x, _ in curves] or [np.empty(0)])
    if positive.size == 0:
        return np.array([1.0])
    return np.geomspace(positive.min(), positive.max(), points)


def on_grid(curve: Curve, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """What was known at each point of the grid: the newest value at or before it, NaN before the first."""
    x, y = curve
    known = np.isfinite(x)
    x, y = x[known], y[known]
    # One part in 1e12 of slack: the last grid point must not miss the last abscissa by rounding.
    index = np.searchsorted(x, grid * (1 + 1e-12), side="right") - 1
    return np.where(index >= 0, y[np.maximum(index, 0)], np.nan) if x.size else np.full(grid.shape, np.nan)


def median_band(curves: Sequence[Curve], grid: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Median, lowest and highest value over the seeds at each point of the grid."""
    values = np.stack([on_grid(curve, grid) for curve in curves])
    # A seed with no value there is one that has not got anywhere: the worst of all.
    values = np.where(np.isnan(values), np.inf, values)
    return np.median(values, axis=0), values.min(axis=0), values.max(axis=0)


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a target cost over the seeds; a miss counts as the whole budget.

    Attributes
    ----------
    costs : array of shape (seeds,)
        Cost of each run.
    hits, runs : int
        How many runs reached the target, out of how many.
    """

    costs: NDArray[np.float64]
    hits: int

    @property
    def runs(self) -> int:
        return len(self.costs)

    @property
    def median(self) -> float:
        return float(np.median(self.costs))

    @property
    def bound(self) -> bool:
        """Whether the median rests on a miss, and so is only a lower bound."""
        return 2 * self.hits <= self.runs


def reach(cells: Sequence[Result], target: str, cost: str = "wall_seconds") -> Reach:
    """What `target` cost over the seeds, in `cost`: "wall_seconds", "presentations" or "steps".

    A run that missed has spent its whole budget of wall time; of the other costs it spent what its trace shows last,
    since they had no budget.
    """
    costs, hits = [], 0
    for cell in cells:
        found = cell.targets.get(target)
        # A step may end after the budget: too late is missed.
        if found is not None and found.costs["wall_seconds"] <= cell.seconds:
            hits += 1
            costs.append(found.costs[cost])
        else:
            costs.append(cell.seconds if cost == "wall_seconds" else last(cell.trace[cost]))
    return Reach(np.array(costs, dtype=float), hits)


def ratios(reached: Mapping[str, Reach]) -> dict[str, float]:
    """Each median over the smallest median of those that got there; NaN when nobody did."""
    there = [found.median for found in reached.values() if not found.bound]
    best = min(there, default=np.nan)
    return {label: found.median / best if best > 0 else np.nan for label, found in reached.items()}


def geometric_mean(values: Sequence[float]) -> float:
    """The mean for ratios; NaN for none."""
    finite = [value for value in values if np.isfinite(value) and value > 0]
    return float(np.exp(np.mean(np.log(finite)))) if finite else np.nan


def last(column: NDArray[np.float64]) -> float:
    """The newest number of a column; NaN if there is none."""
    finite = column[np.isfinite(column)]
    return float(finite[-1]) if finite.size else np.nan


def median(values: Sequence[float]) -> float:
    """Median of the finite values; NaN for none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.median(finite)) if finite else np.nan


def band_counts(cell: Result, names: Sequence[str]) -> list[dict[str, float] | None]:
    """What a run spent in each band of training accuracy.

    The work between two checks of the accuracy belongs to the band of the best accuracy at the earlier one; what
    comes after the last check belongs to its band. So the bands add up to the whole run.

    Parameters
    ----------
    cell : Result
        The run of a classifier.
    names : sequence of str
        Columns of the trace with cumulative counts.

    Returns
    -------
    list of dict or None
        One entry a band of `BAND_NAMES`: the counts (NaN where the solver cannot tell), or None for a band above the
        best accuracy that the run reached.
    """
    train = cell.scores["train"]
    if not np.isfinite(train).any():
        return [None] * len(BAND_NAMES)
    best = np.fmax.accumulate(train)
    # Small slack: 0.8 may come back from counting as 0.7999...; a band holds its upper end.
    band = np.searchsorted(np.array(BANDS) + 1e-12, np.where(np.isnan(best), -np.inf, best), side="left")
    edges = np.append(_rows(cell)[1:], len(cell.trace["loss"]) - 1)
    starts = np.append(0, edges[:-1])
    spent: list[dict[str, float] | None] = []
    for index in range(len(BAND_NAMES)):
        inside = band == index
        counts = {name: _spent(cell, name, starts[inside], edges[inside]) for name in names}
        spent.append(None if index > band.max() else counts)
    return spent


def _rows(cell: Result) -> NDArray[np.int64]:
    """The trace row of each check of the score: the last one that was not later."""
    steps = cell.scores["steps"]
    known = np.isfinite(steps).all() and np.isfinite(cell.trace["steps"]).all()
    key = "steps" if known else "wall_seconds"
    rows = np.searchsorted(cell.trace[key], cell.scores[key] * (1 + 1e-12), side="right") - 1
    return np.clip(rows, 0, len(cell.trace[key]) - 1)


def _spent(cell: Result, name: str, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> float:
    column = cell.trace.get(name)
    if column is None or not np.isfinite(column[1:]).any():
        return np.nan
    # Line 0 is the start, where some counts are not known yet: nothing was spent there.
    cumulative = np.where(np.isnan(column), 0.0, column)
    cumulative = np.maximum.accumulate(cumulative)
    return float(np.sum(cumulative[ends] - cumulative[starts]))
