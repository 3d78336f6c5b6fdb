"""One cell of a comparison: one method on one problem from one start, and its result as JSON, keyed by its content."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stiffgrad._float64 import float64
from stiffgrad._types import Outcome
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.environment import code, environment
from stiffgrad.laboratory.problems import Target
from stiffgrad.laboratory.snapshots import Snapshots
from stiffgrad.laboratory.statistics import thinned
from stiffgrad.laboratory.store import content_key, finite
from stiffgrad.objective import Objective
from stiffgrad.run.driver import Run
from stiffgrad.run.trace import COLUMNS, COUNTS, Solution, Trace, TraceBuilder
from stiffgrad.run.until import Until
from stiffgrad.solvers import Solver, create
from stiffgrad.solvers._ode import ToleranceSchedule

PROTOCOL = 2  # raise it when results of old files no longer compare with new ones
ROWS = 2**18  # of a trace in memory, beside those that first meet a target, before it is thinned for the file
COSTS = ("wall_seconds", "presentations", "steps", "rhs_evaluations", "jacobian_evaluations")


@dataclasses.dataclass(frozen=True)
class Method:
    """A solver by name, with the options that are not its defaults.

    Examples
    --------
    >>> Method.of("lsoda").label, Method.of(("lsoda", {"rtol": 1e-3})).label
    ('lsoda', 'lsoda (rtol=0.001)')
    """

    solver: str
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, given: str | tuple[str, Mapping[str, Any]] | Method) -> Method:
        """From a name, or a name with options. Raises ValueError or TypeError for what `solvers.create` refuses."""
        if isinstance(given, Method):
            return given
        name, options = (given, {}) if isinstance(given, str) else given
        create(name, **options)
        return cls(name, tuple(sorted(options.items())))

    @property
    def label(self) -> str:
        """The name, with the options that were set."""
        shown = ", ".join(f"{name}={value}" for name, value in self.options)
        return self.solver + (f" ({shown})" if shown else "")


@dataclasses.dataclass(frozen=True)
class Cell:
    """What makes one result: equal cells have equal keys, in every process and at every time.

    Attributes
    ----------
    problem : str
    method : Method
    seed : int
        Of the start.
    seconds : float
        Budget of solving time.
    target : str or Target
        Where the run stops: one of the problem's own, by its level, or another.
    path : int
        Points of the path of which the result keeps the weights.
    watched : mapping of str to Target
        Targets beside the problem's own whose costs are recorded. They change no run, so they are no part of the key.
    """

    problem: str
    method: Method
    seed: int
    seconds: float
    target: str | Target = "deep"
    path: int = 0
    watched: Mapping[str, Target] = dataclasses.field(default_factory=dict, compare=False, hash=False)

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the content's hash."""
        return content_key({"kind": "cell", **self.content})

    @property
    def content(self) -> dict[str, Any]:
        """What is hashed and saved."""
        package = problems.origin(self.problem)
        return {
            "problem": self.problem,
            "solver": self.method.solver,
            "options": dict(self.method.options),
            "seed": self.seed,
            "seconds": self.seconds,
            "target": self.target if isinstance(self.target, str) else str(self.target),
            **({"path": self.path} if self.path else {}),
            **({"package": package} if package else {}),
            "protocol": PROTOCOL,
            "code": code(),
        }

    @property
    def stop(self) -> Target:
        """Where the run stops."""
        return problems.get(self.problem).targets[self.target] if isinstance(self.target, str) else self.target

    @property
    def targets(self) -> dict[str, Target]:
        """All targets whose costs are recorded; "stop" is that of the run where it is none of the problem's."""
        own = {} if isinstance(self.target, str) else {"stop": self.target}
        return {**problems.get(self.problem).targets, **own, **self.watched}

    def __str__(self) -> str:
        return f"{self.problem}, {self.method.label}, seed {self.seed}"


@functools.lru_cache(maxsize=64)
def objective_of(problem: str, seed: int) -> Objective:
    """The objective of a problem; all starts share its data, and so the compiled code."""
    made = problems.get(problem).objective(seed)
    if seed == 0:
        return made
    first = objective_of(problem, 0)
    return first.with_start(first.unflatten(made.w0))


_ran: set[tuple[Any, ...]] = set()  # what this process has compiled already


def run_cell(cell: Cell, learning_rate: float | None = None, tuning_seconds: float | None = None) -> dict[str, Any]:
    """Run one cell; whatever goes wrong inside is a result too. Only Ctrl-C raises: KeyboardInterrupt.

    Parameters
    ----------
    cell : Cell
    learning_rate, tuning_seconds : float, optional
        For a method with a learning rate: the tuned one, and what tuning it took, in seconds.
    """
    same = (cell.problem, cell.method)
    first, begin = same not in _ran, time.perf_counter()
    _ran.add(same)
    tuned = {} if learning_rate is None else {"learning_rate": learning_rate}
    extra = {"first_in_process": first, "learning_rate": learning_rate, "tuning_seconds": tuning_seconds}
    try:
        problem = problems.get(cell.problem)
        objective = objective_of(cell.problem, cell.seed)
        solver = create(cell.method.solver, **{**_values(cell.method.options), **tuned})
        snapshots = Snapshots()
        begin = time.perf_counter()
        marks = [(target.quantity, target.value) for target in cell.targets.values()]
        solution = solve(objective, solver, cell.stop.until(cell.seconds), snapshots, marks)
        total_seconds = time.perf_counter() - begin
        if solution.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        result = _result(cell, solution, total_seconds)
        kept = {"path": snapshots.path(cell.path), "w": np.asarray(solution.w)} if cell.path else {}
        field = problem.field(solution.params)
        kept |= {} if field is None else {"field": field}
        return {**result, **extra, **finite(kept), "scores": finite(snapshots.scores(problem, objective))}
    except Exception as error:  # a cell that fails is a result
        reason = f"{type(error).__name__}: {error}"
        return {**failed_cell(cell, reason, time.perf_counter() - begin), **extra}


def _values(options: Any) -> dict[str, Any]:
    """Options as the solver takes them: a pair stands for a `ToleranceSchedule`, so that a key can be made of it."""
    return {name: ToleranceSchedule(*value) if isinstance(value, tuple) else value for name, value in options}


@float64
def solve(
    objective: Objective, solver: Solver, until: Until, callback: Any = None, marks: Sequence[tuple[str, float]] = ()
) -> Solution:
    """As `stiffgrad.solve` without raising, compiled in full, with a long trace: see `TraceBuilder` for the marks.

    Tables of solving times leave compilation out, for us and for peers alike; `first_call` is where it counts.
    """
    run = Run(objective, solver, until, callback=callback, compilation="full")
    run.trace = TraceBuilder(ROWS, marks)
    return run.solve()


def failed_cell(cell: Cell, reason: str, seconds: float) -> dict[str, Any]:
    """The result of a cell that raised, crashed or never answered, after so many seconds."""
    start = Trace({name: np.array([np.nan]) for name in COLUMNS})
    return finite(
        {
            **_common(cell),
            "outcome": Outcome.FAILED.name,
            "success": False,
            "message": f"{cell.method.solver}: {Outcome.FAILED.value} ({reason})",
            **dict.fromkeys(("loss", "gradient_norm", "compile_seconds")),
            "wall_seconds": seconds,
            "total_seconds": seconds,
            "statistics": dict.fromkeys(COUNTS),
            **_traced(cell, start),
            **dict.fromkeys(("first_in_process", "learning_rate", "tuning_seconds")),
            "scores": [],
        }
    )


def _level(cell: Cell) -> str:
    return cell.target if isinstance(cell.target, str) else "stop"


def _common(cell: Cell) -> dict[str, Any]:
    score_name = problems.get(cell.problem).score_name
    return {"key": cell.key, **cell.content, "score_name": score_name, "environment": environment()}


def _result(cell: Cell, solution: Solution, total_seconds: float) -> dict[str, Any]:
    traced = _traced(cell, solution.trace)
    return finite(
        {
            **_common(cell),
            "outcome": solution.outcome.name,
            "success": traced["targets"][_level(cell)]["wall_seconds"] is not None,
            "message": solution.message,
            "ran": solution.solver,
            "loss": solution.loss,
            "gradient_norm": solution.gradient_norm,
            "wall_seconds": solution.wall_seconds,
            "compile_seconds": solution.compile_seconds,
            "total_seconds": total_seconds,
            "statistics": dataclasses.asdict(solution.statistics),
            **traced,
        }
    )


def _traced(cell: Cell, trace: Trace) -> dict[str, Any]:
    """The trace, thinned, and where it first meets each target within the budget."""
    targets, hits = {}, []
    for level, target in cell.targets.items():
        met = (trace[target.quantity] <= target.value) & (trace["wall_seconds"] <= cell.seconds)
        index = int(np.argmax(met)) if met.any() else None
        targets[level] = {
            target.quantity: target.value,
            **{name: None if index is None else trace[name][index] for name in COSTS},
        }
        hits += [] if index is None else [index]
    rows = thinned(trace["loss"], hits)
    return {"trace": {name: trace[name][rows].tolist() for name in trace}, "targets": targets}
