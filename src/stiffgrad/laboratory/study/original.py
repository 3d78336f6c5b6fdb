"""Question 0: the original finding, fewer iterations yet more time than gradient descent."""

from __future__ import annotations

from typing import Any

import numpy as np

from stiffgrad.laboratory.study._finding import Finding, dots, middle, over, show, table, within
from stiffgrad.laboratory.study._lab import DESCENT, ORIGINAL, SHARES, Lab
from stiffgrad.laboratory.study._runs import Run

KEY = "original"
QUESTION = (
    "The original finding: does zvode (atol 1e-8, rtol 1e-6, finite-difference Jacobian) need fewer iterations than "
    "gradient descent and its variants, and yet more time?"
)
DEEP = 0.99
COSTS = (("iterations", "steps"), ("presentations", "presentations"), ("wall seconds", "wall_seconds"))


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """The solver of the original experiment and its rivals, each from all starts."""
    found = {"zvode": lab.mains(problem, "zvode", ORIGINAL)}
    return found | {name: lab.mains(problem, name) for name in DESCENT}


def answer(lab: Lab) -> Finding:
    """Compare iterations and time at 99% of the loss that training can remove."""
    rows, panels, plain, best, slower, numbers = [], {}, {}, {}, {}, {}
    for problem in lab.scale.problems:
        found = runs(lab, problem)
        panels[problem] = {name: lab.costs(group, DEEP, "wall_seconds") for name, group in found.items()}
        rows += [_row(lab, problem, name, group) for name, group in found.items()]
        steps = {name: middle(lab.costs(group, DEEP, "steps")) for name, group in found.items()}
        walls = {name: middle(lab.costs(group, DEEP, "wall_seconds")) for name, group in found.items()}
        plain[problem] = over(steps["sgd"], steps["zvode"])
        best[problem] = over(min(steps[name] for name in DESCENT), steps["zvode"])
        slower[problem] = over(walls["zvode"], min(walls[name] for name in DESCENT))
        numbers[problem] = {"iterations": steps, "wall_seconds": walls}
    columns = [f"{words} to {100 * share:g}%" for share in SHARES for words, _ in COSTS]
    return Finding(
        KEY,
        QUESTION,
        sentence(plain, best, slower),
        {
            "share": DEEP,
            "problems": numbers,
            "plain_descent_over_zvode_iterations": plain,
            "best_descent_over_zvode_iterations": best,
            "zvode_over_best_descent_seconds": slower,
        },
        [
            table(
                "Median over the starts, to each share of the loss that training can remove",
                "method",
                [*columns, "learning rate", "tuning, seconds"],
                rows,
                "missed: not within the budget by most starts. The loss that training can remove is the loss at the "
                "start less the lowest that L-BFGS, rosenbrock and vode reached from it.",
            ),
            _accuracies(lab),
        ],
        [
            dots(
                "Wall time to 99% of the removable loss, one mark a start; misses stand at the right edge",
                "seconds of solving",
                panels,
            )
        ],
        [
            "Learning rates are the best of a grid, found on another start; zvode has nothing to tune.",
            "An iteration of zvode is an accepted step; of gradient descent, an update.",
        ],
    )


def _row(lab: Lab, problem: str, name: str, group: list[Run]) -> list[str]:
    cells = [show(middle(lab.costs(group, share, cost))) for share in SHARES for _, cost in COSTS]
    if name not in DESCENT:
        return [f"{problem}, {name}", *cells, "–", "–"]
    tuned = lab.learning_rate(problem, name)
    return [f"{problem}, {name}", *cells, f"{tuned['learning_rate']:g}", show(tuned["tuning_seconds"], 2)]


def _accuracies(lab: Lab) -> dict[str, Any]:
    """What the shares mean in accuracy, along zvode's path (or vode's, where zvode did not get there)."""
    rows = []
    for problem in lab.scale.problems:
        if not problem.startswith(("iris", "digits", "encoder")):
            continue
        seen: dict[float, list[float]] = {share: [] for share in SHARES}
        for seed in lab.seeds:
            _, levels = lab.levels(problem, seed)
            points = lab.main(problem, "vode", seed, probe=True).points
            for share, level in levels.items():
                below = np.flatnonzero(points["loss"] <= level)
                if below.size:
                    seen[share].append(100 * points["score"][below[0]])
        rows.append([problem, *(show(float(np.median(v)) if v else np.nan) + " %" for v in seen.values())])
    return table(
        "Training accuracy at these shares, along the path of vode",
        "problem",
        [f"{100 * share:g}%" for share in SHARES],
        rows,
    )


def sentence(plain: dict[str, float], best: dict[str, float], slower: dict[str, float]) -> str:
    """The answer from three ratios for each problem: inf where the rival missed, or for `slower` where zvode did.

    Parameters
    ----------
    plain, best : dict
        Iterations of plain gradient descent, and of the variant that needs fewest, over those of zvode.
    slower : dict
        Time of zvode over that of the fastest variant.
    """
    total = len(slower)
    missed = [p for p, r in slower.items() if np.isinf(r)]
    less = [p for p, r in plain.items() if r > 1]
    more = [p for p, r in slower.items() if r > 1]
    both = [p for p in less if p in more]
    faster = [p for p, r in slower.items() if r <= 1]
    words = {0: "Not reproduced", total: "Reproduced"}.get(len(both), "Partly reproduced")
    text = (
        f"{words}: to 99% of the loss that training can remove, plain gradient descent needed more iterations than "
        f"zvode on "
        f"{len(less)} of {total} problems{_span(plain, 'as many')}, the best of seven tuned variants on "
        f"{sum(r > 1 for r in best.values())}{_span(best, 'as many')}; and zvode took more wall time than the fastest "
        f"variant on {len(more)}{_span(slower, 'the time')}."
    )
    if missed:
        text += f" On {within(missed)} zvode did not get there within the budget from most starts."
    return text + (f" It was faster as well on {within(faster)}." if faster else "")


def _span(ratios: dict[str, float], what: str) -> str:
    """Smallest to largest of the ratios of those that both got there."""
    known = sorted(r for r in ratios.values() if np.isfinite(r) and r > 0)
    if not known:
        return ""
    return (
        f" ({known[0]:.2g} times {what})" if len(known) == 1 else f" ({known[0]:.2g} to {known[-1]:.2g} times {what})"
    )
