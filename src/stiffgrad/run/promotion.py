"""Two runs put together as one solution: float32 first, float64 where float32 stalls; or another objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.objective import Objective
from stiffgrad.run.trace import COUNTS, Solution, Statistics, Trace

ADDED = ("flow_time", "wall_seconds", *COUNTS)  # cumulative columns


def stalled(solution: Solution, objective: Objective) -> bool:
    """Whether a run in float32 ended at the precision of its numbers, short of any target."""
    ends = (Outcome.STALLED, Outcome.STATIONARY)
    return objective.w0.dtype == np.float32 and solution.outcome in ends and solution.gradient_norm > 0.0


def joined(single: Solution, double: Solution) -> Solution:
    """One solution of two runs, the second in float64 from the end of the first."""
    steps = single.statistics.steps
    where = f"float32 {single.outcome.value.split(':')[0]} at loss {single.loss:.3e} after {steps} steps"
    return dataclasses.replace(
        continued(single, double, "float64"),
        message=f"{double.message} ({where}; float64 from there.)",
        solver=f"{single.solver}, in float32 and then float64",
    )


def continued(first: Solution, second: Solution, column: str) -> Solution:
    """One solution of two runs, the second from the end of the first; counts and times are those of both.

    The trace's column named `column` counts the runs, from 0.
    """
    return dataclasses.replace(
        second,
        statistics=Statistics(**{name: _sum(getattr(s.statistics, name) for s in (first, second)) for name in COUNTS}),
        trace=_one_after_the_other(first.trace, second.trace, column),
        wall_seconds=first.wall_seconds + second.wall_seconds,
        compile_seconds=first.compile_seconds + second.compile_seconds,
        best_params=_best(first, second),
    )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


def _one_after_the_other(first: Trace, second: Trace, column: str) -> Trace:
    """Rows of both, cumulative columns going on; `column` says which run a row is from."""
    columns = {}
    for name in dict.fromkeys([*first, *second]):
        parts = [trace[name] if name in list(trace) else np.full(len(trace), np.nan) for trace in (first, second)]
        if name in ADDED:
            parts[1] = parts[1] + parts[0][-1]
        columns[name] = np.concatenate(parts)
    runs = first[column] if column in list(first) else np.zeros(len(first))
    return Trace(columns | {column: np.concatenate([runs, np.full(len(second), runs[-1] + 1.0)])})


def _best(first: Solution, second: Solution) -> object:
    if first.best_params is None or second.best_params is None:
        return second.best_params
    before, after = (np.nanmin(solution.trace["validation"]) for solution in (first, second))
    return first.best_params if before < after else second.best_params
