"""`auto`: picks the integrator for a problem from its size, the memory, and what products cost on this machine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._memory import available_bytes
from stiffgrad.curvature.kronecker import Kronecker
from stiffgrad.flow import Flow
from stiffgrad.objective import Objective
from stiffgrad.objective.placement import agreed
from stiffgrad.solvers._base import Monitor, Solver
from stiffgrad.solvers.exponential import Exponential
from stiffgrad.solvers.quasi_newton import QuasiNewton
from stiffgrad.solvers.rosenbrock import Rosenbrock, dense_bytes, is_dual

CHEAP_FLOPS = 2e8  # a dense step below this is milliseconds: nothing is worth measuring first
SECANT_WEIGHTS = 300, 3000  # up to so many weights n^2 operations are cheap; up to so many, beside n <= N samples
DENSE_WORTH = 80.0  # a dense step is worth so many Hessian products
DENSE_WORTH_KRONECKER = 10.0  # and so many where `exponential` has coordinates that make the problem less stiff
CHOICES = ("rosenbrock, n x n", "rosenbrock, m x m", "exponential", "quasi-newton")


@dataclasses.dataclass(frozen=True)
class Choice:
    """What `auto` chose, and why."""

    solver: Solver
    kind: int  # index into CHOICES
    reason: str


@dataclasses.dataclass
class Chosen:
    """A run of the chosen solver."""

    choice: Choice
    state: Any
    start: Callable[[Choice], Any]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Those of the chosen solver, and which it is: clocks may choose otherwise the next time."""
        return {**self.state.arrays(), "kind": np.asarray(self.choice.kind)}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on with what was chosen then."""
        kind = int(arrays["kind"])
        if kind != self.choice.kind:
            solver = (Rosenbrock(), Rosenbrock(), Exponential(), QuasiNewton())[kind]
            self.choice = Choice(solver, kind, "chosen when the run began")
            self.state = self.start(self.choice)
        self.state.resume({name: array for name, array in arrays.items() if name != "kind"})

    @property
    def description(self) -> str:
        """For `Solution.solver`."""
        return f"auto: {CHOICES[self.choice.kind]} ({self.choice.reason})"


@dataclasses.dataclass(frozen=True)
class Auto(Solver):
    """Rosenbrock on the smaller side, quasi-newton or exponential, whichever promises to be faster; nothing to set.

    Squares without weight decay: Gauss-Newton serves to the end. A dense step costs a Gram matrix and a factorization,
    and does the work of some tens of Hessian products; both costs are estimated from short measurements, unless
    the dense step is so cheap that nothing is worth measuring. Where residuals stay (cross entropy, weight decay)
    Gauss-Newton converges only linearly, and secants see the whole Hessian for nothing: in a dense matrix where its
    n^2 operations are few beside a gradient, else in limited memory.
    The trace's column `chosen` says 0 for rosenbrock n x n, 1 for m x m, 2 for exponential, 3 for quasi-newton.

    Examples
    --------
    >>> Auto().name
    'auto'
    """

    name: ClassVar[str] = "auto"
    family: ClassVar[str] = "own"
    summary: ClassVar[str] = "picks rosenbrock, quasi-newton or exponential from structure, size and cost, and says why"
    source: ClassVar[str] = "this package, docs/auto.md"

    def start(self, flow: Flow, w: NDArray[np.float64]) -> Chosen:
        """Choose, and compile the choice."""
        choice = choose(flow.objective)
        return Chosen(choice, choice.solver.start(flow, w), lambda choice: choice.solver.start(flow, w))

    def advance(self, state: Chosen, monitor: Monitor) -> Chosen:
        """Advance the chosen solver."""
        state.state = state.choice.solver.advance(state.state, _Labelled(monitor, state.choice.kind))
        return state


class _Labelled:
    """A monitor that adds what was chosen to every row."""

    def __init__(self, monitor: Monitor, kind: int) -> None:
        self._monitor = monitor
        self._kind = kind
        self.limits = monitor.limits
        self.steps_only = monitor.steps_only
        self.seconds_left = monitor.seconds_left
        self.step = monitor.step
        self.next_time, self.reach = np.inf, monitor.reach  # none of its choices follows the flow in time

    def chunk(self, w: Any, rows: Mapping[str, NDArray[np.float64]]) -> bool:
        return self._monitor.chunk(w, {**rows, "chosen": np.full(len(rows["loss"]), float(self._kind))})


def choose(objective: Objective) -> Choice:
    """The integrator for an objective, and the reason in words."""
    dual = is_dual(objective)
    dense = Choice(Rosenbrock(), int(dual), "")
    free = Choice(Exponential(), 2, "")
    n, m = objective.size, objective.rows
    if dense_bytes(objective) > 0.5 * available_bytes():
        return dataclasses.replace(free, reason=f"dense matrices need {dense_bytes(objective) / 2**30:.1f} GiB")
    if not residuals_vanish(objective):
        few, many = SECANT_WEIGHTS
        words = f"n = {n}, N = {objective.samples}: the residuals stay"
        if n <= max(few, min(many, objective.samples)):
            return Choice(QuasiNewton(), 3, f"{words}, and a dense matrix of secants is cheap")
        return dataclasses.replace(free, reason=f"{words}, and dense matrices are not cheap")
    flops = dense_flops(objective)
    if flops <= CHEAP_FLOPS:
        return dataclasses.replace(dense, reason=f"n = {n}, m = {m}: a dense step is cheap")
    product, speed = map(agreed, _seconds(objective))
    worth = DENSE_WORTH_KRONECKER if Kronecker.suits(objective) else DENSE_WORTH
    seconds = flops / speed
    words = f"a dense step takes about {seconds:.2g} s, and does the work of {worth:.0f} products of {product:.2g} s"
    return dataclasses.replace(dense if seconds <= worth * product else free, reason=words)


def residuals_vanish(objective: Objective) -> bool:
    """Whether Gauss-Newton may serve to the end: squares without weight decay, which may go to zero.

    Cross entropy and weight decay leave residuals, and there Gauss-Newton converges only linearly.
    """
    squares = all(block.loss.name == "squared" for block in objective.blocks)
    return squares and not bool(jnp.any(objective.decay > 0))


def dense_flops(objective: Objective) -> float:
    """Floating-point operations of a dense Gauss-Newton step: the Gram matrix and its factorization."""
    n, m = float(objective.size), float(objective.rows)
    return m * m * n + m**3 / 3 if is_dual(objective) else m * n * n + n**3 / 3


def _seconds(objective: Objective) -> tuple[float, float]:
    """Seconds of a Hessian product, and operations a second of a dense matrix product."""
    w = objective.w0
    square = jnp.ones((512, 512), w.dtype)
    multiply: Callable[..., Any] = jax.jit(jnp.matmul)
    return _best(lambda: objective.hvp(w, w)), 2.0 * 512**3 / _best(lambda: multiply(square, square))


def _best(call: Callable[[], Any], repeats: int = 3) -> float:
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin)
    return min(times)
