"""Tables over saved results: solved starts, median times to each target, ratios, and the cost of tuning."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stiffgrad._types import Outcome
from stiffgrad.laboratory.cells import Method, read_json


@dataclasses.dataclass(frozen=True)
class Row:
    """One method on one problem, over all starts. Medians count a missed target as the whole budget.

    Attributes
    ----------
    problem, solver : str
        The solver with the options that were set.
    solved, total : int
        Starts from which the target was reached, and all starts.
    easy_seconds, medium_seconds, deep_seconds : float
        Median solving time to each target, in seconds; infinite where no start reached it.
    ratio : float or None
        Seconds to the last target over those of the fastest method on the problem; None where no method has any
        success, infinite where this one has none.
    presentations : float or None
        Median up to the last target (of the whole run where it was missed); None where the solver cannot tell.
    compile_seconds, total_seconds : float or None
        Median of compiling, over the runs that were the first of their kind in a process; median of the whole call.
    tuning_seconds : float or None
        What finding the learning rate took; None without one.
    learning_rate : float or None
        The one found.
    outcomes : dict
        How many runs ended how.
    """

    problem: str
    solver: str
    solved: int
    total: int
    easy_seconds: float
    medium_seconds: float
    deep_seconds: float
    ratio: float | None
    presentations: float | None
    compile_seconds: float | None
    total_seconds: float | None
    tuning_seconds: float | None
    learning_rate: float | None
    outcomes: Mapping[str, int]


def read(out: str | Path) -> list[dict[str, Any]]:
    """The results of all cells in a folder. Raises ValueError where there is none."""
    found = [data for path in sorted(Path(out).glob("*.json")) if (data := read_json(path)) and "targets" in data]
    if not found:
        raise ValueError(f"out={str(out)!r} holds no results; make some: stiffgrad compare --out {out} ...")
    return found


def table(results: str | Path | Iterable[Mapping[str, Any]]) -> list[Row]:
    """One row a method and problem, fastest first within a problem; from a folder or from results."""
    cells = read(results) if isinstance(results, str | Path) else list(results)
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["problem"], label(cell)), []).append(cell)
    medians = {key: seconds_to(group) for key, group in groups.items() if solved(group)}
    rows = []
    for (problem, solver), group in groups.items():
        fastest = min((value for key, value in medians.items() if key[0] == problem), default=None)
        ratio = None if fastest is None else medians.get((problem, solver), np.inf) / fastest
        rows.append(_row(problem, solver, group, ratio))
    order = {name: index for index, name in enumerate(dict.fromkeys(cell["problem"] for cell in cells))}
    return sorted(rows, key=lambda row: (order[row.problem], np.inf if row.ratio is None else row.ratio, -row.solved))


def failures(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why runs failed, in the solver's own words, each once with its seeds."""
    said: dict[str, list[str]] = {}
    for cell in results:
        if Outcome[cell["outcome"]].failure:
            words = f"{cell['problem']}, {label(cell)}: {cell['message'].removeprefix(cell['solver'] + ': ')}"
            said.setdefault(words, []).append(str(cell["seed"]))
    return [f"{words} (seed{'' if len(seeds) == 1 else 's'} {', '.join(seeds)})" for words, seeds in said.items()]


def label(cell: Mapping[str, Any]) -> str:
    """The solver's name, with the options that were set."""
    return Method(cell["solver"], tuple(sorted(cell["options"].items()))).label


def solved(group: Sequence[Mapping[str, Any]]) -> int:
    """How many runs reached the target that they ran for."""
    return sum(bool(cell["success"]) for cell in group)


def seconds_to(group: Sequence[Mapping[str, Any]], level: str | None = None) -> float:
    """Median seconds to a target (by default the one that each ran for); a miss counts as the whole budget."""
    times = [(cell["targets"][level or cell["target"]]["wall_seconds"], cell["seconds"]) for cell in group]
    if all(reached is None for reached, _ in times):
        return np.inf
    return statistics.median(budget if reached is None else reached for reached, budget in times)


def _row(problem: str, solver: str, group: Sequence[Mapping[str, Any]], ratio: float | None) -> Row:
    fresh = [cell for cell in group if cell.get("first_in_process")]
    return Row(
        problem,
        solver,
        solved(group),
        len(group),
        seconds_to(group, "easy"),
        seconds_to(group, "medium"),
        seconds_to(group, "deep"),
        ratio,
        _median(_presentations(cell) for cell in group),
        _median(cell["compile_seconds"] for cell in fresh or group),
        _median(cell["total_seconds"] for cell in fresh or group),
        _median(cell["tuning_seconds"] for cell in group),
        _median(cell["learning_rate"] for cell in group),
        dict(Counter(cell["outcome"] for cell in group)),
    )


def _presentations(cell: Mapping[str, Any]) -> float | None:
    reached = cell["targets"][cell["target"]]["presentations"]
    return cell["statistics"].get("presentations") if reached is None else reached


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return statistics.median(known) if known else None
