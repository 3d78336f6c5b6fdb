"""float32 first, float64 where float32 stalls: two runs put together as one solution."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.objective import Objective
from stiffgrad.run.trace import COUNTS, Solution, Statistics, Trace

ADDED = ("flow_time", "wall_seconds", *COUNTS)  # cumulative columns


def stalled(solution: Solution, objective: Objective) -> bool:
    """Whether a run in float32 ended at the precision of its numbers, short of any target."""
    ends = (Outcome.STALLED, Outcome.STATIONARY)
    return objective.w0.dtype == np.float32 and solution.outcome in ends and solution.gradient_norm > 0.0


def left(budget: Any, spent: float | None) -> Any:
    """What remains of a budget, None being no limit."""
    return None if budget is None else max(budget - (spent or 0), 0)


def joined(single: Solution, double: Solution) -> Solution:
    """One solution of two runs, the second from the end of the first; counts and times are those of both."""
    steps = single.statistics.steps
    where = f"float32 {single.outcome.value.split(':')[0]} at loss {single.loss:.3e} after {steps} steps"
    return dataclasses.replace(
        double,
        message=f"{double.message} ({where}; float64 from there.)",
        statistics=Statistics(**{name: _sum(getattr(s.statistics, name) for s in (single, double)) for name in COUNTS}),
        trace=_one_after_the_other(single.trace, double.trace),
        wall_seconds=single.wall_seconds + double.wall_seconds,
        compile_seconds=single.compile_seconds + double.compile_seconds,
        solver=f"{single.solver}, in float32 and then float64",
        best_params=_best(single, double),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


def _one_after_the_other(first: Trace, second: Trace) -> Trace:
    """Rows of both, cumulative columns going on; the column `float64` says which run a row is from."""
    columns = {}
    for name in dict.fromkeys([*first, *second]):
        parts = [trace[name] if name in list(trace) else np.full(len(trace), np.nan) for trace in (first, second)]
        if name in ADDED:
            parts[1] = parts[1] + parts[0][-1]
        columns[name] = np.concatenate(parts)
    return Trace(columns | {"float64": np.repeat([0.0, 1.0], [len(first), len(second)])})


def _best(single: Solution, double: Solution) -> object:
    if single.best_params is None or double.best_params is None:
        return double.best_params
    first, second = (np.nanmin(solution.trace["validation"]) for solution in (single, double))
    return single.best_params if first < second else double.best_params
