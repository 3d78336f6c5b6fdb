"""One run of the study: solve, then look at what was kept. Nothing is evaluated for show while the clock runs."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Outcome
from stiffgrad.analysis import minimum, stiffness
from stiffgrad.laboratory.study._problems import SETTINGS
from stiffgrad.objective import Objective
from stiffgrad.run.driver import Step, Until, solve
from stiffgrad.run.trace import COLUMNS, COUNTS, Solution
from stiffgrad.solvers import create
from stiffgrad.solvers._ode import ToleranceSchedule

KEPT_ROWS = 300
KEPT_COLUMNS = (
    "flow_time",
    "step_size",
    "order",
    "loss",
    "gradient_norm",
    "wall_seconds",
    "steps",
    "error_test_failures",
    "newton_iterations",
    "newton_failures",
    "rhs_evaluations",
    "jacobian_evaluations",
    "factorizations",
    "presentations",
)
KEPT_POINTS = 150
PROBES = 12
STATIONARY = 2e-6  # gradient norm: runs stop at 1e-6, or stall a little above
Columns = Mapping[str, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Spec:
    """What is run; its content names its result file.

    Attributes
    ----------
    problem, solver : str
        Of `SETTINGS`, and of the registry of solvers.
    options : tuple of (name, value)
        Of the solver; a tolerance given as a pair stands for `ToleranceSchedule`.
    seed : int
        Of the start.
    seconds : float
        Budget of solving time.
    loss, gradient_norm : float, optional
        Where to stop.
    probe : bool
        Measure the stiffness along the path, afterwards.
    judge : bool
        Say what kind of point it ended in, afterwards.
    """

    problem: str
    solver: str
    options: tuple[tuple[str, Any], ...]
    seed: int
    seconds: float
    loss: float | None = None
    gradient_norm: float | None = None
    probe: bool = False
    judge: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """What the result depends on."""
        return {"kind": "run", **dataclasses.asdict(self), "setting": dataclasses.asdict(SETTINGS[self.problem])}


class Run:
    """A finished run, read from its result."""

    def __init__(self, spec: Spec, result: Mapping[str, Any]) -> None:
        self.spec = spec
        self.result = result
        self.outcome: str = result["outcome"]
        self.w = np.array(result["w"], dtype=float)
        self.loss = _number(result["loss"])
        self.gradient_norm = _number(result["gradient_norm"])
        self.wall_seconds = _number(result["wall_seconds"])
        self.statistics: Mapping[str, Any] = result["statistics"]
        self.trace: Columns = {name: _column(values) for name, values in result["trace"].items()}
        self.points: Columns = {name: _column(values) for name, values in result["points"].items()}
        self.probes: list[Mapping[str, Any]] = result["probes"]
        self.verdict: Mapping[str, Any] | None = result["verdict"]

    def cost(self, quantity: str, level: float, name: str) -> float:
        """Cumulative `name` at the first row whose "loss" or "gradient_norm" is at most `level`; inf where missed."""
        below = np.flatnonzero(self.trace[quantity] <= level)
        return float(self.trace[name][below[0]]) if below.size else np.inf


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def _column(values: Any) -> NDArray[np.float64]:
    return np.array([_number(value) for value in values], dtype=float)


class _Snapshots:
    """Keeps weights along a run, thinned by halves, for an accuracy that is computed afterwards."""

    def __init__(self) -> None:
        self.rows: list[tuple[Mapping[str, float], Any]] = []
        self._seen, self._stride = 0, 1

    def __call__(self, step: Step) -> None:
        if self._seen % self._stride == 0:
            self.rows.append((step.row, step.w))
            if len(self.rows) > 2 * KEPT_POINTS:
                self.rows = self.rows[::2]
                self._stride *= 2
        self._seen += 1


def execute(spec: Spec) -> dict[str, Any]:
    """Run it. A failure is a result too; only Ctrl-C raises."""
    objective = SETTINGS[spec.problem].problem.objective(spec.seed)
    try:
        return _solved(spec, objective)
    except Exception as error:  # a library that fails must not end the study
        start = float(objective.value(objective.w0))
        row = {**{name: [np.nan] for name in COLUMNS}, "loss": [start], "steps": [0.0]}
        points = {name: [0.0] for name in ("steps", "presentations", "wall_seconds", "loss", "score")}
        return {
            "outcome": Outcome.FAILED.name,
            "message": f"{spec.solver}: {type(error).__name__}: {error}",
            "solver": spec.solver,
            **dict.fromkeys(("loss", "gradient_norm", "wall_seconds", "compile_seconds"), np.nan),
            "statistics": dict.fromkeys(COUNTS),
            "w": np.asarray(objective.w0),
            "trace": row,
            "points": points,
            "probes": [],
            "verdict": None,
        }


def _solved(spec: Spec, objective: Objective) -> dict[str, Any]:
    options = {k: ToleranceSchedule(*v) if isinstance(v, tuple | list) else v for k, v in spec.options}
    until = Until(loss=spec.loss, gradient_norm=spec.gradient_norm, wall_seconds=spec.seconds)
    kept = _Snapshots()
    solution = solve(objective, create(spec.solver, **options), until=until, callback=kept, throw=False)
    if solution.outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    trace = {name: solution.trace[name] for name in KEPT_COLUMNS}
    rows = kept_rows(trace)
    return {
        "outcome": solution.outcome.name,
        "message": solution.message,
        "solver": solution.solver,
        "loss": solution.loss,
        "gradient_norm": solution.gradient_norm,
        "wall_seconds": solution.wall_seconds,
        "compile_seconds": solution.compile_seconds,
        "statistics": dataclasses.asdict(solution.statistics),
        "w": np.asarray(solution.w),
        "trace": {name: _rounded(trace[name][rows]) for name in KEPT_COLUMNS},
        "points": _points(spec, objective, kept),
        "probes": _probes(objective, kept) if spec.probe else [],
        "verdict": _verdict(objective, solution) if spec.judge else None,
    }


def _rounded(column: NDArray[np.float64]) -> list[float]:
    """Nine digits: a third of the size of a file, and more than any answer needs."""
    return [float(f"{value:.9g}") for value in column]


def kept_rows(trace: Columns) -> NDArray[np.int64]:
    """Rows of a trace that keep its course: even in the logarithm of steps and of the loss, and where it is lowest."""
    count = len(trace["loss"])
    if count <= 2 * KEPT_ROWS:
        return np.arange(count)
    best = np.fmin.accumulate(np.where(np.isfinite(trace["loss"]), trace["loss"], np.inf))
    floor = max(float(best[-1]), np.finfo(float).tiny)
    heights = np.geomspace(max(float(best[0]), floor * (1 + 1e-9)), floor, KEPT_ROWS)
    first_below = np.searchsorted(-best, -heights)
    steps = np.geomspace(1, count - 1, KEPT_ROWS).astype(int)
    # The excess over the end falls on for long after the loss itself has nearly stopped.
    gaps = best[0] - best[-1]
    late = np.searchsorted(-best, -(best[-1] + gaps * np.logspace(0, -8, KEPT_ROWS)))
    slope = np.fmin.accumulate(np.where(np.isfinite(trace["gradient_norm"]), trace["gradient_norm"], np.inf))
    lows = np.geomspace(max(float(slope[0]), 1e-300), max(float(slope[-1]), 1e-300), KEPT_ROWS)
    rows = np.concatenate([[0, count - 1], first_below, steps, late, np.searchsorted(-slope, -lows)])
    return np.unique(np.clip(rows, 0, count - 1))


def _points(spec: Spec, objective: Objective, kept: _Snapshots) -> dict[str, list[float]]:
    """Training accuracy (or R2) along the run, with the costs there."""
    problem = SETTINGS[spec.problem].problem
    names = ("steps", "presentations", "wall_seconds", "loss")
    columns: dict[str, list[float]] = {name: [] for name in (*names, "score")}
    for row, w in kept.rows[:: max(1, len(kept.rows) // KEPT_POINTS)]:
        for name in names:
            columns[name].append(float(row.get(name, np.nan)))
        score = problem.score(objective.unflatten(np.asarray(w)))
        columns["score"].append(np.nan if score is None else score)
    return columns


def _probes(objective: Objective, kept: _Snapshots) -> list[dict[str, float]]:
    """Stiffness at points spread evenly over the run's steps, and the step size used there."""
    if not kept.rows:
        return []
    chosen = np.unique(np.linspace(0, len(kept.rows) - 1, PROBES).astype(int))
    probes = []
    for index in chosen:
        row, w = kept.rows[index]
        found = stiffness(objective, np.asarray(w), products=30)
        names = ("eigenvalue_max", "eigenvalue_min", "ratio", "negative", "excess", "step_explicit", "step_accuracy")
        seen = {name: float(getattr(found, name)) for name in names}
        at = {name: float(row.get(name, np.nan)) for name in ("loss", "steps", "step_size", "order", "flow_time")}
        probes.append({**seen, **at})
    return probes


def _verdict(objective: Objective, solution: Solution) -> dict[str, Any] | None:
    if not np.all(np.isfinite(np.asarray(solution.w))):
        return None
    # Far from rest the verdict is known: Lanczos is enough for the ends of the spectrum.
    dense = 1500 if solution.gradient_norm <= STATIONARY else 0
    return dataclasses.asdict(
        minimum(objective, np.asarray(solution.w), gradient_tolerance=STATIONARY, dense=dense, products=40)
    )


@functools.cache
def objective_of(problem: str, seed: int) -> Objective:
    """The objective of a setting, made once."""
    return SETTINGS[problem].problem.objective(seed)
