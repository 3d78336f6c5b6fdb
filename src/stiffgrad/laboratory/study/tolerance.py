"""Question 2: solver, tolerance and maximum order, and whether BDF above order 2 hurts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stiffgrad.laboratory.study._finding import Finding, dots, middle, show, table, times, typical
from stiffgrad.laboratory.study._lab import Lab
from stiffgrad.laboratory.study._runs import Run

KEY = "solver_and_tolerance"
QUESTION = (
    "Do vode, lsoda or cvode, loose tolerances and low orders make the stiff solver fast? Does BDF above order 2 hurt?"
)
TOLERANCES: dict[str, tuple[tuple[str, Any], ...]] = {
    "1e-8/1e-6": (("atol", 1e-8), ("rtol", 1e-6)),
    "1e-4/1e-4": (("atol", 1e-4), ("rtol", 1e-4)),
    "1e-2/1e-2": (("atol", 1e-2), ("rtol", 1e-2)),
    "schedule 1e-2 to 1e-6": (("atol", (1e-2, 1e-6)), ("rtol", (1e-2, 1e-6))),
}
ORDERS = (1, 2, 5)
DEEP = 0.99

Group = tuple[str, str, str, int]  # problem, solver, tolerance, order


def runs(lab: Lab) -> dict[Group, list[Run]]:
    """The whole grid on small problems; on digits vode alone, from one start, because a run takes seconds."""
    found: dict[Group, list[Run]] = {}
    for problem in lab.scale.problems:
        whole = problem in lab.scale.grid_problems
        if not whole and problem != "digits":
            continue
        for solver in lab.available(lab.scale.grid_solvers if whole else ("vode",)):
            for tolerance, options in TOLERANCES.items():
                for order in ORDERS:
                    chosen = (*options, ("max_order", order))
                    seeds = lab.seeds if whole else range(1)
                    group = [lab.main(problem, solver, seed, chosen, judge=False) for seed in seeds]
                    found[problem, solver, tolerance, order] = group
    return found


def answer(lab: Lab) -> Finding:
    """Ratios of time between orders, tolerances and solvers, all else equal."""
    found = runs(lab)
    walls = {group: middle(lab.costs(members, DEEP, "wall_seconds")) for group, members in found.items()}
    work = {group: middle(lab.costs(members, DEEP, "presentations")) for group, members in found.items()}
    orders = {group: [_mean_order(run) for run in members] for group, members in found.items()}
    high = _ratio(work, lambda g: (*g[:3], 2) if g[3] == 5 else None)
    first = _ratio(work, lambda g: (*g[:3], 2) if g[3] == 1 else None)
    loose = _ratio(walls, lambda g: (*g[:2], "1e-4/1e-4", g[3]) if g[2] == "1e-8/1e-6" else None)
    looser = _ratio(walls, lambda g: (*g[:2], "1e-4/1e-4", g[3]) if g[2] == "1e-2/1e-2" else None)
    plan = _ratio(walls, lambda g: (*g[:2], "1e-4/1e-4", g[3]) if g[2].startswith("schedule") else None)
    complex_ = _ratio(walls, lambda g: (g[0], "vode", *g[2:]) if g[1] == "zvode" else None)
    damping = _damping(lab)
    strict = typical([o for g, v in orders.items() if g[2] == "1e-8/1e-6" and g[3] == 5 for o in v])
    relaxed = typical([o for g, v in orders.items() if g[2] == "1e-2/1e-2" and g[3] == 5 for o in v])
    numbers = {
        "order5_over_order2_presentations": high,
        "order1_over_order2_presentations": first,
        "strict_over_1e-4_seconds": loose,
        "1e-2_over_1e-4_seconds": looser,
        "schedule_over_1e-4_seconds": plan,
        "zvode_over_vode_seconds": complex_,
        "mean_order_strict": strict,
        "mean_order_1e-2": relaxed,
        **damping,
    }
    rows = [
        [
            f"{p}, {s}",
            t,
            str(o),
            show(walls[p, s, t, o]),
            show(work[p, s, t, o]),
            show(middle([_steps(run) for run in found[p, s, t, o]])),
            show(typical(orders[p, s, t, o]), 2),
            f"{sum(np.isfinite(c) for c in lab.costs(found[p, s, t, o], DEEP, 'steps'))} of {len(found[p, s, t, o])}",
        ]
        for p, s, t, o in found
    ]
    panels = {
        p: {
            f"{s}, {t}": lab.costs(found[p, s, t, 5], DEEP, "wall_seconds") for q, s, t, o in found if q == p and o == 5
        }
        for p in dict.fromkeys(g[0] for g in found)
    }
    return Finding(
        KEY,
        QUESTION,
        _sentence(numbers),
        numbers,
        [
            table(
                "Median over the starts, to 99% of the removable loss",
                "problem, solver",
                ["atol/rtol", "maximum order", "seconds", "presentations", "steps in all", "mean order", "reached"],
                rows,
            )
        ],
        [
            dots(
                "Wall time to 99% of the removable loss, maximum order 5, one mark a start",
                "seconds of solving",
                panels,
            )
        ],
        [
            "Only BDF 1 and 2 are A-stable; but the Jacobian of a gradient flow is minus a Hessian, thus symmetric, so "
            "its eigenvalues are real, and the negative real axis lies inside the stability regions of BDF 1 to 6. The "
            "worry about high orders is about eigenvalues near the imaginary axis, which a gradient flow cannot have.",
            "Where the loss is not convex a mode grows as exp(h|lambda|). Implicit Euler gives 1/(1 - h|lambda|): "
            "the wrong "
            "sign beyond h|lambda| = 1, and decay instead of growth beyond 2. The numbers above say how often vode's "
            "steps were that long.",
        ],
    )


def _steps(run: Run) -> float:
    value = run.statistics["steps"]
    return np.nan if value is None else float(value)


def _mean_order(run: Run) -> float:
    order = run.trace["order"]
    known = np.isfinite(order) & (order > 0)
    return float(np.mean(order[known])) if known.any() else np.nan


def _ratio(costs: dict[Group, float], partner: Any) -> float:
    """Geometric mean of cost over the partner's cost, over the pairs in which both got there."""
    ratios = []
    for group, cost in costs.items():
        other = partner(group)
        if other in costs and np.isfinite(cost) and np.isfinite(costs[other]):
            ratios.append(cost / costs[other])
    return typical(ratios)


def _damping(lab: Lab) -> dict[str, float]:
    """How often the probed steps of vode met negative curvature, and were too long to follow the growth there."""
    products: list[float] = []
    probes = [
        probe
        for problem in lab.scale.problems
        for run in lab.mains(problem, "vode", probe=True)
        for probe in run.probes[1:]
    ]
    for probe in probes:
        least, most = float(probe["eigenvalue_min"]), float(probe["eigenvalue_max"])
        if least < -1e-8 * most:
            products.append(-least * float(probe["step_size"] or 0.0))
    return {
        "probed_points": len(probes),
        "share_with_negative_curvature": len(products) / max(1, len(probes)),
        "share_with_wrong_sign": sum(p > 1 for p in products) / max(1, len(probes)),
        "share_with_damped_growth": sum(p > 2 for p in products) / max(1, len(probes)),
        "largest_step_times_curvature": max(products, default=0.0),
    }


def _word(ratio: float, worse: str, better: str, equal: str) -> str:
    return "cannot be told" if np.isnan(ratio) else worse if ratio > 1.1 else better if ratio < 0.9 else equal


def _sentence(numbers: dict[str, float]) -> str:
    high, loose, looser = (
        numbers[k] for k in ("order5_over_order2_presentations", "strict_over_1e-4_seconds", "1e-2_over_1e-4_seconds")
    )
    parts: Sequence[str] = (
        f"Loosening to 1e-4 {_word(loose, 'pays', 'costs', 'changes little')}: strict tolerances take "
        f"{times(loose)} the "
        f"time; loosening on to 1e-2 {_word(looser, 'costs', 'pays again', 'changes little')} ({times(looser)}), "
        f"and the "
        f"schedule takes {times(numbers['schedule_over_1e-4_seconds'])} the time of 1e-4.",
        f"Strict tolerances do lead to higher orders (mean {show(numbers['mean_order_strict'], 2)} against "
        f"{show(numbers['mean_order_1e-2'], 2)})"
        if numbers["mean_order_strict"] > numbers["mean_order_1e-2"]
        else "Strict tolerances do not lead to higher orders here",
        f"but BDF above 2 {_word(high, 'does hurt', 'helps', 'does not hurt')}: allowing order 5 costs "
        f"{times(high)} the "
        f"presentations of order 2, and order 1 alone {times(numbers['order1_over_order2_presentations'])}.",
        f"zvode takes {times(numbers['zvode_over_vode_seconds'])} the time of vode.",
        f"Curvature was negative at {100 * numbers['share_with_negative_curvature']:.0f}% of the probed points, and at "
        f"{100 * numbers['share_with_damped_growth']:.0f}% vode's step was so long that implicit Euler would damp "
        f"what grows.",
    )
    return f"{parts[0]} {parts[1]}, {parts[2]} {parts[3]} {parts[4]}"
