"""Comparisons: every method on every problem from the same starts, one file a cell; a second run resumes."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stiffgrad.laboratory import problems as registry
from stiffgrad.laboratory.cells import Cell, Method, failed_cell, run_cell
from stiffgrad.laboratory.schedule import run_all
from stiffgrad.laboratory.store import Store, read_json
from stiffgrad.laboratory.tuning import Tuning, tunable, tune
from stiffgrad.laboratory.workers import Job

TUNING = "tuning"  # the subfolder of the tuning results


def compare(
    problems: Iterable[str],
    solvers: Iterable[str | tuple[str, dict[str, Any]] | Method],
    seeds: int | Sequence[int] = 5,
    seconds: float = 30.0,
    out: str | Path = "runs/compare",
    jobs: int = 1,
    target: str = "deep",
    isolated: bool = True,
    progress: bool | None = None,
    dask: str | None = None,
) -> list[dict[str, Any]]:
    """Run every method on every problem from the same starts; methods take turns, so that drift hits all alike.

    Parameters
    ----------
    problems, solvers : iterables of str
        Names of `experiments.problems.names()` and `solvers.names()`; a solver may come with options, as a pair
        (name, {option: value}). Those with a learning rate get the best of a grid, tuned on other starts.
    seeds : int or sequence of int
        How many starts (0, 1, ...), or which.
    seconds : float
        Budget of solving time of a cell, in seconds; compilation is not counted.
    out : path
        Folder of the results: `<key>.json` for a cell, `tuning/<key>.json` for a learning rate.
    jobs : int
        Cells at a time, each in a process. Above 1 they compete for the cores: times then compare less well.
    target : str
        "easy", "medium" or "deep": where a run stops.
    isolated : bool
        Run cells in a process of their own, so that a crash is a result; False: in this one.
    progress : bool, optional
        Show how far it is. None: in a terminal or a notebook.
    dask : str, optional
        Address of the scheduler of a Dask cluster, such as "tcp://10.0.0.1:8786", whose workers run the cells, each in
        a process of its own; `jobs` is then theirs to say. Times compare where the workers' machines are alike.

    Returns
    -------
    list of dict
        The results of all cells, those of earlier runs included, in order of problem, seed and method.

    Raises
    ------
    ValueError, TypeError
        For bad arguments or an unwritable folder, before any work.
    KeyboardInterrupt
        On Ctrl-C, after the processes were ended; everything finished is saved, and the same call continues.
    """
    cells = plan(problems, solvers, seeds, seconds, target)
    _check_jobs(jobs, isolated)
    _check_dask(dask, jobs, isolated)
    folder = Store(out).folder
    Store(folder / TUNING)
    missing = [cell for cell in cells if not is_done(folder, cell)]
    tunings = dict.fromkeys(tuning_of(cell) for cell in missing if tunable(cell.method))
    first = [_tuning_task(folder, tuning) for tuning in tunings if read_json(tuning_path(folder, tuning)) is None]
    run_all(first, jobs if isolated else 0, progress, "tuning", dask)
    run_all([_cell_task(folder, cell) for cell in missing], jobs if isolated else 0, progress, "comparing", dask)
    return [result for cell in cells if (result := read_json(cell_path(folder, cell))) is not None]


def plan(
    problems: Iterable[str],
    solvers: Iterable[str | tuple[str, dict[str, Any]] | Method],
    seeds: int | Sequence[int],
    seconds: float,
    target: str = "deep",
) -> list[Cell]:
    """The cells of a comparison, in the order in which they run. Raises as `compare` does."""
    if target not in registry.LEVELS:
        raise ValueError(f"target={target!r} must be one of {', '.join(registry.LEVELS)}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise ValueError(f"seconds={seconds!r} must be a positive, finite number")
    starts = _seeds(seeds)
    methods = list(dict.fromkeys(Method.of(solver) for solver in solvers))
    names = list(dict.fromkeys(problems))
    if not names:
        raise ValueError("problems is empty: name at least one; see stiffgrad problems")
    if not methods:
        raise ValueError("solvers is empty: name at least one; see stiffgrad solvers")
    for name in names:
        _check_problem(name)
    return [Cell(name, method, seed, float(seconds), target) for name in names for seed in starts for method in methods]


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"seeds={seeds} must be at least 1")
        return list(range(seeds))
    starts = list(seeds) if isinstance(seeds, Iterable) else []
    if not starts or any(isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in starts):
        raise ValueError(f"seeds={seeds!r} must be a number of starts, or whole numbers that are not negative")
    return starts


def _check_problem(name: str) -> None:
    for module in registry.get(name).requires:
        if importlib.util.find_spec(module) is None:
            raise ModuleNotFoundError(f"problem {name!r} needs the package {module}: pip install stiffgrad[data]")


def _check_jobs(jobs: int, isolated: bool) -> None:
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"jobs={jobs!r} must be a whole number, at least 1")
    if jobs > 1 and not isolated:
        raise ValueError(f"jobs={jobs} needs isolated=True: cells at a time are processes")


def _check_dask(dask: str | None, jobs: int, isolated: bool) -> None:
    if dask is None:
        return
    if not isinstance(dask, str) or not dask:
        raise TypeError(f"dask={dask!r} must be the address of a scheduler, such as 'tcp://127.0.0.1:8786'")
    if jobs != 1 or not isolated:
        raise ValueError("dask goes neither with jobs nor with isolated=False: the cluster's workers are processes")


def cell_path(folder: Path, cell: Cell) -> Path:
    """The file of a cell's result."""
    return folder / f"{cell.key}.json"


def is_done(folder: Path, cell: Cell) -> bool:
    """Whether a cell has a result that can be read."""
    return read_json(cell_path(folder, cell)) is not None


def tuning_of(cell: Cell) -> Tuning:
    """The tuning that a cell needs; all seeds share it."""
    return Tuning(cell.problem, cell.method, cell.seconds, cell.target)


def tuning_path(folder: Path, tuning: Tuning) -> Path:
    """The file of a tuning's result."""
    return folder / TUNING / f"{tuning.key}.json"


def _tuning_task(folder: Path, tuning: Tuning) -> Job:
    def crashed(reason: str, seconds: float) -> dict[str, Any]:
        unknown: dict[str, Any] = {"learning_rate": None, "tuning_seconds": seconds, "runs": [], "message": reason}
        return {"key": tuning.key, **tuning.content, **unknown}

    return Job(str(tuning), tuning_path(folder, tuning), tune, lambda: (tuning,), crashed, 3 * tuning.seconds)


def _cell_task(folder: Path, cell: Cell) -> Job:
    def arguments() -> tuple[Any, ...]:
        tuned = read_json(tuning_path(folder, tuning_of(cell))) if tunable(cell.method) else None
        return (cell, tuned["learning_rate"], tuned["tuning_seconds"]) if tuned else (cell,)

    def crashed(reason: str, seconds: float) -> dict[str, Any]:
        return failed_cell(cell, reason, seconds)

    return Job(str(cell), cell_path(folder, cell), run_cell, arguments, crashed, cell.seconds)
