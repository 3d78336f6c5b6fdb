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
    known = {letters.replace("-", ""): letters for letters in names()}
    hint = (
        f": stiffgrad.solvers.create({known[name.lower()]!r}, ...) makes one with options"
        if name.lower() in known
        else ""
    )
    raise AttributeError(f"stiffgrad.solvers has no {name!r}{hint}; see stiffgrad.solvers.names()")


def __dir__() -> list[str]:
    return sorted({*__all__, "Control", *_registry.classes()})
