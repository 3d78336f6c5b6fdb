"""How far the solution may be from the exact one, judged from how far it moved while its residuals fell.

The error of a stable problem is at most a constant times the size of its residuals (Mishra and Molinaro 2022,
arXiv:2006.16144); what the constant is depends on the equation. The run has measured it: between a point of the run and
its end the root of the energy fell by some amount, and the solution moved by another. Their quotient, times the root
that is left, estimates the error that is left. `stiffgrad.pde.defect` estimates it from the equations at the end alone;
the larger of both is what is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 2  # points of the run that are kept, for each power of ten of the energy
FEW = 8  # observations that do not tell their noise
NEAR, EARLY = 4.0, 1e4  # energies over the last one between which the quotient is taken


@dataclasses.dataclass
class Path:
    """Points of a run, by the size of their energy: (energy, weights), the latest of each size."""

    seen: dict[int, tuple[float, NDArray[np.float64]]] = dataclasses.field(default_factory=dict)

    def add(self, energy: float, w: Any) -> None:
        """Keep a point, in place of an earlier one of the same size."""
        if energy > 0 and np.isfinite(energy):
            self.seen[round(BINS * np.log10(energy))] = energy, np.array(w, float)

    def error(self, energy: float, w: Any, evaluate: Callable[[Any], NDArray[np.float64]]) -> float:
        """The estimated relative L2 error at the end, `energy` and `w`; NaN where the run has not told.

        `evaluate` gives the solution with some weights on points that stand for the whole domain. Of several quotients
        the largest counts.
        """
        earlier = sorted((pair for pair in self.seen.values() if pair[0] > NEAR * energy), key=lambda pair: pair[0])
        if not earlier or not energy > 0:
            return float("nan")
        near = [pair for pair in earlier if pair[0] <= EARLY * energy] or earlier[:1]
        last = evaluate(w)
        size = float(np.linalg.norm(last))
        if not size > 0:
            return float("nan")
        moved = [(e, float(np.linalg.norm(evaluate(v) - last))) for e, v in near]
        quotient = max(distance / (np.sqrt(e) - np.sqrt(energy)) for e, distance in moved)
        return float(quotient * np.sqrt(energy) / size)


def scatter(x: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The standard deviation of noise in observations at x (N,), by how far each is from the line of its neighbours.

    Whatever smooth function lies below (Gasser, Sroka and Jennen-Steinmetz 1986, Biometrika 73, section 2); NaN for
    fewer than `FEW` of them. `values` are (N,) or (N, k).

    Examples
    --------
    >>> x = np.linspace(0, 1, 400)
    >>> noise = np.random.default_rng(0).normal(size=400)
    >>> bool(abs(scatter(x, np.sin(x) + 0.1 * noise) - 0.1) < 0.01)
    True
    """
    at, first = np.unique(x, return_index=True)
    if len(at) < FEW:
        return float("nan")
    y = np.asarray(values, float).reshape(len(x), -1)[first]
    before = ((at[2:] - at[1:-1]) / (at[2:] - at[:-2]))[:, None]
    off = before * y[:-2] + (1.0 - before) * y[2:] - y[1:-1]
    return float(np.sqrt(np.mean(off**2 / (before**2 + (1.0 - before) ** 2 + 1.0))))
