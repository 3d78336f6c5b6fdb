"""Fast and slow: the shortest time in an ordinary differential equation, and a time that gives it as much room.

Where a reaction is over in 1e-4 of the time interval, even points and units as wide as the interval miss it. A
coordinate that runs with the logarithm of time at first and with time later on (as tables and plots of stiff problems
do; Hairer and Wanner 1996, section IV.1) gives both a half of the points.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Params
from stiffgrad.objective import Term
from stiffgrad.pde.jumps import answers, power
from stiffgrad.pde.points import Domain
from stiffgrad.pde.scales import Scales

Values = NDArray[np.float64]
STIFF = 200.0  # times that the shortest time goes into the interval, before it is given room
FREQUENCIES = np.logspace(0.0, 8.0, 33)  # over the interval
AWAY = 2.0  # an answer to ripples so many times that of the highest derivative alone
NODES = 4001


@dataclasses.dataclass(frozen=True)
class Stretched:
    """The times of an interval between 0 and 1, half by their logarithm beyond `fast` and half evenly.

    Examples
    --------
    >>> times = Stretched(0.0, 100.0, 0.01)
    >>> float(times.part(np.array(1.0)).round(2)), float(times.time(np.array(0.5)).round(1))
    (0.26, 18.4)
    """

    low: float
    high: float
    fast: float

    def part(self, time: Values) -> Values:
        """From times to [0, 1]."""
        after, length = np.maximum(time - self.low, 0.0), self.high - self.low
        return np.asarray(0.5 * after / length + 0.5 * np.log1p(after / self.fast) / np.log1p(length / self.fast))

    def time(self, part: Values) -> Values:
        """From [0, 1] to times."""
        length = self.high - self.low
        early = self.fast * np.expm1(np.linspace(0.0, np.log1p(length / self.fast), NODES))
        nodes = self.low + np.union1d(np.minimum(early, length), np.linspace(0.0, length, NODES))
        return np.asarray(np.interp(part, self.part(nodes), nodes))


def fastest(terms: list[Term], sides: Domain, scales: Scales, params: Params) -> float:
    """The shortest time in equations of one coordinate; 0 where it needs no room.

    Ripples of ever lower frequency are answered by the highest derivative alone, and from a frequency on by what else
    is there: 1 over that is the time. The largest over all entries counts.
    """
    highest = 0.0
    for term in terms:
        found = answers(term, sides, scales, params, FREQUENCIES)
        for entry, order in zip(found.T, power(found, FREQUENCIES), strict=True):
            alone = entry[-1] * (FREQUENCIES / FREQUENCIES[-1]) ** float(order)
            other = np.flatnonzero(entry > AWAY * alone)
            if order > 0 and np.all(np.isfinite(entry)) and len(other):
                highest = max(highest, float(FREQUENCIES[other[-1]]))
    length = sides[0][1] - sides[0][0]
    return length / highest if highest > STIFF else 0.0
