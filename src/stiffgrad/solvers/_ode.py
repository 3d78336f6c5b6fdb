"""What all ODE libraries share: tolerances, checked options, callbacks that cannot raise, and when a flow rests."""

from __future__ import annotations

import abc
import dataclasses
import math
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._types import Outcome
from stiffgrad.flow import JACOBIANS, Flow
from stiffgrad.solvers._base import Finished, Monitor, Solver

Vector: TypeAlias = NDArray[np.float64]

# Training needs the end of the path, not the path: E. Klausmeier (2020, point 2 of his reply) asks for 1e-4, because
# strict tolerances make a BDF code take small steps of high order, and only orders 1 and 2 are A-stable.
LOOSE = 1e-4
STEPS = 64  # between two returns to the driver
HORIZON = 1e100  # stands for an infinite end of the flow time
# VODE and CVODE bound their first step by 2e-14 times and 0.1 times the end time, and then forget it in one-step mode.
FIRST_HORIZON = 100.0
EPS = float(np.finfo(float).eps)
REST = 1e-8  # a flow that rests is stationary if its gradient fell to this part of the largest one


@dataclasses.dataclass(frozen=True)
class ToleranceSchedule:
    """A tolerance that is loose while the loss is high and tightens as it falls.

    With E0 the loss at the start and E1 the target `Until(loss=...)` (1e-8 E0 without a target), the tolerance at loss
    E is `start` for E >= E0, `end` for E <= E1, and in between log(tolerance) is linear in log(E). Every accepted step
    sets it anew.

    Parameters
    ----------
    start : float
        Tolerance far from the target; positive.
    end : float
        Tolerance at the target; positive.

    Raises
    ------
    TypeError, ValueError
        Where `start` or `end` is no positive number.

    Examples
    --------
    >>> schedule = ToleranceSchedule(start=1e-2, end=1e-6)
    >>> [float(f"{schedule.at(loss, 1.0, 1e-4):.1e}") for loss in (2.0, 1.0, 1e-2, 1e-4, 1e-5)]
    [0.01, 0.01, 0.0001, 1e-06, 1e-06]
    """

    start: float
    end: float

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            _checks.positive(f"ToleranceSchedule: {name}", getattr(self, name))

    def at(self, loss: float, initial: float, target: float) -> float:
        """The tolerance at a loss, for an initial loss and a target; a loss that is not positive is at its target."""
        if not math.isfinite(loss) or not initial > 0:
            return self.start
        goal = target if 0 < target < initial else 1e-8 * initial
        if loss <= goal:
            return self.end
        part = min(1.0, max(0.0, math.log(initial / loss) / math.log(initial / goal)))
        return float(self.start ** (1 - part) * self.end**part)


Tolerance: TypeAlias = float | ToleranceSchedule


class Accepted(NamedTuple):
    """One accepted step, as `Monitor.step` wants it."""

    w: Vector
    flow_time: float
    step_size: float
    order: float
    counts: Mapping[str, float]
    extra: dict[str, float]


class Stepper(abc.ABC):
    """One library integrating one flow, a step at a time."""

    @abc.abstractmethod
    def set_tolerances(self, rtol: float, atol: float) -> None:
        """Use these tolerances from the next step on."""

    @abc.abstractmethod
    def step(self) -> Accepted:
        """Take one accepted step. Raises Finished where the library gives up, or whatever a callback raised."""

    @abc.abstractmethod
    def at(self, time: float) -> Vector:
        """The weights at a flow time inside the last step, by the library's own interpolation."""


@dataclasses.dataclass(frozen=True)
class OdeSolver(Solver, abc.ABC):
    """An ODE method of a library: options rtol and atol (numbers or a `ToleranceSchedule`).

    Both default to 1e-4: training wants the end of the path, and loose tolerances reach it in long steps of low order.
    """

    rtol: Tolerance = LOOSE
    atol: Tolerance = LOOSE

    patience: ClassVar[int] = 100  # steps without progress after which the flow rests

    @property
    def follows_flow(self) -> bool:
        return True

    @abc.abstractmethod
    def check(self, flow: Flow) -> None:
        """Raise ValueError or TypeError for an option beside rtol and atol, naming it."""

    @abc.abstractmethod
    def compile(self, flow: Flow) -> None:
        """Compile what the run will evaluate."""

    @abc.abstractmethod
    def run(self, flow: Flow, w: Vector) -> OdeRun:
        """The state of a run that starts at `w`; nothing may be evaluated yet."""

    def start(self, flow: Flow, w: NDArray[np.float64]) -> OdeRun:
        """Check the options and compile."""
        for name in ("rtol", "atol"):
            value = getattr(self, name)
            if not isinstance(value, ToleranceSchedule):
                check_tolerance(name, value)
        self.check(flow)
        self.compile(flow)
        return self.run(flow, np.array(w, dtype=float))

    def advance(self, state: OdeRun, monitor: Monitor) -> OdeRun:
        """One accepted step, or all of them for a library that cannot stop in between."""
        state.advance(monitor)
        return state


class OdeRun(abc.ABC):
    """A run: the tolerances in force, and whether the flow still moves."""

    def __init__(self, solver: OdeSolver, flow: Flow, w: Vector) -> None:
        self.solver = solver
        self.flow = flow
        self.w = w
        self.initial_loss = np.nan
        self.scheduled = isinstance(solver.rtol, ToleranceSchedule) or isinstance(solver.atol, ToleranceSchedule)
        self.rest = Rest(solver.patience)

    @abc.abstractmethod
    def advance(self, monitor: Monitor) -> None:
        """Advance and report."""

    def tolerances(self, target: float) -> tuple[float, float]:
        """Relative and absolute tolerance for the loss seen last."""
        if math.isnan(self.initial_loss):
            self.initial_loss = self.flow.loss
        rtol, atol = (
            value.at(self.flow.loss, self.initial_loss, target) if isinstance(value, ToleranceSchedule) else value
            for value in (self.solver.rtol, self.solver.atol)
        )
        return rtol, atol

    def report(self, accepted: Accepted, tolerances: tuple[float, float], monitor: Monitor) -> bool:
        """Tell the monitor of a step made with these tolerances. True: stop. Raises Finished where the flow rests."""
        w, flow_time, step_size, order, counts, extra = accepted
        if self.scheduled:
            extra = {**extra, "rtol": tolerances[0], "atol": tolerances[1]}
        stop = monitor.step(w, flow_time=flow_time, step_size=step_size, order=order, counts=counts, **extra)
        if not stop:
            self.rest.check(self.flow)
        return stop


class SteppedRun(OdeRun):
    """A run of a library that can stop after every step."""

    def __init__(
        self,
        solver: OdeSolver,
        flow: Flow,
        w: Vector,
        make: Callable[[Vector, float, float], Stepper],
        turn: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        super().__init__(solver, flow, w)
        # The end of the turn comes with `close`, or where nobody holds this run any more.
        self._end = None if turn is None else weakref.finalize(self, turn())
        self._make = make
        self._fixed: tuple[Any, Any] = (solver.rtol, solver.atol)
        self._stepper: Stepper | None = None
        self._flow_time = 0.0

    def close(self) -> None:
        """Let the next run of a code begin that one run at a time can use."""
        if self._end is not None:
            self._stepper = None
            self._end()

    def advance(self, monitor: Monitor) -> None:
        """Take up to `STEPS` steps; the first call makes the stepper, whose constructor may evaluate."""
        with warnings.catch_warnings():
            # The steppers read the status that SciPy's warnings describe. To silence them takes as long as a step of a
            # small network, so it is done once for many.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"scipy\.integrate")
            for _ in range(STEPS):
                if self._step(monitor):
                    return

    def _step(self, monitor: Monitor) -> bool:
        rtol, atol = self.tolerances(monitor.limits.loss) if self.scheduled else self._fixed
        if self._stepper is None:
            self._stepper = self._make(self.w, rtol, atol)
        elif self.scheduled:
            self._stepper.set_tolerances(rtol, atol)
        try:
            accepted = self._stepper.step()
        except Finished as end:
            # At rest a code may fail on what only rounding makes of the gradient.
            if self.rest.stationary:
                raise self.rest.end(end.reason) from end
            raise
        if accepted.flow_time == self._flow_time:
            reason = f"the step size fell below the rounding of the flow time {self._flow_time:.1e}"
            raise Finished(Outcome.FAILED, f"{reason}: the flow blows up, or the tolerances are too tight")
        self._flow_time = accepted.flow_time
        if monitor.next_time <= accepted.flow_time:
            accepted = _reached(self._stepper, accepted, monitor)
        return self.report(accepted, (rtol, atol), monitor)


def _reached(stepper: Stepper, accepted: Accepted, monitor: Monitor) -> Accepted:
    """Hand over the weights at the times wanted inside a step; the step itself, cut off at the end of the run."""
    accepted = accepted._replace(w=np.array(accepted.w))
    while (time := monitor.next_time) <= accepted.flow_time:
        w = accepted.w if time == accepted.flow_time else np.array(stepper.at(time))
        if monitor.reach(w):
            return accepted._replace(w=w, flow_time=time)
    return accepted


class Guard:
    """Callbacks for Fortran, which cannot pass an exception on without printing: keeps it, and repeats the last answer.

    On a constant slope the library ends its step after a few more calls; `raise_kept` then raises.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self.error: BaseException | None = None

    def vector(self, function: Callable[[float, Vector], Vector]) -> Callable[[float, Any], Vector]:
        """The same right side (t, w) -> (n,), which never raises and ignores an imaginary part of w."""
        return self._safe(function, (self._size,))

    def matrix(self, function: Callable[[float, Vector], Any] | None) -> Callable[[float, Any], Any] | None:
        """The same Jacobian (t, w) -> (n, n), which never raises; None stays None."""
        return None if function is None else self._safe(function, (self._size, self._size))

    def _safe(self, function: Callable[[float, Vector], Any], shape: tuple[int, ...]) -> Callable[[float, Any], Any]:
        answer = np.zeros(shape)

        def call(t: float, w: Any) -> Any:
            nonlocal answer
            if self.error is None:
                try:
                    answer = function(t, w.real)  # a view, of real weights too
                except BaseException as error:  # Ctrl-C too: `raise_kept` raises it
                    self.error = error
            return answer

        return call

    def raise_kept(self) -> None:
        """Raise what a callback raised."""
        if self.error is not None:
            error, self.error = self.error, None
            raise error


class Rest:
    """Ends a run when neither the lowest loss nor the lowest gradient norm has fallen for `patience` steps."""

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self._loss = self._norm = np.inf
        self._largest = self._now = 0.0
        self._waited = 0

    def check(self, flow: Flow) -> None:
        """Look at the last evaluation. Raises Finished: stationary, or stalled where the gradient is not small."""
        loss, norm = flow.last
        self._largest, self._now = max(self._largest, norm), norm
        fell = loss < self._loss - 4 * EPS * abs(self._loss) if math.isfinite(self._loss) else True
        if fell or norm < 0.9 * self._norm:
            self._waited = 0
        else:
            self._waited += 1
        self._loss, self._norm = min(loss, self._loss), min(norm, self._norm)
        if self._waited < self._patience:
            return
        raise self.end(f"no progress in {self._waited} steps")

    @property
    def stationary(self) -> bool:
        """Whether the gradient has fallen so far that nothing is left to do."""
        return self._now <= REST * self._largest

    def end(self, reason: str) -> Finished:
        """Stationary, or stalled where the gradient is not small."""
        if self.stationary:
            return Finished(Outcome.STATIONARY, f"gradient norm {self._now:.1e}; {reason}")
        return Finished(
            Outcome.STALLED, f"gradient norm {self._now:.1e}; {reason}: the tolerances hide any further decrease"
        )


def check_jacobian(kind: str, flow: Flow) -> None:
    """Raise ValueError for an unknown kind of Jacobian, or one that the objective does not have."""
    _checks.choice("jacobian", kind, JACOBIANS)
    if kind == "gauss-newton" and not flow.objective.has_gauss_newton:
        raise ValueError("jacobian='gauss-newton' needs an objective with outputs; use 'autodiff' for minimise(loss)")


def check_order(order: int | None, highest: int) -> None:
    """Raise TypeError or ValueError for a max_order that is not between 1 and `highest`."""
    if order is not None:
        _checks.whole("max_order", order, 1, highest, remedy="None is the highest order")


def check_tolerance(name: str, value: Any) -> None:
    """Raise TypeError or ValueError for a tolerance that is no positive number."""
    _checks.positive(name, value, remedy="1e-4 suits training")
