"""SciPy's minimisers, to compare with: L-BFGS, BFGS and conjugate gradients, and MINPACK's Levenberg-Marquardt."""

from __future__ import annotations

import abc
import dataclasses
import functools
import warnings
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import scipy.optimize
import threadpoolctl
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._memory import require
from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.solvers._base import Finished, Monitor, Solver, check_sum_of_squares, has_decay, require_matrices

FALL = 1e-3  # a start must lower the loss by this part of it, or the method gives up instead of starting again
ROUNDING = 10.0, 100.0  # of the gradient and of the loss, in units of the number type's precision


@dataclasses.dataclass(frozen=True)
class Minimiser(Solver, abc.ABC):
    """A method of `scipy.optimize.minimize` with gradients, one row an iteration, that goes on until it cannot.

    Every evaluation, within line searches too, is one of the loss and the gradient together. SciPy's own tolerances
    are off, so a run ends where a line search finds nothing lower. The method then starts again from that point with
    an empty memory, as its users do, if the loss fell by a thousandth since the last start. Otherwise it gives up:
    "stationary" where the gradient is rounding, "stalled" where no step along the gradient lowers the loss by more
    than rounding, "failed" in any other case.
    """

    family = "descent"
    source = "scipy.optimize.minimize"
    method: ClassVar[str]
    blas_threads: ClassVar[int | None] = None  # as they are set

    @abc.abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of SciPy's method, its tolerances switched off."""

    def start(self, flow: Flow, w: NDArray[np.float64]) -> Flow:
        """Compile the loss and its gradient."""
        _blas()  # looking for the libraries takes a while, too
        self.options()  # a bad one raises here, before anything is compiled
        require_matrices(flow.objective, self.name, square=4.0 if self.method == "BFGS" else 0.0)
        flow.warm_up("value")
        return flow

    def advance(self, state: Flow, monitor: Monitor) -> Flow:
        """Run SciPy's method, with restarts, until it or the driver ends."""
        flow, first = state, state.gradient_norm
        w = np.array(flow.point, float)
        while True:
            begin = flow.loss
            result = self._minimise(flow, w, monitor)
            if result is None:
                return flow
            w = result.x
            flow.refresh(w)
            if not begin - flow.loss > FALL * abs(begin):
                raise _verdict(flow, w, first, f"SciPy says: {result.message}")

    def _minimise(self, flow: Flow, w: NDArray[np.float64], monitor: Monitor) -> Any:
        """SciPy's result, or None where the driver said stop."""
        stopped = False

        def callback(intermediate_result: Any) -> None:
            nonlocal stopped
            flow.refresh(intermediate_result.x)  # does nothing but where a line search's last trial was not accepted
            stopped = monitor.step(intermediate_result.x)
            if stopped:
                raise StopIteration

        with warnings.catch_warnings(), np.errstate(over="ignore"), _blas().limit(limits=self.blas_threads):
            warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"scipy\.optimize")
            result = flow.library(
                scipy.optimize.minimize,
                flow.value_and_gradient,
                w,
                jac=True,
                method=self.method,
                callback=callback,
                options=self.options(),
            )
        return None if stopped else result


@functools.cache
def _blas() -> threadpoolctl.ThreadpoolController:
    return threadpoolctl.ThreadpoolController().select(user_api="blas")


def _verdict(flow: Flow, w: NDArray[np.float64], first: float, reason: str) -> Finished:
    """How a method ended that can go no further; `first` is the gradient norm at the start."""
    of_gradient, of_loss = (factor * float(jnp.finfo(flow.objective.w0.dtype).eps) for factor in ROUNDING)
    if flow.gradient_norm <= of_gradient * first:
        return Finished(Outcome.STATIONARY, f"gradient norm {flow.gradient_norm:.1e} of {first:.1e} at the start")
    loss, slope = flow.value_and_gradient(w)
    lengths = (1.0 + np.linalg.norm(w)) / np.linalg.norm(slope) * 10.0 ** -np.arange(16)
    lowest = min(flow.value(w - length * slope) for length in lengths)
    if lowest < loss - of_loss * abs(loss):
        return Finished(Outcome.FAILED, reason)
    return Finished(Outcome.STALLED, f"no step along the gradient lowers the loss by more than rounding; {reason}")


@dataclasses.dataclass(frozen=True)
class LBFGS(Minimiser):
    """L-BFGS (SciPy's L-BFGS-B without bounds): a quasi-Newton matrix from the last few steps.

    Parameters
    ----------
    memory : int
        Number of steps remembered; SciPy's default.

    Examples
    --------
    >>> from stiffgrad import Until, minimise, solve
    >>> valley = minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    >>> solve(valley, LBFGS(memory=5), until=Until(loss=1e-12)).outcome.success
    True
    """

    memory: int = 10

    name = "lbfgs"
    summary = "L-BFGS with a line search"
    source = "Byrd, Lu, Nocedal and Zhu 1995; scipy.optimize.minimize"
    method: ClassVar[str] = "L-BFGS-B"
    blas_threads: ClassVar[int | None] = 1  # its matrices are tiny: waking threads for them takes longer than the work

    def options(self) -> dict[str, Any]:
        """No tolerance, no budget: the driver has them."""
        memory = _checks.whole("memory", self.memory, 1)
        require(88.0 * memory**2, f"solver 'lbfgs' with memory={memory}", "10 to 50 steps serve")
        return {"maxcor": self.memory, "ftol": 0.0, "gtol": 0.0, "maxiter": 10**9, "maxfun": 10**9}


@dataclasses.dataclass(frozen=True)
class BFGS(Minimiser):
    """BFGS with SciPy's dense quasi-Newton matrix of n x n numbers and its line search for the Wolfe conditions."""

    name = "bfgs"
    summary = "BFGS with a dense quasi-Newton matrix and a line search"
    source = "Nocedal and Wright 2006, section 6.1; scipy.optimize.minimize"
    method: ClassVar[str] = "BFGS"

    def options(self) -> dict[str, Any]:
        """No tolerance, no budget: the driver has them."""
        return {"gtol": 0.0, "xrtol": 0.0, "maxiter": 10**9}


@dataclasses.dataclass(frozen=True)
class CG(Minimiser):
    """Nonlinear conjugate gradients by Polak and Ribiere, with SciPy's line search for the Wolfe conditions."""

    name = "cg"
    summary = "nonlinear conjugate gradients with a line search"
    source = "Nocedal and Wright 2006, section 5.2; scipy.optimize.minimize"
    method: ClassVar[str] = "CG"

    def options(self) -> dict[str, Any]:
        """No tolerance, no budget: the driver has them."""
        return {"gtol": 0.0, "maxiter": 10**9}


# ---- sums of squares


class _Stop(Exception):
    """The driver said stop; raised through MINPACK."""


@dataclasses.dataclass(frozen=True)
class MINPACK(Solver):
    """Levenberg-Marquardt of MINPACK (`lmder`), by SciPy's `least_squares(method="lm")`, for sums of squares.

    The Jacobian is analytic. MINPACK wants at least as many residuals as weights: rows of zeros make up for it. It
    asks for a Jacobian once an accepted step, which is where the row of that step is recorded; a trial point that
    reaches the target ends the run at once. Tolerances are the smallest that SciPy allows.

    Raises
    ------
    ValueError
        For another loss than "squared".

    Examples
    --------
    >>> from stiffgrad import Until, least_squares, solve
    >>> line = least_squares(lambda p, s: p["k"] * s[0] - s[1], {"k": 0.0}, np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> solve(line, MINPACK(), until=Until(loss=1e-12)).outcome.success
    True
    """

    name = "minpack"
    family = "descent"
    summary = "MINPACK's Levenberg-Marquardt; squared losses only"
    source = "More 1978; scipy.optimize.least_squares(method='lm')"
    squares_only = True

    def start(self, flow: Flow, w: NDArray[np.float64]) -> Flow:
        """Compile the residual, its Jacobian, and the gradient."""
        check_sum_of_squares(flow.objective, self.name)
        require_matrices(flow.objective, self.name, tall=4)
        flow.warm_up("residual", "scaled_jacobian")
        return flow

    def advance(self, state: Flow, monitor: Monitor) -> Flow:
        """Run MINPACK until it or the driver ends."""
        run = _LeastSquares(state, monitor)
        tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), float(np.finfo(float).eps))
        start = np.array(state.point, float)
        try:
            result = state.library(
                scipy.optimize.least_squares,
                run.residual,
                start,
                run.jacobian,
                method="lm",
                max_nfev=2**31 - 1,
                **tolerances,
            )
        except _Stop:
            return state
        outcome = {1: Outcome.STATIONARY, 2: Outcome.STALLED, 3: Outcome.STALLED, 4: Outcome.STALLED}
        raise Finished(outcome.get(result.status, Outcome.FAILED), f"SciPy says: {result.message}")


class _LeastSquares:
    """Residual and Jacobian as MINPACK wants them, with rows for the weight decay and of zeros; and the trace."""

    def __init__(self, flow: Flow, monitor: Monitor) -> None:
        self.flow = flow
        self.monitor = monitor
        self.rows = flow.objective.rows
        decay = np.sqrt(np.asarray(flow.objective.decay, float)) if has_decay(flow.objective) else np.zeros(0)
        self.decay = decay
        height = max(self.rows + decay.size, flow.size)
        self._residual = np.zeros(height)
        self._jacobian = np.zeros((height, flow.size))
        self._jacobian[self.rows : self.rows + decay.size] = np.diag(decay) if decay.size else 0.0
        self._accepted = np.array(flow.point, float)
        self._trials = -1  # the start is none
        self._steps = 0

    def residual(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """At a trial point; ends the run where that reaches the target."""
        r = self._residual
        r[: self.rows] = self.flow.residual(w)
        r[self.rows : self.rows + self.decay.size] = self.decay * w if self.decay.size else 0.0
        self._trials += 1
        if 0.5 * (r @ r) <= self.monitor.limits.loss and self._trials:
            self.flow.refresh(w)
            self._record(w)
        return r.copy()

    def jacobian(self, w: NDArray[np.float64]) -> NDArray[np.float64]:
        """At an accepted point, which was the last trial; its row is recorded here."""
        self._jacobian[: self.rows] = self.flow.scaled_jacobian(w)
        if not np.array_equal(w, self._accepted):
            r = self._residual
            self.flow.remember(w, float(0.5 * (r @ r)), float(np.linalg.norm(r @ self._jacobian)))
            self._record(w)
        return self._jacobian

    def _record(self, w: NDArray[np.float64]) -> None:
        self._accepted = np.array(w)
        self._steps += 1
        counts = {
            "rejected_steps": self._trials - self._steps,
            "factorizations": self.flow.counts["jacobian_evaluations"],
        }
        if self.monitor.step(w, counts=counts):
            raise _Stop
