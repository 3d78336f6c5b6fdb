"""The learning rates of gradient descent: the best of a grid, found on starts that no comparison uses.

Two rounds, so that tuning costs little more than one and a half cells: every rate for a tenth of the cell's seconds
on one start, then the best three for a quarter of them on another.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.cells import PROTOCOL, Method
from stiffgrad.laboratory.environment import code, environment
from stiffgrad.laboratory.problems import Target
from stiffgrad.laboratory.store import content_key, finite
from stiffgrad.run.driver import solve
from stiffgrad.solvers import create, solver_class

RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001)
SEEDS = (1000, 1001)  # of the two rounds
SHARES = (0.1, 0.25)  # of the cell's seconds, for each rate in the two rounds
FINALISTS = 3


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What a tuning depends on: equal ones have equal keys."""

    problem: str
    method: Method
    seconds: float
    target: str | Target = "deep"

    @property
    def content(self) -> dict[str, Any]:
        """What is hashed and saved."""
        package = problems.origin(self.problem)
        return {
            "problem": self.problem,
            "solver": self.method.solver,
            "options": dict(self.method.options),
            "seconds": self.seconds,
            "target": self.target if isinstance(self.target, str) else str(self.target),
            **({"package": package} if package else {}),
            "rates": list(RATES),
            "seeds": list(SEEDS),
            "protocol": PROTOCOL,
            "code": code(),
        }

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the content's hash."""
        return content_key({"kind": "tuning", **self.content})

    def __str__(self) -> str:
        return f"{self.problem}, {self.method.label}: tuning the learning rate"


def tunable(method: Method) -> bool:
    """Whether the method has a learning rate that was not given.

    Examples
    --------
    >>> tunable(Method.of("lsoda"))
    False
    """
    names = {field.name for field in dataclasses.fields(solver_class(method.solver)) if field.init}
    return "learning_rate" in names and "learning_rate" not in dict(method.options)


def tune(tuning: Tuning) -> dict[str, Any]:
    """Find the learning rate with the shortest time to the target, or else the lowest loss.

    Returns
    -------
    dict
        What was tuned, `learning_rate` (None where no rate gave a finite loss), `tuning_seconds`, and every run.
    """
    begin = time.perf_counter()
    runs: list[dict[str, Any]] = []
    rates: tuple[float, ...] = RATES
    ranked: list[dict[str, Any]] = []
    for seed, share in zip(SEEDS, SHARES, strict=True):
        ranked = sorted((_run(tuning, rate, seed, share * tuning.seconds) for rate in rates), key=_rank)
        runs += ranked
        rates = tuple(run["learning_rate"] for run in ranked[:FINALISTS])
    best = ranked[0]
    return finite(
        {
            "key": tuning.key,
            **tuning.content,
            "learning_rate": best["learning_rate"] if np.isfinite(best["loss"]) else None,
            "tuning_seconds": time.perf_counter() - begin,
            "runs": runs,
            "environment": environment(),
        }
    )


def _rank(run: dict[str, Any]) -> tuple[float, float]:
    return run["wall_seconds"] if run["reached"] else np.inf, run["loss"]


def _run(tuning: Tuning, rate: float, seed: int, seconds: float) -> dict[str, Any]:
    problem = problems.get(tuning.problem)
    run = {"learning_rate": rate, "seed": seed, "seconds": seconds}
    try:
        solver = create(tuning.method.solver, **dict(tuning.method.options), learning_rate=rate)
        stop = problem.targets[tuning.target] if isinstance(tuning.target, str) else tuning.target
        until = stop.until(seconds)
        solution = solve(problem.objective(seed), solver, until=until, throw=False, compilation="full")
    except Exception as error:  # a rate that fails is a result: the worst one
        return {**run, "reached": False, "loss": np.inf, "wall_seconds": np.inf, "message": f"{error}"}
    if solution.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    finished = solution.outcome is not Outcome.DIVERGED and np.isfinite(solution.loss)
    return {
        **run,
        "reached": solution.outcome is Outcome.TARGET,
        "loss": solution.loss if finished else np.inf,
        "wall_seconds": solution.wall_seconds,
        "message": solution.message,
    }
