"""`exponential`: secants, and an exact flow in a Krylov space where that falls faster for its cost; any size."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from stiffgrad.objective import Objective
from stiffgrad.solvers._combination import Combination
from stiffgrad.solvers._compiled import CompiledSolver
from stiffgrad.solvers.krylov import TOLERANCE, Krylov
from stiffgrad.solvers.secants import DAMPING, Secants


@dataclasses.dataclass(frozen=True)
class Exponential(Combination):
    """A race of `secants`, a gradient a step, and `krylov`, the exponential Rosenbrock-Euler method.

    Both follow the linearised flow and form no matrix; the energy never rises. See docs/exponential.md for what each is
    good at.

    Parameters
    ----------
    curvature : {"auto", "hessian", "gauss-newton"}
        Of the Krylov space; "auto" is Gauss-Newton where the objective has one.
    krylov : int
        Largest dimension of the Krylov space.
    pairs : int
        Secants remembered; 0 takes Krylov steps only.
    mixed : bool
        Evaluate most secant steps in float32.
    tolerance : float
        Lanczos stops where the residual of (T + I/h) y = e1 is below it.
    damping : float
        Of the coordinates of the secants, in losses.

    Examples
    --------
    >>> Exponential(curvature="hessian", pairs=0).krylov
    60
    """

    curvature: str = "auto"
    krylov: int = 60
    pairs: int = 40
    mixed: bool = True
    tolerance: float = TOLERANCE
    damping: float = DAMPING

    name: ClassVar[str] = "exponential"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "a race of secants and krylov: no matrix formed, monotone energy; any size"
    source: ClassVar[str] = f"{Krylov.source}; {Secants.source}; Morales and Nocedal (2002) for interlacing"

    def members(self, objective: Objective) -> Sequence[CompiledSolver[Any]]:
        """Secants first."""
        krylov = Krylov(self.curvature, self.krylov, self.tolerance)
        krylov.check(objective)
        if not isinstance(self.pairs, int) or isinstance(self.pairs, bool) or self.pairs != 0:
            return Secants(self.pairs, self.mixed, damping=self.damping), krylov
        return (krylov,)

    def label(self, member: CompiledSolver[Any], objective: Objective) -> dict[str, float]:
        """The dimension of the Krylov space, 0 for a secant step: the trace always has the column."""
        return {} if member.name == "krylov" else {"lanczos": 0.0}

    def words(self, members: Sequence[CompiledSolver[Any]], objective: Objective) -> str:
        """What ran."""
        return f"{self.name} ({', '.join(member.name for member in members)})"
