"""The base of solvers whose whole loop is compiled: they supply a state and a step, as pure functions.

Steps run in chunks inside one `lax.while_loop`. Python sees the loop only to stop, show and save; a chunk checks the
targets after every step, and its length adapts to the time that steps, and what they evaluate, take.

How a program is compiled is a matter of its own. Full optimisation makes a step 1.1 to 3 times as fast and takes 3 to 5
times as long to compile, which is most of what a user waits for who fits one network. So the "quick" compilation
starts, and better ones take over once the steps have done so much work, counted in operations, that they pay. Before
all, solvers whose step also runs by NumPy do so for a while: only the gradient is compiled for that. See
docs/first-call.md.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad._arrays import namespace, on_host, while_loop
from stiffgrad._config import LASTING, QUICK, SOUND, Program, one_blas_thread
from stiffgrad._types import Outcome
from stiffgrad.flow import Flow, OutOfTime
from stiffgrad.objective import Objective
from stiffgrad.objective.placement import agreed
from stiffgrad.solvers._base import Finished, Limits, Monitor, Solver

State = TypeVar("State")
Condition: TypeAlias = "Callable[[Rows], Any]"
MAX_ROWS = 4096  # rows a chunk can hold: many, since calling one takes as long as 100 steps of a tiny network
TRIALS = 64, 16  # of a chunk at most, and for each of its rows: whatever a method does, Python gets its turn, with its
# budgets and Ctrl-C
SPARE_ROWS = 256  # beyond those asked for: a frozen Jacobian is used up before a chunk ends
WARM_UP = 1e7  # up to so many weights times samples a step is taken and thrown away first, twice: the libraries that
# XLA calls set themselves up when first used, which takes tens of milliseconds; and the second tells how long it takes
CHUNK_SECONDS = 0.05  # how long a chunk should take: timely stops and progress, little Python
LATE_SECONDS = 0.5  # a step that will end so long after the budget is not begun
MANY_ROWS = 1000  # from this side on a matrix is factored faster by all BLAS threads, even on a busy machine

# A row's `ended` says that the solver ended by itself, as one of these; 0 goes on.
ENDED = {1: Outcome.STATIONARY, 2: Outcome.STALLED, 3: Outcome.DIVERGED, 4: Outcome.FAILED}
STATIONARY, STALLED, DIVERGED, FAILED = ENDED

NEVER = Limits(np.inf, np.inf, -1.0, -1.0)
ALWAYS = Limits(-np.inf, -np.inf, np.inf, np.inf)
STAGES = ("host", "quick", "lasting", "full")  # the loop in Python, and its three compilations
# Of work in a stage, after which the next one takes over: about what its compilation takes.
HOST_SECONDS, QUICK_SECONDS, LASTING_SECONDS = 0.3, 2.0, 30.0
HOST_STEP_SECONDS = 3e-4  # that a step by NumPy takes beside the gradient
HOST_BYTES = 1e7  # of a state, up to which its copies are cheap beside that
# Of a gradient with the quick compilation: a call, and for each weight and sample, and each intermediate number.
CALL_SECONDS, WEIGHT_SECONDS, ELEMENT_SECONDS = 3e-5, 3e-10, 3e-9


@dataclasses.dataclass(frozen=True)
class CompiledSolver(Solver, abc.ABC, Generic[State]):
    """A solver given by pure functions; subclasses are frozen dataclasses registered as pytrees.

    Numbers that users vary belong to the data fields of that registration, so that they do not recompile; choices of
    the algorithm to the meta fields.
    """

    columns: ClassVar[tuple[str, ...]]  # names of the row's entries beside "ended"; "loss" among them
    reasons: ClassVar[dict[int, str]] = {}  # words for the keys of `ENDED`
    lasting: ClassVar[tuple[str, ...]] = ()  # of the state, which has a `place`: what stays true at other weights
    # The step also runs by NumPy, and does so first, where the matrices it factors have at most this side.
    hosted_side: ClassVar[int] = -1
    matrices: ClassVar[int] = 0  # of (n, n) that a step forms product by product
    bare_start: ClassVar[bool] = False  # `initial` evaluates nothing: the first step does, and reports the start

    @abc.abstractmethod
    def initial(self, objective: Objective, w: Any) -> tuple[State, dict[str, Any]]:
        """The first state and its row (same structure as that of a step).

        With `bare_start` no evaluation is made, and the state may hold NumPy arrays: nothing is compiled for it.
        """

    @abc.abstractmethod
    def loop(self, objective: Objective, carry: Rows, going: Condition, within: Condition) -> Rows:
        """Take steps and record their rows while `going`; `within` is the part of it that says stop at once."""

    @abc.abstractmethod
    def weights(self, state: State) -> jax.Array:
        """The flat weights in a state."""

    @property
    def within(self) -> CompiledSolver[State]:
        """The same, as the compiled loop needs it: what only `initial` reads is left out, and does not recompile."""
        return self

    def side(self, objective: Objective) -> int:
        """Rows of the dense matrices that a step factorizes by LAPACK; 0 where it factorizes none."""
        return 0

    def check(self, objective: Objective) -> None:
        """Raise ValueError where this solver cannot run this objective, before anything is compiled."""

    def reason(self, ended: int) -> str:
        """Words for an end that the solver found by itself."""
        return self.reasons.get(ended, f"{self.name} ended by itself")

    def start(self, flow: Flow, w: NDArray[np.float64]) -> CompiledRun:
        """Compile the loop, and the initial evaluation where there is one."""
        self.check(flow.objective)
        run = CompiledRun(self, flow.objective, w, flow.compilation)
        run.compile()
        return run

    def advance(self, state: CompiledRun, monitor: Monitor) -> CompiledRun:
        """Run one chunk."""
        state.run_chunk(monitor)
        return state


@dataclasses.dataclass(frozen=True)
class SteppedSolver(CompiledSolver[State], abc.ABC):
    """A compiled solver given by one step."""

    @abc.abstractmethod
    def step(self, objective: Objective, state: State) -> tuple[State, dict[str, Any]]:
        """One step: the next state and its row.

        The row holds every name of `columns`, counts cumulative, and "ended" (0, or a key of `ENDED`). It may hold
        "recorded": False for a trial that was rejected, which is no row of the trace.
        """

    def loop(self, objective: Objective, carry: Rows, going: Condition, within: Condition) -> Rows:
        def body(carry: Rows) -> Rows:
            state, row = self.step(objective, carry.state)
            return carry.with_row(self, state, row)

        return while_loop(going, body, carry, host=on_host(carry.row))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """What a compiled loop carries: the state, its last row, the rows of the chunk, and numbers of rows and trials."""

    state: Any
    row: jax.Array
    rows: jax.Array
    count: jax.Array
    trials: jax.Array

    def with_row(self, solver: CompiledSolver[Any], state: Any, row: dict[str, Any]) -> Rows:
        """After a step; a trial that was rejected leaves no row."""
        xp = namespace(self.row)
        recorded = xp.asarray(row.get("recorded", True)) | (xp.asarray(row["ended"]) > 0)
        packed = xp.where(recorded, _packed(solver, row), self.row)
        if on_host(self.row):
            self.rows[self.count] = packed
            return Rows(state, packed, self.rows, self.count + recorded, self.trials + 1)
        return Rows(state, packed, self.rows.at[self.count].set(packed), self.count + recorded, self.trials + 1)


class Level(NamedTuple):
    """Something that serves several steps, such as a Jacobian: made from the state, after what is made above it.

    Attributes
    ----------
    make : callable
        Gets what the levels above have made and the state; returns the thing, and the next state.
    served : callable
        Whether, by the state, it has served.
    """

    make: Callable[..., tuple[Any, Any]]
    served: Callable[[Any], Any]


def serve(
    solver: CompiledSolver[Any],
    carry: Rows,
    going: Condition,
    within: Condition,
    levels: Sequence[Level],
    trial: Callable[..., tuple[Any, dict[str, Any]]],
    *made: Any,
) -> Rows:
    """One loop inside the other: what a level makes is kept until it has served, and `trial(*made, state)` is a step.

    A loop that is entered again in the middle makes the same things once more: chunks change nothing.
    """

    def step(carry: Rows) -> Rows:
        return carry.with_row(solver, *trial(*made, carry.state))

    def body(carry: Rows) -> Rows:
        (make, served), *deeper = levels
        thing, state = make(*made, carry.state)
        carry = dataclasses.replace(carry, state=state)
        return serve(solver, carry, lambda c: within(c) & ~served(c.state), within, deeper, trial, *made, thing)

    return while_loop(going, body if levels else step, carry, host=on_host(carry.row))


def initial_rows(solver: CompiledSolver[Any], objective: Objective, w: Any) -> Any:
    """The first state and its packed row."""
    state, row = solver.initial(objective, w)
    return _strong(state), _packed(solver, row)


def _strong(state: Any) -> Any:
    """The state without whole numbers of weak type, JAX's own for plain ones: a loop that meets one is compiled again.

    Weak float64 numbers stay: as strong ones they would make float64 of the float32 around them.
    """

    def strong(leaf: Any) -> Any:
        weak = getattr(leaf, "weak_type", False) and jnp.issubdtype(leaf.dtype, jnp.integer)
        return jax.lax.convert_element_type(leaf, leaf.dtype) if weak else leaf

    return jax.tree.map(strong, state)


def _packed(solver: CompiledSolver[Any], row: dict[str, Any]) -> Any:
    names = (*solver.columns, "ended")
    if all(isinstance(row[name], float | int | np.generic | np.ndarray) for name in names):
        return np.array([row[name] for name in names], float)
    return jnp.stack([jnp.asarray(row[name], jnp.float64) for name in names])


def run_rows(
    solver: CompiledSolver[Any],
    objective: Objective,
    state: Any,
    row: jax.Array,
    limits: Limits,
    length: Any,
    max_rows: int = MAX_ROWS,
) -> Any:
    """At least `length` steps, a few more at most; returns the state, its row, all rows, and how many are filled."""
    names = (*solver.columns, "ended")
    xp = namespace(row)

    def column(row: jax.Array, name: str, missing: float) -> Any:
        return row[names.index(name)] if name in names else missing

    def spent(row: jax.Array) -> Any:
        return column(row, "cost", column(row, "presentations", 0))

    def within(carry: Rows) -> Any:
        row, loss = carry.row, column(carry.row, "loss", 0.0)
        seen = carry.count > 0
        # A start that has not been evaluated yet is, whatever the limits are; one whose loss is not finite is the end.
        in_time = carry.trials < TRIALS[0] + TRIALS[1] * length
        return in_time & (
            ((loss == np.inf) & ~seen)
            | ~(
                (seen & ~xp.isfinite(loss))
                | (column(row, "loss", np.inf) <= limits.loss)
                | (column(row, "gradient_norm", np.inf) <= limits.gradient_norm)
                | (column(row, "steps", 0) >= limits.steps)
                | (column(row, "presentations", 0) >= limits.presentations)
                | (spent(row) >= limits.cost)
                | (column(row, "ended", 0) > 0)
                | (carry.count >= limits.rows)
            )
        )

    def going(carry: Rows) -> Any:
        return (carry.count < length) & (spent(carry.row) < limits.pause) & within(carry)

    rows = xp.zeros((max_rows + SPARE_ROWS, len(names)))
    carry = solver.loop(objective, Rows(state, xp.asarray(row), rows, *2 * (xp.asarray(0),)), going, within)
    return _strong(carry.state), carry.row, carry.rows, carry.count


def _plain(leaf: Any) -> Any:
    """The leaf itself; the numbers of a random key, whose type no file knows."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _like(old: Any, values: NDArray[Any]) -> Any:
    """Saved values on the devices and in the type of what they replace."""
    plain = _plain(old)
    if values.shape != plain.shape or values.dtype != plain.dtype:
        raise ValueError(f"an array of the state is {values.dtype} {values.shape}, not {plain.dtype} {plain.shape}")
    if isinstance(old, np.ndarray | np.generic):
        return values
    new = jnp.asarray(values)
    new = jax.random.wrap_key_data(new, impl=jax.random.key_impl(old)) if plain is not old else new
    return jax.device_put(new, old.sharding)


_initial = Program(initial_rows, SOUND)
_full = Program(run_rows, SOUND)
_lasting = Program(run_rows, LASTING)
_quick = Program(run_rows, QUICK)


def _host(*arguments: Any) -> Any:
    with np.errstate(all="ignore"):  # as silent as compiled code about what overflows
        return run_rows(*arguments)


def nominal_seconds(objective: Objective) -> float:
    """Of a gradient with the quick compilation, counted from shapes: for choices that must repeat exactly."""
    weights = WEIGHT_SECONDS * objective.size * objective.samples
    return CALL_SECONDS + weights + ELEMENT_SECONDS * objective.elements


class Speed:
    """How long steps take, as the last chunks told: in seconds a step, and in seconds a unit of cost.

    Neither alone tells how long the next step takes: a step may evaluate more than the one before it, and what its
    evaluations cost is not all that it does.

    Attributes
    ----------
    step, unit : float
        Seconds a step, and a unit of cost, in the last chunk; 0 before the first.
    longest : float
        Seconds of the dearest step, slowly forgotten.
    """

    def __init__(self) -> None:
        self.step = self.unit = self.longest = 0.0

    def learn(self, seconds: float, costs: NDArray[np.float64]) -> None:
        """After a chunk that took so many seconds; `costs` are those of its steps, 0 where nobody counts."""
        self.step = seconds / len(costs)
        total = float(costs.sum())
        self.unit = seconds / total if total > 0 else 0.0
        self.longest = max(self.step, self.unit * float(costs.max()), self.longest / 2.0)

    def within(self, seconds: float) -> tuple[float, float]:
        """How many steps, and how much cost, so many seconds hold: one step, and what fits beside it."""
        if not self.step or seconds == np.inf:
            return np.inf, np.inf
        more = max(0.0, seconds - self.longest)
        cost = (self.longest + more) / self.unit if self.unit else np.inf
        return 1.0 + more // self.step, cost


class CompiledRun:
    """One run of a compiled solver: its state on the device, and the length of the next chunk."""

    def __init__(self, solver: CompiledSolver[Any], objective: Objective, w: Any, compilation: str = "quick") -> None:
        self.solver = solver
        self.objective = objective
        self.w = jnp.asarray(w, objective.w0.dtype)
        self.state: Any = None
        self.row: Any = None
        self._first: tuple[Any, Any] | None = None  # a bare start on the device, with its row
        self.names = (*solver.columns, "ended")
        self._cost = next((self.names.index(name) for name in ("cost", "presentations") if name in self.names), None)
        self._length = 1.0
        self._moved = False  # whether a step has been taken since the start, or since a file was read
        self._speed = Speed()
        self.starting = False  # whether the next row is the first evaluation of a start
        self._stage = self._first_stage() if compilation == "quick" else "full"
        # Presentations at which a stage ends: counts, so that a run repeats exactly.
        nominal = nominal_seconds(objective)
        host = np.ceil(HOST_SECONDS / (nominal + HOST_STEP_SECONDS)) if self._stage == "host" else 0.0
        quick = host + np.ceil(QUICK_SECONDS / nominal)
        lasting = quick + np.ceil(LASTING_SECONDS / nominal)
        self._ends = {"host": host, "quick": quick, "lasting": lasting, "full": np.inf}

    def _first_stage(self) -> str:
        on_cpu = all(device.platform == "cpu" for device in self.w.devices())
        if "presentations" not in self.solver.columns or not on_cpu:
            return "full"
        if self.solver.side(self.objective) > self.solver.hosted_side or not self.objective.on_one_device:
            return "quick"
        state, _ = self.solver.initial(self.objective, np.asarray(self.w))
        small = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) <= HOST_BYTES
        return "host" if small else "quick"

    def _begin(self) -> tuple[Any, Any]:
        begin = initial_rows if self.solver.bare_start else _initial
        return begin(self.solver, self.objective, np.asarray(self.w) if self.solver.bare_start else self.w)

    def compile(self) -> None:
        """Compile the loop, or what it needs by NumPy; run a step or two that are thrown away, where that is cheap."""
        with self._threads():
            self._compile()

    def _compile(self) -> None:
        state, row = jax.block_until_ready(self._begin())
        if self._stage == "host":
            self._chunk(state, row, ALWAYS, 1)
            return
        jax.block_until_ready(self._chunk(state, row, NEVER, 0))
        if self.solver.bare_start:
            state, _ = self._first = jax.block_until_ready(jax.device_put(state)), row
        size = self.objective.size
        if size * self.objective.samples * (1.0 + 2.0 * size * self.solver.matrices) <= WARM_UP:
            for _ in range(2):
                begin = time.perf_counter()
                _, _, rows, count = jax.block_until_ready(self._chunk(state, row, ALWAYS, 2))
                seconds = agreed(time.perf_counter() - begin)
                if seconds > CHUNK_SECONDS:  # beside which what the second one tells is little
                    break
            self._speed.learn(seconds, self._costs(row, np.asarray(rows)[: max(1, int(count))]))
            self._length = CHUNK_SECONDS / max(self._speed.step, 1e-9)

    def restart(self, w: NDArray[np.floating]) -> None:
        """Go on from other weights; what the solver has learned, and its counts, stay."""
        fresh, _ = self.solver.initial(self.objective, np.asarray(w))
        kept = {name: getattr(self.state, name) for name in self.solver.lasting}
        place = fresh.place._replace(tally=self.state.place.tally, flow_time=self.state.place.flow_time)
        self.state = fresh._replace(place=place, **kept)
        unknown = {"loss": np.inf, "gradient_norm": np.inf, "ended": 0.0}
        self.row = np.array([unknown.get(name, value) for name, value in zip(self.names, self.row, strict=True)])

    def run_chunk(self, monitor: Monitor) -> None:
        """Evaluate and report the start where that is due, else run one chunk and report its rows."""
        with self._threads():
            if self.state is None:
                self.state, row = self._first if self._first is not None else self._begin()
                self.row, self._first = np.asarray(row), None
                if not self.solver.bare_start and self._report(monitor, self.row[None]):
                    return
            self.starting = self.solver.bare_start and bool(self.row[self.names.index("loss")] == np.inf)
            self._go_on(monitor)

    def _go_on(self, monitor: Monitor) -> None:
        self._change_stage(monitor)
        target = monitor.next_time
        capped = self._toward(target) if np.isfinite(target) else None
        wanted = 1.0 if monitor.steps_only or np.isfinite(target) else self._length
        done = self.row[self.names.index("steps")] if "steps" in self.names else 0.0
        length = int(min(MAX_ROWS, max(1.0, min(wanted, monitor.look - done))))
        limits, before = self._limits(monitor), self.row
        begin = time.perf_counter()
        rows = self._steps(limits, length)
        seconds = agreed(time.perf_counter() - begin)
        if len(rows):
            self._speed.learn(seconds, self._costs(before, rows))
            self._moved = self._moved or not self.starting
            self._length = min(4.0 * length, CHUNK_SECONDS / max(self._speed.step, 1e-9))
            if capped is not None and rows[-1][self.names.index("flow_time")] >= target * (1 - 1e-12):
                monitor.reach(np.asarray(self.solver.weights(self.state)))
                self._resize(max(capped, self._step_size()))
            self._report(monitor, rows)
        elif self.row[-1]:  # it had ended by itself before it was saved
            raise Finished(ENDED[int(self.row[-1])], self.solver.reason(int(self.row[-1])))
        elif monitor.seconds_left() <= 0:  # no trial was a step
            raise OutOfTime

    def _limits(self, monitor: Monitor) -> Limits:
        """Where the next chunk must end, or should; raises OutOfTime where its first step would end too late.

        What a run has learned of its speed decides, never a clock inside of compiled code; but the first step is taken.
        """
        left = monitor.seconds_left()
        if self._moved and self._speed.longest > left + LATE_SECONDS:
            raise OutOfTime
        steps, cost = self._speed.within(left)
        singly = monitor.steps_only or np.isfinite(monitor.next_time)
        spent = self._spent(self.row)
        limits = monitor.limits
        pause = CHUNK_SECONDS / self._speed.unit if self._speed.unit else np.inf
        return limits._replace(
            rows=1.0 if singly else min(limits.rows, steps), cost=min(limits.cost, spent + cost), pause=spent + pause
        )

    def _spent(self, row: Any) -> Any:
        """Cumulative cost of a row, or of rows."""
        return 0.0 * row[..., 0] if self._cost is None else row[..., self._cost]

    def _costs(self, before: Any, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each step of a chunk."""
        spent = self._spent(rows)
        costs = np.array(spent)  # NumPy's diff takes ten times as long
        costs[1:] -= spent[:-1]
        costs[0] -= self._spent(before)
        return costs

    def _toward(self, time: float) -> float:
        """Bound the next step so that a step ends at a flow time; returns the size it would have had."""
        size, left = self._step_size(), time - float(getattr(self.state, "place", self.state).flow_time)
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
        state, row = self._begin()
        leaves, structure = jax.tree.flatten(state)
        names = ["row", *map(str, range(len(leaves)))]
        if sorted(names) != sorted(arrays):
            raise ValueError(f"a state of {self.solver.name!r} has {len(leaves)} arrays, not {len(arrays) - 1}")
        filled = [_like(old, arrays[name]) for name, old in zip(names, [row, *leaves], strict=True)]
        self.row, self.state = np.asarray(filled[0]), jax.tree.unflatten(structure, filled[1:])

    def _steps(self, limits: Limits, length: int) -> NDArray[np.float64]:
        state, row, rows, count = self._chunk(self.state, self.row, limits, length)
        filled = np.asarray(rows)[: int(count)]  # waits: Ctrl-C raises here, with the state still that of the last row
        self.state, self.row = state, np.asarray(row)
        return filled

    def _chunk(self, state: Any, row: Any, limits: Limits, length: int) -> Any:
        limits = limits._replace(presentations=min(limits.presentations, self._ends[self._stage]))
        limits = Limits(*map(float, limits))  # one of NumPy's has another type for JAX, and would compile once more
        run: Any = {"host": _host, "quick": _quick, "lasting": _lasting, "full": _full}[self._stage]
        return run(self.solver.within, self.objective, state, row, limits, length)

    def _change_stage(self, monitor: Monitor) -> None:
        """To the stage that the work which is done pays for."""
        if "presentations" not in self.names:
            return
        done = self.row[self.names.index("presentations")]
        stage = next(stage for stage in STAGES[STAGES.index(self._stage) :] if done < self._ends[stage])
        if stage != self._stage:
            self._stage = stage
            with monitor.compiling():
                jax.block_until_ready(self._chunk(self.state, self.row, NEVER, 0))

    def _report(self, monitor: Monitor, packed: NDArray[np.float64]) -> bool:
        rows = dict(zip(self.names, packed.T, strict=True))
        ended = int(rows.pop("ended")[-1])
        stop = monitor.chunk(self.solver.weights(self.state), rows)
        if ended and not stop:
            raise Finished(ENDED[ended], self.solver.reason(ended))
        return stop

    def _threads(self) -> contextlib.AbstractContextManager[object]:
        """One BLAS thread for small matrices: see `one_blas_thread`."""
        return one_blas_thread(0 < self.solver.side(self.objective) < MANY_ROWS)
