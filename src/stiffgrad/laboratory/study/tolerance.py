"""Suspect 2: solver, tolerance and maximum order, and whether BDF above order 2 hurts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import Amount, geometric_mean, median, number, span
from stiffgrad.laboratory.study._finding import Finding, lines, listed, table
from stiffgrad.laboratory.study._lab import STRICT, Lab, has
from stiffgrad.laboratory.study._networks import NETWORKS

KEY = "solver_and_tolerance"
TITLE = "2. Solver and tolerance"
QUESTION = "Do vode or lsoda, loose tolerances and low orders make the stiff solver fast? Does BDF above order 2 hurt?"
AT = "99%"
TOLERANCES: dict[str, dict[str, Any]] = {
    "1e-8/1e-6": STRICT,
    "1e-4": {"atol": 1e-4, "rtol": 1e-4},
    "1e-2": {"atol": 1e-2, "rtol": 1e-2},
    "1e-2 to 1e-6": {"atol": (1e-2, 1e-6), "rtol": (1e-2, 1e-6)},
}
ORDERS = (1, 2, 5)
SOLVERS = ("vode", "zvode", "lsoda", "cvode")


def method(solver: str, tolerance: str, order: int) -> Method:
    """A solver at a tolerance; the highest order is its default."""
    options = {**TOLERANCES[tolerance], **({"max_order": order} if order < 5 else {})}
    return Method(solver, tuple(sorted(options.items())))


def plan(lab: Lab) -> None:
    """Vode with every tolerance and order; the others with their full order."""
    for network in lab.scale.grid:
        lab.want(network, [method("vode", tolerance, order) for tolerance in TOLERANCES for order in ORDERS])
        lab.want(network, [method(s, t, 5) for s in SOLVERS if has(s) for t in ("1e-8/1e-6", "1e-4")])


def answer(lab: Lab) -> Finding:
    """Ratios of work and time, all else equal, at each tolerance."""
    seconds: dict[tuple[str, str, str, int], Amount] = {}
    gradients: dict[tuple[str, str, str, int], Amount] = {}
    rows, orders = [], {}
    for network in lab.scale.grid:
        problem = NETWORKS[network].name
        for solver in SOLVERS:
            for tolerance in TOLERANCES:
                for order in ORDERS:
                    chosen = method(solver, tolerance, order)
                    found = lab.results(problem, chosen)
                    if not found:
                        continue
                    key = network, solver, tolerance, order
                    seconds[key] = median(lab.costs(problem, chosen, AT))
                    gradients[key] = median(lab.costs(problem, chosen, AT, "presentations"))
                    steps = median(lab.costs(problem, chosen, AT, "steps"))
                    orders[key] = float(np.mean([mean_order(result.trace["order"]) for result in found]))
                    row = [f"{network}, {solver}", tolerance, order, seconds[key], gradients[key], steps]
                    rows.append([*row, number(orders[key])])
    high, higher = (
        {
            t: [cost[n, "vode", t, 5] / cost[n, "vode", t, 2] for n in lab.scale.grid if (n, "vode", t, 2) in cost]
            for t in TOLERANCES
        }
        for cost in (gradients, seconds)
    )
    loose = [
        seconds[n, s, "1e-8/1e-6", 5] / seconds[n, s, "1e-4", 5] for n, s, t, o in seconds if (t, o) == ("1e-4", 5)
    ]
    looser = [seconds[n, "vode", "1e-2", 5] / seconds[n, "vode", "1e-4", 5] for n in lab.scale.grid]
    plan_ = [seconds[n, "vode", "1e-2 to 1e-6", 5] / seconds[n, "vode", "1e-4", 5] for n in lab.scale.grid]
    complex_ = [
        seconds[n, "zvode", t, 5] / seconds[n, "vode", t, 5]
        for n in lab.scale.grid
        for t in ("1e-8/1e-6", "1e-4")
        if (n, "zvode", t, 5) in seconds
    ]
    lsoda = [seconds[n, "lsoda", "1e-4", 5] / seconds[n, "vode", "1e-4", 5] for n in lab.scale.grid]
    # By a tenth or more in both, so that neither the convention of presentations nor a clock decides.
    means = {t: [geometric_mean(ratios[t]).value for ratios in (high, higher)] for t in TOLERANCES}
    helps = [t for t, both in means.items() if max(both) < 0.9]
    hurts = [t for t, both in means.items() if min(both) > 1.1]
    unclear = [t for t in TOLERANCES if t not in (*helps, *hurts)]
    effects = (("help", helps), ("hurt", hurts), ("make no clear difference", unclear))
    pays = geometric_mean(loose).value > 1.1
    return Finding(
        {(True, True): "right", (True, False): "partly", (False, True): "partly", (False, False): "wrong"}[
            pays, bool(hurts)
        ],
        [
            f"Strict tolerances take {geometric_mean(loose)} times the seconds of 1e-4 ({span(loose)}); 1e-2 takes "
            f"{geometric_mean(looser)} times ({span(looser)}), the schedule {geometric_mean(plan_)} times "
            f"({span(plan_)}).",
            "Orders above 2 "
            + listed([f"{what} at {_told(higher, where)}" for what, where in effects if where])
            + ": seconds of order 5 over those of order 2.",
            f"Zvode takes {geometric_mean(complex_)} times the seconds of vode ({span(complex_)}), and lsoda "
            f"{geometric_mean(lsoda)} times ({span(lsoda)}).",
        ],
        lines(
            "Work of vode when order 5 is allowed, over that of order 2",
            "relative tolerance (the schedule is drawn at 1e-5)",
            "presentations, order 5 over order 2",
            {
                network: (
                    [1e-6, 1e-5, 1e-4, 1e-2],
                    [
                        _value(high[t], lab.scale.grid.index(network))
                        for t in ("1e-8/1e-6", "1e-2 to 1e-6", "1e-4", "1e-2")
                    ],
                )
                for network in lab.scale.grid
            },
            marks={"equal": 1.0},
        ),
        {
            "order5_over_order2": high,
            "order5_over_order2_seconds": higher,
            "strict_over_1e-4": loose,
            "1e-2_over_1e-4": looser,
            "zvode_over_vode": complex_,
        },
        [
            table(
                f"Medians over the starts, to {AT} of the removable loss",
                "network, solver",
                ["atol/rtol", "highest order", "seconds", "presentations", "steps", "mean order"],
                rows,
            )
        ],
        [
            "Only BDF 1 and 2 are A-stable, but the Jacobian of a gradient flow is minus a Hessian: symmetric, "
            "with real "
            "eigenvalues, and the negative real axis lies inside the stability regions of BDF 1 to 6.",
            "Orders help or hurt where order 5 takes less than 0.9 or more than 1.1 times the seconds of order 2, "
            "and the presentations too.",
        ],
    )


def _told(ratios: dict[str, list[Amount]], tolerances: list[str]) -> str:
    """The mean and the spread at each tolerance."""
    return ", ".join(f"{t} ({geometric_mean(ratios[t])}, from {span(ratios[t])})" for t in tolerances)


def _value(ratios: list[Amount], index: int) -> float:
    return ratios[index].value if index < len(ratios) else math.nan


def mean_order(order: np.ndarray) -> float:
    """Mean over the steps of a run; NaN where the solver does not tell."""
    known = order[np.isfinite(order) & (order > 0)]
    return float(known.mean()) if known.size else math.nan
