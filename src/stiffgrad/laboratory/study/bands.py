"""Question 4: what the stiff solver spends its time on above 80% accuracy."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from stiffgrad.laboratory.study._finding import Finding, lines, show, stacked, table
from stiffgrad.laboratory.study._lab import ORIGINAL, Lab
from stiffgrad.laboratory.study._runs import Run, objective_of
from stiffgrad.objective import Objective

KEY = "above_80_percent"
QUESTION = "What happens above 80% accuracy: Jacobian evaluations, or steps rejected because Newton failed?"
BANDS = (0.0, 0.8, 0.9, 0.95, 0.99, 1.01)
NAMES = ("up to 80%", "80 to 90%", "90 to 95%", "95 to 99%", "above 99%")
PARTS = ("Jacobians", "factorizations", "right sides", "solver itself")
COUNTS = (
    "steps",
    "jacobian_evaluations",
    "error_test_failures",
    "newton_failures",
    "newton_iterations",
    "factorizations",
    "rhs_evaluations",
    "wall_seconds",
)
CLASSIFIERS = ("digits", "iris", "encoder")


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """The solver of the original experiment, and vode as recommended."""
    return {
        "zvode (original)": lab.mains(problem, "zvode", ORIGINAL),
        "vode": lab.mains(problem, "vode", probe=True),
    }


def answer(lab: Lab) -> Finding:
    """Counts and shares of time in each band of training accuracy."""
    rows, bars, numbers, curves = [], {}, {}, {}
    for problem in [p for p in CLASSIFIERS if p in lab.scale.problems]:
        seconds = _unit_seconds(lab, problem)
        for name, group in runs(lab, problem).items():
            spent = [spent_in_bands(run) for run in group]
            means = [_mean([s[band] for s in spent]) for band in range(len(NAMES))]
            above = np.sum([np.nan_to_num(m) for m in means[1:]], axis=0)
            for band, mean in zip(NAMES, means, strict=True):
                parts = shares(mean, seconds, "original" in name)
                rows.append([f"{problem}, {name}", band, *(show(v) for v in mean), *(_percent(s) for s in parts)])
            parts = shares(above, seconds, "original" in name)
            bars[f"{problem}, {name}"] = parts
            numbers[f"{problem}, {name}"] = {
                **dict(zip(COUNTS, above[: len(COUNTS)], strict=True)),
                "shares": dict(zip(PARTS, parts, strict=True)),
            }
            first = group[0].trace
            moving = first["flow_time"] > 0
            curves[f"{problem}, {name}"] = (first["flow_time"][moving], first["step_size"][moving])
    return Finding(
        KEY,
        QUESTION,
        _sentence(numbers),
        numbers,
        [
            table(
                "Mean over the starts, in each band of training accuracy",
                "problem, solver",
                [
                    "accuracy",
                    *(c.replace("_", " ") for c in COUNTS),
                    "order",
                    "step size",
                    *(f"share of time: {p}" for p in PARTS),
                ],
                rows,
                "Shares are counts times the measured cost of one, against the wall time in the band. A band that "
                "no run "
                "entered is empty; a solver that cannot tell shows a dash.",
            )
        ],
        [
            stacked("Where the wall time above 80% accuracy goes", PARTS, bars),
            lines("Step size along the flow, first start", "flow time", "step size", curves),
        ],
    )


def _mean(counts: list[np.ndarray | None]) -> np.ndarray:
    """Mean over the runs that were in a band, entry by entry; NaN where none tells."""
    known = np.array([c for c in counts if c is not None])
    if not known.size:
        return np.full(len(COUNTS) + 2, np.nan)
    tells = np.isfinite(known)
    return np.where(
        tells.any(axis=0), np.where(tells, known, 0.0).sum(axis=0) / np.maximum(tells.sum(axis=0), 1), np.nan
    )


def _percent(share: float) -> str:
    return "–" if np.isnan(share) else f"{100 * share:.0f}%"


def spent_in_bands(run: Run) -> list[np.ndarray | None]:
    """Counts, mean order and mean step size in each band; None where the run never was in it."""
    best = np.maximum.accumulate(np.nan_to_num(run.points["score"]))
    where = np.searchsorted(run.points["steps"], run.trace["steps"], side="right") - 1
    score = best[np.clip(where, 0, len(best) - 1)]
    found: list[np.ndarray | None] = []
    for low, high in itertools.pairwise(BANDS):
        inside = np.flatnonzero((score >= low) & (score < high))
        if not inside.size:
            found.append(None)
            continue
        first, last = max(0, inside[0] - 1), inside[-1]
        counts = [_difference(run.trace.get(name), first, last) for name in COUNTS]
        rows = inside[inside > 0]
        means = [
            float(np.nanmean(run.trace[name][rows]))
            if rows.size and np.isfinite(run.trace[name][rows]).any()
            else np.nan
            for name in ("order", "step_size")
        ]
        found.append(np.array([*counts, *means]))
    return found


def _difference(column: Any, first: int, last: int) -> float:
    if column is None or not np.isfinite(column[1:]).any():
        return np.nan
    filled = np.nan_to_num(column)
    return float(filled[last] - filled[first])


def shares(counts: np.ndarray, seconds: dict[str, float], differences: bool) -> list[float]:
    """Shares of the band's wall time; what the three parts leave is the solver itself.

    With `differences` a Jacobian is made of n gradients, which the right sides count as well, and the factorization is
    complex, as in zvode.
    """
    known = dict(zip(COUNTS, np.nan_to_num(counts), strict=False))
    wall = known["wall_seconds"]
    if not wall > 0:
        return [np.nan] * len(PARTS)
    inside = known["jacobian_evaluations"] * seconds["weights"] if differences else 0.0
    jacobians = inside * seconds["gradient"] if differences else known["jacobian_evaluations"] * seconds["hessian"]
    factorizations = known["factorizations"] * seconds["complex_lu" if differences else "lu"]
    sides = max(0.0, known["rhs_evaluations"] - inside) * seconds["gradient"]
    parts = np.array([jacobians, factorizations, sides]) / wall
    parts = parts / max(1.0, parts.sum())
    return [*parts.tolist(), float(1.0 - parts.sum())]


def _unit_seconds(lab: Lab, problem: str) -> dict[str, float]:
    """What one gradient, one Hessian and one factorization take here, in seconds."""

    def make() -> dict[str, float]:
        objective = objective_of(problem, 0)
        matrix = np.asarray(objective.hessian(objective.w0)) + np.eye(objective.size)
        return {
            "weights": float(objective.size),
            "gradient": _fastest(lambda: _gradient(objective)),
            "hessian": _fastest(lambda: np.array(objective.hessian(objective.w0))),
            "lu": _fastest(lambda: scipy.linalg.lu_factor(matrix)),
            "complex_lu": _fastest(lambda: scipy.linalg.lu_factor(matrix.astype(complex))),
        }

    return lab.store.get({"kind": "costs", "problem": problem}, make)


def _gradient(objective: Objective) -> np.ndarray:
    return np.asarray(objective.value_and_gradient(np.asarray(objective.w0))[1])


def _fastest(call: Callable[[], Any], repeats: int = 7) -> float:
    call()
    seen = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        seen.append(time.perf_counter() - begin)
    return float(np.median(seen))


def _sentence(numbers: dict[str, dict[str, Any]]) -> str:
    told = []
    for name, found in numbers.items():
        known = {part: share for part, share in found["shares"].items() if np.isfinite(share)}
        if not known or not found["steps"]:
            continue
        largest = max(known, key=lambda part: known[part])
        told.append(
            f"on {name.replace(', ', ' ')} {show(found['steps'])} steps took {show(found['jacobian_evaluations'])} "
            f"Jacobians, "
            f"{show(found['newton_failures'])} Newton failures and {show(found['error_test_failures'])} error-test "
            f"failures, "
            f"and {100 * known[largest]:.0f}% of the time went to {largest}"
        )
    if not told:
        return "No run got above 80% accuracy within its budget."
    originals = [n for name, n in numbers.items() if "original" in name and n["steps"]]
    jacobians = np.mean([n["shares"]["Jacobians"] for n in originals]) if originals else np.nan
    failures = np.sum([n["newton_failures"] + n["error_test_failures"] for n in originals]) if originals else np.nan
    steps = np.sum([n["steps"] for n in originals]) if originals else np.nan
    verdict = (
        f"Above 80% accuracy the original solver's time goes mostly into finite-difference Jacobians "
        f"({100 * jacobians:.0f}%)"
        if jacobians > 0.5
        else f"Above 80% accuracy Jacobians take {100 * jacobians:.0f}% of the original solver's time, not most of it"
    )
    rejected = (
        f"; failed steps are {'rare' if failures < 0.2 * steps else 'common'} ({100 * failures / max(steps, 1):.0f} "
        f"for each "
        "100 steps)"
    )
    return verdict + rejected + ": " + "; ".join(told) + "."
