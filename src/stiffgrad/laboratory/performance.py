"""Speed-ups over the fastest peer, their geometric means, and Dolan and More's performance profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad.laboratory.tables import Row, label, seconds_to, table

FACTORS = tuple(float(f"{factor:.4g}") for factor in np.geomspace(1.0, 1000.0, 31))


@dataclasses.dataclass(frozen=True)
class Speedup:
    """A peer's median seconds over ours, on one problem.

    Where the peer, or ours, does not reach the target from any start, its seconds are infinite, and `ratio` is that
    of the budget: a bound from below (`bound` is ">=") or from above ("<="). None where neither reaches it.
    """

    problem: str
    own: str
    own_seconds: float
    peer: str | None
    peer_seconds: float
    ratio: float | None
    bound: str = "="

    @property
    def text(self) -> str:
        """The ratio with its bound."""
        return "-" if self.ratio is None else f"{'' if self.bound == '=' else self.bound + ' '}{self.ratio:.2f}"


@dataclasses.dataclass(frozen=True)
class Summary:
    """What a benchmark found.

    Attributes
    ----------
    rows : list of Row
        The whole table.
    speedups : list of Speedup
        For each problem and each of our solvers, over the fastest peer.
    against : list of Speedup
        The same over every peer.
    means : dict
        Their geometric mean for each of our solvers, a missed target counting as the whole budget.
    factors : tuple of float
        Abscissae of the profile.
    profile : dict
        For each solver the share of runs (problem and start) whose time is within each factor of the fastest's.
    """

    rows: list[Row]
    speedups: list[Speedup]
    against: list[Speedup]
    means: dict[str, float | None]
    factors: tuple[float, ...]
    profile: dict[str, list[float]]


def summarise(results: Sequence[Mapping[str, Any]], own: Sequence[str]) -> Summary:
    """Everything from the results of `compare`; `own` names our solvers."""
    against = [pair for problem in dict.fromkeys(r["problem"] for r in results) for pair in _on(problem, results, own)]
    groups: dict[tuple[str, str], list[Speedup]] = {}
    for pair in against:
        groups.setdefault((pair.problem, pair.own), []).append(pair)
    speedups = [_over_fastest(pairs) for pairs in groups.values()]
    means = {name: _geometric_mean([s.ratio for s in speedups if s.own == name]) for name in own}
    return Summary(table(results), speedups, against, means, FACTORS, profile(results))


def _on(problem: str, results: Sequence[Mapping[str, Any]], own: Sequence[str]) -> list[Speedup]:
    """Each of our solvers against each peer on one problem."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if result["problem"] == problem:
            groups.setdefault(label(result), []).append(result)
    medians = {name: seconds_to(group) for name, group in groups.items()}
    budget = max(cell["seconds"] for group in groups.values() for cell in group)
    peers: list[str | None] = [name for name in medians if name not in own]
    return [
        _speedup(problem, name, medians[name], peer, np.inf if peer is None else medians[peer], budget)
        for name in own
        if name in medians
        for peer in peers or [None]
    ]


def _over_fastest(pairs: Sequence[Speedup]) -> Speedup:
    """The pair with the fastest peer; without its name where no peer reached the target."""
    fastest = min(pairs, key=lambda pair: pair.peer_seconds)
    return fastest if np.isfinite(fastest.peer_seconds) else dataclasses.replace(fastest, peer=None)


def _speedup(problem: str, own: str, ours: float, peer: str | None, theirs: float, budget: float) -> Speedup:
    if peer is None or (np.isinf(ours) and np.isinf(theirs)):
        return Speedup(problem, own, ours, peer, theirs, None)
    if np.isinf(theirs):
        return Speedup(problem, own, ours, peer, theirs, budget / ours, ">=")
    if np.isinf(ours):
        return Speedup(problem, own, ours, peer, theirs, theirs / budget, "<=")
    return Speedup(problem, own, ours, peer, theirs, theirs / ours)


def _geometric_mean(ratios: Sequence[float | None]) -> float | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return float(np.exp(np.mean(np.log(known)))) if known else None


def profile(results: Sequence[Mapping[str, Any]], factors: Sequence[float] = FACTORS) -> dict[str, list[float]]:
    """Performance profile (Dolan and More, Mathematical Programming 91, 2002, eq. 2).

    Parameters
    ----------
    results : sequence of dict
        Of `compare`.
    factors : sequence of float
        At least 1.

    Returns
    -------
    dict of str to list of float
        For each solver the share of runs solved within each factor of the fastest solver's time on the same run.
    """
    solvers = list(dict.fromkeys(label(result) for result in results))
    runs = {run: index for index, run in enumerate(dict.fromkeys((r["problem"], r["seed"]) for r in results))}
    times: NDArray[np.float64] = np.full((len(solvers), len(runs)), np.inf)
    for result in results:
        reached = result["targets"][result["target"]]["wall_seconds"]
        if reached is not None:
            times[solvers.index(label(result)), runs[result["problem"], result["seed"]]] = reached
    best = times.min(axis=0)
    met = np.isfinite(times)[..., None] & (times[..., None] <= np.asarray(factors) * best[:, None])
    return {solver: met[index].mean(axis=0).tolist() for index, solver in enumerate(solvers)}
