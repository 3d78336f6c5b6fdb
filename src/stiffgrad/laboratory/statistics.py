"""Medians, ratios and means of costs of which some are only known from below, because a budget ended the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EQUAL, AT_LEAST, AT_MOST = "", "≥", "≤"


@dataclasses.dataclass(frozen=True)
class Amount:
    """A cost or a ratio: known, or a bound of it; infinite where a run came to rest elsewhere; NaN: nothing is known.

    Examples
    --------
    >>> str(Amount(0.25)), str(Amount(10.0, AT_LEAST)), str(Amount(math.inf)), str(Amount(math.nan))
    ('0.25', '≥ 10', 'never', '–')
    """

    value: float
    bound: str = EQUAL

    @property
    def known(self) -> bool:
        """Whether it is a number, and no bound."""
        return self.bound == EQUAL and math.isfinite(self.value)

    def __truediv__(self, other: Amount) -> Amount:
        """The ratio: bounded from below where only this was missed, from above where only the other was.

        To what is never reached there is none.
        """
        if math.isinf(other.value):
            return Amount(math.nan)
        if math.isinf(self.value):
            return NEVER if other.value > 0 else Amount(math.nan)
        if self.bound != EQUAL and other.bound == self.bound:
            return Amount(math.nan)  # both lie above their budgets: nothing follows
        opposite = {EQUAL: EQUAL, AT_LEAST: AT_MOST, AT_MOST: AT_LEAST}
        if not other.value > 0 or math.isnan(self.value):
            return Amount(math.nan)
        return Amount(self.value / other.value, self.bound or opposite[other.bound])

    def __str__(self) -> str:
        return "never" if math.isinf(self.value) else f"{self.bound} {number(self.value)}".strip()


UNKNOWN = Amount(math.nan)
NEVER = Amount(math.inf)  # no budget would have been enough


def cost(reached: float | None, spent: float | None) -> Amount:
    """What a run paid for a target; a missed one cost more than all that the run spent."""
    if reached is not None:
        return Amount(float(reached))
    return UNKNOWN if spent is None or math.isnan(spent) else Amount(float(spent), AT_LEAST)


def median(amounts: Iterable[Amount]) -> Amount:
    """The median of costs, of which some lie above what was spent (Kaplan and Meier's, where all budgets are equal).

    Examples
    --------
    >>> str(median([Amount(1.0), Amount(10.0, AT_LEAST), Amount(3.0)]))
    '3'
    >>> str(median([Amount(1.0), Amount(10.0, AT_LEAST), Amount(10.0, AT_LEAST)]))
    '≥ 10'
    """
    return quantile(amounts, 0.5)


def quantile(amounts: Iterable[Amount], share: float) -> Amount:
    """The same for any share: interpolated between two known costs, a bound as soon as one of the two is missed."""
    # Those that were missed lie anywhere between their bounds and never.
    known = (a for a in amounts if not math.isnan(a.value))
    seen = sorted(known, key=lambda a: (math.isinf(a.value), a.bound != EQUAL, a.value))
    if not seen:
        return UNKNOWN
    place = share * (len(seen) - 1)
    low, high = seen[math.floor(place)], seen[math.ceil(place)]
    if low.bound != EQUAL or low == high:
        return low
    if high.bound != EQUAL or math.isinf(high.value):  # the lower one is all that is sure
        return Amount(low.value, AT_LEAST)
    return Amount(low.value + (place - math.floor(place)) * (high.value - low.value))


def geometric_mean(ratios: Iterable[Amount]) -> Amount:
    """Of all finite ratios, bounds among them; a bound itself then, and unknown where they point both ways.

    Examples
    --------
    >>> str(geometric_mean([Amount(1.0), Amount(100.0)])), str(geometric_mean([Amount(1.0), Amount(4.0, AT_LEAST)]))
    ('10', '≥ 2')
    """
    seen = [ratio for ratio in ratios if ratio.value > 0 and math.isfinite(ratio.value)]
    bounds = {ratio.bound for ratio in seen} - {EQUAL}
    if not seen or len(bounds) > 1:
        return UNKNOWN
    mean = math.exp(sum(math.log(ratio.value) for ratio in seen) / len(seen))
    return Amount(mean, bounds.pop() if bounds else EQUAL)


def span(amounts: Iterable[Amount]) -> str:
    """Smallest to largest of the finite ones in words; "≥" where the largest is a bound.

    Examples
    --------
    >>> span([Amount(0.5), Amount(2.0), Amount(8.0, AT_LEAST)])
    '0.5 to ≥ 8'
    """
    seen = sorted((a for a in amounts if math.isfinite(a.value)), key=lambda a: (a.value, a.bound))
    if not seen:
        return "unknown"
    ends = [str(seen[0]), str(seen[-1])]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def never(ratios: Mapping[str, Amount]) -> str:
    """Where one was never reached, in words to follow the others; empty where there is no such case.

    Examples
    --------
    >>> never({"iris": Amount(2.0), "sine": Amount(math.inf)})
    ', and never got there on sine, where it came to rest in another minimum'
    """
    where = [name for name, ratio in ratios.items() if math.isinf(ratio.value)]
    return f", and never got there on {' and '.join(where)}, where it came to rest in another minimum" if where else ""


def number(value: float, digits: int = 2) -> str:
    """A number for reading: few digits, thousands apart, a dash where unknown.

    Examples
    --------
    >>> number(0.12345), number(1234.5), number(float("nan"))
    ('0.12', '1,234', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    if value == 0 or 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.{digits + (abs(value) >= 100)}g}"


def thinned(loss: NDArray[np.float64], keep: Sequence[int] = (), most: int = 400) -> NDArray[np.int64]:
    """Indices of about `most` rows of a trace at most: first, last, lowest, those of `keep`, and others evenly.

    Even means by thirds: along the rows, along their logarithm, and along the logarithm of the lowest loss so far, so
    that the course can be drawn against steps and against the loss.

    Examples
    --------
    >>> thinned(np.array([3.0, 1.0, 2.0]))
    array([0, 1, 2])
    """
    count = len(loss)
    if count <= most:
        return np.arange(count)
    lowest = np.fmin.accumulate(np.where(np.isfinite(loss), loss, np.inf))
    third = (most - 3 - len(keep)) // 3
    drop = np.maximum(lowest - lowest[-1], np.finfo(float).tiny)
    top = drop[np.isfinite(drop)].max(initial=1.0)
    first_below = np.searchsorted(-drop, -np.geomspace(top, 1e-8 * top, third))
    spread = [np.linspace(0, count - 1, third), np.geomspace(1, count, third) - 1, first_below]
    ends = [0, count - 1, int(np.argmin(lowest)), *keep]
    return np.unique(np.clip(np.concatenate([*spread, ends]).round().astype(int), 0, count - 1))


def check_one_run(results: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError where results of different code or machines would be compared: their times do not divide."""
    made: dict[tuple[str, ...], int] = {}
    for result in results:
        known = result.get("environment") or {}
        packages = known.get("packages") or {}
        origin = (str(known.get("code")), str(known.get("cpu")), str(known.get("cores")), str(sorted(packages.items())))
        made[origin] = made.get(origin, 0) + 1
    if len(made) > 1:
        told = "; ".join(
            f"{count} by code {code} on {cpu}, {cores} cores" for (code, cpu, cores, _), count in made.items()
        )
        raise ValueError(
            f"results of different code, packages or machines cannot be compared ({told}): make all of them in "
            "one run, "
            "in a folder of their own"
        )
