"""Owens and Filkin's table: cost ratios of stiff solver, non-stiff solver and gradient descent with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from stiffgrad.laboratory.study._finding import Finding, lines, middle, show, table, times, typical
from stiffgrad.laboratory.study._lab import Lab
from stiffgrad.laboratory.study._problems import SETTINGS
from stiffgrad.laboratory.study._runs import Run, Spec

KEY = "owens_filkin"
QUESTION = "Owens and Filkin's table (1989): cost relative to the stiff solver at RMS errors of 10, 5, 2, 1 and 0.1%."
ERRORS = (0.10, 0.05, 0.02, 0.01, 0.001)
LOOSE = (("atol", 1e-2), ("rtol", 1e-2))
METHODS: dict[str, tuple[str, tuple[tuple[str, Any], ...]]] = {
    "stiff (vode)": ("vode", LOOSE),
    "non-stiff (dopri5)": ("dopri5", LOOSE),
    "momentum": ("momentum", ()),
    "rosenbrock": ("rosenbrock", ()),
}
PUBLISHED = {"non-stiff (dopri5)": ("1", "2", "5", "–", "–"), "momentum": ("1", "4", "more than 20", "–", "–")}


def loss_at(problem: str, error: float) -> float:
    """The loss at an RMS error given as a share of the targets' range: rms^2 = 2 E / outputs."""
    found = SETTINGS[problem].problem
    y = np.asarray(found.data.train.y, dtype=float)
    return 0.5 * found.sizes[-1] * (error * float(y.max() - y.min())) ** 2


def runs(lab: Lab, problem: str) -> dict[str, list[Run]]:
    """Each method until an RMS error of 0.1%."""
    found = {}
    seconds = SETTINGS[problem].seconds * lab.scale.patience
    for name, (solver, options) in METHODS.items():
        if not lab.has(solver):
            continue
        chosen = options
        if solver == "momentum":
            chosen = (("learning_rate", lab.learning_rate(problem, solver)["learning_rate"]),)
        goal = loss_at(problem, ERRORS[-1])
        found[name] = [lab.run(Spec(problem, solver, chosen, seed, seconds, loss=goal)) for seed in lab.seeds]
    return found


def answer(lab: Lab) -> Finding:
    """Ratios to the stiff solver, in presentations and in wall time."""
    rows, numbers, curves = [], {}, {}
    ratios: dict[tuple[str, float, str], list[float]] = {}
    for problem in lab.scale.exact_problems:
        found = runs(lab, problem)
        costs = {
            (n, e, c): middle([run.cost("loss", loss_at(problem, e), c) for run in group])
            for n, group in found.items()
            for e in ERRORS
            for c in ("presentations", "wall_seconds")
        }
        for name in found:
            cells = [_cell(costs, name, e, c) for c in ("presentations", "wall_seconds") for e in ERRORS]
            rows.append([f"{problem.removesuffix('-exact')}, {name}", *cells])
            for error in ERRORS:
                for cost in ("presentations", "wall_seconds"):
                    stiff = costs["stiff (vode)", error, cost]
                    value = costs[name, error, cost] / stiff if np.isfinite(stiff) else np.nan
                    ratios.setdefault((name, error, cost), []).append(value)
        numbers[problem] = {f"{n} {100 * e:g}% {c}": v for (n, e, c), v in costs.items()}
    for name in METHODS:
        if (name, ERRORS[0], "presentations") in ratios and name != "stiff (vode)":
            curves[name] = ([100 * e for e in ERRORS], [typical(ratios[name, e, "presentations"]) for e in ERRORS])
    heads = [f"{100 * e:g}%" for e in ERRORS]
    published = [
        ["Owens and Filkin, non-stiff", *PUBLISHED["non-stiff (dopri5)"], *["–"] * len(ERRORS)],
        ["Owens and Filkin, gradient descent", *PUBLISHED["momentum"], *["–"] * len(ERRORS)],
    ]
    return Finding(
        KEY,
        QUESTION,
        _sentence(ratios),
        {"costs": numbers, "ratios": {f"{n} {100 * e:g}% {c}": typical(v) for (n, e, c), v in ratios.items()}},
        [
            table(
                "Cost relative to the stiff solver (its own cost in its rows); median over the starts",
                "problem, method",
                [*(f"presentations, {h}" for h in heads), *(f"seconds, {h}" for h in heads)],
                rows + published,
                "Presentations count Jacobian work: a dense Hessian of n weights counts 2n. RMS error as a share of "
                "the "
                "targets' range. missed: not within the budget by most starts; a dash: the stiff solver missed.",
            )
        ],
        [
            lines(
                "Presentations over those of the stiff solver, typical over the problems",
                "RMS error, %",
                "times the stiff solver",
                curves,
                mark=1.0,
                falls=True,
            )
        ],
        [
            "Their network and data are not known: this repeats the shape of their table on the networks named here. "
            "Tolerance 1e-2, as they used; the momentum method has its tuned learning rate."
        ],
    )


def _cell(costs: dict[Any, float], name: str, error: float, cost: str) -> str:
    stiff = costs["stiff (vode)", error, cost]
    if name == "stiff (vode)":
        return show(stiff)
    if not np.isfinite(stiff):
        return "–"
    return "missed" if np.isinf(costs[name, error, cost]) else show(costs[name, error, cost] / stiff) + "×"


def _sentence(ratios: dict[tuple[str, float, str], list[float]]) -> str:
    def at(name: str, error: float, cost: str) -> tuple[str, float]:
        values = ratios.get((name, error, cost), [])
        lost = sum(np.isinf(v) for v in values)
        number = typical(values)
        return times(number) + (f" (missed on {lost} of {len(values)})" if lost else ""), number

    easy, _ = at("momentum", 0.10, "presentations")
    hard, rate = at("momentum", 0.02, "presentations")
    deep, _ = at("momentum", 0.001, "presentations")
    wall, _ = at("momentum", 0.02, "wall_seconds")
    steady, _ = at("non-stiff (dopri5)", 0.02, "presentations")
    missed = any(np.isinf(v) for v in ratios.get(("momentum", 0.02, "presentations"), []))
    verdict = (
        "The shape holds" if rate > 4 or missed else "The shape holds weakly" if rate > 1 else "The shape does not hold"
    )
    return (
        f"{verdict}: in presentations, Jacobian work counted, gradient descent with momentum costs {easy} the stiff "
        f"solver at an "
        f"RMS error of 10%, {hard} at 2% and {deep} at 0.1% (they: 1, more than 20, unknown); the non-stiff solver "
        f"{steady} at "
        f"2% (they: 5). In wall time momentum costs {wall} at 2%."
    )
