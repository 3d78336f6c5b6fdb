"""Every solver, by name and by class; classes are imported when first used."""

from __future__ import annotations

from typing import Any

from stiffgrad.solvers import _registry
from stiffgrad.solvers._base import Finished, Limits, Monitor, Solver
from stiffgrad.solvers._registry import create, names, resolve, solver_class

__all__ = ["Finished", "Limits", "Monitor", "Solver", "create", "names", "resolve", "solver_class"]


def __getattr__(name: str) -> Any:
    for solver in _registry.names():
        if _registry._REGISTRY[solver][0].split(":")[1] == name:
            return solver_class(solver)
    raise AttributeError(f"stiffgrad.solvers has no {name!r}; see stiffgrad.solvers.names()")
