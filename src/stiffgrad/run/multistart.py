"""`multistart`: many starts of one objective, in one compiled program."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import one_blas_thread
from stiffgrad._float64 import float64
from stiffgrad._types import Outcome, Params
from stiffgrad.objective import Objective
from stiffgrad.run.driver import Run
from stiffgrad.run.trace import Solution
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Limits, Solver
from stiffgrad.solvers._combination import Combination
from stiffgrad.solvers._compiled import ENDED, CompiledSolver, initial_rows, run_rows
from stiffgrad.solvers._registry import resolve

CHUNK_SECONDS = 0.2  # of a chunk of all starts of a thread
MAX_ROWS = 64  # rows a chunk can hold, for each start


@float64
def multistart(
    objective: Objective,
    starts: Sequence[Params] | NDArray[np.float64],
    until: Until | None = None,
    solver: str | Solver = "auto",
) -> list[Solution]:
    """Train from many starts at once, each with its own step control and stop.

    Parameters
    ----------
    objective : Objective
        What all starts are trained on.
    starts : sequence of pytrees, or array of shape (S, n)
        Parameters with the structure of the objective's, or flat.
    until : Until, optional
        For each start; the wall time is that of all together. By default a loss of 1e-8 or 60 seconds.
    solver : str or Solver
        A solver whose loop is compiled: "rosenbrock", "quasi-newton", "exponential", "chebyshev", a method of Optax,
        Diffrax or Optimistix's "optimistix-bfgs"; "auto" chooses one of the first three for all starts.

    Returns
    -------
    list of Solution
        One for each start, best loss first; `wall_seconds` is the time until that start was done, in company.

    Raises
    ------
    ValueError, TypeError
        No starts, starts of another structure or not finite, or a solver that is not compiled.

    Examples
    --------
    >>> from stiffgrad.objective import minimise
    >>> double_well = minimise(lambda w: ((w**2 - 1) ** 2).sum() + 0.1 * w.sum(), np.array([0.5]))
    >>> best = multistart(double_well, [np.array([0.5]), np.array([-0.5])], Until(gradient_norm=1e-8))[0]
    >>> float(best.w[0]) < 0
    True
    """
    if not isinstance(objective, Objective):
        raise TypeError(f"objective must be a stiffgrad.Objective, not {type(objective).__name__}; see supervised")
    method = resolve(solver)
    if isinstance(method, Combination):  # all starts share one program: that of the method which runs first
        method = method.members(objective)[0]
    if not isinstance(method, CompiledSolver):
        raise TypeError(f"solver={method.name!r} is not compiled: multistart takes 'auto', 'rosenbrock' and their like")
    until = Until(loss=1e-8) if until is None else until
    if not isinstance(until, Until):
        raise TypeError(f"until must be stiffgrad.Until(...), not {type(until).__name__}")
    if until.flow_time is not None:
        raise ValueError("multistart does not stop at a flow time: use solve(..., until=Until(flow_time=...)) for each")
    w = _flat_starts(objective, starts)
    method.check(objective)
    batch = _Batch(objective, method, until, w)
    return sorted(batch.solve(), key=lambda solution: (np.isnan(solution.loss), solution.loss))


def _flat_starts(objective: Objective, starts: Any) -> jax.Array:
    if isinstance(starts, np.ndarray | jax.Array) and starts.ndim == 2 and starts.shape[1] == objective.size:
        w = jnp.asarray(starts, objective.w0.dtype)
    elif isinstance(starts, Sequence):
        w = jnp.stack([objective.flatten(start) for start in starts]) if len(starts) else jnp.zeros((0, 1))
    else:
        raise TypeError(f"starts must be a sequence of params or an array (S, {objective.size}), not {type(starts)}")
    if not len(w):
        raise ValueError("starts is empty: give at least one")
    if not bool(jnp.all(jnp.isfinite(w))):
        raise ValueError("starts contain NaN or infinity: start from finite parameters")
    return w


def _each(function: Any, *arrays: Any) -> Any:
    """Over the leading axis: all at once on an accelerator, one after the other in one program on a CPU.

    A CPU gains nothing from `vmap` here: LAPACK takes the matrices of a batch one by one all the same, and every
    start would wait for the most rejected steps of all (`benchmarks/multistart.py`).
    """
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda entry: function(*entry), arrays)
    return jax.vmap(function)(*arrays)


@jax.jit
def _initial(solver: CompiledSolver[Any], objective: Objective, w: jax.Array) -> Any:
    return _each(lambda start: initial_rows(solver, objective, start), w)


@jax.jit
def _chunk(
    solver: CompiledSolver[Any], objective: Objective, state: Any, row: jax.Array, limits: Limits, length: Any
) -> Any:
    def run(state: Any, row: jax.Array) -> Any:
        return run_rows(solver, objective, state, row, limits, length, MAX_ROWS)

    return _each(run, state, row)


class _Batch:
    """The starts of one call, divided among threads, and one `Run` each to record and judge."""

    def __init__(self, objective: Objective, solver: CompiledSolver[Any], until: Until, w: jax.Array) -> None:
        self.objective = objective
        self.solver = solver
        self.runs = [Run(objective, solver, until) for _ in w]
        self.done_seconds = np.zeros(len(w))
        threads = min(len(w), os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
        size = -(-len(w) // threads)
        padded = np.minimum(np.arange(threads * size), len(w) - 1)  # equal shapes compile once
        self.parts = [(w[part], part) for part in padded.reshape(threads, size)]

    def solve(self) -> list[Solution]:
        """Compile, then run chunks until every start is done."""
        begin = time.perf_counter()
        never = Limits(np.inf, np.inf, -1.0, -1.0)
        state, row = _initial(self.solver, self.objective, self.parts[0][0])
        jax.block_until_ready(_chunk(self.solver, self.objective, state, row, never, 0))
        compile_seconds = time.perf_counter() - begin
        self.begin = time.perf_counter()
        for run in self.runs:
            run.begin()
        with ThreadPoolExecutor(len(self.parts)) as pool, one_blas_thread():
            try:
                list(pool.map(self._run_part, self.parts))
            except KeyboardInterrupt:
                for run in self.runs:
                    run.stop(Outcome.INTERRUPTED, "Ctrl-C")
        return [
            run.collect(seconds, compile_seconds) for run, seconds in zip(self.runs, self.done_seconds, strict=True)
        ]

    @float64
    def _run_part(self, part: tuple[jax.Array, NDArray[np.int64]]) -> None:
        w, numbers = part
        mine = [self.runs[i] for i in dict.fromkeys(numbers)]
        state, row = _initial(self.solver, self.objective, w)
        if not self.solver.bare_start:
            self._report(numbers, state, np.asarray(row)[:, None, :], np.ones(len(w), int))
        length = 1.0  # nobody knows yet how long a step of all starts takes
        while any(run.outcome is None for run in mine):
            mark = time.perf_counter()
            chunk = int(max(1.0, length))
            state, row, rows, counts = _chunk(self.solver, self.objective, state, row, mine[0].limits, chunk)
            counts = np.asarray(counts)
            seconds_a_step = (time.perf_counter() - mark) / max(1, counts.max())
            affordable = mine[0].seconds_left() / seconds_a_step
            length = min(4.0 * chunk, CHUNK_SECONDS / seconds_a_step, MAX_ROWS, affordable)
            self._report(numbers, state, np.asarray(rows), counts)

    def _report(self, numbers: Any, state: Any, rows: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        weights = np.asarray(jax.vmap(self.solver.weights)(state))
        for i, number in enumerate(numbers):
            run = self.runs[number]
            if run.outcome is not None or not counts[i] or number in numbers[:i]:
                continue
            columns = dict(zip((*self.solver.columns, "ended"), rows[i, : counts[i]].T, strict=True))
            ended = int(columns.pop("ended")[-1])
            run.chunk(weights[i], columns)
            if ended:
                run.stop(ENDED[ended], self.solver.reason(ended))
            self.done_seconds[number] = time.perf_counter() - self.begin
