"""Owens and Filkin's claim (1989): a stiff solver needs 2 to 1,000 times fewer presentations, the more the stiffer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import AT_MOST, Amount, geometric_mean, median, number, span
from stiffgrad.laboratory.study._finding import Finding, lines, panels, table
from stiffgrad.laboratory.study._lab import ERRORS, Lab, level
from stiffgrad.laboratory.study._networks import EXACT

KEY = "owens_filkin"
TITLE = "Owens and Filkin's claim"
QUESTION = (
    "Does a stiff solver train with 2 to 1,000 times fewer presentations, the more the smaller the error "
    "and the stiffer?"
)
STIFF = Method.of(("vode", {"atol": 1e-2, "rtol": 1e-2}))  # the tolerance that they used
METHODS = {"stiff (vode)": STIFF, "explicit (dopri5)": Method.of(("dopri5", {"atol": 1e-2, "rtol": 1e-2}))}
METHODS["momentum"] = Method("momentum")
CLAIM = (2.0, 1000.0)


def plan(lab: Lab) -> None:
    """Three methods, until an RMS error of a thousandth."""
    for network in lab.scale.exact:
        lab.want_exact(network, METHODS.values())


def answer(lab: Lab) -> Finding:
    """Ratios to the stiff solver at each error, in presentations, gradients and seconds; stiffness beside them."""
    rows: list[list[Any]] = []
    by_error: dict[str, tuple[list[float], list[float]]] = {}
    by_ratio: dict[str, tuple[float, float]] = {}
    deepest: dict[str, tuple[float, Amount]] = {}
    seconds: dict[str, Amount] = {}
    grown: dict[str, tuple[Amount, Amount]] = {}  # the factor at the largest and at the smallest error
    inside = 0
    for network in lab.scale.exact:
        problem = EXACT[network].name
        cost = {
            (name, error, what): median(lab.costs(problem, method, level(error), what))
            for name, method in METHODS.items()
            for error in ERRORS
            for what in ("presentations", "wall_seconds")
        }
        speedups = {e: cost["momentum", e, "presentations"] / cost["stiff (vode)", e, "presentations"] for e in ERRORS}
        known = {error: ratio for error, ratio in speedups.items() if not math.isnan(ratio.value)}
        told = {error: ratio for error, ratio in known.items() if ratio.bound != AT_MOST}
        by_error[network] = ([100 * e for e in told], [ratio.value for ratio in told.values()])
        stiffness = ratio_of(lab, problem)
        if told:
            error = min(told)
            deepest[network] = (error, told[error])
            seconds[network] = cost["momentum", error, "wall_seconds"] / cost["stiff (vode)", error, "wall_seconds"]
            by_ratio[network] = stiffness, told[error].value
            if told[max(told)].known and len(told) > 1:
                grown[network] = told[max(told)], told[error]
            inside += told[error].value >= CLAIM[0]
        rows += [
            [
                f"{network}, {name}",
                *(cost[name, e, what] for what in ("presentations", "wall_seconds") for e in (0.1, 0.02, 0.001)),
            ]
            for name in METHODS
        ]
        rows[-1].append(number(stiffness))
    found = {name: ratio for name, (_, ratio) in deepest.items()}
    grows = _rank_correlation(list(by_ratio.values()))
    points = {name: ([x], [y]) for name, (x, y) in by_ratio.items()}
    marks = {"2": CLAIM[0], "1,000": CLAIM[1]}
    more = [name for name, (before, after) in grown.items() if after.value > 1.1 * before.value]
    bounds = sum(not ratio.known for ratio in found.values())
    errors = [100 * error for error, _ in deepest.values()]
    return Finding(
        "right" if inside == len(lab.scale.exact) else "partly" if inside else "wrong",
        [
            f"At the smallest error that the stiff solver reached ({_range(errors)}%), momentum needed "
            f"{span(found.values())} "
            f"times its presentations on {len(found)} of {len(lab.scale.exact)} networks (mean "
            f"{geometric_mean(found.values())}), 2 times or more on {inside}, and {span(seconds.values())} times its "
            f"seconds (mean {geometric_mean(seconds.values())}), with a learning rate tuned beforehand.",
            f"From the largest error to the smallest the factor grows on {len(more)} of {len(grown)} networks: from "
            f"{geometric_mean(before for before, _ in grown.values())} "
            f"({span(before for before, _ in grown.values())}) to "
            f"{geometric_mean(after for _, after in grown.values())} ({span(after for _, after in grown.values())}).",
            f"With the stiffness ratio it {_grows(grows)}: rank correlation {grows:.2f} over {len(by_ratio)} networks, "
            f"where {bounds} of the factors are lower bounds.",
        ],
        panels(
            "Presentations of momentum over those of the stiff solver; their claim lies between the two lines. "
            "A point is a "
            "lower bound where momentum ran out of time",
            [
                lines("", "RMS error, %", "times fewer presentations", by_error, marks=marks, falls=True),
                lines("", "stiffness ratio at the end (at least)", "", points, marks=marks, points=True),
            ],
        ),
        {"deepest": {n: {"error": e, "ratio": r} for n, (e, r) in deepest.items()}, "seconds": seconds, "rank": grows},
        [
            table(
                "Medians over the starts, to RMS errors as shares of the targets' range",
                "network, method",
                [f"{what}, {e}" for what in ("presentations", "seconds") for e in ("10%", "2%", "0.1%")]
                + ["stiffness ratio"],
                [[*row, *[""] * (8 - len(row))] for row in rows],
            )
        ],
        [
            "A dense Hessian of n weights counts 2n presentations. Their networks and data are not known: these "
            "are squared "
            "errors without decay on the networks named here, with their tolerance of 1e-2.",
            "Published: 1, 4 and more than 20 times for gradient descent at errors of 10, 5 and 2%; 2 to 1,000 "
            "in the text.",
        ],
    )


def ratio_of(lab: Lab, problem: str) -> float:
    """The stiffness ratio at the end of the stiff solver's path: median over the starts."""
    ends = [probes[-1]["ratio"] for r in lab.results(problem, STIFF) if (probes := lab.probes(problem, r))]
    known = [value for value in ends if value is not None]
    return float(np.median(known)) if known else math.nan


def _grows(correlation: float) -> str:
    if math.isnan(correlation) or abs(correlation) <= 0.3:
        return "neither grows nor falls clearly"
    return "grows" if correlation > 0 else "falls"


def _rank_correlation(pairs: list[tuple[float, float]]) -> float:
    """Spearman's; NaN for fewer than three pairs."""
    known = [pair for pair in pairs if all(map(math.isfinite, pair))]
    if len(known) < 3:
        return math.nan
    ranks = np.array([np.argsort(np.argsort(column)) for column in zip(*known, strict=True)], float)
    return float(np.corrcoef(ranks)[0, 1])


def _range(values: list[float]) -> str:
    return "–" if not values else " to ".join(sorted({number(min(values)), number(max(values))}, key=float))
