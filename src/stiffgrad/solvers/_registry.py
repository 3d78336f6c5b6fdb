"""The names of all solvers, in the order in which they are shown. To add one: write its file, add a line."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from stiffgrad import _checks
from stiffgrad._collector import loading
from stiffgrad._extras import needing
from stiffgrad.solvers._base import Solver

# name -> "module:class", and the options that the name stands for.
_REGISTRY: dict[str, tuple[str, dict[str, Any]]] = {
    "auto": ("auto:Auto", {}),
    "rosenbrock": ("rosenbrock:Rosenbrock", {}),
    "quasi-newton": ("quasi_newton:QuasiNewton", {}),
    "krylov": ("krylov:Krylov", {}),
    "secants": ("secants:Secants", {}),
    "exponential": ("exponential:Exponential", {}),
    "ros2": ("rosenbrock_wanner:ROS2", {}),
    "ros34pw2": ("rosenbrock_wanner:ROS34PW2", {}),
    "chebyshev": ("chebyshev:Chebyshev", {}),
    "vode": ("scipy:VODE", {}),
    "zvode": ("scipy:ZVODE", {}),
    "lsoda": ("scipy:LSODA", {}),
    "dopri5": ("scipy:Dopri5", {}),
    "dop853": ("scipy:DOP853", {}),
    "radau": ("scipy:Radau", {}),
    "bdf": ("scipy:BDF", {}),
    "cvode": ("sundials:CVODE", {}),
    "cvode-adams": ("sundials:CVODEAdams", {}),
    "cvode-krylov": ("sundials:CVODEKrylov", {}),
    "tsit5": ("diffrax:Tsit5", {}),
    "kvaerno5": ("diffrax:Kvaerno5", {}),
    "implicit-euler": ("diffrax:ImplicitEuler", {}),
    "sgd": ("descent:Descent", {"method": "sgd"}),
    "momentum": ("descent:Descent", {"method": "momentum"}),
    "nesterov": ("descent:Descent", {"method": "nesterov"}),
    "adagrad": ("descent:Descent", {"method": "adagrad"}),
    "adadelta": ("descent:Descent", {"method": "adadelta"}),
    "rmsprop": ("descent:Descent", {"method": "rmsprop"}),
    "adam": ("descent:Descent", {"method": "adam"}),
    "adamw": ("descent:Descent", {"method": "adamw"}),
    "nadam": ("descent:Descent", {"method": "nadam"}),
    "lbfgs": ("minimisers:LBFGS", {}),
    "bfgs": ("minimisers:BFGS", {}),
    "cg": ("minimisers:CG", {}),
    "levenberg-marquardt": ("peers:LevenbergMarquardt", {}),
    "optimistix-bfgs": ("peers:OptimistixBFGS", {}),
    "optax-lbfgs": ("peers:OptaxLBFGS", {}),
    "minpack": ("minimisers:MINPACK", {}),
    "ssbroyden": ("peers:SSBroyden", {}),
    "adam-lbfgs": ("relay:AdamLBFGS", {}),
}

# Modules whose library is no dependency of stiffgrad itself -> the extra that brings it.
_EXTRAS = {"sundials": "sundials", "diffrax": "diffrax", "descent": "peers", "peers": "peers", "relay": "peers"}


def names() -> list[str]:
    """All solver names, for `solve(solver=...)`.

    Examples
    --------
    >>> "vode" in names()
    True
    """
    return list(_REGISTRY)


def classes() -> dict[str, str]:
    """Name of each class -> a solver name that it stands for, in the order of the registry."""
    found: dict[str, str] = {}
    for name, (where, _) in _REGISTRY.items():
        found.setdefault(where.partition(":")[2], name)
    return found


def solver_class(name: str) -> type[Solver]:
    """The class behind a name. Raises ValueError with the known names, ImportError where its library is missing."""
    if name not in _REGISTRY:
        raise _checks.unknown("solver", name, _REGISTRY)
    module, cls = _REGISTRY[name][0].split(":")
    with needing(_EXTRAS.get(module, "all"), f"solver {name!r}"), loading():
        return getattr(importlib.import_module(f"stiffgrad.solvers.{module}"), cls)


def create(name: str, **options: Any) -> Solver:
    """The solver of a name, with options. Raises ValueError for unknown names, TypeError for unknown options."""
    cls = solver_class(name)
    known = [field.name for field in dataclasses.fields(cls) if field.init]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"solver {name!r} has no option {', '.join(unknown)}; it takes {', '.join(known) or 'none'}")
    return cls(**{**_REGISTRY[name][1], **options})


def resolve(solver: str | Solver) -> Solver:
    """A solver from its name or itself. Raises ValueError or TypeError naming what was given."""
    if isinstance(solver, str):
        return create(solver)
    if isinstance(solver, Solver):
        return solver
    raise TypeError(f"solver must be a name or an object from stiffgrad.solvers, not {type(solver).__name__}")
