"""What an integrator made for gradient flows changes."""

from __future__ import annotations

import numpy as np

from stiffgrad.laboratory.study import original, stiff
from stiffgrad.laboratory.study._finding import Finding, dots, middle, show, table, times, typical, within
from stiffgrad.laboratory.study._lab import DESCENT, SHARES, Lab
from stiffgrad.laboratory.study._runs import Run

KEY = "integrators"
QUESTION = "What does an integrator made for gradient flows change? rosenbrock and auto on all of it."
OURS = ("rosenbrock", "auto")
DEEP = 0.999
RESTS = (1e-3, 1e-5)


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """Everything that ran on a problem until it came to rest."""
    found = {name: lab.mains(problem, name) for name in lab.available(OURS)}
    found |= {"zvode (original)": original.runs(lab, problem)["zvode"], **stiff.runs(lab, problem)}
    found |= {name: lab.mains(problem, name) for name in lab.available(("lsoda", "cvode", "lbfgs"))}
    return found | {name: lab.mains(problem, name) for name in DESCENT}


def answer(lab: Lab) -> Finding:
    """Time to 99.9% of the removable loss, and to small gradients, against everything else."""
    rows, panels, over_best, over_original, numbers = [], {}, {}, {}, {}
    for problem in lab.scale.problems:
        found = runs(lab, problem)
        walls = {name: middle(lab.costs(group, DEEP, "wall_seconds")) for name, group in found.items()}
        panels[problem] = {name: lab.costs(group, DEEP, "wall_seconds") for name, group in found.items()}
        others = {name: wall for name, wall in walls.items() if name not in OURS}
        fastest = min(others, key=lambda name: others[name])
        ours = min((walls[name] for name in OURS if name in walls), default=np.inf)
        over_best[problem] = others[fastest] / ours if np.isfinite(ours) else 0.0
        over_original[problem] = walls["zvode (original)"] / ours if np.isfinite(ours) else 0.0
        numbers[problem] = {
            "seconds": walls,
            "fastest_other": fastest,
            "fastest_other_over_ours": over_best[problem],
            "original_over_ours": over_original[problem],
        }
        for name, group in found.items():
            rests = [middle([run.cost("gradient_norm", rest, "wall_seconds") for run in group]) for rest in RESTS]
            deep = [show(middle(lab.costs(group, share, "wall_seconds"))) for share in SHARES[2:]]
            steps = [show(middle(lab.costs(group, DEEP, cost))) for cost in ("steps", "presentations")]
            rows.append([f"{problem}, {name}", *deep, *steps, *(show(r) for r in rests), str(_rested(group))])
    return Finding(
        KEY,
        QUESTION,
        _sentence(over_best, over_original, numbers),
        numbers,
        [
            table(
                "Median over the starts",
                "problem, method",
                [
                    "seconds to 99%",
                    "seconds to 99.9%",
                    "steps to 99.9%",
                    "presentations to 99.9%",
                    *(f"seconds to gradient norm {r:g}" for r in RESTS),
                    "starts that came to rest (gradient norm 1e-6)",
                ],
                rows,
                "Shares of the loss that training can remove; missed: not within the budget by most starts.",
            )
        ],
        [dots("Wall time to 99.9% of the removable loss, one mark a start", "seconds of solving", panels)],
        [
            "rosenbrock and auto run with their defaults on every problem; gradient descent has its tuned learning "
            "rate, and "
            "the time that tuning took is not counted here."
        ],
    )


def _rested(group: list[Run]) -> int:
    return sum(run.outcome == "TARGET" for run in group)


def _sentence(
    over_best: dict[str, float], over_original: dict[str, float], numbers: dict[str, dict[str, object]]
) -> str:
    faster = [p for p, r in over_best.items() if r > 1]
    slower = [p for p, r in over_best.items() if r <= 1]
    alone = [p for p, r in over_best.items() if np.isinf(r)]
    told = ", ".join(f"{p} {times(r)} ({numbers[p]['fastest_other']})" for p, r in over_best.items() if np.isfinite(r))
    text = (
        f"To 99.9% of the removable loss ours are faster than the fastest of all the others on {len(faster)} of "
        f"{len(over_best)} problems (time of the fastest other over ours: {told or 'none got there'})"
    )
    text += f"; on {within(alone)} nothing else got there" if alone else ""
    text += f"; on {within(slower)} another method was at least as fast" if slower else ""
    lost = [p for p, r in over_original.items() if np.isinf(r)]
    text += f". The original zvode takes {times(typical(list(over_original.values())))} our time where it gets there"
    return text + (f", and misses on {within(lost)}." if lost else ".")
