"""Train neural networks by solving stiff ODEs, with no learning rate."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stiffgrad._collector import loading

with loading():
    from stiffgrad._config import configure

    configure()

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stiffgrad import solvers
    from stiffgrad._compare import Comparison, compare
    from stiffgrad._types import Outcome, SolveError
    from stiffgrad.analysis.minimum import minimum
    from stiffgrad.analysis.same_minimum import same_minimum
    from stiffgrad.analysis.spectrum import spectrum
    from stiffgrad.analysis.stiffness import stiffness, stiffness_along
    from stiffgrad.objective import Objective, Term, least_squares, minimise, supervised
    from stiffgrad.objective.networks import MLP, mlp
    from stiffgrad.run.checkpoint import Checkpoint
    from stiffgrad.run.driver import Step, solve
    from stiffgrad.run.multistart import multistart
    from stiffgrad.run.trace import FlowPath, Solution, Statistics, Trace, load
    from stiffgrad.run.until import Until
    from stiffgrad.solvers._ode import ToleranceSchedule

# Where each name lives. A module is imported when a name of it is first used: a run waits for what it needs, no more.
_HOMES = {
    "_compare": ("Comparison", "compare"),
    "_types": ("Outcome", "SolveError"),
    "analysis": ("minimum", "same_minimum", "spectrum", "stiffness", "stiffness_along"),
    "objective": ("Objective", "Term", "least_squares", "minimise", "supervised"),
    "objective.networks": ("MLP", "mlp"),
    "run.checkpoint": ("Checkpoint",),
    "run.driver": ("Step", "Until", "solve"),
    "run.multistart": ("multistart",),
    "run.trace": ("FlowPath", "Solution", "Statistics", "Trace", "load"),
    "solvers._ode": ("ToleranceSchedule",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME and name not in ("solvers", "pde", "estimators"):
        raise AttributeError(f"module 'stiffgrad' has no attribute {name!r}")
    with loading():
        module = importlib.import_module(f"stiffgrad.{_HOME.get(name, name)}")
    value = getattr(module, name) if name in _HOME else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "MLP",
    "Checkpoint",
    "Comparison",
    "FlowPath",
    "Objective",
    "Outcome",
    "Solution",
    "SolveError",
    "Statistics",
    "Step",
    "Term",
    "ToleranceSchedule",
    "Trace",
    "Until",
    "compare",
    "least_squares",
    "load",
    "minimise",
    "minimum",
    "mlp",
    "multistart",
    "same_minimum",
    "solve",
    "solvers",
    "spectrum",
    "stiffness",
    "stiffness_along",
    "supervised",
]
