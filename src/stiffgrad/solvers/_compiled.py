"""The base of solvers whose whole loop is compiled: they supply a state and a step, as pure functions.

Steps run in chunks inside one `lax.while_loop`. Python sees the loop only to stop, show and save; a chunk checks the
targets after every step, and its length adapts to the time a step takes.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._config import one_blas_thread
from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.objective import Objective
from stiffgrad.objective.placement import agreed
from stiffgrad.solvers._base import Finished, Limits, Monitor, Solver

State = TypeVar("State")
MAX_ROWS = 4096  # rows a chunk can hold: many, since calling one takes as long as 100 steps of a tiny network
WARM_UP = 1e7  # up to so many weights times samples a step is taken and thrown away first, twice: the libraries that
# XLA calls set themselves up when first used, which takes tens of milliseconds; and the second tells how long it takes
CHUNK_SECONDS = 0.05  # how long a chunk should take: timely stops and progress, little Python

# A row's `ended` says that the solver ended by itself, as one of these; 0 goes on.
ENDED = {1: Outcome.STATIONARY, 2: Outcome.STALLED, 3: Outcome.DIVERGED, 4: Outcome.FAILED}
STATIONARY, STALLED, DIVERGED, FAILED = ENDED


@dataclasses.dataclass(frozen=True)
class CompiledSolver(Solver, abc.ABC, Generic[State]):
    """A solver given by pure functions; subclasses are frozen dataclasses registered as pytrees.

    Numbers that users vary belong to the data fields of that registration, so that they do not recompile; choices of
    the algorithm to the meta fields.
    """

    columns: ClassVar[tuple[str, ...]]  # names of the row's entries beside "ended"; "loss" among them
    factorizes: ClassVar[bool] = False  # whether a step factorizes dense matrices by LAPACK
    reasons: ClassVar[dict[int, str]] = {}  # words for the keys of `ENDED`

    @abc.abstractmethod
    def initial(self, objective: Objective, w: jax.Array) -> tuple[State, dict[str, Any]]:
        """The first state and its row (same structure as that of `step`), evaluations included."""

    @abc.abstractmethod
    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One accepted step (or none, if the method must give up): the next state and its row.

        The row holds every name of `columns`, counts cumulative, and "ended" (0, or a key of `ENDED`).
        """

    @abc.abstractmethod
    def weights(self, state: State) -> jax.Array:
        """The flat weights in a state."""

    def check(self, objective: Objective) -> None:
        """Raise ValueError where this solver cannot run this objective, before anything is compiled."""

    def reason(self, ended: int) -> str:
        """Words for an end that the solver found by itself."""
        return self.reasons.get(ended, f"{self.name} ended by itself")

    def start(self, flow: Flow, w: NDArray[np.float64]) -> CompiledRun:
        """Compile the initial evaluation and the loop."""
        self.check(flow.objective)
        weights = jnp.asarray(w, flow.objective.w0.dtype)
        never = Limits(np.inf, np.inf, -1.0, -1.0)
        with self._threads():
            state, row = jax.block_until_ready(_initial(self, flow.objective, weights))
            jax.block_until_ready(_chunk(self, flow.objective, state, row, never, 0))
            seconds = 0.0
            if flow.objective.size * flow.objective.samples <= WARM_UP:
                always = Limits(-np.inf, -np.inf, np.inf, np.inf)
                for _ in range(2):
                    begin = time.perf_counter()
                    jax.block_until_ready(_chunk(self, flow.objective, state, row, always, 1))
                    seconds = time.perf_counter() - begin
        return CompiledRun(self, flow.objective, weights, seconds)

    def advance(self, state: CompiledRun, monitor: Monitor) -> CompiledRun:
        """Run one chunk."""
        with self._threads():
            state.run_chunk(monitor)
        return state

    def _threads(self) -> contextlib.AbstractContextManager[object]:
        return one_blas_thread() if self.factorizes else contextlib.nullcontext()


def initial_rows(solver: CompiledSolver[Any], objective: Objective, w: jax.Array) -> Any:
    """The first state and its packed row."""
    state, row = solver.initial(objective, w)
    return state, _packed(solver, row)


def _packed(solver: CompiledSolver[Any], row: dict[str, Any]) -> jax.Array:
    return jnp.stack([jnp.asarray(row[name], jnp.float64) for name in (*solver.columns, "ended")])


def run_rows(
    solver: CompiledSolver[Any],
    objective: Objective,
    state: Any,
    row: jax.Array,
    limits: Limits,
    length: Any,
    max_rows: int = MAX_ROWS,
) -> Any:
    """Up to `length` steps; returns the state, its row, all rows, and how many of them are filled."""
    names = (*solver.columns, "ended")

    def column(row: jax.Array, name: str, missing: float) -> Any:
        return row[names.index(name)] if name in names else missing

    def going(carry: Any) -> Any:
        _, row, _, count = carry
        stop = (
            (column(row, "loss", np.inf) <= limits.loss)
            | (column(row, "gradient_norm", np.inf) <= limits.gradient_norm)
            | (column(row, "steps", 0) >= limits.steps)
            | (column(row, "presentations", 0) >= limits.presentations)
            | (column(row, "ended", 0) > 0)
        )
        return (count < length) & ~stop

    def body(carry: Any) -> Any:
        state, _, rows, count = carry
        state, row = solver.step(objective, state)
        packed = _packed(solver, row)
        return state, packed, rows.at[count].set(packed), count + 1

    rows = jnp.zeros((max_rows, len(names)))
    return jax.lax.while_loop(going, body, (state, row, rows, jnp.asarray(0)))


def _plain(leaf: jax.Array) -> jax.Array:
    """The leaf itself; the numbers of a random key, whose type no file knows."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _like(old: jax.Array, values: NDArray[Any]) -> jax.Array:
    """Saved values on the devices and in the type of what they replace."""
    plain = _plain(old)
    if values.shape != plain.shape or values.dtype != plain.dtype:
        raise ValueError(f"an array of the state is {values.dtype} {values.shape}, not {plain.dtype} {plain.shape}")
    new = jnp.asarray(values)
    new = jax.random.wrap_key_data(new, impl=jax.random.key_impl(old)) if plain is not old else new
    return jax.device_put(new, old.sharding)


_initial = jax.jit(initial_rows)
_chunk = jax.jit(run_rows)


class CompiledRun:
    """One run of a compiled solver: its state on the device, and the length of the next chunk."""

    def __init__(
        self, solver: CompiledSolver[Any], objective: Objective, w: jax.Array, seconds_a_step: float = 0.0
    ) -> None:
        self.solver = solver
        self.objective = objective
        self.w = w
        self.state: Any = None
        self.row: Any = None
        self._length = CHUNK_SECONDS / seconds_a_step if seconds_a_step else 1.0
        self._seconds_a_step = seconds_a_step

    def run_chunk(self, monitor: Monitor) -> None:
        """Start on the first call, then run one chunk; report its rows."""
        names = (*self.solver.columns, "ended")
        if self.state is None:
            self.state, self.row = _initial(self.solver, self.objective, self.w)
            first = np.asarray(self.row)[None]
            if self._report(monitor, dict(zip(names, first.T, strict=True))):
                return
        target = monitor.next_time
        capped = self._toward(target) if np.isfinite(target) else None
        wanted = 1.0 if monitor.steps_only or np.isfinite(target) else self._length
        length = min(MAX_ROWS, max(1.0, min(wanted, self._affordable(monitor.seconds_left()))))
        length = int(agreed(length))
        begin = time.perf_counter()
        state, row, rows, count = _chunk(self.solver, self.objective, self.state, self.row, monitor.limits, length)
        done = int(count)  # waits: Ctrl-C raises here, with the state still that of the last row recorded
        seconds = time.perf_counter() - begin
        filled = np.asarray(rows)[:done]
        self.state, self.row = state, row
        if done:
            self._seconds_a_step = seconds / done
            self._length = min(4.0 * length, CHUNK_SECONDS / max(self._seconds_a_step, 1e-9))
            if capped is not None and filled[-1][names.index("flow_time")] >= target * (1 - 1e-12):
                monitor.reach(np.asarray(self.solver.weights(state)))
                self._resize(max(capped, self._step_size()))
            self._report(monitor, dict(zip(names, filled.T, strict=True)))
        elif row[-1]:  # it had ended by itself before it was saved
            raise Finished(ENDED[int(row[-1])], self.solver.reason(int(row[-1])))

    def _toward(self, time: float) -> float:
        """Bound the next step so that a step ends at a flow time; returns the size it would have had."""
        size, left = self._step_size(), time - float(self.state.flow_time)
        if left < 2.0 * size:  # no tiny step at the end
            self._resize(left if left <= size else left / 2.0)
        return size

    def _step_size(self) -> float:
        return float(self.state.step_size if hasattr(self.state, "step_size") else self.state.h)

    def _resize(self, size: float) -> None:
        name = "step_size" if hasattr(self.state, "step_size") else "h"
        self.state = self.state._replace(**{name: jnp.asarray(size, getattr(self.state, name).dtype)})

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Leaves of the state, and its row."""
        if self.state is None:
            return {}
        leaves = jax.tree.leaves(self.state)
        return {"row": np.asarray(self.row), **{str(i): np.asarray(_plain(leaf)) for i, leaf in enumerate(leaves)}}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from the leaves of a state."""
        state, row = _initial(self.solver, self.objective, self.w)
        leaves, structure = jax.tree.flatten(state)
        names = ["row", *map(str, range(len(leaves)))]
        if sorted(names) != sorted(arrays):
            raise ValueError(f"a state of {self.solver.name!r} has {len(leaves)} arrays, not {len(arrays) - 1}")
        filled = [_like(old, arrays[name]) for name, old in zip(names, [row, *leaves], strict=True)]
        self.row, self.state = filled[0], jax.tree.unflatten(structure, filled[1:])

    def _affordable(self, seconds_left: float) -> float:
        return seconds_left / self._seconds_a_step if self._seconds_a_step else 1.0

    def _report(self, monitor: Monitor, rows: dict[str, NDArray[np.float64]]) -> bool:
        ended = int(rows.pop("ended")[-1])
        stop = monitor.chunk(self.solver.weights(self.state), rows)
        if ended and not stop:
            raise Finished(ENDED[ended], self.solver.reason(ended))
        return stop
