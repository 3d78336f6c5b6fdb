"""Suspect 1: whether all methods end in the same minimum from one start, and which of them follow the flow."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import median, number
from stiffgrad.laboratory.study._finding import Finding, bars, listed, table
from stiffgrad.laboratory.study._lab import ORIGINAL, STRICT, Lab, Methods, Result, methods
from stiffgrad.laboratory.study._networks import NETWORKS

KEY = "same_minimum"
TITLE = "1. Another minimum?"
QUESTION = "From one start, does each method end in the same minimum? (Nobody had checked the Hessian.)"
FLOW = Method.of(("vode", STRICT))  # stands for the flow itself
STANDS = "vode (strict)"
FOLLOWERS = ("vode", "lsoda", "cvode", "radau", "kvaerno5", "dopri5", "chebyshev", "ros2")
OTHERS = ("nesterov", "adam", "lbfgs", "rosenbrock", "exponential", "quasi-newton", "auto")
PARTS = ("the flow's minimum", "another minimum", "not at rest")


def contestants() -> Methods:
    """ODE solvers, gradient descent and minimisers, all from the same starts."""
    return {"zvode (original)": ORIGINAL, STANDS: FLOW, **methods(*FOLLOWERS, *OTHERS)}


def plan(lab: Lab) -> None:
    """Everything, on every network."""
    for network in lab.scale.problems:
        lab.want(network, contestants().values())


def rested(lab: Lab, problem: str, result: Result) -> bool:
    """Whether a run ended in a stationary point."""
    found = lab.verdict(problem, result)
    return found is not None and found["kind"] != "not stationary"


def flow_end(lab: Lab, problem: str, seed: int) -> Result | None:
    """Where the flow itself ends: strict vode, or another follower where its budget ended first."""
    for method in (FLOW, *methods("vode", "lsoda", "cvode", "chebyshev").values(), ORIGINAL):
        for result in lab.results(problem, method):
            if result.seed == seed and rested(lab, problem, result):
                return result
    return None


def fates(lab: Lab) -> dict[str, Counter[str]]:
    """How often each method ended in the flow's minimum, in another, or nowhere, over networks and starts."""
    found: dict[str, Counter[str]] = {name: Counter() for name in contestants()}
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        ends = {seed: flow_end(lab, problem, seed) for seed in range(lab.scale.seeds)}
        for name, method in contestants().items():
            for result in lab.results(problem, method):
                end = ends[result.seed]
                if end is None or not rested(lab, problem, result):
                    found[name][PARTS[2]] += 1
                else:
                    found[name][PARTS[0] if lab.same(problem, end, result)["same"] else PARTS[1]] += 1
    return {name: counts for name, counts in found.items() if counts}


def answer(lab: Lab) -> Finding:
    """Judge every end point, and compare it with that of the flow."""
    rows, kinds, pairs = [], Counter[str](), []
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        for name, method in contestants().items():
            verdicts = [v for r in lab.results(problem, method) if (v := lab.verdict(problem, r)) is not None]
            kinds.update(str(v["kind"]) for v in verdicts)
            rows.append([f"{network}, {name}", *_row(verdicts)])
        pairs += _pairs(lab, problem)
    fate = fates(lab)
    # Strict vode is the flow by definition, where it came to rest.
    judged = {name: c for name, c in fate.items() if name != STANDS and c[PARTS[0]] + c[PARTS[1]]}
    follow = [name for name, c in judged.items() if not c[PARTS[1]]]
    stray = [name for name, c in judged.items() if c[PARTS[1]]]
    same = sum(pair["same"] for pair in pairs)
    inside = [p for p in pairs if p["followers"]]
    across = [p for p in pairs if not p["followers"]]
    total = sum(kinds.values())

    def often(names: list[str]) -> str:
        ends = ((name, judged[name]) for name in names)
        return listed([f"{name} {c[PARTS[0]]} of {c[PARTS[0]] + c[PARTS[1]]}" for name, c in ends])

    return Finding(
        "cannot be told"
        if not pairs
        else "right"
        if same < 0.7 * len(pairs)
        else "partly"
        if same < len(pairs)
        else "wrong",
        [
            f"{total - kinds['not stationary']} of {total} runs came to rest: {kinds['minimum']} in minima, "
            f"{kinds['flat']} in flat regions and {kinds['saddle']} in saddles.",
            f"Of the pairs from one start {same} of {len(pairs)} lay in the same valley: "
            f"{sum(p['same'] for p in inside)} of {len(inside)} pairs of ODE solvers, "
            f"{sum(p['same'] for p in across)} of {len(across)} of the others.",
            f"Of the runs at rest, these always ended where the flow ends: {often(follow)}; these not always: "
            f"{often(stray)}.",
        ],
        bars(
            "Where each method ended, over all networks and starts",
            "share of the runs, %",
            PARTS,
            {name: [c[part] / c.total() for part in PARTS] for name, c in fate.items()},
        ),
        {"kinds": kinds, "same": same, "pairs": len(pairs), "fates": fate},
        [
            table(
                "End points, medians over the starts",
                "network, method",
                ["minimum", "flat", "saddle", "not at rest", "loss", "gradient norm", "smallest eigenvalue", "largest"],
                rows,
            )
        ],
        [
            "Two end points are the same if no barrier above 0.1% of the loss removed lies between them, after their "
            "hidden units are matched by order and sign; see stiffgrad.same_minimum. Strict vode stands for the flow.",
        ],
    )


def _row(verdicts: list[dict[str, Any]]) -> list[str]:
    counts = [str(sum(v["kind"] == kind for v in verdicts)) for kind in ("minimum", "flat", "saddle", "not stationary")]
    names = ("loss", "gradient_norm", "eigenvalue_min", "eigenvalue_max")
    values = [[np.nan if v[name] is None else v[name] for v in verdicts] or [np.nan] for name in names]
    return [*counts, *(number(float(np.median(column)), 3) for column in values)]


def _pairs(lab: Lab, problem: str) -> list[dict[str, Any]]:
    """Every pair of end points at rest of one start, and whether both belong to ODE solvers."""
    found = []
    every = contestants()
    for seed in range(lab.scale.seeds):
        ends = {
            name: result
            for name, method in every.items()
            for result in lab.results(problem, method)
            if result.seed == seed and rested(lab, problem, result)
        }
        for a, b in itertools.combinations(ends, 2):
            ode = [name not in OTHERS for name in (a, b)]
            found.append({"same": lab.same(problem, ends[a], ends[b])["same"], "followers": all(ode)})
    return found


__all__ = ["KEY", "QUESTION", "TITLE", "answer", "fates", "median", "plan"]
