"""Suspect 4: what the stiff solver spends its time on above 80% accuracy; measured by clocks at the calls."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import number
from stiffgrad.laboratory.study._finding import Finding, bars, table
from stiffgrad.laboratory.study._lab import ORIGINAL, Lab, Result
from stiffgrad.laboratory.study._networks import LARGER, NETWORKS, weights

KEY = "above_80_percent"
TITLE = "4. Above 80% accuracy"
QUESTION = "What happens above 80% accuracy: Jacobian evaluations, or steps rejected because Newton failed?"
BANDS = (0.0, 0.8, 0.9, 0.95, 0.99, 1.01)
NAMES = ("up to 80%", "80 to 90%", "90 to 95%", "95 to 99%", "above 99%")
PARTS = ("Jacobians", "right sides", "solver itself", "recording")
COUNTS = (
    "steps",
    "jacobian_evaluations",
    "error_test_failures",
    "newton_failures",
    "newton_iterations",
    "factorizations",
    "rhs_evaluations",
    "wall_seconds",
)
METHODS = {"zvode (original)": ORIGINAL, "vode": Method("vode")}


def classifiers(lab: Lab) -> list[str]:
    """Networks that have an accuracy."""
    return [network for network in lab.scale.problems if NETWORKS[network].classes]


def plan(lab: Lab) -> None:
    """The solver of the original experiment, and vode as recommended."""
    for network in classifiers(lab):
        lab.want(network, METHODS.values())
    for network in lab.scale.larger:
        lab.want_larger(network, METHODS.values())


def answer(lab: Lab) -> Finding:
    """Counts and shares of time in each band of training accuracy."""
    rows, shown = [], {}
    above: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for network in (*classifiers(lab), *lab.scale.larger):
        problem = {**NETWORKS, **LARGER}[network]
        for name, method in METHODS.items():
            found = lab.results(problem.name, method)
            inside = weights(problem) if method == ORIGINAL else 0
            spent = [in_bands(result, inside) for result in found]
            for band, title in enumerate(NAMES):
                mean = _mean([bands[band] for bands in spent])
                if mean:
                    rows.append([f"{network}, {name}", title, *(number(mean[c]) for c in COUNTS), *_percents(mean)])
            late = [_sum([band for band in bands[1:] if band]) for bands in spent]
            above[name] += [total for total in late if total]
            mean = _mean([total or None for total in late])
            if mean:
                shown[f"{network}, {name}"] = _shares(mean)
    old = above["zvode (original)"]
    jacobians = [_shares(total)[0] for total in old]
    own = [_shares(total)[2] for total in old]
    failed = [100 * (t["newton_failures"] + t["error_test_failures"]) / max(t["steps"], 1) for t in old]
    newton = [100 * t["newton_failures"] / max(t["steps"], 1) for t in old]
    new = [_shares(total)[0] for total in above["vode"]]
    most = bool(jacobians) and float(np.median(jacobians)) > 0.5
    return Finding(
        "cannot be told" if not jacobians else "Jacobians" if most else "Jacobians in part, but not most of the time",
        [
            f"Above 80% accuracy finite-difference Jacobians take {_middle(jacobians, 100)}% of the original "
            f"solver's time ({_span(jacobians, 100)}%), zvode's own code {_middle(own, 100)}% ({_span(own, 100)}%): "
            "medians, with the spread over networks and starts.",
            f"For each 100 accepted steps {_middle(failed)} were repeated ({_span(failed)}), {_span(newton)} of them "
            "because Newton failed.",
            f"With automatic differentiation and 1e-4, Jacobians take {_middle(new, 100)}% of vode's time there "
            f"({_span(new, 100)}%).",
        ],
        bars("Where the wall time above 80% accuracy goes", "share of the wall time, %", PARTS, shown),
        {"jacobians": jacobians, "solver": own, "failed_for_100_steps": failed, "jacobians_vode": new},
        [
            table(
                "Means over the starts, in each band of training accuracy",
                "network, solver",
                ["accuracy", *(c.replace("_", " ") for c in COUNTS), *(f"{p}, %" for p in PARTS)],
                rows,
            )
        ],
        [
            "Times are measured at the calls. A finite-difference Jacobian is n of the right sides that zvode "
            "asks for, so "
            "it has that part of their time. A band that no run entered is left out.",
        ],
    )


Spent = dict[str, float]


def in_bands(result: Result, differences: int) -> list[Spent | None]:
    """Counts and seconds in each band; None where the run never was in it.

    With `differences` a Jacobian is that many of the right sides.
    """
    trace = result.trace
    scores = [
        (s["steps"], s["train"]) for s in result.data["scores"] if s["steps"] is not None and s["train"] is not None
    ]
    if not scores or "rhs_seconds" not in trace:
        return [None] * len(NAMES)
    steps, score = map(np.array, zip(*scores, strict=True))
    best = np.maximum.accumulate(score)
    now = best[np.clip(np.searchsorted(steps, trace["steps"], side="right") - 1, 0, len(best) - 1)]
    found: list[Spent | None] = []
    for low, high in itertools.pairwise(BANDS):
        inside = np.flatnonzero((now >= low) & (now < high))
        if not inside.size:
            found.append(None)
            continue
        first, last = max(0, inside[0] - 1), inside[-1]
        names = (*COUNTS, "rhs_seconds", "jacobian_seconds", "library_seconds", "recording_seconds")
        spent = {name: _difference(trace.get(name), first, last) for name in names}
        part = differences * spent["jacobian_evaluations"] / max(spent["rhs_evaluations"], 1) if differences else 0.0
        moved = min(1.0, part) * spent["rhs_seconds"]
        spent["jacobian_seconds"] += moved
        spent["rhs_seconds"] -= moved
        found.append(spent)
    return found


def _difference(column: NDArray[np.float64] | None, first: int, last: int) -> float:
    if column is None:
        return math.nan
    filled = np.nan_to_num(column)
    return float(filled[last] - filled[first])


def _shares(spent: Spent) -> list[float]:
    parts = [spent[f"{name}_seconds"] for name in ("jacobian", "rhs", "library", "recording")]
    total = sum(parts)
    return [part / total if total else math.nan for part in parts]


def _percents(spent: Spent) -> list[str]:
    return [number(100 * share) for share in _shares(spent)]


def _sum(parts: list[Spent]) -> Spent:
    return {name: sum(part[name] for part in parts) for name in parts[0]} if parts else {}


def _mean(parts: list[Spent | None]) -> Spent:
    known = [part for part in parts if part]
    return {name: value / len(known) for name, value in _sum(known).items()} if known else {}


def _middle(values: list[Any], factor: float = 1.0) -> str:
    known = [factor * value for value in values if math.isfinite(value)]
    return number(float(np.median(known or [math.nan])))


def _span(values: list[Any], factor: float = 1.0) -> str:
    known = [factor * value for value in values if math.isfinite(value)]
    if not known:
        return "an unknown number"
    ends = [number(min(known)), number(max(known))]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
