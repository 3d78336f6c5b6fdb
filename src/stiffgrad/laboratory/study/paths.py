"""Work-precision diagrams: how far from the flow each ODE solver goes, for how much work."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
from typing import Any

import numpy as np
import scipy.integrate
from numpy.typing import NDArray

from stiffgrad._float64 import float64
from stiffgrad.laboratory.cells import Method, objective_of
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.statistics import number
from stiffgrad.laboratory.study._finding import Finding, lines, listed, panels, table
from stiffgrad.laboratory.study._lab import Lab, methods
from stiffgrad.laboratory.study._networks import NETWORKS, SECONDS
from stiffgrad.objective import Objective
from stiffgrad.run.driver import Run, Step
from stiffgrad.run.until import Until
from stiffgrad.solvers import create, solver_class

KEY = "paths"
TITLE = "Following the flow"
QUESTION = "Which solver follows the flow most cheaply? Error along the path against work."
SOLVERS = ("ros34pw2", "ros2", "chebyshev", "vode", "lsoda", "cvode", "radau", "kvaerno5", "tsit5")
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
LEVELS = (1e-2, 1e-3, 1e-4)  # errors at which the work is compared
EXACT = 1e-11  # tolerance of the reference
END = 300.0  # flow time


def plan(lab: Lab) -> None:
    """Runs of its own: they end at a flow time."""


def reference(objective: Objective) -> Any:
    """The flow up to `END` as a function of time, by Radau IIA at a tolerance that nothing here comes near."""
    w0 = np.array(objective.w0)
    found = scipy.integrate.solve_ivp(
        lambda t, w: -np.asarray(objective.gradient(w)),
        (0.0, END),
        w0,
        method="Radau",
        jac=lambda t, w: -np.asarray(objective.hessian(w)),
        rtol=EXACT,
        atol=1e-2 * EXACT,
        dense_output=True,
    )
    return found.sol


@float64
def measured(objective: Objective, flow: Any, method: Method, seconds: float) -> dict[str, Any]:
    """Largest relative error at any accepted step, and what the steps up to `END` cost."""
    worst, made = 0.0, 0

    def compare(step: Step) -> bool:
        nonlocal worst, made
        t = step.row["flow_time"]
        if t > END:
            return True
        made = int(step.row["steps"])
        exact = flow(t)
        worst = max(worst, float(np.linalg.norm(np.asarray(step.w) - exact) / np.linalg.norm(exact)))
        return False

    solver = create(method.solver, **dict(method.options))
    run = Run(objective, solver, Until(wall_seconds=20 * seconds), callback=compare)
    run.steps_only = True  # compiled ones show every step: slower, so a second run is timed
    followed = run.solve()
    timed = [Run(objective, solver, Until(steps=max(made, 1), wall_seconds=20 * seconds)).solve() for _ in range(3)]
    counts = dataclasses.asdict(timed[0].statistics)
    arrived = followed.trace["flow_time"][-1] >= END
    return {
        "error": worst if arrived else math.nan,
        "seconds": statistics.median(solution.wall_seconds for solution in timed) if arrived else math.nan,
        "presentations": counts["presentations"] if arrived else math.nan,
        "steps": made,
        "environment": environment(),
    }


def answer(lab: Lab) -> Finding:
    """Error against presentations and seconds, and at each error the solver that reaches it with the least."""
    rows, charts, found = [], [], {}
    wins: dict[str, list[str]] = {}
    for network in lab.scale.paths:
        runs = {
            (solver, seed): points
            for seed in range(lab.scale.path_seeds)
            for solver, points in _runs(lab, network, seed).items()
        }
        middle = {s: np.median([runs[s, k] for k in range(lab.scale.path_seeds)], axis=0) for s, _ in runs}
        for solver, points in middle.items():
            for tolerance, (error, presentations, seconds, steps) in zip(TOLERANCES, points, strict=True):
                numbers = map(number, (error, presentations, seconds))
                rows.append([f"{network}, {solver}", f"{tolerance:g}", *numbers, f"{steps:.0f}"])
        for axis, words in ((1, "presentations"), (2, "seconds")):
            drawn = {name: (points[:, axis], points[:, 0]) for name, points in middle.items()}
            charts.append(lines(f"{network}", words, "largest relative error on the path", drawn))
            for level, seed in itertools.product(LEVELS, range(lab.scale.path_seeds)):
                cost = {solver: _work(points, axis, level) for (solver, k), points in runs.items() if k == seed}
                best = min(cost, key=lambda name: cost[name])
                if math.isfinite(cost[best]):
                    wins.setdefault(words, []).append(best)
                    found[f"{network}, {words}, {level:g}, start {seed}"] = cost
    starts = "one start" if lab.scale.path_seeds == 1 else f"{lab.scale.path_seeds} starts"
    return Finding(
        listed([f"{_most(names)} in {words}" for words, names in wins.items()]) if wins else "cannot be told",
        [
            f"Cheapest in {words}, over {len(names)} cases of network, start and error (1e-2, 1e-3, 1e-4): "
            f"{_counts(names)}."
            for words, names in wins.items()
        ]
        + [f"Followed to flow time {END:g} from {starts} of {listed(lab.scale.paths)}, at tolerances of 1e-2 to 1e-6."],
        panels("Largest error along the path against work: lower and further left is better", charts),
        {"work": found},
        [
            table(
                f"Medians over {starts}",
                "network, solver",
                ["tolerance", "error", "presentations", "seconds", "steps"],
                rows,
            )
        ],
        [
            "The error is the largest distance from the flow at an accepted step, relative to the weights; the flow "
            "itself by Radau at a tolerance of 1e-11. A solver that did not arrive is left out."
        ],
    )


def _runs(lab: Lab, network: str, seed: int) -> dict[str, NDArray[np.float64]]:
    """Error, presentations, seconds and steps of each solver at each tolerance; NaN where it did not arrive."""
    problem = NETWORKS[network].name
    objective = objective_of(problem, seed)
    flow = functools.cache(lambda: reference(objective))
    found = {}
    for solver in methods(*SOLVERS):
        points = []
        for tolerance in TOLERANCES:
            tolerances = {"rtol": tolerance, "atol": tolerance} if _tolerant(solver) else {}
            method = Method.of((solver, tolerances))

            def make(method: Method = method) -> dict[str, Any]:
                return measured(objective, flow(), method, SECONDS[network][0])

            about = {"problem": problem, "method": method.label, "end": END, "seed": seed}
            got = lab.analysed("path", about, make)
            values = (got[name] for name in ("error", "presentations", "seconds", "steps"))
            points.append([math.nan if value is None else float(value) for value in values])
        found[solver] = np.array(points)
    return found


def _tolerant(solver: str) -> bool:
    return "rtol" in {field.name for field in dataclasses.fields(solver_class(solver))}


def _work(points: NDArray[np.float64], axis: int, error: float) -> float:
    """The least work of a run with at most that error."""
    return float(min((p[axis] for p in points if p[0] <= error and math.isfinite(p[axis])), default=math.inf))


def _most(names: list[str]) -> str:
    return max(set(names), key=names.count)


def _counts(names: list[str]) -> str:
    counts = {name: names.count(name) for name in sorted(set(names), key=names.count, reverse=True)}
    return listed([f"{name} {'once' if count == 1 else f'{count} times'}" for name, count in counts.items()])
