"""`auto`: picks the integrator for a problem from its structure, size and memory, and changes it where it is slow."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from stiffgrad import _checks
from stiffgrad._memory import available_bytes
from stiffgrad.curvature.dense import GaussNewton
from stiffgrad.curvature.kronecker import Kronecker
from stiffgrad.curvature.rows import kernel_costs
from stiffgrad.objective import Objective
from stiffgrad.objective.placement import agreed
from stiffgrad.solvers._combination import Combination, Pace
from stiffgrad.solvers._compiled import CompiledSolver
from stiffgrad.solvers.krylov import Krylov
from stiffgrad.solvers.quasi_newton import QuasiNewton
from stiffgrad.solvers.secants import Secants
from stiffgrad.solvers.w_method import WMethod

CHEAP_FLOPS = 2e8  # a dense step below this is milliseconds
SECANT_WEIGHTS = 300, 3000  # up to so many weights n^2 operations are cheap; up to so many, beside n <= N samples
DENSE_WORTH = 160.0  # a dense step is worth so many gradients, in operations: a matrix product is faster for its own
DENSE_WORTH_OTHER = 320.0  # and so many for what is no perceptron
DENSE_WORTH_EQUATION = 2000.0  # and so many for residuals with derivatives of a network: too stiff for secants
DENSE_WORTH_KRONECKER = 20.0  # and so many where `secants` has coordinates that make the problem less stiff
CHOICES = ("rosenbrock, n x n", "rosenbrock, m x m", "secants", "quasi-newton", "krylov")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What `auto` chose, in the order of its turns, and why."""

    members: tuple[CompiledSolver[Any], ...]
    reason: str


@dataclasses.dataclass(frozen=True)
class Auto(Combination):
    """Rosenbrock on the smaller side, quasi-newton or secants, whichever promises to be faster; nothing to set.

    Squares without weight decay: Gauss-Newton serves while residuals fall, and where they stay `quasi-newton` takes
    over if it lowers the energy faster for its cost. A dense step costs a Gram matrix and a factorization, and does the
    work of some tens of products; where it costs more, secants in limited memory serve, and Krylov steps where those
    are slow. Where residuals stay from the outset (cross entropy, weight decay), secants see the whole Hessian for
    nothing: in a dense matrix where its n^2 operations are few beside a gradient, else in limited memory.
    Everything is decided by counts, so that a run repeats exactly. The trace's column `chosen` says 0 for rosenbrock
    n x n, 1 for m x m, 2 for secants, 3 for quasi-newton, 4 for krylov.

    Parameters
    ----------
    h0 : float, optional
        First step of `rosenbrock` in flow time; by default ten over the trace of the curvature.

    Examples
    --------
    >>> Auto().name
    'auto'
    """

    h0: float | None = None

    name: ClassVar[str] = "auto"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = (
        "picks rosenbrock, quasi-newton or secants from structure and size, changes where slow, says why"
    )
    source: ClassVar[str] = "this package, docs/auto.md"
    pace: ClassVar[Pace] = Pace(patience=4.0)

    def members(self, objective: Objective) -> Sequence[CompiledSolver[Any]]:
        """What was chosen, and what may take over."""
        if self.h0 is not None:
            _checks.positive("h0", self.h0)
        members = choose(objective).members
        return tuple(dataclasses.replace(m, h0=self.h0) if isinstance(m, WMethod) else m for m in members)

    def label(self, member: CompiledSolver[Any], objective: Objective) -> dict[str, float]:
        """The column `chosen`."""
        return {"chosen": float(kind(member, objective))}

    def words(self, members: Sequence[CompiledSolver[Any]], objective: Objective) -> str:
        """What ran."""
        return "auto: " + " and ".join(CHOICES[kind(member, objective)] for member in members)

    def reason(self, objective: Objective) -> str:
        """Why the first of them was chosen."""
        return choose(objective).reason


def kind(member: CompiledSolver[Any], objective: Objective) -> int:
    """Index into `CHOICES`."""
    if isinstance(member, WMethod):
        return int(GaussNewton().dual(objective))
    return [*CHOICES].index(member.name)


def choose(objective: Objective) -> Choice:
    """The integrators for an objective, and the reason in words."""
    model = GaussNewton()
    n, m = objective.size, objective.rows
    free = Secants(), Krylov()
    if agreed(float(model.bytes(objective) > 0.5 * available_bytes())):
        return Choice(free, f"dense matrices need {model.bytes(objective) / 2**30:.1f} GiB")
    few, many = SECANT_WEIGHTS
    small = n <= max(few, min(many, objective.samples))
    if not objective.residuals_may_vanish:
        words = f"n = {n}, N = {objective.samples}: the residuals stay"
        if small:
            return Choice((QuasiNewton(),), f"{words}, and a dense matrix of secants is cheap")
        return Choice(free, f"{words}, and dense matrices are not cheap")
    flops = model.step_flops(objective)
    dense = WMethod(), (QuasiNewton() if small else Secants())
    if flops <= CHEAP_FLOPS:
        return Choice(dense, f"n = {n}, m = {m}: a dense step is cheap")
    gradients = flops / objective.gradient_flops
    worth = _worth(objective)
    words = f"a dense step has the operations of {gradients:.0f} gradients, and is worth {worth:.0f}"
    return Choice(dense if gradients <= worth else free, words)


def _worth(objective: Objective) -> float:
    """Gradients that a dense step is worth, in operations."""
    if Kronecker.suits(objective):
        return DENSE_WORTH_KRONECKER
    if objective.perceptron is not None:
        return DENSE_WORTH
    equation = objective.whole_rows and kernel_costs(objective).products > 1
    return DENSE_WORTH_EQUATION if equation else DENSE_WORTH_OTHER
