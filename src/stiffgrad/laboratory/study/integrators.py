"""What an integrator made for gradient flows changes, and which solver to take for what."""

from __future__ import annotations

import math

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import Amount, geometric_mean, median, never, span
from stiffgrad.laboratory.study import minima
from stiffgrad.laboratory.study._finding import Finding, dots, listed, table
from stiffgrad.laboratory.study._lab import ORIGINAL, Lab, Methods, methods
from stiffgrad.laboratory.study._networks import NETWORKS
from stiffgrad.laboratory.study.original import fastest

KEY = "integrators"
TITLE = "Integrators made for gradient flows"
QUESTION = "What does an integrator made for gradient flows change, and which solver is for what?"
OURS = ("auto", "rosenbrock", "exponential", "chebyshev", "ros2")
OTHERS = ("vode", "lsoda", "cvode", "dopri5", "lbfgs", "optax-lbfgs")
AT = "99.9%"


def contestants(lab: Lab) -> Methods:
    """Ours, the ODE solvers, L-BFGS and descent."""
    return {"zvode (original)": ORIGINAL, **methods(*OURS, *OTHERS, *lab.scale.descent)}


def plan(lab: Lab) -> None:
    """Everything until it rests."""
    for network in lab.scale.problems:
        lab.want(network, contestants(lab).values())


def answer(lab: Lab) -> Finding:
    """Time to 99.9% of the removable loss, and to rest, of ours against everything else."""
    rows, panels = [], {}
    over_best: dict[str, Amount] = {}
    over_original: dict[str, Amount] = {}
    best: dict[str, str] = {}
    starts: dict[str, list[Amount]] = {}  # the same ratio for each start
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        every = contestants(lab)
        walls = {name: median(lab.costs(problem, method, AT)) for name, method in every.items()}
        panels[network] = {name: lab.costs(problem, method, AT) for name, method in every.items()}
        ours = fastest({name: walls[name] for name in OURS if name in walls})
        theirs = fastest({name: wall for name, wall in walls.items() if name not in OURS})
        best[network] = next(name for name, wall in walls.items() if wall == theirs and name not in OURS)
        own = next(name for name, wall in walls.items() if wall == ours and name in OURS)
        pairs = (lab.costs(problem, every[name], AT) for name in (best[network], own))
        starts[network] = [other / mine for other, mine in zip(*pairs, strict=True)]
        over_best[network] = theirs / ours
        over_original[network] = walls["zvode (original)"] / ours
        for name, method in every.items():
            found = [median(lab.costs(problem, method, AT, c)) for c in ("steps", "presentations")]
            rests = [median(lab.costs(problem, method, at)) for at in ("easy", "deep")]
            rested = sum(result.outcome == "TARGET" for result in lab.results(problem, method))
            rows.append([f"{network}, {name}", walls[name], *found, *rests, rested])
    faster = [p for p, ratio in over_best.items() if ratio.value > 1.1 and ratio.bound != "≤"]
    auto = {
        p: median(lab.costs(NETWORKS[p].name, Method("vode"), AT))
        / median(lab.costs(NETWORKS[p].name, Method("auto"), AT))
        for p in lab.scale.problems
    }
    told = listed([f"{ratio} on {p} ({best[p]}; {_spread(starts[p])})" for p, ratio in over_best.items()])
    return Finding(
        f"faster on {len(faster)} of {len(over_best)} networks",
        [
            f"To {AT} of the removable loss the fastest of the others takes so many times as long as the fastest of "
            f"ours: {told}, with the spread over the starts; a tenth longer or more on {len(faster)} of "
            f"{len(over_best)} networks.",
            f"The original zvode takes {span(over_original.values())} times our seconds (mean "
            f"{geometric_mean(over_original.values())}){never(over_original)}; vode takes {span(auto.values())} times "
            f"those of auto (mean {geometric_mean(auto.values())}){never(auto)}.",
            _follower(lab),
        ],
        dots(f"Seconds of solving to {AT} of the removable loss, one mark a start", "seconds", panels),
        {"fastest_other_over_ours": over_best, "original_over_ours": over_original, "vode_over_auto": auto},
        [
            table(
                "Medians over the starts",
                "network, method",
                [
                    f"seconds to {AT}",
                    "steps",
                    "presentations",
                    "seconds to gradient norm 1e-2",
                    "to 1e-6",
                    "starts at rest",
                ],
                rows,
            )
        ],
        [
            "All numbers are float64, also those of ours. Ours run with their defaults everywhere; the time "
            "that tuning "
            "descent took is not counted. ≥ marks a target that was missed within the budget, never a run that came "
            "to rest above it."
        ],
    )


def _spread(starts: list[Amount]) -> str:
    """Over the starts, and how many they are where not both got there from all."""
    known = sum(math.isfinite(ratio.value) for ratio in starts)
    return span(starts) + ("" if known == len(starts) else f" from {known} of {len(starts)} starts")


def _follower(lab: Lab) -> str:
    """Which solver to take for the minimum of the flow itself: the soonest at rest of those that never strayed."""
    true, other, _ = minima.PARTS
    never = [name for name, fate in minima.fates(lab).items() if fate[true] and not fate[other]]
    rests: dict[str, list[Amount]] = {}
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        vode = median(lab.costs(problem, Method("vode"), "deep"))
        for name in never:
            ratio = median(lab.costs(problem, minima.contestants()[name], "deep")) / vode
            rests.setdefault(name, []).append(ratio)
    means = {name: geometric_mean(ratios) for name, ratios in rests.items()}
    known = {name: mean for name, mean in means.items() if mean.value > 0 and mean.bound != "≥"}
    if not known:
        return "Which solver is the cheapest that ends where the flow does cannot be told from these runs."
    best = min(known, key=lambda name: known[name].value)
    found = f"Of the solvers that never ended elsewhere than the flow, {best} came to rest soonest"
    return (
        f"{found}." if best == "vode" else f"{found}: it took {known[best]} times vode's seconds ({span(rests[best])})."
    )


__all__ = ["KEY", "QUESTION", "TITLE", "answer", "plan"]
