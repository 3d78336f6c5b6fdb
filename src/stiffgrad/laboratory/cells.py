"""One cell of a comparison: one method on one problem from one start, and its result as JSON, keyed by its content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.environment import environment
from stiffgrad.laboratory.snapshots import Snapshots
from stiffgrad.run.driver import solve
from stiffgrad.run.trace import COLUMNS, COUNTS, Solution, Trace
from stiffgrad.solvers import create

PROTOCOL = 1  # raise it when results of old files no longer compare with new ones
MAX_ROWS = 400


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
    """What makes one result: equal cells have equal keys, in every process and at every time."""

    problem: str
    method: Method
    seed: int
    seconds: float
    target: str = "deep"

    @property
    def key(self) -> str:
        """16 hexadecimal digits of the content's hash."""
        return content_key({"kind": "cell", **self.content})

    @property
    def content(self) -> dict[str, Any]:
        """What is hashed and saved."""
        return {
            "problem": self.problem,
            "solver": self.method.solver,
            "options": dict(self.method.options),
            "seed": self.seed,
            "seconds": self.seconds,
            "target": self.target,
            "protocol": PROTOCOL,
        }

    def __str__(self) -> str:
        return f"{self.problem}, {self.method.label}, seed {self.seed}"


def content_key(content: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that depend on the content alone.

    Examples
    --------
    >>> content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    True
    """
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_json(path: Path, data: Any) -> None:
    """Write all of it or nothing: into a temporary file beside it, which then takes its place."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """The result in a file; None where there is no file, or a damaged one."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


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
        objective = problem.objective(cell.seed)
        solver = create(cell.method.solver, **{**dict(cell.method.options), **tuned})
        snapshots = Snapshots()
        begin = time.perf_counter()
        until = problem.targets[cell.target].until(cell.seconds)
        solution = solve(objective, solver, until=until, callback=snapshots, throw=False)
        total_seconds = time.perf_counter() - begin
        if solution.outcome is Outcome.INTERRUPTED:
            raise KeyboardInterrupt
        result = _result(cell, solution, total_seconds)
        return {**result, **extra, "scores": finite(snapshots.scores(problem, objective))}
    except Exception as error:  # a cell that fails is a result
        reason = f"{type(error).__name__}: {error}"
        return {**failed_cell(cell, reason, time.perf_counter() - begin), **extra}


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


def _common(cell: Cell) -> dict[str, Any]:
    score_name = problems.get(cell.problem).score_name
    return {"key": cell.key, **cell.content, "score_name": score_name, "environment": environment()}


def _result(cell: Cell, solution: Solution, total_seconds: float) -> dict[str, Any]:
    traced = _traced(cell, solution.trace)
    return finite(
        {
            **_common(cell),
            "outcome": solution.outcome.name,
            "success": traced["targets"][cell.target]["wall_seconds"] is not None,
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
    for level, target in problems.get(cell.problem).targets.items():
        met = (trace[target.quantity] <= target.value) & (trace["wall_seconds"] <= cell.seconds)
        index = int(np.argmax(met)) if met.any() else None
        costs = {
            name: None if index is None else trace[name][index] for name in ("wall_seconds", "presentations", "steps")
        }
        targets[level] = {target.quantity: target.value, **costs}
        hits += [] if index is None else [index]
    rows = thinned(trace["loss"], hits)
    return {"trace": {name: trace[name][rows].tolist() for name in trace}, "targets": targets}


def thinned(loss: Any, keep: list[int], most: int = MAX_ROWS) -> Any:
    """Indices of at most `most` rows: first, last, best, those of `keep`, the others even and geometric by halves.

    Examples
    --------
    >>> thinned(np.array([3.0, 1.0, 2.0]), [])
    array([0, 1, 2])
    """
    count = len(loss)
    if count <= most:
        return np.arange(count)
    best = 0 if np.all(np.isnan(loss)) else int(np.nanargmin(loss))
    half = (most - 3 - len(keep)) // 2
    spread = [np.linspace(0, count - 1, half), np.geomspace(1, count, half) - 1]
    return np.unique(np.concatenate([*spread, [0, count - 1, best, *keep]]).round().astype(int))


def finite(data: Any) -> Any:
    """The same for JSON, which has no NaN and no infinity: None stands for both; NumPy numbers become plain ones."""
    if isinstance(data, Mapping):
        return {name: finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    if isinstance(data, float | np.number):
        return data if isinstance(data, int) else float(data) if math.isfinite(data) else None
    return data
