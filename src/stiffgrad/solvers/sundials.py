"""CVODE of SUNDIALS through scikit-sundae: BDF and Adams with a dense Jacobian, and BDF with GMRES on products."""

from __future__ import annotations

import abc
import dataclasses
import io
import itertools
import os
import sys
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from sksundae.cvode import CVODE as _Code
from sksundae.cvode import CVODEJacTimes, CVODEPrecond

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.objective import derivatives
from stiffgrad.solvers._base import Finished, require_matrices
from stiffgrad.solvers._ode import (
    FIRST_HORIZON,
    Accepted,
    OdeSolver,
    SteppedRun,
    Stepper,
    Vector,
    check_jacobian,
    check_order,
)

# SUNDIALS prints warnings to the terminal unless told otherwise before a run begins.
os.environ.setdefault("SUNLOGGER_WARNING_FILENAME", os.devnull)

NOWHERE = (
    io.StringIO()
)  # scikit-sundae prints what it also returns; a redirection as usual takes longer than a small step
RESTART = 10.0  # scikit-sundae fixes the tolerances of a run: a schedule restarts it when they changed by this factor


@dataclasses.dataclass(frozen=True)
class CvodeSolver(OdeSolver, abc.ABC):
    """CVODE's options.

    Parameters
    ----------
    rtol : float or ToleranceSchedule
        Relative tolerance.
    atol : float or ToleranceSchedule
        Absolute tolerance. scikit-sundae cannot change tolerances during a run, so a schedule restarts CVODE at order 1
        whenever they have changed tenfold; the trace's column `restarts` counts that.
    max_order : int, optional
        Highest order: up to 5 for BDF, 12 for Adams.
    jacobian : "autodiff", "finite-difference" or "gauss-newton"
        The exact Hessian, CVODE's own differences of the gradient, or the Gauss-Newton matrix.

    Notes
    -----
    scikit-sundae tells evaluations only. Rejected steps and Newton iterations are read off the times at which CVODE
    evaluates: every attempt has a step size of its own, every Newton iteration evaluates once. With
    "finite-difference" they cannot be told. Order and factorizations never are.
    """

    max_order: int | None = None
    jacobian: str = "autodiff"

    family: ClassVar[str] = "SUNDIALS"
    source: ClassVar[str] = "Hindmarsh et al., ACM Trans. Math. Softw. 31 (2005)"
    method: ClassVar[str]
    highest: ClassVar[int]

    @abc.abstractmethod
    def linear(self, stepper: Cvode) -> dict[str, Any]:
        """CVODE's options for the linear systems."""

    def _check_common(self, flow: Flow) -> None:
        check_order(self.max_order, self.highest)
        check_jacobian(self.jacobian, flow)

    def run(self, flow: Flow, w: Vector) -> SteppedRun:
        """A run of CVODE."""
        return SteppedRun(self, flow, w, partial(Cvode, self, flow))


class _DenseSolver(CvodeSolver, abc.ABC):
    def check(self, flow: Flow) -> None:
        """Check max_order and jacobian."""
        self._check_common(flow)
        require_matrices(flow.objective, self.name, square=5)

    def compile(self, flow: Flow) -> None:
        """Gradient and Jacobian."""
        flow.warm_up(self.jacobian)

    def linear(self, stepper: Cvode) -> dict[str, Any]:
        """A dense Jacobian, ours or CVODE's differences."""
        return {"linsolver": "dense", "jacfn": None if self.jacobian == "finite-difference" else stepper.fill_jacobian}


class CVODE(_DenseSolver):
    """CVODE with BDF of orders 1 to 5 and dense Newton iterations; see `CvodeSolver` for the options.

    Examples
    --------
    >>> import numpy as np
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: (w[0] - 1) ** 2 + 1e4 * (w[1] - w[0]) ** 2, np.zeros(2))
    >>> solution = sg.solve(objective, CVODE(), until=sg.Until(loss=1e-10))
    >>> solution.outcome.success, solution.statistics.rejected_steps is not None
    (True, True)
    """

    name: ClassVar[str] = "cvode"
    summary: ClassVar[str] = "CVODE: variable-order BDF with a dense Jacobian"
    method: ClassVar[str] = "BDF"
    highest: ClassVar[int] = 5


class CVODEAdams(_DenseSolver):
    """CVODE with Adams-Moulton of orders 1 to 12, for flows that are not stiff, with Newton's iteration.

    See `CvodeSolver` for the options.
    """

    name: ClassVar[str] = "cvode-adams"
    summary: ClassVar[str] = "CVODE: variable-order Adams, for flows that are not stiff"
    method: ClassVar[str] = "Adams"
    highest: ClassVar[int] = 12


@dataclasses.dataclass(frozen=True)
class CVODEKrylov(CvodeSolver):
    """CVODE with BDF and GMRES: Hessian- or Gauss-Newton-vector products by autodiff instead of matrices.

    Parameters
    ----------
    rtol : float or ToleranceSchedule
        As in `CvodeSolver`.
    atol : float or ToleranceSchedule
        As in `CvodeSolver`.
    max_order : int, optional
        As in `CvodeSolver`.
    jacobian : "autodiff", "finite-difference" or "gauss-newton"
        As in `CvodeSolver`; with "finite-difference" CVODE differences the gradient for each product.
    preconditioner : "diagonal" or None
        I + gamma diag(G), with G the Gauss-Newton matrix; a diagonal costs k presentations for k outputs. Off, because
        the weights of a layer are strongly coupled: on `iris` with decay 1e-3 it needed 3 times the products.
    krylov_dim : int
        Most basis vectors of GMRES.
    """

    preconditioner: str | None = None
    krylov_dim: int = 20

    name: ClassVar[str] = "cvode-krylov"
    summary: ClassVar[str] = "CVODE: variable-order BDF, matrix-free by GMRES"
    method: ClassVar[str] = "BDF"
    highest: ClassVar[int] = 5

    def check(self, flow: Flow) -> None:
        """Check every option."""
        self._check_common(flow)
        if self.preconditioner is not None:
            _checks.choice("preconditioner", self.preconditioner, ("diagonal",))
            if not flow.objective.has_gauss_newton:
                raise ValueError("preconditioner='diagonal' needs an objective with outputs; use None for minimise")
        most = _checks.whole("krylov_dim", self.krylov_dim, 1)
        needed = 8.0 * most * (flow.size + most)
        require(needed, f"solver 'cvode-krylov' with krylov_dim={most}", "lower krylov_dim; more than n serves nothing")

    def compile(self, flow: Flow) -> None:
        """Gradient, product and diagonal; their counts are reset before the run."""
        exact = self.jacobian != "finite-difference"
        flow.warm_up(*([f"{self.jacobian} product".removeprefix("autodiff ")] if exact else []))
        if self.preconditioner is not None:
            _diagonal(flow.objective, np.asarray(flow.objective.w0))

    def linear(self, stepper: Cvode) -> dict[str, Any]:
        """GMRES on our products."""
        exact = self.jacobian != "finite-difference"
        diagonal = self.preconditioner is not None
        return {
            "linsolver": "gmres",
            "krylov_dim": self.krylov_dim,
            "jactimes": CVODEJacTimes(None, stepper.fill_product) if exact else None,
            "precond": CVODEPrecond(stepper.set_up, stepper.precondition, side="left") if diagonal else None,
        }


@jax.jit
def _diagonal(objective: Any, w: Any) -> jax.Array:
    """diag(G), (n,)."""
    return jnp.sum(derivatives.scaled_jacobian(objective, w) ** 2, axis=0) + objective.decay


class Cvode(Stepper):
    """One run of CVODE with its callbacks; exceptions pass through CVODE."""

    def __init__(self, solver: CvodeSolver, flow: Flow, w: Vector, rtol: float, atol: float) -> None:
        self._solver = solver
        self._flow = flow
        self._w = w
        self._begin = 0.0  # flow time of the last restart
        self._steps = self._attempts = self._newton = self._preconditions = 0
        self._restarts = -1
        self._diagonal = np.zeros(0)
        self._exact = solver.jacobian != "finite-difference"
        self._krylov = isinstance(solver, CVODEKrylov)
        self._start(rtol, atol)

    def _start(self, rtol: float, atol: float) -> None:
        self._tolerances = np.array([rtol, atol])
        self._restarts += 1
        self._times: list[float] = []
        self._sizing = True  # until the first linear system CVODE evaluates to size its first step
        self._t = 0.0
        solver = self._solver
        self._code = _Code(
            self.fill_rhs,
            method=solver.method,
            rtol=rtol,
            atol=atol,
            max_order=solver.max_order or solver.highest,
            **solver.linear(self),
        )
        self._code.init_step(0.0, self._w)

    def set_tolerances(self, rtol: float, atol: float) -> None:
        changed = np.abs(np.log(np.array([rtol, atol]) / self._tolerances))
        if np.max(changed) > np.log(RESTART) * (1 - 1e-9):
            self._begin += self._t
            self._start(rtol, atol)

    def step(self) -> Accepted:
        before = self._t
        self._times.clear()
        shown, sys.stdout = sys.stdout, NOWHERE
        try:
            result = self._flow.library(self._code.step, before + FIRST_HORIZON, "onestep")
        finally:
            sys.stdout = shown
        if not result.success:
            raise Finished(Outcome.FAILED, f"CVODE: {result.message.rstrip('.')}")
        self._t, self._w = float(result.t), np.array(result.y)
        times = [t for t in self._times if t != before]
        self._attempts += 1 + sum(a != b for a, b in itertools.pairwise(times))
        self._newton += len(times)
        self._steps += 1
        counts: dict[str, float] = {"steps": self._steps}
        if not self._exact:  # CVODE's own differences of the right side, which it does not tell apart
            counts |= {"hessian_products" if self._krylov else "jacobian_evaluations": np.nan}
        else:
            counts |= {"rejected_steps": self._attempts - self._steps}
            counts |= {"newton_iterations": self._newton, "linear_solves": self._newton}
        extra: dict[str, float] = {"restarts": self._restarts}
        if self._preconditions:
            extra["preconditioner_solves"] = self._preconditions
        return Accepted(self._w, self._begin + self._t, self._t - before, np.nan, counts, extra)

    def at(self, time: float) -> Vector:
        # Asked for a time that it has passed, CVODE interpolates; the call after that only goes back to where it was.
        within = max(time - self._begin, 0.0)
        w = np.array(self._code.step(within, "normal").y)
        self._code.step(self._t + FIRST_HORIZON, "onestep")
        return w

    # ---- CVODE's callbacks

    def fill_rhs(self, t: float, w: Vector, out: Vector) -> None:
        """The right side."""
        self._times.append(t)
        out[:] = self._flow.rhs(t, w)

    def _linear_system_begins(self) -> None:
        if self._sizing:
            self._sizing = False
            del self._times[:-1]

    def fill_jacobian(self, t: float, w: Vector, slope: Vector, out: Any) -> None:
        """The dense Jacobian."""
        self._linear_system_begins()
        out[:] = self._flow.jacobian_at(w, self._solver.jacobian)

    def fill_product(self, t: float, w: Vector, slope: Vector, v: Vector, out: Vector) -> None:
        """The Jacobian times v."""
        self._linear_system_begins()
        out[:] = -self._flow.product(w, v, self._solver.jacobian)

    def set_up(self, t: float, w: Vector, slope: Vector, fresh: bool, renewed: list[bool], gamma: float) -> None:
        """The diagonal of the Gauss-Newton matrix, when CVODE asks for a new one."""
        self._linear_system_begins()
        renewed[0] = not fresh
        if not fresh:
            self._diagonal = np.asarray(_diagonal(self._flow.objective, w))
            self._flow.counts["presentations"] += self._flow.outputs

    def precondition(
        self, t: float, w: Vector, slope: Vector, r: Vector, z: Vector, gamma: float, delta: float, side: int
    ) -> None:
        """Solve (I + gamma diag(G)) z = r."""
        self._preconditions += 1
        z[:] = r / (1.0 + gamma * self._diagonal)
