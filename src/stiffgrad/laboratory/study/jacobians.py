"""Suspect 5: finite differences, automatic differentiation, or Gauss-Newton."""

from __future__ import annotations

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import Amount, geometric_mean, median, span
from stiffgrad.laboratory.study._finding import Finding, dots, table
from stiffgrad.laboratory.study._lab import Lab
from stiffgrad.laboratory.study._networks import NETWORKS

KEY = "jacobian"
TITLE = "5. Which Jacobian?"
QUESTION = "Finite differences or automatic differentiation? The same solver (vode, 1e-4) with each Jacobian."
METHODS = {
    "autodiff": Method("vode"),
    "finite-difference": Method.of(("vode", {"jacobian": "finite-difference"})),
    "gauss-newton": Method.of(("vode", {"jacobian": "gauss-newton"})),
}
AT = "99%"
COSTS = ("wall_seconds", "steps", "rhs_evaluations", "jacobian_evaluations", "presentations")


def plan(lab: Lab) -> None:
    """One solver, three Jacobians."""
    for network in lab.scale.problems:
        lab.want(network, METHODS.values())


def answer(lab: Lab) -> Finding:
    """Ratios to automatic differentiation: time, steps and work."""
    rows, panels = [], {}
    ratios: dict[str, dict[str, list[Amount]]] = {kind: {cost: [] for cost in COSTS} for kind in METHODS}
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        costs = {
            kind: {cost: median(lab.costs(problem, method, AT, cost)) for cost in COSTS}
            for kind, method in METHODS.items()
        }
        panels[network] = {kind: lab.costs(problem, method, AT) for kind, method in METHODS.items()}
        rows += [[f"{network}, {kind}", *found.values()] for kind, found in costs.items()]
        for kind, found in costs.items():
            for cost in COSTS:
                ratios[kind][cost].append(found[cost] / costs["autodiff"][cost])
    slow, steps = ratios["finite-difference"]["wall_seconds"], ratios["finite-difference"]["steps"]
    gauss = ratios["gauss-newton"]
    mean = geometric_mean(slow)
    slower = [ratio for ratio in slow if ratio.value > 1.1 and ratio.bound != "≤"]
    return Finding(
        "right" if len(slower) == len(slow) else "partly" if slower else "wrong",
        [
            f"Finite differences take {mean} times the seconds of autodiff ({span(slow)}), and are slower by a "
            "tenth or "
            f"more on {len(slower)} of {len(slow)} networks.",
            f"They take {geometric_mean(steps)} times the steps ({span(steps)}): 1 is the same path.",
            f"With the Gauss-Newton matrix vode takes {geometric_mean(gauss['wall_seconds'])} times the seconds "
            f"({span(gauss['wall_seconds'])}) and {geometric_mean(gauss['presentations'])} times the presentations "
            f"({span(gauss['presentations'])}).",
        ],
        dots(f"Seconds of solving to {AT} of the removable loss, one mark a start", "seconds", panels),
        {"over_autodiff": ratios},
        [
            table(
                f"Medians over the starts, to {AT} of the removable loss",
                "network, Jacobian",
                ["seconds", "steps", "right sides", "Jacobians", "presentations"],
                rows,
            )
        ],
        ["Right sides include those that make a finite-difference Jacobian."],
    )
