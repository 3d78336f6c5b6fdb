"""Tables over saved results: solved starts, median times to each target, ratios, and the cost of tuning."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stiffgrad._types import Outcome
from stiffgrad.laboratory.cells import Method
from stiffgrad.laboratory.statistics import UNKNOWN, Amount, check_one_run, cost, median
from stiffgrad.laboratory.store import read_json


@dataclasses.dataclass(frozen=True)
class Row:
    """One method on one problem, over all starts. A missed target cost more than the run spent: medians may be bounds.

    Attributes
    ----------
    problem, solver : str
        The solver with the options that were set.
    solved, total : int
        Starts from which the target was reached, and all starts.
    easy_seconds, medium_seconds, deep_seconds : Amount
        Median solving time to each target, in seconds.
    ratio : Amount
        Seconds to the last target over those of the fastest method on the problem.
    presentations : Amount
        Median up to the last target; unknown where the solver cannot tell.
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
    easy_seconds: Amount
    medium_seconds: Amount
    deep_seconds: Amount
    ratio: Amount
    presentations: Amount
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
    """One row a method and problem, fastest first within a problem; from a folder or from results.

    Raises ValueError for results of different code or machines: see `statistics.check_one_run`.
    """
    cells = read(results) if isinstance(results, str | Path) else list(results)
    check_one_run(cells)
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["problem"], label(cell)), []).append(cell)
    medians = {key: costs_to(group) for key, group in groups.items()}
    rows = []
    for (problem, solver), group in groups.items():
        known = [value for key, value in medians.items() if key[0] == problem and value.known]
        fastest = min(known, key=lambda value: value.value, default=UNKNOWN)
        rows.append(_row(problem, solver, group, medians[problem, solver] / fastest))
    order = {name: index for index, name in enumerate(dict.fromkeys(cell["problem"] for cell in cells))}
    return sorted(rows, key=lambda row: (order[row.problem], not row.ratio.known, row.ratio.value, -row.solved))


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


def costs_to(group: Sequence[Mapping[str, Any]], level: str | None = None, name: str = "wall_seconds") -> Amount:
    """Median cost of a target (by default the one that each ran for); a missed one cost more than was spent."""
    return median(costs_of(group, level, name))


def costs_of(group: Sequence[Mapping[str, Any]], level: str | None = None, name: str = "wall_seconds") -> list[Amount]:
    """The cost of a target to each run, named as in the trace."""
    found = []
    for cell in group:
        spent = (
            max(cell["seconds"], cell["wall_seconds"] or 0.0)
            if name == "wall_seconds"
            else cell["statistics"].get(name)
        )
        # A run that stalls or fails before its budget ends would not have got there with all of it.
        found.append(cost(cell["targets"][level or _level(cell)][name], spent))
    return found


def _level(cell: Mapping[str, Any]) -> str:
    return cell["target"] if cell["target"] in cell["targets"] else "stop"


def _row(problem: str, solver: str, group: Sequence[Mapping[str, Any]], ratio: Amount) -> Row:
    fresh = [cell for cell in group if cell.get("first_in_process")]
    return Row(
        problem,
        solver,
        solved(group),
        len(group),
        costs_to(group, "easy"),
        costs_to(group, "medium"),
        costs_to(group, "deep"),
        ratio,
        costs_to(group, name="presentations"),
        _median(cell["compile_seconds"] for cell in fresh or group),
        _median(cell["total_seconds"] for cell in fresh or group),
        _median(cell["tuning_seconds"] for cell in group),
        _median(cell["learning_rate"] for cell in group),
        dict(Counter(cell["outcome"] for cell in group)),
    )


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return statistics.median(known) if known else None
