"""A step of each host solver through stiffgrad against the same step through the bare library.

Both take the same steps from the same start, in turns, in one process. Step i does the same work in every round, so two
times of it are told: the median over the rounds, and the shortest, which a busy machine disturbs least. The time of a
run is the sum over its steps. Bare means what a user writes: a jitted gradient (and Hessian), NumPy in between, and the
library's own loop. Nothing but the steps is timed; compilation is not. The counts of right sides must agree.

    python benchmarks/bare.py [--rounds 15] [--problem iris] [--solver vode]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.integrate
import scipy.optimize
from sksundae.cvode import CVODE

import stiffgrad as sg
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.environment import environment
from stiffgrad.objective import derivatives

jax.config.update("jax_enable_x64", True)  # for the bare gradients
PROBLEMS = ("xor", "iris-decay-1e-3", "diabetes-decay-1e-3", "digits")
STEPS = {"digits": 30}
TOLERANCES = {"rtol": 1e-6, "atol": 1e-8}
FAR = 1e100


class Functions:
    """What a user of a bare library compiles, with counters."""

    def __init__(self, objective: sg.Objective) -> None:
        self.w0 = np.array(objective.w0)
        self.decay = np.array(objective.decay)
        self._gradient = jax.jit(lambda w: derivatives.gradient(objective, w))
        self._both = jax.jit(lambda w: derivatives.value_and_gradient(objective, w))
        self._hessian = jax.jit(lambda w: derivatives.hessian(objective, w))
        if objective.has_rows:
            self._residual = jax.jit(lambda w: derivatives.residual(objective, w))
            self._rows = jax.jit(lambda w: derivatives.scaled_jacobian(objective, w))
        self.calls = 0

    def slope(self, t: float, w: Any) -> Any:
        self.calls += 1
        return -np.asarray(self._gradient(w))

    def jacobian(self, t: float, w: Any) -> Any:
        return -np.asarray(self._hessian(w))

    def value_and_gradient(self, w: Any) -> Any:
        self.calls += 1
        loss, gradient = self._both(w)
        return float(loss), np.asarray(gradient)

    def residual(self, w: Any) -> Any:
        self.calls += 1
        return np.asarray(self._residual(w))

    def rows(self, w: Any) -> Any:
        return np.asarray(self._rows(w))


Run = Callable[[Functions, int], list[float]]  # times at which each step ended


class Enough(Exception):
    """The steps are made."""


def by_ode(name: str, differences: bool) -> Run:
    def run(f: Functions, steps: int) -> list[float]:
        if name == "zvode":
            right, jac = (lambda t, w: f.slope(t, w.real)), (lambda t, w: f.jacobian(t, w.real))
        else:
            right, jac = f.slope, f.jacobian
        ode = scipy.integrate.ode(right, None if differences else jac)
        ode.set_integrator(name, method="bdf", with_jacobian=True, **TOLERANCES)
        ode.set_initial_value(f.w0, 0.0)
        times = []
        for _ in range(steps):
            ode.integrate(ode.t + 100.0, step=True)
            times.append(time.perf_counter())
        return times

    return run


def by_dopri(f: Functions, steps: int) -> list[float]:
    times: list[float] = []

    def solout(t: float, w: Any) -> int:
        times.append(time.perf_counter())
        return -1 if len(times) > steps else 0

    ode = scipy.integrate.ode(f.slope)
    ode.set_integrator("dopri5", nsteps=10**9, **TOLERANCES)
    ode.set_solout(solout)
    ode.set_initial_value(f.w0, 0.0)
    ode._integrator.iwork[3] = -1
    ode.integrate(FAR)
    return times[1:]  # the first call is for the start


def by_class(name: str) -> Run:
    def run(f: Functions, steps: int) -> list[float]:
        end = FAR if name == "LSODA" else np.inf
        code = getattr(scipy.integrate, name)(
            f.slope, 0.0, f.w0, end, jac=(lambda t, w: f.jacobian(t, w)), **TOLERANCES
        )
        times = []
        for _ in range(steps):
            code.step()
            times.append(time.perf_counter())
        return times

    return run


def by_cvode(f: Functions, steps: int) -> list[float]:
    def right(t: float, w: Any, out: Any) -> None:
        out[:] = f.slope(t, w)

    def jac(t: float, w: Any, slope: Any, out: Any) -> None:
        out[:] = f.jacobian(t, w)

    code = CVODE(right, method="BDF", jacfn=jac, **TOLERANCES)
    code.init_step(0.0, f.w0)
    t, times = 0.0, []
    for _ in range(steps):
        t = code.step(t + 100.0, method="onestep").t
        times.append(time.perf_counter())
    return times


def by_minimize(method: str) -> Run:
    options: dict[str, Any] = {"gtol": 0.0, "maxiter": 10**9}
    if method == "L-BFGS-B":
        options |= {"ftol": 0.0, "maxfun": 10**9}

    def run(f: Functions, steps: int) -> list[float]:
        times: list[float] = []

        def callback(w: Any) -> None:
            times.append(time.perf_counter())
            if len(times) >= steps:
                raise StopIteration

        scipy.optimize.minimize(f.value_and_gradient, f.w0, jac=True, method=method, callback=callback, options=options)
        return times

    return run


def by_minpack(f: Functions, steps: int) -> list[float]:
    eps = float(np.finfo(float).eps)
    times: list[float] = []
    root = np.sqrt(f.decay[f.decay > 0])  # weight decay is a residual for each weight that has it
    below = np.diag(np.sqrt(f.decay))[f.decay > 0]
    missing = max(0, f.w0.size - f.residual(f.w0).size - root.size)  # of rows: MINPACK wants as many as weights

    def residual(w: Any) -> Any:
        return np.concatenate([f.residual(w), root * w[f.decay > 0], np.zeros(missing)])

    def rows(w: Any) -> Any:
        if len(times) == steps:  # a Jacobian is asked for after each accepted step
            raise Enough
        times.append(time.perf_counter())
        return np.concatenate([f.rows(w), below, np.zeros((missing, w.size))])

    try:
        scipy.optimize.least_squares(residual, f.w0, rows, method="lm", max_nfev=10**9, ftol=eps, xtol=eps, gtol=eps)
    except Enough:
        times.append(time.perf_counter())
    return times[1:]


BARE: dict[str, tuple[sg.solvers.Solver, Run]] = {
    "vode": (sg.solvers.VODE(**TOLERANCES), by_ode("vode", False)),
    "vode, differences": (sg.solvers.VODE(jacobian="finite-difference", **TOLERANCES), by_ode("vode", True)),
    "zvode, differences": (sg.solvers.ZVODE(jacobian="finite-difference", **TOLERANCES), by_ode("zvode", True)),
    "lsoda": (sg.solvers.LSODA(**TOLERANCES), by_class("LSODA")),
    "dopri5": (sg.solvers.Dopri5(**TOLERANCES), by_dopri),
    "radau": (sg.solvers.Radau(**TOLERANCES), by_class("Radau")),
    "bdf": (sg.solvers.BDF(**TOLERANCES), by_class("BDF")),
    "cvode": (sg.solvers.CVODE(**TOLERANCES), by_cvode),
    "lbfgs": (sg.solvers.LBFGS(), by_minimize("L-BFGS-B")),
    "bfgs": (sg.solvers.BFGS(), by_minimize("BFGS")),
    "minpack": (sg.solvers.create("minpack"), by_minpack),
}


def compare(problem: str, name: str, rounds: int) -> dict[str, Any] | None:
    """Microseconds a step of both, their ratio, and the shares of ours that the clocks tell."""
    objective = problems.get(problem).objective(0)
    solver, bare = BARE[name]
    if name == "minpack" and any(block.loss.name != "squared" for block in objective.blocks):
        return None
    functions = Functions(objective)
    steps = STEPS.get(problem, 150) // (3 if name in ("radau", "bdf", "bfgs", "minpack") else 1)
    ours, theirs, shares = [], [], []
    for index in range(rounds + 1):
        functions.calls = 0
        begin = time.perf_counter()
        times = np.diff([begin, *bare(functions, steps)])
        solution = sg.solve(objective, solver, until=sg.Until(steps=len(times), wall_seconds=None), throw=False)
        if index == 0:  # both compile
            _check_counts(problem, name, solution.statistics, functions.calls, len(times))
            continue
        theirs.append(times)
        ours.append(np.diff(solution.trace["wall_seconds"]))
        row = solution.trace.row(len(solution.trace) - 1)
        shares.append([row[f"{part}_seconds"] for part in PARTS])
    # What comes before the first step (their constructors) is not the same: the first step is left out.
    per_step = [1e6 * np.median(each, axis=0)[1:] for each in (ours, theirs)]
    least = [np.min(each, axis=0)[1:] for each in (ours, theirs)]
    totals = np.median(shares, axis=0)
    return {
        "problem": problem,
        "solver": name,
        "steps": len(per_step[0]),
        "ours_microseconds": float(per_step[0].mean()),
        "bare_microseconds": float(per_step[1].mean()),
        "ratio": float(per_step[0].sum() / per_step[1].sum()),
        "ratio_of_shortest": float(least[0].sum() / least[1].sum()),
        "shares": dict(zip(PARTS, (totals / totals.sum()).tolist(), strict=True)),
    }


def _check_counts(problem: str, name: str, counts: sg.Statistics, calls: int, steps: int) -> None:
    counted = (counts.rhs_evaluations or 0) + (counts.loss_evaluations or 0)
    if counts.steps != steps or abs(counted - calls) > 3:  # MINPACK's start, and an evaluation for an exact stop
        warnings.warn(f"{problem}, {name}: {steps} steps, {calls} calls; ours {counts}", stacklevel=2)


PARTS = ("rhs", "jacobian", "library", "recording")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--problem", action="append", choices=PROBLEMS)
    parser.add_argument("--solver", action="append", choices=list(BARE))
    parser.add_argument("--out", type=Path, help="write the table as JSON to this file")
    options = parser.parse_args()
    rows = []
    print(f"{'problem':20s} {'solver':20s} steps  ours, us  bare, us  ratio  shortest  of ours: {'  '.join(PARTS)}")
    for problem in options.problem or PROBLEMS:
        for name in options.solver or BARE:
            row = compare(problem, name, options.rounds)
            if row is None:
                continue
            rows.append(row)
            parts = "  ".join(f"{100 * share:4.0f}%" for share in row["shares"].values())
            print(
                f"{problem:20s} {name:20s} {row['steps']:5d} {row['ours_microseconds']:9.1f} "
                f"{row['bare_microseconds']:9.1f}  {row['ratio']:5.2f}     {row['ratio_of_shortest']:5.2f}"
                f"           {parts}",
                flush=True,
            )
    if options.out is not None:
        options.out.write_text(json.dumps({"rows": rows, "environment": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
