"""Question 1: whether all methods end in the same minimum from one start."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np

from stiffgrad.analysis import same_minimum, spectrum
from stiffgrad.laboratory.study._finding import Finding, lines, show, table
from stiffgrad.laboratory.study._lab import ORIGINAL, STRICT, Lab
from stiffgrad.laboratory.study._runs import Run, objective_of

KEY = "same_minimum"
QUESTION = "From one start, does each method end in the same minimum? (Nobody had checked the Hessian.)"
FOLLOWERS = ("zvode (original)", "vode (strict)", "vode", "lsoda", "cvode", "dopri5", "chebyshev")


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """ODE solvers, gradient descent and minimisers, all from the same starts."""
    found = {
        "zvode (original)": lab.mains(problem, "zvode", ORIGINAL),
        "vode (strict)": lab.mains(problem, "vode", STRICT),
        "vode": lab.mains(problem, "vode", probe=True),
    }
    others = ("lsoda", "cvode", "dopri5", "chebyshev", "nesterov", "adam", "lbfgs", "rosenbrock", "auto")
    return found | {name: lab.mains(problem, name) for name in lab.available(others)}


def answer(lab: Lab) -> Finding:
    """Judge every end point, and compare those of one start in pairs."""
    rows: list[list[str]] = []
    pair_rows: list[list[str]] = []
    pairs: list[dict[str, Any]] = []
    kinds: dict[str, int] = {}
    for problem in lab.scale.problems:
        found = runs(lab, problem)
        for name, group in found.items():
            rows.append(_verdict_row(problem, name, group))
            for run in group:
                kind = "failed" if run.verdict is None else str(run.verdict["kind"])
                kinds[kind] = kinds.get(kind, 0) + 1
        compared = [pair for seed in lab.seeds for pair in _pairs(lab, problem, seed, found)]
        pairs += compared
        pair_rows.append(_pair_row(problem, compared))
    return Finding(
        KEY,
        QUESTION,
        _sentence(kinds, pairs),
        {"end_points": kinds, "pairs": len(pairs), "same": sum(p["same"] for p in pairs)},
        [
            table(
                "What each method ended in, over the starts",
                "problem, method",
                [
                    "minimum",
                    "flat",
                    "saddle",
                    "not stationary",
                    "loss (median)",
                    "gradient norm (median)",
                    "smallest eigenvalue",
                    "largest eigenvalue",
                    "zero eigenvalues",
                ],
                rows,
                "Medians over the starts. Not stationary: a gradient norm above 2e-6 when the run ended.",
            ),
            table(
                "Stationary end points of one start, in pairs, after matching hidden units",
                "problem",
                [
                    "pairs",
                    "same valley",
                    "same: ODE solver with ODE solver",
                    "same: ODE solver with another method",
                    "median distance, % of the weights",
                    "median barrier where different, % of the removed loss",
                ],
                pair_rows,
            ),
        ],
        [_spectra(lab)],
        [
            "Two end points are the same if no barrier above 0.1% of the loss removed lies between them, after their "
            "hidden units are matched by order and sign; see stiffgrad.same_minimum."
        ],
    )


def _verdict_row(problem: str, name: str, group: list[Run]) -> list[str]:
    verdicts = [run.verdict for run in group if run.verdict is not None]
    counts = [str(sum(v["kind"] == kind for v in verdicts)) for kind in ("minimum", "flat", "saddle", "not stationary")]
    names = ("loss", "gradient_norm", "eigenvalue_min", "eigenvalue_max", "zero")
    medians = [show(float(np.median([np.nan if v[n] is None else v[n] for v in verdicts] or [np.nan]))) for n in names]
    return [f"{problem}, {name}", *counts, *medians]


def _pairs(lab: Lab, problem: str, seed: int, found: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """Every pair of stationary end points of one start."""
    ends = {name: group[seed] for name, group in found.items() if _stationary(group[seed])}
    content = {
        "kind": "pairs",
        "problem": problem,
        "seed": seed,
        "runs": {name: lab.store.path(run.spec.content).name for name, run in ends.items()},
        "ends": {name: [run.loss, run.gradient_norm] for name, run in ends.items()},
    }

    def make() -> dict[str, Any]:
        objective = objective_of(problem, seed)
        made = []
        for a, b in itertools.combinations(ends, 2):
            result = dataclasses.asdict(same_minimum(objective, ends[a].w, ends[b].w, points=21))
            made.append({"a": a, "b": b, **{k: v for k, v in result.items() if k != "path"}})
        return {"pairs": made}

    return lab.store.get(content, make)["pairs"]


def _stationary(run: Run) -> bool:
    return run.verdict is not None and run.verdict["kind"] != "not stationary"


def _pair_row(problem: str, pairs: list[dict[str, Any]]) -> list[str]:
    followers = [p for p in pairs if p["a"] in FOLLOWERS and p["b"] in FOLLOWERS]
    others = [p for p in pairs if (p["a"] in FOLLOWERS) != (p["b"] in FOLLOWERS)]
    barriers = [100 * p["relative_barrier"] for p in pairs if not p["same"] and p["relative_barrier"] is not None]
    return [
        problem,
        str(len(pairs)),
        *(_same(group) for group in (pairs, followers, others)),
        show(100 * float(np.median([p["relative_distance"] for p in pairs] or [np.nan]))),
        show(float(np.median(barriers or [np.nan]))),
    ]


def _same(pairs: list[dict[str, Any]]) -> str:
    return f"{sum(p['same'] for p in pairs)} of {len(pairs)}"


def _spectra(lab: Lab) -> dict[str, Any]:
    """The density of the Hessian's eigenvalues where the fastest method ended, first start of each problem."""
    curves = {}
    for problem in lab.scale.problems:
        run = lab.main(problem, "rosenbrock" if lab.has("rosenbrock") else "vode", 0)
        content = {"kind": "spectrum", "problem": problem, "run": lab.store.path(run.spec.content).name}

        def make(problem: str = problem, run: Run = run) -> dict[str, Any]:
            found = spectrum(objective_of(problem, 0), run.w, products=40, probes=4, points=2)
            return {"nodes": found.nodes, "weights": found.weights}

        kept = lab.store.get(content, make)
        nodes, weights = np.array(kept["nodes"]), np.array(kept["weights"])
        above = np.array([weights[nodes >= level].sum() for level in np.logspace(-8, 3, 60)])
        curves[problem] = (np.logspace(-8, 3, 60), np.maximum(above, 1e-4))
    return lines(
        "Share of the Hessian's eigenvalues above a value, at an end point (stochastic Lanczos quadrature)",
        "eigenvalue",
        "share above",
        curves,
        logs="x",
    )


def _sentence(kinds: dict[str, int], pairs: list[dict[str, Any]]) -> str:
    total = sum(kinds.values())
    stationary = total - kinds.get("not stationary", 0) - kinds.get("failed", 0)
    text = (
        f"Of {total} end points {stationary} were stationary within the budget: {kinds.get('minimum', 0)} minima, "
        f"{kinds.get('flat', 0)} in flat regions, {kinds.get('saddle', 0)} saddles. "
    )
    if not pairs:
        return text + "No start had two stationary end points to compare."
    followers = [p for p in pairs if p["a"] in FOLLOWERS and p["b"] in FOLLOWERS]
    others = [p for p in pairs if (p["a"] in FOLLOWERS) != (p["b"] in FOLLOWERS)]
    share = sum(p["same"] for p in pairs) / len(pairs)
    verdict = (
        "the suspicion is right: methods often end in different minima"
        if share < 0.7
        else "mostly the same minimum, but not always"
        if share < 0.97
        else "the suspicion does not hold here: methods end in the same minimum"
    )
    return (
        text + f"Of {len(pairs)} pairs from one start {100 * share:.0f}% lay in the same valley "
        f"({_same(followers)} for ODE solvers with each other, {_same(others)} for an ODE solver and another method): "
        f"{verdict}."
    )
