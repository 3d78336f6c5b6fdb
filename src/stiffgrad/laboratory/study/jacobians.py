"""Question 5: finite differences, automatic differentiation, or Gauss-Newton."""

from __future__ import annotations

import numpy as np

from stiffgrad.laboratory.study._finding import Finding, dots, middle, show, table, times, typical
from stiffgrad.laboratory.study._lab import Lab
from stiffgrad.laboratory.study._runs import Run

KEY = "jacobian"
QUESTION = "Finite differences or automatic differentiation? The same solver (vode, 1e-4) with each Jacobian."
KINDS = ("autodiff", "finite-difference", "gauss-newton")
DEEP = 0.99


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """One solver, three Jacobians."""
    found = {"autodiff": lab.mains(problem, "vode", probe=True)}
    return found | {kind: lab.mains(problem, "vode", (("jacobian", kind),)) for kind in KINDS[1:]}


def answer(lab: Lab) -> Finding:
    """Ratios to automatic differentiation: time, right sides, steps, and how far the ends lie apart."""
    rows, panels = [], {}
    ratios: dict[str, dict[str, list[float]]] = {k: {"wall_seconds": [], "steps": []} for k in KINDS[1:]}
    apart: list[float] = []
    for problem in lab.scale.problems:
        found = runs(lab, problem)
        panels[problem] = {kind: lab.costs(group, DEEP, "wall_seconds") for kind, group in found.items()}
        costs = {
            k: {
                c: middle(lab.costs(g, DEEP, c))
                for c in ("wall_seconds", "steps", "rhs_evaluations", "jacobian_evaluations", "presentations")
            }
            for k, g in found.items()
        }
        for kind, group in found.items():
            gaps = [_gap(a, b) for a, b in zip(found["autodiff"], group, strict=True)]
            rows.append([f"{problem}, {kind}", *(show(v) for v in costs[kind].values()), show(_middle_known(gaps))])
            apart += [g for g in gaps if kind == "finite-difference" and np.isfinite(g)]
        for kind in KINDS[1:]:
            for cost in ratios[kind]:
                ratios[kind][cost].append(
                    costs[kind][cost] / costs["autodiff"][cost] if np.isfinite(costs["autodiff"][cost]) else np.nan
                )
    numbers = {
        f"{kind}_over_autodiff_{cost}": {
            "typical": typical(values),
            "each": dict(zip(lab.scale.problems, values, strict=True)),
        }
        for kind, by_cost in ratios.items()
        for cost, values in by_cost.items()
    }
    return Finding(
        KEY,
        QUESTION,
        _sentence(ratios, lab.scale.problems, apart),
        {**numbers, "distance_of_ends": _middle_known(apart)},
        [
            table(
                "Median over the starts, to 99% of the removable loss",
                "problem, Jacobian",
                ["seconds", "steps", "right sides", "Jacobians", "presentations", "end: distance from autodiff's, %"],
                rows,
                "Right sides include those that make a finite-difference Jacobian. The distance is between end "
                "points of "
                "the same start that both came to rest, as a percentage of the weights' norm.",
            )
        ],
        [dots("Wall time to 99% of the removable loss, one mark a start", "seconds of solving", panels)],
    )


def _gap(a: Run, b: Run) -> float:
    if a.outcome != "TARGET" or b.outcome != "TARGET":
        return np.nan
    return 100 * float(np.linalg.norm(a.w - b.w) / np.linalg.norm(a.w))


def _middle_known(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else np.nan


def _sentence(ratios: dict[str, dict[str, list[float]]], problems: tuple[str, ...], apart: list[float]) -> str:
    slow = ratios["finite-difference"]["wall_seconds"]
    steps = typical(ratios["finite-difference"]["steps"])
    missed = [p for p, r in zip(problems, slow, strict=True) if np.isinf(r)]
    ratio = typical(slow)
    word = "The Jacobian's kind changes the time little"
    if ratio > 1.1 or (missed and not ratio < 0.9):
        word = "Automatic differentiation pays"
    elif ratio < 0.9:
        word = "Finite differences are not what made it slow"
    each = ", ".join(f"{p} {r:.2g}" for p, r in zip(problems, slow, strict=True) if np.isfinite(r))
    text = (
        f"{word}: vode with finite differences takes {times(ratio)} the time of the same solver with autodiff "
        f"({each}), in "
        f"{times(steps)} the steps"
    )
    text += f", and misses the level on {', '.join(missed)}" if missed else ""
    text += (
        f"; the ends lie {show(_middle_known(apart), 2)}% apart, so the path is "
        f"{'the same' if _middle_known(apart) < 1 else 'not always the same'}"
        if apart
        else ""
    )
    gauss = ratios["gauss-newton"]
    lost = [p for p, r in zip(problems, gauss["wall_seconds"], strict=True) if np.isinf(r)]
    text += f". With the Gauss-Newton matrix it takes {times(typical(gauss['wall_seconds']))} the time"
    return text + (f" and misses on {', '.join(lost)}." if lost else ".")
