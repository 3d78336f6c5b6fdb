"""Result cells read back from a folder. A damaged file becomes a note on the page, never a failure."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._types import Outcome
from stiffgrad.laboratory import problems
from stiffgrad.laboratory.cells import Method
from stiffgrad.run.trace import COLUMNS
from stiffgrad.solvers import create, names

_REMEDY = "make some first: stiffgrad compare --problem digits --solver auto --solver adam --out {folder}"


@dataclasses.dataclass(frozen=True)
class Reached:
    """A loss or gradient norm fixed before the run, and what reaching it took.

    Attributes
    ----------
    quantity : str
        "loss" or "gradient_norm".
    value : float
        What was to be reached.
    costs : dict of str to float
        "wall_seconds", "presentations", "steps" at the moment it was reached; infinite where it was missed.
    """

    quantity: str
    value: float
    costs: Mapping[str, float]

    @property
    def hit(self) -> bool:
        """Whether it was reached within the budget."""
        return bool(np.isfinite(self.costs["wall_seconds"]))


@dataclasses.dataclass(frozen=True)
class Result:
    """One run: a solver with its options on a problem from the start of one seed; times in seconds."""

    file: str
    problem: str
    solver: str
    options: Mapping[str, Any]
    seed: int
    seconds: float
    target: str
    outcome: Outcome
    message: str
    loss: float
    gradient_norm: float
    wall_seconds: float
    compile_seconds: float
    total_seconds: float
    first_in_process: bool
    statistics: Mapping[str, float]
    trace: Mapping[str, NDArray[np.float64]]
    targets: Mapping[str, Reached]
    scores: Mapping[str, NDArray[np.float64]]
    score_name: str
    learning_rate: float
    tuning_seconds: float
    environment: Mapping[str, Any]
    field: Field | None = None

    @property
    def label(self) -> str:
        """The solver's name, with the options that were set by hand."""
        return Method(self.solver, tuple(sorted(self.options.items()))).label

    @property
    def is_ode(self) -> bool:
        """Whether the trace tells the order of an integrator."""
        return bool(np.isfinite(self.trace["order"]).any())


@dataclasses.dataclass(frozen=True)
class Field:
    """A solution over a plane: the sides of the plane, what was found (NaN where that is not finite), what is exact."""

    sides: tuple[tuple[float, float], tuple[float, float]]
    found: NDArray[np.float64]
    exact: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Damage:
    """A file that cannot be used, and why."""

    file: str
    reason: str


def read(folder: str | Path) -> tuple[list[Result], list[Damage]]:
    """All cells of a folder, sorted by problem, solver and seed, and the files that could not be read.

    Raises
    ------
    ValueError
        If the folder does not exist or holds no usable cell; the message names it and the command that fills it.
    """
    folder = Path(folder)
    remedy = _REMEDY.format(folder=folder)
    if not folder.is_dir():
        raise ValueError(f"folder={str(folder)!r} does not exist or is no folder; {remedy}")
    cells: list[Result] = []
    damages: list[Damage] = []
    for path in sorted(folder.glob("*.json")):
        try:
            cells.append(_cell(path.name, json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            damages.append(Damage(path.name, _reason(error)))
        except KeyError as error:
            damages.append(Damage(path.name, f"has no entry {error}"))
    if not cells:
        found = f"has {len(damages)} JSON files, but none is a readable result" if damages else "holds no results"
        first = f" ({damages[0].file}: {damages[0].reason})" if damages else ""
        raise ValueError(f"folder={str(folder)!r} {found}{first}; {remedy}")
    return sorted(cells, key=_place), damages


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"is not valid JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return "is not text"
    if isinstance(error, RecursionError):
        return "is nested too deep"
    return str(error)


def _place(cell: Result) -> tuple[str, int, str, int]:
    order = names()
    return cell.problem, order.index(cell.solver) if cell.solver in order else len(order), cell.label, cell.seed


def _cell(file: str, data: Any) -> Result:
    if not isinstance(data, dict):
        raise ValueError(f"holds a {type(data).__name__}, not one result")
    trace = _trace(data["trace"])
    target = str(data.get("target", problems.LEVELS[-1]))
    return Result(
        file=file,
        problem=_name(data["problem"]),
        solver=_name(data["solver"]),
        options=dict(data["options"] or {}),
        seed=int(data["seed"]),
        seconds=_checks.positive("seconds", data["seconds"]),
        target=target,
        outcome=_outcome(data["outcome"]),
        message=str(data["message"]),
        loss=_number(data["loss"]),
        gradient_norm=_number(data["gradient_norm"]),
        wall_seconds=_number(data["wall_seconds"]),
        compile_seconds=_number(data["compile_seconds"]),
        total_seconds=_number(data["total_seconds"]),
        first_in_process=bool(data.get("first_in_process")),
        statistics={name: _number(value) for name, value in data["statistics"].items()},
        trace=trace,
        targets=_targets(data["targets"], target),
        scores=_scores(data["scores"] or []),
        score_name=str(data["score_name"] or "score"),
        learning_rate=_number(data["learning_rate"]),
        tuning_seconds=_number(data["tuning_seconds"]),
        environment=dict(data["environment"] or {}),
        field=None if data.get("field") is None else _field(data["field"]),
    )


def _field(data: Mapping[str, Any]) -> Field:
    found, exact = (np.array([_numbers(row) for row in data[name]]) for name in ("found", "exact"))
    if found.ndim != 2 or found.shape != exact.shape or not np.isfinite(exact).all():
        raise ValueError("its field has no values, or not as many as the exact one")
    (low, high), (first, last) = ((float(a), float(b)) for a, b in data["sides"])
    return Field(((low, high), (first, last)), found, exact)


def _name(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{value!r} is no name of a problem or solver")
    return value


def _outcome(name: Any) -> Outcome:
    try:
        return Outcome[str(name)]
    except KeyError:
        raise ValueError(f"outcome {name!r} is none of {', '.join(Outcome.__members__)}") from None


def _number(value: Any) -> float:
    """JSON has no NaN: null stands for what could not be told, or is not finite."""
    return np.nan if value is None else float(value)


def _numbers(column: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([_number(value) for value in column], dtype=float)


def _trace(data: Mapping[str, Sequence[Any]]) -> dict[str, NDArray[np.float64]]:
    """All columns of a trace; those that every picture needs must be there, the others may lack."""
    trace = {name: _numbers(column) for name, column in data.items()}
    missing = sorted({"loss", "wall_seconds", "presentations", "steps"} - set(trace))
    if missing:
        raise ValueError(f"its trace has no column {', '.join(missing)}")
    lengths = {len(column) for column in trace.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(f"its trace has columns of {sorted(lengths)} rows; all need the same number, at least 1")
    empty = np.full(lengths.pop(), np.nan)
    return {**dict.fromkeys(COLUMNS, empty), **trace}


def _targets(data: Mapping[str, Mapping[str, Any]], last: str) -> dict[str, Reached]:
    """The targets that the run was after; it stopped at `last`, so it could not reach those beyond."""
    levels = problems.LEVELS
    after = levels[levels.index(last) + 1 :] if last in levels else ()
    return {name: _target(target) for name, target in data.items() if name not in after}


def _target(data: Mapping[str, Any]) -> Reached:
    quantity = next((name for name in ("loss", "gradient_norm") if data.get(name) is not None), None)
    if quantity is None:
        raise ValueError("a target names neither a loss nor a gradient_norm")
    costs = {name: _number(data.get(name)) for name in ("wall_seconds", "presentations", "steps")}
    return Reached(quantity, float(data[quantity]), {n: np.inf if np.isnan(v) else v for n, v in costs.items()})


def _scores(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[np.float64]]:
    columns = ("wall_seconds", "presentations", "steps", "loss", "train", "test")
    return {name: _numbers([row.get(name) for row in rows]) for name in columns}


def by_problem(cells: Sequence[Result]) -> dict[str, list[Result]]:
    """The cells of each problem, in order."""
    groups: dict[str, list[Result]] = {}
    for cell in cells:
        groups.setdefault(cell.problem, []).append(cell)
    return groups


def by_label(cells: Sequence[Result]) -> dict[str, list[Result]]:
    """The cells of each solver (with its options), in order."""
    groups: dict[str, list[Result]] = {}
    for cell in cells:
        groups.setdefault(cell.label, []).append(cell)
    return groups


def comparable(cells: Sequence[Result]) -> tuple[list[Result], list[str]]:
    """The cells whose times divide, and what was left out, in words.

    They were made by the same code, packages and machine as the newest one, and of each problem had the same budget and
    target as most.
    """
    origins = Counter(_origin(cell) for cell in cells)
    newest = _origin(max(cells, key=lambda cell: str(cell.environment.get("date") or ""))) if cells else ()
    kept: list[Result] = []
    left_out = [
        f"{count} result{'' if count == 1 else 's'} of other code or another machine (code {origin[0]}, {origin[1]}), "
        "left out: times of different runs do not divide"
        for origin, count in origins.items()
        if origin != newest
    ]
    cells = [cell for cell in cells if _origin(cell) == newest]
    for problem, group in by_problem(cells).items():
        settings = Counter((cell.seconds, cell.target) for cell in group)
        usual = max(settings, key=lambda setting: (settings[setting], setting[0]))
        kept += [cell for cell in group if (cell.seconds, cell.target) == usual]
        for setting, count in settings.items():
            if setting != usual:
                words = f"{problem}: {count} result{'' if count == 1 else 's'} with a budget of {setting[0]:g} s"
                left_out.append(f"{words} and the target “{setting[1]}”, left out beside {usual[0]:g} s, “{usual[1]}”")
    return kept, left_out


def _origin(cell: Result) -> tuple[str, ...]:
    known = cell.environment
    packages = known.get("packages") or {}
    return str(known.get("code")), str(known.get("cpu")), str(known.get("cores")), str(sorted(packages.items()))


def holes(cells: Sequence[Result]) -> list[str]:
    """What a complete comparison would hold and this folder does not, in words."""
    seen = []
    for problem, group in by_problem(cells).items():
        seeds = {cell.seed for cell in group}
        for label, runs in by_label(group).items():
            absent = sorted(seeds - {cell.seed for cell in runs})
            if absent:
                which = ", ".join(map(str, absent))
                seen.append(f"{problem}, {label}: no result for seed{'s' if len(absent) > 1 else ''} {which}")
    return seen


def describe_solver(name: str) -> str:
    """The one line that the solver says about itself; empty for an unknown name."""
    return create(name).summary if name in names() else ""


def describe_problem(name: str) -> str:
    """The one line that the problem says about itself; empty for an unknown name."""
    return problems.get(name).summary if name in problems.names() else ""
