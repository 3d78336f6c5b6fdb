"""Every solver, by name and by class; classes are imported when first used."""

from __future__ import annotations

import importlib
from typing import Any

from stiffgrad.solvers import _registry
from stiffgrad.solvers._base import Finished, Limits, Monitor, Solver
from stiffgrad.solvers._registry import create, names, resolve, solver_class

__all__ = ["Finished", "Limits", "Monitor", "Solver", "create", "names", "resolve", "solver_class"]


def __getattr__(name: str) -> Any:
    if name in _registry.classes():
        return solver_class(_registry.classes()[name])
    if name == "Control":
        return importlib.import_module("stiffgrad.solvers._control").Control
    raise AttributeError(f"stiffgrad.solvers has no {name!r}; see stiffgrad.solvers.names()")


def __dir__() -> list[str]:
    return sorted({*__all__, "Control", *_registry.classes()})
