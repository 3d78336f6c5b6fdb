"""SciPy's ODE solvers: VODE, ZVODE, LSODA, DOPRI5, DOP853, Radau and BDF, with exact stops after every step."""

from __future__ import annotations

import abc
import dataclasses
from functools import partial
from typing import ClassVar

from stiffgrad import _checks
from stiffgrad.flow import Flow
from stiffgrad.solvers._base import require_matrices
from stiffgrad.solvers._ode import OdeSolver, SteppedRun, ToleranceSchedule, Vector, check_jacobian, check_order
from stiffgrad.solvers._scipy import HIGHEST, DormandPrinceRun, Lsoda, Python, Vode, check_vode, takes_vectors, turn

# ---- VODE and ZVODE


@dataclasses.dataclass(frozen=True)
class VodeSolver(OdeSolver, abc.ABC):
    """VODE in real or complex arithmetic.

    Parameters
    ----------
    rtol : float or ToleranceSchedule
        Relative tolerance; its changes take effect with the next step.
    atol : float or ToleranceSchedule
        Absolute tolerance; its changes take effect with the next step.
    method : "bdf" or "adams"
        BDF with Newton's method for stiff flows; Adams with functional iteration, without a Jacobian, for others.
    max_order : int, optional
        Highest order: up to 5 for BDF, 12 for Adams.
    jacobian : "autodiff", "finite-difference" or "gauss-newton"
        For BDF: the exact Hessian, differences of the gradient made by VODE, or the Gauss-Newton matrix.

    Notes
    -----
    The code keeps its state in global variables, so runs in threads of one process take turns: a second one waits.
    """

    method: str = "bdf"
    max_order: int | None = None
    jacobian: str = "autodiff"

    family: ClassVar[str] = "SciPy"

    def check(self, flow: Flow) -> None:
        """Check method, max_order and jacobian, and that SciPy's code is sound."""
        if self.name == "vode":
            check_vode()
        _checks.choice("method", self.method, ("bdf", "adams"))
        check_order(self.max_order, HIGHEST[self.method])
        check_jacobian(self.jacobian, flow)
        if self.method == "bdf":
            require_matrices(flow.objective, self.name, square=9 if self.name == "zvode" else 5)

    def compile(self, flow: Flow) -> None:
        """Adams needs no Jacobian."""
        flow.warm_up(*([self.jacobian] if self.method == "bdf" else []))

    def run(self, flow: Flow, w: Vector) -> SteppedRun:
        """A run of VODE."""
        return SteppedRun(self, flow, w, partial(Vode, self, flow), partial(turn, self.name))


class VODE(VodeSolver):
    """VODE: variable-order BDF (or Adams) in fixed-leading-coefficient form, the code asked for by E. Klausmeier.

    See `VodeSolver` for the options. A gradient flow's Jacobian is symmetric, so its spectrum is real, and all BDF
    orders up to 5 are stable on it; `max_order=2` restricts to those that are A-stable.

    Examples
    --------
    >>> import numpy as np
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: (w[0] - 1) ** 2 + 1e4 * (w[1] - w[0]) ** 2, np.zeros(2))
    >>> solution = sg.solve(objective, VODE(rtol=1e-6, max_order=2), until=sg.Until(loss=1e-10))
    >>> solution.outcome.success, float(np.nanmax(solution.trace["order"]))
    (True, 2.0)
    """

    name: ClassVar[str] = "vode"
    summary: ClassVar[str] = "variable-order BDF or Adams, with reused Jacobians"
    source: ClassVar[str] = "Brown, Byrne and Hindmarsh, SIAM J. Sci. Stat. Comput. 10 (1989)"


class ZVODE(VodeSolver):
    """ZVODE: VODE in complex arithmetic, as in the experiment that stiffgrad settles; the imaginary part stays zero.

    It takes VODE's steps at twice the work in linear algebra. See `VODE` for the options.
    """

    name: ClassVar[str] = "zvode"
    summary: ClassVar[str] = "VODE in complex arithmetic"
    source: ClassVar[str] = "Brown, Byrne and Hindmarsh, SIAM J. Sci. Stat. Comput. 10 (1989)"


# ---- LSODA


@dataclasses.dataclass(frozen=True)
class LSODA(OdeSolver):
    """LSODA: switches by itself between Adams and BDF; the trace's column `stiff_method` is 1 where BDF was used.

    Parameters
    ----------
    rtol : float or ToleranceSchedule
        Relative tolerance; its changes take effect with the next step.
    atol : float or ToleranceSchedule
        Absolute tolerance; its changes take effect with the next step.
    max_order : int, optional
        Highest order; at most 12 while it uses Adams, 5 while it uses BDF.
    jacobian : "autodiff", "finite-difference" or "gauss-newton"
        As for `VODE`.

    Notes
    -----
    LSODA does not tell its Newton iterations and rejected steps. Runs in threads of one process take turns.

    Examples
    --------
    >>> import numpy as np
    >>> import stiffgrad as sg
    >>> objective = sg.minimise(lambda w: (w[0] - 1) ** 2 + 1e4 * (w[1] - w[0]) ** 2, np.zeros(2))
    >>> solution = sg.solve(objective, LSODA(), until=sg.Until(loss=1e-10))
    >>> solution.outcome.success, float(solution.trace["stiff_method"][-1])
    (True, 1.0)
    """

    max_order: int | None = None
    jacobian: str = "autodiff"

    name: ClassVar[str] = "lsoda"
    family: ClassVar[str] = "SciPy"
    summary: ClassVar[str] = "switches between Adams and BDF by itself"
    source: ClassVar[str] = "Petzold, SIAM J. Sci. Stat. Comput. 4 (1983)"

    def check(self, flow: Flow) -> None:
        """Check max_order and jacobian."""
        check_order(self.max_order, HIGHEST["adams"])
        check_jacobian(self.jacobian, flow)
        require_matrices(flow.objective, self.name, square=4)

    def compile(self, flow: Flow) -> None:
        """Gradient and Jacobian."""
        flow.warm_up(self.jacobian)

    def run(self, flow: Flow, w: Vector) -> SteppedRun:
        """A run of LSODA."""
        return SteppedRun(self, flow, w, partial(Lsoda, self, flow), partial(turn, self.name))


# ---- DOPRI5 and DOP853


@dataclasses.dataclass(frozen=True)
class DormandPrince(OdeSolver, abc.ABC):
    """Explicit Runge-Kutta codes by Hairer; no Jacobian.

    Parameters
    ----------
    rtol : float or ToleranceSchedule
        Relative tolerance; its changes take effect with the next step.
    atol : float or ToleranceSchedule
        Absolute tolerance; its changes take effect with the next step.

    Notes
    -----
    Stability limits the step to about 3.3 (DOPRI5) or 6 (DOP853) over the largest eigenvalue of the Hessian. The
    codes' own test for stiffness, which would end the run, is switched off.
    """

    family: ClassVar[str] = "SciPy"
    patience: ClassVar[int] = 1000  # at the stability limit the loss jitters while it still falls
    order: ClassVar[int]
    evaluations: ClassVar[tuple[int, int]]  # of each attempted step, and one more after each accepted one

    def check(self, flow: Flow) -> None:
        """A schedule needs a SciPy that reads tolerances at every step."""
        if any(isinstance(value, ToleranceSchedule) for value in (self.rtol, self.atol)) and not takes_vectors():
            raise ValueError(
                f"solver {self.name!r}: this SciPy reads rtol and atol once, so they must be numbers and no "
                "ToleranceSchedule; use 'tsit5', 'radau' or 'bdf', or install 'scipy<1.17'"
            )

    def compile(self, flow: Flow) -> None:
        """The gradient."""
        flow.warm_up()

    def run(self, flow: Flow, w: Vector) -> DormandPrinceRun:
        """A run that reports from inside the library."""
        return DormandPrinceRun(self, flow, w)


class Dopri5(DormandPrince):
    """DOPRI5: the explicit Runge-Kutta pair of order 5(4) by Dormand and Prince, to see how stiff a flow is."""

    name: ClassVar[str] = "dopri5"
    summary: ClassVar[str] = "explicit Runge-Kutta of order 5, not for stiff flows"
    source: ClassVar[str] = "Hairer, Norsett and Wanner, Solving ODEs I (1993), II.5"
    order: ClassVar[int] = 5
    evaluations: ClassVar[tuple[int, int]] = (6, 0)


class DOP853(DormandPrince):
    """DOP853: the explicit Runge-Kutta pair of order 8(5,3) by Dormand and Prince."""

    name: ClassVar[str] = "dop853"
    summary: ClassVar[str] = "explicit Runge-Kutta of order 8, not for stiff flows"
    source: ClassVar[str] = "Hairer, Norsett and Wanner, Solving ODEs I (1993), II.10"
    order: ClassVar[int] = 8
    evaluations: ClassVar[tuple[int, int]] = (11, 1)


# ---- Radau and BDF, which SciPy has in Python


@dataclasses.dataclass(frozen=True)
class PythonSolver(OdeSolver, abc.ABC):
    """Options of Radau and BDF.

    Parameters
    ----------
    rtol : float or ToleranceSchedule
        Relative tolerance; its changes take effect with the next step.
    atol : float or ToleranceSchedule
        Absolute tolerance; its changes take effect with the next step.
    jacobian : "autodiff", "finite-difference" or "gauss-newton"
        As for `VODE`.
    """

    jacobian: str = "autodiff"

    family: ClassVar[str] = "SciPy"

    def check(self, flow: Flow) -> None:
        """Check jacobian."""
        check_jacobian(self.jacobian, flow)
        require_matrices(flow.objective, self.name, square=10 if self.name == "radau" else 6)

    def compile(self, flow: Flow) -> None:
        """Gradient and Jacobian."""
        flow.warm_up(self.jacobian)

    def run(self, flow: Flow, w: Vector) -> SteppedRun:
        """A run of SciPy's class of that name."""
        return SteppedRun(self, flow, w, partial(Python, self, flow))


class Radau(PythonSolver):
    """Radau IIA of order 5: implicit Runge-Kutta, L-stable; one real and one complex factorization a step size."""

    name: ClassVar[str] = "radau"
    summary: ClassVar[str] = "implicit Runge-Kutta (Radau IIA) of order 5, L-stable"
    source: ClassVar[str] = "Hairer and Wanner, Solving ODEs II (1996), IV.8"


class BDF(PythonSolver):
    """Quasi-constant step BDF with the NDF modification, of orders 1 to 5 (SciPy offers no limit)."""

    name: ClassVar[str] = "bdf"
    summary: ClassVar[str] = "variable-order BDF with quasi-constant steps"
    source: ClassVar[str] = "Shampine and Reichelt, SIAM J. Sci. Comput. 18 (1997)"
