"""`rosenbrock`: linearly implicit Euler by Gauss-Newton, or by the exact Hessian where that earns its cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from stiffgrad import _checks
from stiffgrad.objective import Objective
from stiffgrad.solvers._combination import Combination, Pace
from stiffgrad.solvers._compiled import CompiledSolver
from stiffgrad.solvers._control import DEFAULT, Control
from stiffgrad.solvers.w_method import PROMISE, W_STEPS, WMethod


@dataclasses.dataclass(frozen=True)
class Rosenbrock(Combination):
    """Linearly implicit Euler with geodesic correction, W-steps and step control by energy; the loss never rises.

    Parameters
    ----------
    curvature : "auto", "gauss-newton" or "hessian"
        "auto" starts with Gauss-Newton and takes the exact Hessian where the energy falls faster for its cost.
    correction : bool
        Use the geodesic correction.
    w_steps : int
        Further steps with one factorization, at most.
    h0 : float, optional
        First step in flow time; by default ten over the trace of the curvature.
    adaptive : bool
        False: every accepted step is h0 long.
    control : Control
        How the step follows the ratio of the decrease to its promise.
    promise : float
        A further W-step needs the last one to have earned this part of its promise.

    Examples
    --------
    >>> Rosenbrock(w_steps=0).curvature
    'auto'
    """

    curvature: str = "auto"
    correction: bool = True
    w_steps: int = W_STEPS
    h0: float | None = None
    adaptive: bool = True
    control: Control = DEFAULT
    promise: float = PROMISE

    name: ClassVar[str] = "rosenbrock"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = (
        "linearly implicit Euler, geodesic correction, reused Jacobians; dense, to a few 1000 weights"
    )
    source: ClassVar[str] = WMethod.source
    pace: ClassVar[Pace] = Pace(patience=2.0)

    def members(self, objective: Objective) -> Sequence[CompiledSolver[Any]]:
        """Gauss-Newton and the Hessian, or the one that was asked for."""
        _checks.choice("curvature", self.curvature, ("auto", "gauss-newton", "hessian"))
        options = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        hessian = options | {"curvature": "hessian"}
        kinds = {"gauss-newton": WMethod(**options | {"curvature": "gauss-newton"}), "hessian": WMethod(**hessian)}
        if self.curvature != "auto":
            return (kinds[self.curvature],)
        return tuple(kinds.values()) if objective.has_gauss_newton else (kinds["hessian"],)

    def label(self, member: CompiledSolver[Any], objective: Objective) -> dict[str, float]:
        """The column `jacobian` tells already."""
        return {}

    def words(self, members: Sequence[CompiledSolver[Any]], objective: Objective) -> str:
        """The name; the column `jacobian` tells the rest."""
        return self.name
