"""`solve`: the one loop that starts a solver, lets it advance, and stops, shows, calls back and records."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._collector import compiling
from stiffgrad._config import in_use, make_room
from stiffgrad._float64 import float64
from stiffgrad._types import Outcome, Params, SolveError
from stiffgrad.flow import Flow, OutOfTime
from stiffgrad.objective import Objective
from stiffgrad.objective.placement import agreed
from stiffgrad.run.checkpoint import Checkpoint, Keeper, Saved, beside
from stiffgrad.run.progress import Progress
from stiffgrad.run.promotion import joined, stalled
from stiffgrad.run.times import Times, checked_times, with_end
from stiffgrad.run.trace import COLUMNS, COUNTS, Solution, Statistics, Trace, TraceBuilder
from stiffgrad.run.until import Ending, Stops, Until
from stiffgrad.solvers._base import Closing, Finished, Resumable, Solver
from stiffgrad.solvers._registry import resolve

NEAR = 1.05  # a loss seen inside a step this close to a target is evaluated again at the accepted point


@dataclasses.dataclass(frozen=True)
class Step:
    """What a callback sees: the newest row of the trace, and the parameters there."""

    row: Mapping[str, float]
    w: Any
    objective: Objective

    @property
    def params(self) -> Params:
        """The parameters as a pytree."""
        return self.objective.unflatten(self.w)


Callback = Callable[[Step], Any]
Validation = Objective | Callable[[Params], float]


@float64
def solve(
    objective: Objective,
    solver: str | Solver = "auto",
    *,
    until: Until | None = None,
    validation: Validation | None = None,
    progress: bool = False,
    callback: Callback | None = None,
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    throw: bool = True,
    promote: bool = False,
    save_at: Any = None,
    compilation: str = "quick",
) -> Solution:
    """Train by solving the gradient flow dw/dt = -grad E(w), or by a method of descent.

    Parameters
    ----------
    objective : Objective
        From `supervised`, `least_squares`, `minimise` or `Objective` itself.
    solver : str or Solver
        A name of `stiffgrad.solvers.names()`, or an object from `stiffgrad.solvers` with options.
    until : Until, optional
        Targets and budgets; by default a loss of 1e-8 or 60 seconds.
    validation : Objective or callable, optional
        A held-out objective, or a function of the parameters, lower is better: recorded in the trace, and the
        parameters of its best value are kept in `Solution.best_params`.
    progress : bool
        Show loss, gradient norm, flow time, step size, order, rejected steps and elapsed seconds.
    callback : callable, optional
        Called with a `Step` after every step (after every chunk of steps for compiled solvers); a true result, or
        StopIteration, ends the run. How long a chunk is depends on the clock; with an attribute
        `every` a callback of our own solvers sees each so many steps, or a few more, at rows that no clock moves.
    checkpoint : path or Checkpoint, optional
        File (`.npz`) in which the run is saved every few seconds and at the end. Where it exists the run goes on from
        it: counts, trace, time and budgets too. Compiled solvers (our own, Optax's, Diffrax's and Optimistix's) go on
        exactly, as if the run had never stopped; the others start afresh at its weights, and so does another solver
        at its best ones. `Solution.message` says which.
    throw : bool
        Raise `SolveError` where the run diverged or the solver failed; otherwise return what there is.
    promote : bool
        Where a float32 objective stalls at rounding, continue in float64 from there, within the same budgets. The
        trace's column `float64` tells the two parts apart.
    save_at : array of shape (k,), optional
        Times of the flow, ascending, at which the weights are kept in `Solution.path`. Solvers interpolate with their
        library's own formula, or step exactly there. The run ends at the last of them, if `until` has no `flow_time`.
        For the same solvers as `Until(flow_time=...)`.
    compilation : "quick" or "full"
        Compiled solvers start with a compilation that takes a third to a fifth of the time and makes steps 1.1 to 3
        times slower; the full one takes over after as much work as it costs. "full" has it from the outset: for
        benchmarks that leave compilation out, and for many runs of one shape.

    Returns
    -------
    Solution
        The parameters reached, why it stopped there, every count, and one row for each step.

    Raises
    ------
    SolveError
        With `throw`, on failure; its `solution` holds everything computed before. Ctrl-C does not raise: it returns
        what there is with the outcome "interrupted".
    ValueError, TypeError
        For bad arguments, before any work.

    Examples
    --------
    >>> from stiffgrad.objective import least_squares
    >>> line = least_squares(lambda p, s: p["k"] * s[0] - s[1], {"k": 0.0}, np.array([[1.0, 2.0], [2.0, 4.0]]))
    >>> solution = solve(line, "lsoda", until=Until(loss=1e-12))
    >>> round(float(solution.params["k"]), 4), solution.outcome.value
    (2.0, 'reached a target')
    """
    if not isinstance(objective, Objective):
        raise TypeError(
            f"objective must be a stiffgrad.Objective, not {type(objective).__name__}: make one by supervised, "
            "least_squares(residual, params) or minimise(loss, params)"
        )
    method = resolve(solver)
    times = checked_times(save_at)
    if until is None:
        until = Until(loss=1e-8) if times is None else Until()
    if not isinstance(until, Until):
        raise TypeError(f"until must be stiffgrad.Until(...), such as Until(loss=1e-6), not {type(until).__name__}")
    for name, function, of in (("callback", callback, "a Step"), ("validation", validation, "the parameters")):
        if callable(function):
            _checks.takes_one(name, function, of)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be a function of a Step, not {type(callback).__name__}")
    for name, value in (("progress", progress), ("throw", throw), ("promote", promote)):
        _checks.flag(name, value)
    until = with_end(until, times, method)
    if times is not None and (promote or checkpoint is not None):
        raise ValueError("save_at goes neither with promote=True nor with a checkpoint: a path is of one run")
    _checks.choice("compilation", compilation, ("quick", "full"))
    options = (validation, progress, callback)
    solution = Run(objective, method, until, *options, checkpoint, times, compilation).solve()
    if promote and stalled(solution, objective):
        wide = objective.in_float64().with_start(solution.params)
        second = Run(wide, method, until.after(solution), *options, beside(checkpoint, ".float64"))
        solution = joined(solution, second.solve())
    if throw and solution.outcome.failure:
        raise SolveError(f"{solution.message}", solution.outcome, solution)
    return solution


class Run:
    """One run: the monitor that solvers report to, and the loop around them."""

    def __init__(
        self,
        objective: Objective,
        solver: Solver,
        until: Until,
        validation: Validation | None = None,
        progress: bool = False,
        callback: Callback | None = None,
        checkpoint: Any = None,
        save_at: NDArray[np.float64] | None = None,
        compilation: str = "quick",
    ) -> None:
        in_use()
        make_room()
        self.objective = objective
        self.solver = solver
        self.until = until
        self.limits = until.limits()  # those that a solver sees count from its own start
        self._stops = Stops(until, self.seconds_left)
        self.callback = callback
        self._every = getattr(callback, "every", None)
        self._steps = 0.0  # of the newest row
        self.flow = Flow(objective, compilation)
        self.trace = TraceBuilder()
        self._keeper = Keeper(checkpoint, objective, solver)
        self._saved = self._keeper.saved
        self._compile_seconds = 0.0
        self._before: dict[str, float] = {}  # cumulative columns of a run that this one goes on from, afresh
        self._words = self._advice = ""
        self.w: Any = np.asarray(objective.w0) if self._saved is None else self._saved.w
        self.outcome: Outcome | None = None
        self.reason = ""
        self.state: Any = None
        self._validate = _validation(validation)
        self.steps_only = self._validate is not None
        self._best: tuple[float, Any] | None = None
        self._times = Times(save_at, np.inf if until.flow_time is None else float(until.flow_time))
        self._progress = Progress(solver.name, progress)
        self._watched = progress or checkpoint is not None or callback is not None or validation is not None
        self._begin = self._mark = time.perf_counter()
        self._compile_seconds = 0.0

    # ---- the monitor's side

    @property
    def look(self) -> float:
        """The number of steps, as the solver counts them, at which the callback looks again."""
        if self._every is None:
            return np.inf
        done = self._steps - self._before.get("steps", 0.0)
        return float((done // self._every + 1.0) * self._every)

    @property
    def next_time(self) -> float:
        """The next flow time that is wanted exactly, as the solver counts it."""
        return self._times.next - self._before.get("flow_time", 0.0)

    def reach(self, w: Any) -> bool:
        """Take the weights at `next_time`."""
        return self._times.reach(w)

    def seconds_left(self) -> float:
        """Wall seconds until the budget ends."""
        budget = np.inf if self.until.wall_seconds is None else self.until.wall_seconds
        return agreed(self._begin + budget - time.perf_counter())

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Inside, time counts as compilation and not as solving."""
        begin = time.perf_counter()
        yield
        seconds = time.perf_counter() - begin
        self._compile_seconds += seconds
        self._begin += seconds
        self._mark += seconds
        self.flow.deadline += seconds

    def step(
        self,
        w: NDArray[np.float64],
        *,
        flow_time: float = np.nan,
        step_size: float = np.nan,
        order: float = np.nan,
        counts: Mapping[str, float] | None = None,
        **extra: float,
    ) -> bool:
        """Record one accepted step; see `Monitor.step`."""
        flow, begin = self.flow, time.perf_counter()
        flow.settle()
        now, evaluating = begin, flow.seconds["rhs_seconds"]
        self.w = np.array(w)
        loss, norm = flow.last
        near = loss <= NEAR * self.limits.loss or norm <= NEAR * self.limits.gradient_norm
        if near or flow_time >= self._times.end - self._before.get("flow_time", 0.0):
            flow.refresh(self.w)
            loss, norm = flow.last
            now = time.perf_counter()
        row = {
            "flow_time": flow_time,
            "step_size": step_size,
            "order": order,
            "loss": loss,
            "gradient_norm": norm,
            "wall_seconds": now - self._begin,
            "steps": self.trace.last["steps"] + 1 - self._before.get("steps", 0.0),
            **flow.counts,
            **flow.seconds,
            **(counts or {}),
            **extra,
        }
        if self._before:
            row = {name: value + self._before.get(name, 0.0) for name, value in row.items()}
        self.trace.append(row)
        stop = self._after()
        evaluating = flow.seconds["rhs_seconds"] - evaluating
        flow.seconds["recording_seconds"] += time.perf_counter() - begin - evaluating
        return stop

    def chunk(self, w: Any, rows: Mapping[str, NDArray[np.float64]]) -> bool:
        """Record the rows of a compiled chunk; see `Monitor.chunk`."""
        self.w = w
        count = len(rows["loss"])
        now = time.perf_counter()
        wall = self._mark - self._begin + (now - self._mark) / count * np.arange(1.0, count + 1.0)
        self._mark = now
        if self._before:
            rows = {name: column + self._before.get(name, 0.0) for name, column in rows.items()}
        self.trace.extend({**rows, "wall_seconds": wall})
        return self._after()

    def _after(self) -> bool:
        """Look at the newest row: validate, show, call back, and say whether to stop."""
        row = self.trace.last
        if not self._watched:  # a step of a small network takes no longer than to ask each in turn
            self._judge(row)
            return self.outcome is not None
        if self._validate is not None:
            row["validation"] = score = self._validate(self.objective.unflatten(self.w))
            if math.isnan(score) and not row.get("steps"):
                raise ValueError("validation is nan at the start: it must be a number, lower for better parameters")
            if np.isfinite(score) and (self._best is None or score < self._best[0]):
                self._best = (score, self.w)
        self._steps = row.get("steps", 0.0)
        self._progress.update(row)
        self._keeper.note(row["loss"], self.w)
        if self._keeper.due:
            self._keeper.write(self._save())
        stop = False
        if self.callback is not None:
            try:
                stop = bool(self.callback(Step(row, self.w, self.objective)))
            except StopIteration:
                stop = True
        self._judge(row)
        if stop and self.outcome is None:
            self.outcome, self.reason = Outcome.INTERRUPTED, "the callback ended the run"
        return self.outcome is not None

    def _save(self) -> Saved:
        """All of the run, for its checkpoint."""
        state = self.state.arrays() if isinstance(self.state, Resumable) else {}
        seconds = time.perf_counter() - self._begin
        counts = {name: count + self._before.get(name, 0.0) for name, count in self.flow.counts.items()}
        row = self.trace.last
        return Saved(self.w, row["loss"], state, counts, self.trace.saved(), seconds, self._compile_seconds, self._best)

    def _judge(self, row: Mapping[str, float]) -> None:
        ending = self._stops.ending(row)
        if ending is not None:
            self._end(ending)

    def _end(self, ending: Ending) -> None:
        self.outcome, self.reason, self._advice = ending

    # ---- the loop

    def solve(self) -> Solution:
        """Start, advance until something says stop, and collect the solution."""
        try:
            self._run()
        finally:
            if isinstance(self.state, Closing):
                self.state.close()
        return self.collect(time.perf_counter() - self._begin, self._compile_seconds)

    def _run(self) -> None:
        begin = time.perf_counter()
        loss = norm = np.nan
        try:
            with compiling():
                self.state = self.solver.start(self.flow, self.w)
            self.flow.reset()
            if not self.solver.exact_rows or self._saved is not None:
                loss, norm = self.flow.prime(self.w)
        except KeyboardInterrupt:
            self.outcome, self.reason = Outcome.INTERRUPTED, "Ctrl-C while compiling"
        self._compile_seconds = time.perf_counter() - begin
        self.begin()
        if self._saved is not None:
            self._go_on(self._saved, {"loss": loss, "gradient_norm": norm})
        elif not self.solver.exact_rows or self.outcome is not None:
            self._first_row(loss, norm)
        if self._saved is None:
            self._times.begin(self.w)
        with self._progress:
            while self.outcome is None:
                self._advance()

    def stop(self, outcome: Outcome, reason: str) -> None:
        """End the run, unless it has ended already."""
        if self.outcome is None:
            self.outcome, self.reason = outcome, reason

    def begin(self) -> None:
        """Start the clock of the solving time."""
        self._begin = self._mark = time.perf_counter()
        budget = self.until.wall_seconds
        self.flow.deadline = np.inf if budget is None else self._begin + budget

    def _first_row(self, loss: float, norm: float) -> None:
        row = {**dict.fromkeys(COLUMNS, np.nan), "loss": loss, "gradient_norm": norm, "wall_seconds": 0.0}
        self.trace.append({**row, "flow_time": 0.0, "steps": 0.0, "presentations": 0.0})
        if self.outcome is None:
            self._after()

    def _go_on(self, saved: Saved, here: Mapping[str, float]) -> None:
        """Continue a saved run: exactly where the solver can, else afresh at its weights; `here` is known there."""
        self.trace = TraceBuilder.restored(saved.trace)
        self._compile_seconds += saved.compile_seconds
        self._begin -= saved.wall_seconds
        self.flow.deadline -= saved.wall_seconds
        self._best = saved.best
        row = self.trace.last
        if saved.state and isinstance(self.state, Resumable):
            self.state.resume(saved.state)
            self.flow.counts.update(saved.counts)
            self._words = f"went on exactly from {saved.words}"
        else:
            self._before = {name: row[name] for name in ("flow_time", *COUNTS) if np.isfinite(row.get(name, np.nan))}
            spent = [self._before.get(name, 0.0) for name in ("steps", "presentations")]
            limits = self.limits
            self.limits = limits._replace(steps=limits.steps - spent[0], presentations=limits.presentations - spent[1])
            self._words = f"started afresh at the weights of {saved.words}"
            row = {**row, **here}
        if self.outcome is None:
            self._judge(row)

    def _advance(self) -> None:
        try:
            self.state = self.solver.advance(self.state, self)
        except Finished as end:
            self.outcome = self.outcome or end.outcome
            self.reason = self.reason or end.reason
        except OutOfTime:
            self._end(self._stops.out_of_time)
        except KeyboardInterrupt:
            self.outcome, self.reason = Outcome.INTERRUPTED, "Ctrl-C"

    def collect(self, wall_seconds: float, compile_seconds: float) -> Solution:
        """The solution of a run that has ended."""
        assert self.outcome is not None
        if self.trace.empty:  # it ended before the solver's own first row
            self._first_row(*self.flow.prime(self.w))
        w = np.asarray(self.w, self.objective.w0.dtype)
        if self.state is not None and self.outcome is not Outcome.DIVERGED:
            self._keeper.write(self._save())
        loss, norm = self._exact(w)
        best = None if self._best is None else self.objective.unflatten(np.asarray(self._best[1]))
        advice = self._advice or self.outcome.advice
        if self.solver.name == "auto":  # no advice to use what was used
            advice = re.sub(",? or use solver='auto'[^.]*", "", advice)
        words = [f"{self.solver.name}: {self.outcome.value} ({self.reason}).", advice]
        return Solution(
            params=self.objective.unflatten(w),
            w=w,
            loss=loss,
            gradient_norm=norm,
            outcome=self.outcome,
            message=" ".join([*words, *(f"It {part}." for part in (self._words, self._keeper.failure) if part)]),
            statistics=Statistics.from_row(self.trace.last),
            trace=self.trace.build(),
            wall_seconds=wall_seconds,
            compile_seconds=compile_seconds,
            solver=self.solver.describe(self.state),
            best_params=best,
            state=self.state,
            restore=self.objective.restore,
            predictor=self.objective.predictor,
            path=self._times.path,
        )

    def _exact(self, w: NDArray[np.float64]) -> tuple[float, float]:
        """Loss and gradient norm at the returned point, not charged to the solver."""
        if self.solver.exact_rows and not np.isnan(self.trace.last["loss"]):
            return self.trace.last["loss"], self.trace.last["gradient_norm"]
        return self.flow.prime(w)


def _score(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"validation must return a number, lower is better, not {type(value).__name__}") from None


def _validation(validation: Validation | None) -> Callable[[Params], float] | None:
    if validation is None:
        return None
    if isinstance(validation, Objective):
        return lambda params: float(validation.value(validation.flatten(params)))
    if callable(validation):
        return lambda params: _score(validation(params))
    raise TypeError(f"validation must be an Objective or a function of params, not {type(validation).__name__}")


__all__ = ["Callback", "Run", "Solution", "Step", "Trace", "Validation", "solve"]
