"""The original finding: fewer iterations than gradient descent, yet more time."""

from __future__ import annotations

from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import UNKNOWN, Amount, median, never, span
from stiffgrad.laboratory.study._finding import Finding, dots, table
from stiffgrad.laboratory.study._lab import ORIGINAL, SHARES, Lab, level
from stiffgrad.laboratory.study._networks import NETWORKS

KEY = "original"
TITLE = "The original finding"
QUESTION = (
    "Does zvode (atol 1e-8, rtol 1e-6, finite-difference Jacobian) need fewer iterations than gradient descent and its "
    "variants, and yet more time?"
)
AT = "99%"
COSTS = {
    "iterations": "steps",
    "gradients": "rhs_evaluations",
    "presentations": "presentations",
    "seconds": "wall_seconds",
}


def plan(lab: Lab) -> None:
    """Zvode and all variants of descent, on every network."""
    for network in lab.scale.problems:
        lab.want(network, [ORIGINAL, *map(Method, lab.scale.descent)])


def fastest(amounts: dict[str, Amount]) -> Amount:
    """The smallest known cost; where none is known the largest bound says the least."""
    known = [a for a in amounts.values() if a.known]
    missed = [a for a in amounts.values() if not a.known]
    return min(known, key=lambda a: a.value) if known else min(missed, key=lambda a: a.value, default=UNKNOWN)


def answer(lab: Lab) -> Finding:
    """Compare iterations and time at 99% of the loss that training can remove."""
    plain, best, slower, panels, rows, tuning = {}, {}, {}, {}, [], []
    names = {"zvode": ORIGINAL, **{name: Method(name) for name in lab.scale.descent}}
    for network in lab.scale.problems:
        problem = NETWORKS[network].name
        medians = {
            cost: {name: median(lab.costs(problem, method, AT, column)) for name, method in names.items()}
            for cost, column in COSTS.items()
        }
        steps, walls = medians["iterations"], medians["seconds"]
        descent = {name: wall for name, wall in walls.items() if name != "zvode"}
        plain[network] = steps["sgd"] / steps["zvode"]
        best[network] = fastest({n: s for n, s in steps.items() if n != "zvode"}) / steps["zvode"]
        slower[network] = walls["zvode"] / fastest(descent)
        panels[network] = {name: lab.costs(problem, method, AT) for name, method in names.items()}
        rows += [[f"{network}, {name}", *(medians[cost][name] for cost in COSTS)] for name in names]
        tuning += [r.data["tuning_seconds"] for n in lab.scale.descent for r in lab.results(problem, Method(n))[:1]]
    fewer = [p for p, ratio in plain.items() if ratio.value > 1 and ratio.bound != "≤"]
    more = [p for p, ratio in slower.items() if ratio.value > 1 and ratio.bound != "≤"]
    fewest = [p for p, ratio in best.items() if ratio.value > 1 and ratio.bound != "≤"]
    total = len(plain)
    spent = [seconds for seconds in tuning if seconds is not None]
    each = f" ({min(spent):.2g} to {max(spent):.2g} s for one variant on one network)" if spent else ""
    accuracy = _accuracies(lab)
    return Finding(
        "reproduced"
        if len(fewer) == len(more) == total
        else "partly reproduced"
        if fewer and more
        else "not reproduced",
        [
            f"To {AT} of the loss that training can remove, plain gradient descent took {span(plain.values())} times "
            f"zvode's iterations (more on {len(fewer)} of {total} networks), and the variant with the fewest took "
            f"{span(best.values())} times as many (more on {len(fewest)}).",
            f"Zvode took {span(slower.values())} times the seconds of the fastest variant (longer on {len(more)} of "
            f"{total}){never(slower)}.",
            f"The variants have tuned learning rates, which took {sum(spent):.0f} s in all{each}; zvode has nothing to "
            "tune.",
        ],
        dots(f"Seconds of solving to {AT} of the removable loss, one mark a start", "seconds", panels),
        {"descent_over_zvode_iterations": plain, "fewest_over_zvode_iterations": best, "zvode_over_fastest": slower},
        [
            table(f"Medians over the starts, to {AT} of the removable loss", "network, method", list(COSTS), rows),
            table("Training accuracy there, along the path of vode", "network", [level(s) for s in SHARES], accuracy),
        ],
        [
            "The loss that training can remove is the loss at the start less the lowest that L-BFGS, rosenbrock "
            "and vode "
            "reached from it.",
            "An iteration of zvode is an accepted step; of gradient descent, an update. ≥ marks a target that "
            "was missed "
            "within the budget, never a run that came to rest above it.",
        ],
    )


def _accuracies(lab: Lab) -> list[list[str]]:
    rows = []
    for network in lab.scale.problems:
        problem = NETWORKS[network]
        if not problem.classes:
            continue
        found = []
        for share in SHARES:
            seen = []
            for result in lab.results(problem.name, Method("vode")):
                target = result.data["targets"][level(share)]["loss"]
                met = [score["train"] for score in result.data["scores"] if score["loss"] <= target]
                seen += met[:1]
            found.append(f"{100 * sorted(seen)[len(seen) // 2]:.1f}%" if seen else "–")
        rows.append([network, *found])
    return rows
