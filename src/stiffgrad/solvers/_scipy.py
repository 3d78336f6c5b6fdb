"""How each of SciPy's codes takes one step, and where it keeps its counts.

The Fortran codes keep them in the arrays `iwork` and `rwork`; the comments at the head of ODEPACK's and of Hairer's
sources say where. One run of `vode`, `zvode` or `lsoda` at a time in a process: they keep global state.
"""

from __future__ import annotations

import functools
import itertools
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from scipy import integrate

from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.solvers._base import Finished, Monitor
from stiffgrad.solvers._ode import FIRST_HORIZON, HORIZON, Accepted, Guard, OdeRun, Stepper, Vector

HIGHEST = {"bdf": 5, "adams": 12}
NO_LIMIT = 2**31 - 1


# Where nlu stands in iwork, counted from 0; nni, ncfn and netf follow. ZVODE has one more length before it.
_NLU = {"vode": 18, "zvode": 19}


class Vode(Stepper):
    """VODE and ZVODE."""

    def __init__(self, solver: Any, flow: Flow, w: Vector, rtol: float, atol: float) -> None:
        self._stiff = solver.method == "bdf"
        self._nlu = _NLU[solver.name]
        self._flow = flow
        self._guard = Guard(flow.size)
        jacobian = flow.jacobian(solver.jacobian) if self._stiff else None
        self._ode = integrate.ode(self._guard.vector(flow.rhs), self._guard.matrix(jacobian))
        self._ode.set_integrator(
            solver.name,
            method=solver.method,
            with_jacobian=self._stiff,
            rtol=rtol,
            atol=atol,
            order=solver.max_order or HIGHEST[solver.method],
        )
        self._ode.set_initial_value(w, 0.0)

    def set_tolerances(self, rtol: float, atol: float) -> None:
        # VODE reads both at every call ("the new values will be used", its source on ISTATE = 2).
        self._ode._integrator.call_args[:2] = [rtol, atol]

    def step(self) -> Accepted:
        y = self._flow.library(self._ode.integrate, self._ode.t + FIRST_HORIZON, step=True)
        self._guard.raise_kept()
        code = self._ode._integrator
        if not self._ode.successful():
            raise _failed(code)
        nst, _, nje, nqu, *rest = code.iwork[10 : self._nlu + 4].tolist()
        nlu, nni, ncfn, netf = rest[-4:]
        # Every failure of the error test or of the corrector repeats the step.
        counts = {"steps": nst, "rejected_steps": ncfn + netf, "error_test_failures": netf}
        if self._stiff:
            counts = {
                **counts,
                "newton_iterations": nni,
                "newton_failures": ncfn,
                "linear_solves": nni,
                "factorizations": nlu,
                "jacobian_evaluations": nje,
            }
        return Accepted(y.real, self._ode.t, code.rwork.item(10), nqu, counts, {})

    def at(self, time: float) -> Vector:
        # Asked for a time that it has passed, VODE interpolates and steps no further.
        return self._ode.integrate(time).real


KNOWN_STEPS = 471  # of a sound VODE on the known problem


@functools.cache
def vode_steps() -> int:
    """Steps of SciPy's VODE on a known problem, the Rosenbrock gradient flow to t = 50; to tell a faulty one."""

    def slope(t: float, w: Vector) -> list[float]:
        x, y = w
        return [2 * (1 - x) + 400 * x * (y - x * x), -200 * (y - x * x)]

    def jacobian(t: float, w: Vector) -> list[list[float]]:
        x, y = w
        return [[-2 + 400 * y - 1200 * x * x, 400 * x], [400 * x, -200.0]]

    code = integrate.ode(slope, jacobian)
    code.set_integrator("vode", method="bdf", with_jacobian=True, rtol=1e-6, atol=1e-9, nsteps=20_000)
    code.set_initial_value([-1.2, 1.0], 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        code.integrate(50.0)
    return int(code._integrator.iwork[10])


@functools.cache
def takes_vectors() -> bool:
    """Whether SciPy's DOPRI5 takes a tolerance for each component; the translation in SciPy 1.17 raises TypeError."""
    code = integrate.ode(lambda t, y: -y).set_integrator("dopri5", rtol=np.full(2, 1e-3), atol=np.full(2, 1e-3))
    try:
        code.set_initial_value(np.ones(2), 0.0).integrate(1.0)
    except TypeError:
        return False
    return True


def check_vode() -> None:
    """Raise RuntimeError where SciPy's VODE is the faulty translation of SciPy 1.17 and 1.18.

    SciPy before 1.17 wraps the Fortran code; of a later one the steps on the known problem tell.
    """
    if tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 17) or vode_steps() <= 2 * KNOWN_STEPS:
        return
    raise RuntimeError(
        f"solver 'vode': SciPy {scipy.__version__} has a faulty translation of VODE ({vode_steps():,} steps where it "
        f"should take {KNOWN_STEPS}); use 'zvode' or 'cvode', which take VODE's steps, or install 'scipy<1.17'"
    )


_LOCKS = {name: threading.Lock() for name in ("vode", "zvode", "lsoda")}
_owners: dict[str, int] = {}


def turn(name: str) -> Callable[[], None]:
    """Wait until no other run of this code is going on in the process; returns what ends the turn.

    The codes keep their state in global variables of their library. SciPy refuses a second run of VODE; two of LSODA
    in threads would silently spoil each other.

    Raises
    ------
    RuntimeError
        Where it would wait for this thread itself, as in a callback of a run of the same code.
    """
    lock = _LOCKS[name]
    if not lock.acquire(blocking=False):
        if _owners.get(name) == threading.get_ident():
            raise RuntimeError(
                f"solver {name!r} is running in this thread already, and keeps its state in global variables: solve "
                "after that run has ended, in another process, or with solver='bdf' or 'cvode'"
            )
        lock.acquire()
    _owners[name] = threading.get_ident()

    def end() -> None:
        # Before the lock is free: another thread that takes it is not its owner yet, and this one is no longer.
        del _owners[name]
        lock.release()

    return end


def _failed(code: Any) -> Finished:
    reason = code.messages.get(code.istate, f"istate {code.istate}")
    return Finished(Outcome.FAILED, f"{type(code).__name__}: {reason.rstrip('.')}")


class Lsoda(Stepper):
    """LSODA, through the class that shows how it stops after each step."""

    def __init__(self, solver: Any, flow: Flow, w: Vector, rtol: float, atol: float) -> None:
        self._flow = flow
        self._guard = Guard(flow.size)
        jac = self._guard.matrix(flow.jacobian(solver.jacobian))
        rhs = self._guard.vector(flow.rhs)
        self._lsoda = integrate.LSODA(rhs, 0.0, w, HORIZON, rtol=rtol, atol=atol, jac=jac)
        self._code = self._lsoda._lsoda_solver._integrator
        highest = solver.max_order or HIGHEST["adams"]
        self._code.iwork[7:9] = [highest, min(highest, HIGHEST["bdf"])]

    def set_tolerances(self, rtol: float, atol: float) -> None:
        self._code.call_args[:2] = [rtol, atol]  # read at every call, as in VODE

    def step(self) -> Accepted:
        self._flow.library(self._lsoda.step)
        self._guard.raise_kept()
        if self._lsoda.status == "failed":
            raise _failed(self._code)
        if self._lsoda.status == "finished":
            raise _at_horizon()
        nst, _, nje, nqu = self._code.iwork[10:14].tolist()
        # LSODA factorises once for every Jacobian: it rescales none.
        counts: dict[str, float] = {"steps": nst, "jacobian_evaluations": nje, "factorizations": nje}
        extra = {"stiff_method": float(self._code.iwork[18] == 2)}
        return Accepted(self._lsoda.y, float(self._lsoda.t), float(self._code.rwork[10]), nqu, counts, extra)

    def at(self, time: float) -> Vector:
        return self._lsoda.dense_output()(time)


def _at_horizon() -> Finished:
    return Finished(Outcome.STATIONARY, f"flow time {HORIZON:g} is reached")


class DormandPrinceRun(OdeRun):
    """All steps in one library call; the callback `solout` reports each and stops the code."""

    def __init__(self, solver: Any, flow: Flow, w: Vector) -> None:
        super().__init__(solver, flow, w)
        self.method = solver

    def advance(self, monitor: Monitor) -> None:
        """Integrate until the monitor says stop."""
        solver, flow = self.method, self.flow
        guard = Guard(flow.size)
        # As vectors (of two at least) the tolerances are read at every step: a schedule may change them in place.
        size = max(2, flow.size) if takes_vectors() else ()
        rtol, atol = (np.full(size, value) for value in self.tolerances(monitor.limits.loss))
        before = 0.0
        accepted = 0
        starts = 0  # of the code: at the beginning, and at every time that is wanted exactly
        stopped = fresh = False

        def report(t: float, y: Vector) -> bool:
            nonlocal before, accepted, fresh
            if fresh:  # the first call of solout shows the start
                fresh = False
                return False
            accepted += 1
            if t >= monitor.next_time * (1 - 1e-14):
                t = monitor.next_time
                monitor.reach(np.array(y))
            each, after = solver.evaluations
            # Two evaluations come before: the slope at the start, and one more for the size of the first step.
            attempts = (flow.counts["rhs_evaluations"] - 2 * starts - after * accepted) // each
            rejected = attempts - accepted
            counts = {"steps": accepted, "rejected_steps": rejected, "error_test_failures": rejected}
            step_size, before = t - before, t
            stop = self.report(
                Accepted(np.array(y), t, step_size, solver.order, counts, {}), (rtol.flat[0], atol.flat[0]), monitor
            )
            if self.scheduled:
                rtol[:], atol[:] = self.tolerances(monitor.limits.loss)
            return stop

        def solout(t: float, y: Vector) -> int:
            nonlocal stopped
            try:
                stopped = guard.error is not None or report(float(t), y)
            except BaseException as error:  # Finished, Ctrl-C
                guard.error = error
            return -1 if stopped or guard.error is not None else 1

        ode = integrate.ode(guard.vector(flow.rhs))
        ode.set_integrator(solver.name, rtol=rtol, atol=atol, nsteps=NO_LIMIT)
        ode.set_solout(solout)
        ode.set_initial_value(self.w, 0.0)
        ode._integrator.iwork[3] = -1  # no test for stiffness
        while not stopped:
            end = min(HORIZON, monitor.next_time)
            starts, fresh = starts + 1, True
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # its status is read below
                flow.library(ode.integrate, end)
            guard.raise_kept()
            if not ode.successful():
                raise _failed(ode._integrator)
            if not stopped and end == HORIZON:
                raise _at_horizon()


class Python(Stepper):
    """One of the classes of `scipy.integrate`; evaluation times and linear solves are counted on their way."""

    def __init__(self, solver: Any, flow: Flow, w: Vector, rtol: float, atol: float) -> None:
        self._flow = flow
        self._radau = solver.name == "radau"
        self._attempts = 0
        self._solves = 0
        self._newton = 0
        self._steps = 0
        self._times: list[float] = []
        make = integrate.Radau if self._radau else integrate.BDF
        jacobian = flow.jacobian(solver.jacobian)
        self._code = code = make(flow.rhs, 0.0, w, np.inf, rtol=rtol, atol=atol, jac=jacobian)
        evaluate, solve = code.fun, code.solve_lu

        def fun(t: float, y: Vector) -> Vector:
            self._times.append(t)
            return evaluate(t, y)

        def solve_lu(factors: Any, b: Vector) -> Vector:
            self._solves += 1
            # A Newton iteration solves once for BDF, and once with each factorization for Radau.
            self._newton += not self._radau or np.iscomplexobj(factors[0])
            return solve(factors, b)

        code.fun, code.solve_lu = fun, solve_lu

    def set_tolerances(self, rtol: float, atol: float) -> None:
        code = self._code
        if (code.rtol, code.atol) != (rtol, atol):
            code.rtol, code.atol = rtol, atol
            code.newton_tol = max(10 * np.finfo(float).eps / rtol, min(0.03, rtol**0.5))  # as their constructors do

    def step(self) -> Accepted:
        code = self._code
        before = code.t
        order = 5 if self._radau else code.order
        self._times.clear()
        reason = self._flow.library(code.step)
        if code.status == "failed":
            raise Finished(Outcome.FAILED, f"{type(code).__name__}: {reason}")
        self._steps += 1
        self._attempts += self._tried(before)
        counts = {
            "steps": self._steps,
            "rejected_steps": self._attempts - self._steps,
            "newton_iterations": self._newton,
            "jacobian_evaluations": code.njev,
            "factorizations": code.nlu,
            "linear_solves": self._solves,
        }
        return Accepted(code.y, float(code.t), float(code.t - before), order, counts, {})

    def at(self, time: float) -> Vector:
        return self._code.dense_output()(time)

    def _tried(self, before: float) -> int:
        """How many step sizes the last step tried, from the times at which it evaluated."""
        times = [t for t in self._times if t != before]
        if self._radau:
            times = times[:-1:3]  # three stages an iteration, and last the slope at the new point
        return 1 + sum(a != b for a, b in itertools.pairwise(times))
