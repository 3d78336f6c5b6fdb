"""SciPy's minimisers with line searches, to compare with: L-BFGS, BFGS and conjugate gradients."""

from __future__ import annotations

import abc
import dataclasses
import warnings
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.solvers._base import Finished, Monitor, Solver

FALL = 1e-3  # a start must lower the loss by this part of it, or the method gives up instead of starting again
ROUNDING = 1e3  # in units of the number type's precision: how much counts as rounding


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

    @abc.abstractmethod
    def options(self) -> dict[str, Any]:
        """Options of SciPy's method, its tolerances switched off."""

    def start(self, flow: Flow, w: NDArray[np.float64]) -> Flow:
        """Compile the loss and its gradient."""
        self.options()  # a bad one raises here, before anything is compiled
        flow.warm_up()
        flow.objective.value(w)
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

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"scipy\.optimize")
            result = scipy.optimize.minimize(
                flow.value_and_gradient, w, jac=True, method=self.method, callback=callback, options=self.options()
            )
        return None if stopped else result


def _verdict(flow: Flow, w: NDArray[np.float64], first: float, reason: str) -> Finished:
    """How a method ended that can go no further; `first` is the gradient norm at the start."""
    rounding = ROUNDING * float(jnp.finfo(flow.objective.w0.dtype).eps)
    if flow.gradient_norm <= rounding * first:
        return Finished(Outcome.STATIONARY, f"gradient norm {flow.gradient_norm:.1e} of {first:.1e} at the start")
    loss, slope = flow.value_and_gradient(w)
    lengths = (1.0 + np.linalg.norm(w)) / np.linalg.norm(slope) * 10.0 ** -np.arange(16)
    lowest = min(flow.value(w - length * slope) for length in lengths)
    if lowest < loss - rounding * abs(loss):
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

    def options(self) -> dict[str, Any]:
        """No tolerance, no budget: the driver has them."""
        if not isinstance(self.memory, int) or self.memory < 1:
            raise ValueError(f"memory={self.memory!r} must be a positive whole number of steps")
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
