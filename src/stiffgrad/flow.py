"""Training is an ODE: dw/dt = F(w) = -grad E(w), whose Jacobian is -H(w). Every evaluation is counted here."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stiffgrad.objective import Objective

Vector = NDArray[np.float64]
JACOBIANS = ("autodiff", "finite-difference", "gauss-newton")


class OutOfTime(Exception):
    """The wall-time budget ended inside a step; the driver returns the last accepted point."""


class Flow:
    """The gradient flow of an objective for solvers that run outside compiled loops; arrays are NumPy.

    Parameters
    ----------
    objective : Objective

    Attributes
    ----------
    counts : dict
        Cumulative evaluations, named as in `Statistics`.
    point, loss, gradient_norm
        Of the last evaluation of F.
    deadline : float
        On the clock of `time.perf_counter`; past it an evaluation raises `OutOfTime`.

    Examples
    --------
    >>> from stiffgrad.objective import minimise
    >>> flow = Flow(minimise(lambda w: 0.5 * (w**2).sum(), np.array([1.0, 2.0])))
    >>> flow.rhs(0.0, np.array([1.0, 2.0])).tolist(), flow.counts["rhs_evaluations"]
    ([-1.0, -2.0], 1)
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.size = objective.size
        self.outputs = -(-objective.rows // objective.samples)
        self.deadline = np.inf
        self.counts: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """Forget counts and the last point (after a warm-up)."""
        names = ("rhs_evaluations", "loss_evaluations", "jacobian_evaluations", "hessian_products", "presentations")
        self.counts.update(dict.fromkeys(names, 0))
        self.point: Vector = np.full(self.size, np.nan)
        self.loss = np.nan
        self.gradient_norm = np.nan
        self._primed: tuple[Vector, float, Vector] | None = None

    def _count(self, name: str, presentations: float) -> None:
        self._check_time()
        self.counts[name] += 1
        self.counts["presentations"] += presentations

    def _check_time(self) -> None:
        if time.perf_counter() > self.deadline:
            raise OutOfTime

    def prime(self, w: Vector) -> tuple[float, float]:
        """Loss and gradient norm at the start, uncounted: the solver's own first evaluation there reuses them."""
        loss, slope = self.objective.value_and_gradient(w)
        self._primed = (np.array(w), float(loss), np.asarray(slope))
        self._remember(*self._primed)
        return self.loss, self.gradient_norm

    def _remember(self, w: Vector, loss: float, slope: Vector) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run is judged by the driver, not warned about
            self.point, self.loss, self.gradient_norm = w, loss, float(np.linalg.norm(slope))

    def value_and_gradient(self, w: Vector) -> tuple[float, Vector]:
        """E(w) and its gradient, (n,). Counts one right-side evaluation and one presentation."""
        self._count("rhs_evaluations", 1)
        if self._primed is not None and np.array_equal(w, self._primed[0]):
            _, loss, slope = self._primed
            self._primed = None
        else:
            value, gradient = self.objective.value_and_gradient(w)
            loss, slope = float(value), np.asarray(gradient)
        self._remember(np.array(w), loss, slope)
        return loss, slope.copy()

    def rhs(self, t: float, w: Vector) -> Vector:
        """F(w) = -grad E(w), (n,); the time t is not used: the flow is autonomous."""
        return -self.value_and_gradient(w)[1]

    def value(self, w: Vector) -> float:
        """E(w) alone. Counts one loss evaluation and one presentation."""
        self._count("loss_evaluations", 1)
        return float(self.objective.value(w))

    def residual(self, w: Vector) -> Vector:
        """The pseudo-residual, (m,). Counts one loss evaluation and one presentation."""
        self._count("loss_evaluations", 1)
        return np.asarray(self.objective.residual(w))

    def scaled_jacobian(self, w: Vector) -> NDArray[np.float64]:
        """The Jacobian A of the pseudo-residual, (m, n). Counts as one Jacobian and a presentation for each output."""
        self._count("jacobian_evaluations", self.outputs)
        return np.asarray(self.objective.scaled_jacobian(w))

    def hessian(self, w: Vector, kind: str = "autodiff") -> NDArray[np.float64]:
        """Dense H(w), or the Gauss-Newton matrix for kind="gauss-newton"; (n, n)."""
        gauss_newton = kind == "gauss-newton"
        self._count("jacobian_evaluations", self.outputs if gauss_newton else 2 * self.size)
        if gauss_newton:
            return np.array(self.objective.gauss_newton(w))
        strips = []
        for first in range(0, self.size, 64):  # strip by strip, for a large Hessian must not outlast the wall time
            strips.append(np.asarray(self.objective.hessian_rows(w, first)))
            self._check_time()
        matrix = np.concatenate(strips)[: self.size]
        return 0.5 * (matrix + matrix.T)

    def jacobian(self, kind: str) -> Callable[[float, Vector], NDArray[np.float64]] | None:
        """The Jacobian -H(w) as a function (t, w) -> (n, n); None for "finite-difference": the solver's own."""
        if kind == "finite-difference":
            return None
        return lambda t, w: -self.hessian(w, kind)

    def product(self, w: Vector, v: Vector, kind: str = "autodiff") -> Vector:
        """H v, or G v for kind="gauss-newton"; (n,). Counts one Hessian product and two presentations."""
        self._count("hessian_products", 2)
        product = self.objective.gnvp if kind == "gauss-newton" else self.objective.hvp
        return np.asarray(product(w, v))

    def refresh(self, w: Vector) -> None:
        """Make loss and gradient norm exact at `w`, for a stop near a target; counted as a loss evaluation."""
        if not np.array_equal(w, self.point):
            self._count("loss_evaluations", 1)
            loss, slope = self.objective.value_and_gradient(w)
            self._remember(np.array(w), float(loss), np.asarray(slope))

    def warm_up(self, jacobian: str | None = None) -> None:
        """Compile what a solver will call, uncounted."""
        w = np.asarray(self.objective.w0)
        self.objective.value_and_gradient(w)
        if jacobian == "gauss-newton":
            self.objective.gauss_newton(w)
        elif jacobian == "autodiff":
            self.objective.hessian_rows(w, 0)
