"""Speed-ups over the fastest peer, their geometric means, and Dolan and More's performance profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad.laboratory.statistics import Amount, geometric_mean
from stiffgrad.laboratory.tables import Row, costs_to, label, table

FACTORS = tuple(float(f"{factor:.4g}") for factor in np.geomspace(1.0, 1000.0, 31))


@dataclasses.dataclass(frozen=True)
class Speedup:
    """A peer's median seconds over ours, on one problem; a bound where one of the two missed the target.

    `peer` is None where no peer has reached it.
    """

    problem: str
    own: str
    own_seconds: Amount
    peer: str | None
    peer_seconds: Amount
    ratio: Amount


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
        Their geometric mean for each of our solvers, bounds among them.
    factors : tuple of float
        Abscissae of the profile.
    profile : dict
        For each solver the share of runs (problem and start) whose time is within each factor of the fastest's.
    """

    rows: list[Row]
    speedups: list[Speedup]
    against: list[Speedup]
    means: dict[str, Amount]
    factors: tuple[float, ...]
    profile: dict[str, list[float]]


def summarise(results: Sequence[Mapping[str, Any]], own: Sequence[str]) -> Summary:
    """Everything from the results of `compare`; `own` names our solvers. Raises ValueError as `table` does."""
    rows = table(results)
    against = [pair for problem in dict.fromkeys(r["problem"] for r in results) for pair in _on(problem, results, own)]
    groups: dict[tuple[str, str], list[Speedup]] = {}
    for pair in against:
        groups.setdefault((pair.problem, pair.own), []).append(pair)
    speedups = [_over_fastest(pairs) for pairs in groups.values()]
    means = {name: geometric_mean(s.ratio for s in speedups if s.own == name) for name in own}
    return Summary(rows, speedups, against, means, FACTORS, profile(results))


def _on(problem: str, results: Sequence[Mapping[str, Any]], own: Sequence[str]) -> list[Speedup]:
    """Each of our solvers against each peer on one problem."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        if result["problem"] == problem:
            groups.setdefault(label(result), []).append(result)
    medians = {name: costs_to(group) for name, group in groups.items()}
    return [
        Speedup(problem, name, medians[name], peer, medians[peer], medians[peer] / medians[name])
        for name in own
        if name in medians
        for peer in medians
        if peer not in own
    ]


def _over_fastest(pairs: Sequence[Speedup]) -> Speedup:
    """The pair with the fastest peer; without its name where no peer reached the target."""
    fastest = min(pairs, key=lambda pair: (not pair.peer_seconds.known, pair.peer_seconds.value))
    return fastest if fastest.peer_seconds.known else dataclasses.replace(fastest, peer=None)


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
