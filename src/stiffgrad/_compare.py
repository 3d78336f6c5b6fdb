"""`compare`: solvers on a problem of one's own, from the same starts, with the laboratory's cells and report."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stiffgrad._extras import needing
from stiffgrad._float64 import float64
from stiffgrad.objective import Objective
from stiffgrad.run.checkpoint import identity
from stiffgrad.run.until import Until
from stiffgrad.solvers._base import Solver
from stiffgrad.solvers._registry import create

if TYPE_CHECKING:
    from stiffgrad.laboratory.problems import Problem

SOLVERS = ("auto", "lbfgs", "adam", "lsoda")
EASY, MEDIUM = 100.0, 10.0  # times the target: two more on the way to it
DEFAULT = Until(gradient_norm=1e-5, wall_seconds=10.0)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    results : list of dict
        One for each run: its outcome, counts, seconds, thinned trace, and where it met each target.
    folder : Path
        Where they are saved, one file each.
    """

    results: list[dict[str, Any]]
    folder: Path

    def table(self) -> Any:
        """Medians over the starts, a row for each solver, as a `pandas.DataFrame`."""
        with needing("report", "comparison.table()"):
            import pandas as pd

            from stiffgrad.laboratory.show import COLUMNS, shown
            from stiffgrad.laboratory.tables import table

        return pd.DataFrame([shown(row) for row in table(self.results)], columns=list(COLUMNS)).set_index("solver")

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained HTML page, and return its path."""
        with needing("report", "comparison.report()"):
            from stiffgrad.report import write

        page = write(self.folder)
        if page.resolve() != Path(path).resolve():
            shutil.copyfile(page, path)
        return Path(path)

    def plot(self) -> Any:
        """Loss by seconds of solving, the median run of each solver, as a `matplotlib.figure.Figure`."""
        with needing("report", "comparison.plot()"):
            from stiffgrad.report import pictures, read

        return pictures.loss_curves(read(self.folder)[0])

    def _repr_html_(self) -> str:
        return str(self.table().to_html())

    def __repr__(self) -> str:
        return f"Comparison of {len(self.results)} runs, in {self.folder}\n{self.table().to_string()}"


@float64
def compare(
    problem: Objective | Callable[[int], Objective],
    solvers: Iterable[str | tuple[str, Mapping[str, Any]]] = SOLVERS,
    seeds: int | Sequence[int] = 5,
    until: Until | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Run solvers on a problem of your own from the same starts; they take turns, so that drift hits all alike.

    Parameters
    ----------
    problem : Objective, or callable seed -> Objective
        A callable makes the start of each seed; the data must be the same for all. Of an objective seed 0 is its own
        start; other seeds shuffle the numbers inside each leaf of its parameters, which suits random starts.
    solvers : iterable of str, or of pairs (name, options)
        Those with a learning rate that is not given get the best of a grid, tuned on other starts; the table says how
        long that took.
    seeds : int or sequence of int
        How many starts (0, 1, ...), or which.
    until : Until, optional
        One target, `loss` or `gradient_norm`, and `wall_seconds` for each run; by default a gradient norm of 1e-5 and
        10 seconds. Targets 100 and 10 times as high are recorded on the way.
    out : path, optional
        Folder of the results: a second call with the same problem does only what is missing. None: a temporary one.
    progress : bool, optional
        Show how far it is. None: in a terminal or a notebook.

    Returns
    -------
    Comparison
        With `table()`, `report(path)` and `plot()`.

    Raises
    ------
    ValueError, TypeError
        For bad arguments, before any work.
    ImportError
        Where the extra `report` is not installed.

    Examples
    --------
    >>> import stiffgrad as sg
    >>> bowl = sg.minimise(lambda w: (w**2).sum(), np.array([3.0, 4.0]))
    >>> found = compare(bowl, ["lbfgs", "lsoda"], seeds=1, until=Until(loss=1e-6, wall_seconds=10))
    >>> found.table()["solved"].tolist()
    ['1/1', '1/1']
    """
    with needing("report", "sg.compare"):
        from stiffgrad.laboratory import problems
        from stiffgrad.laboratory.compare import compare as run

    if isinstance(problem, str | Solver) or not (isinstance(problem, Objective) or callable(problem)):
        raise TypeError(f"problem must be an Objective or a function seed -> Objective, not {type(problem).__name__}")
    until = DEFAULT if until is None else until
    if not isinstance(until, Until):
        raise TypeError(f"until must be stiffgrad.Until(...), not {type(until).__name__}")
    if not isinstance(solvers, Iterable):
        raise TypeError(f"solvers={solvers!r} must be names of solvers, or pairs (name, {{option: value}})")
    if out is not None and not isinstance(out, str | os.PathLike):
        raise TypeError(f"out={out!r} must be the path of a folder, or None")
    given = problems.add(_problem(problem, until))
    named = [_named(solver) for solver in ([solvers] if isinstance(solvers, str) else solvers)]
    seconds = until.wall_seconds or 0.0
    folder = Path(tempfile.mkdtemp(prefix="stiffgrad-") if out is None else out)
    remove = functools.partial(shutil.rmtree, folder, ignore_errors=True)
    try:
        results = run([given.name], named, seeds, seconds, folder, isolated=False, progress=progress)
    except BaseException:
        if out is None:
            remove()
        raise
    found = Comparison(results, folder)
    if out is None:
        weakref.finalize(found, remove)
    return found


def _named(solver: Any) -> str | tuple[str, dict[str, Any]]:
    """A name, or a name with options: what a result's key is made of."""
    if isinstance(solver, str):
        return solver
    if isinstance(solver, tuple) and len(solver) == 2 and isinstance(solver[0], str):
        return solver[0], dict(solver[1])
    name = f"{solver.name!r}" if isinstance(solver, Solver) else "'adam'"
    raise TypeError(f"solvers must be names or pairs ({name}, {{option: value}}), not {type(solver).__name__} objects")


def _problem(problem: Objective | Callable[[int], Objective], until: Until) -> Problem:
    """The problem as the laboratory knows it, named by its content, so that results are kept for it alone."""
    from stiffgrad.laboratory.problems import Problem, Target

    given = {"loss": until.loss, "gradient_norm": until.gradient_norm}
    goals = {name: float(value) for name, value in given.items() if value is not None}
    if len(goals) != 1 or until.steps is not None or until.presentations is not None or until.flow_time is not None:
        raise ValueError(
            f"until={until!r} must give a loss or a gradient_norm, one of them, and else only wall_seconds"
        )
    if until.wall_seconds is None:
        raise ValueError("until must give wall_seconds: a solver that never arrives would run for ever")
    ((quantity, goal),) = goals.items()
    factors = {"easy": EASY, "medium": MEDIUM, "deep": 1.0}
    targets = {level: Target(**{quantity: factor * goal}) for level, factor in factors.items()}

    def made(seed: int) -> Objective:
        objective = problem if isinstance(problem, Objective) else problem(seed)
        if not isinstance(objective, Objective):
            raise TypeError(f"problem({seed}) must return an Objective, not {type(objective).__name__}")
        return _shuffled(objective, seed) if isinstance(problem, Objective) and seed else objective

    class Given(Problem):
        """A problem of the user's."""

        score_name = "score"

        def objective(self, seed: int) -> Objective:
            return made(seed)

        def score(self, params: Any, part: str = "train") -> float | None:
            return None

    name = getattr(problem, "__name__", "problem")
    parts = identity(made(0), create("lsoda"))
    content = repr([parts[key] for key in ("layout", "dtype", "data", "program", "start")] + [quantity, goal])
    digest = hashlib.sha256(content.encode()).hexdigest()[:6]
    return Given(f"{'problem' if name == '<lambda>' else name}-{digest}", "given by the user", targets)


def _shuffled(objective: Objective, seed: int) -> Objective:
    """From a start with the numbers inside each leaf in another order."""
    generator, w, start = np.random.default_rng(seed), np.array(objective.w0), 0
    for shape in objective.layout.shapes:
        stop = start + int(np.prod(shape))
        w[start:stop] = generator.permutation(w[start:stop])
        start = stop
    return objective.with_start(objective.unflatten(w))
