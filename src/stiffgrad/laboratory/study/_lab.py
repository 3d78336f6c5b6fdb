"""The runs of the study: planned by all questions together, made in turns, each once, and read by each question."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stiffgrad.analysis import minimum, same_minimum, stiffness
from stiffgrad.laboratory.cells import Cell, Method, failed_cell, objective_of, run_cell
from stiffgrad.laboratory.environment import code
from stiffgrad.laboratory.problems import Target
from stiffgrad.laboratory.schedule import run_all
from stiffgrad.laboratory.statistics import NEVER, Amount, check_one_run
from stiffgrad.laboratory.store import Store, finite
from stiffgrad.laboratory.study._networks import EXACT, LARGER, NETWORKS, REST, SECONDS, loss_at
from stiffgrad.laboratory.tables import costs_of
from stiffgrad.laboratory.tuning import Tuning, tunable, tune
from stiffgrad.laboratory.workers import Job
from stiffgrad.run.driver import solve
from stiffgrad.run.until import Until
from stiffgrad.solvers import names, solver_class

STRICT = {"atol": 1e-8, "rtol": 1e-6}
ORIGINAL = Method.of(("zvode", {**STRICT, "jacobian": "finite-difference"}))
DESCENT = ("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam")
SHARES = (0.8, 0.9, 0.99, 0.999)  # of the loss that training can remove
ERRORS = (0.10, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # RMS, as shares of the targets' range
PATH = 12  # points at which the stiffness along a run is measured
REFERENCES = ("lbfgs", "rosenbrock", "vode")


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes
    ----------
    problems, exact, paths : tuple of str
        Networks of the five suspects; of Owens and Filkin's claim; of the work-precision diagrams.
    grid : tuple of str
        Networks on which tolerances and orders are varied.
    larger : tuple of str
        Networks on which one long run of each stiff solver is watched, from one start.
    seeds, exact_seeds, path_seeds : int
        Starts of each network: for the suspects, for Owens and Filkin's claim, for the work-precision diagrams.
    patience, waiting : float
        Factors on the budgets of time; of `waiting` for the original zvode.
    descent : tuple of str
        Methods of gradient descent.
    """

    problems: tuple[str, ...] = tuple(NETWORKS)
    exact: tuple[str, ...] = tuple(EXACT)
    paths: tuple[str, ...] = ("iris", "encoder", "sine")
    grid: tuple[str, ...] = ("iris", "diabetes", "encoder")
    larger: tuple[str, ...] = tuple(LARGER)
    seeds: int = 5
    exact_seeds: int = 5
    path_seeds: int = 3
    patience: float = 4.0
    waiting: float = 20.0
    descent: tuple[str, ...] = DESCENT


SCALES = {
    "full": Scale(),
    "long": Scale(paths=("iris", "encoder"), seeds=3, exact_seeds=2, patience=5.0, waiting=1.5),
    "medium": Scale(paths=("iris", "encoder"), seeds=3, exact_seeds=2, path_seeds=1, patience=1.0, waiting=1.5),
    "short": Scale(
        paths=("iris", "encoder"),
        grid=("iris", "encoder"),
        larger=(),
        seeds=2,
        exact_seeds=1,
        path_seeds=1,
        patience=0.4,
        waiting=0.25,
    ),
    "quick": Scale(
        ("iris",), ("xor",), ("iris",), ("iris",), (), 1, 1, 1, patience=0.1, waiting=0.1, descent=("sgd", "adam")
    ),
}


class Result:
    """A finished cell."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.outcome: str = data["outcome"]
        self.seed: int = data["seed"]
        self.loss = _number(data["loss"])
        self.gradient_norm = _number(data["gradient_norm"])
        self.statistics: Mapping[str, Any] = data["statistics"]
        self.path: list[Mapping[str, Any]] = data.get("path") or []

    @functools.cached_property
    def trace(self) -> dict[str, NDArray[np.float64]]:
        """Columns of the trace, NaN where unknown."""
        return {name: np.array([_number(v) for v in column]) for name, column in self.data["trace"].items()}

    @property
    def w(self) -> NDArray[np.float64] | None:
        """The weights where it ended; None where the run failed."""
        return np.array(self.data["w"], float) if self.data.get("w") and None not in self.data["w"] else None

    def cost(self, level: str, name: str = "wall_seconds") -> Amount:
        """What it paid to reach a level: a share such as "99%", or a target of the problem.

        A run whose gradient vanished above it would never have got there, whatever its budget.
        """
        if self.outcome == "TARGET" and self.data["targets"][level]["wall_seconds"] is None:
            return NEVER
        return costs_of([self.data], level, name)[0]


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)


def level(share: float) -> str:
    """The name of a share in the results.

    Examples
    --------
    >>> level(0.999), level(0.02)
    ('99.9%', '2%')
    """
    return f"{100 * share:g}%"


Methods = Mapping[str, Method]


class Lab:
    """Runs by network, name and start. Questions first `want` them, then `make` runs all in turns, then they read."""

    def __init__(self, store: Store, scale: Scale, say: Callable[[str], None], dask: str | None = None) -> None:
        self.store = store
        self.dask = dask
        self.scale = scale
        self.say = say
        self._cells: dict[tuple[str, Method, int], Cell] = {}
        self._results: dict[tuple[str, Method, int], Result] = {}

    # ---- planning

    def want(self, network: str, methods: Iterable[Method], path: bool = False) -> None:
        """Plan a method on a network of `NETWORKS`, from all starts, until it rests."""
        for method in methods:
            if not has(method.solver):
                continue
            seconds = self._seconds(network, method)
            for seed in range(self.scale.seeds):
                self._plan(Cell(NETWORKS[network].name, method, seed, seconds, Target(gradient_norm=REST), PATH))

    def want_larger(self, network: str, methods: Iterable[Method]) -> None:
        """Plan a method on a network of `LARGER`, from one start, until it rests; no shares of its loss are known."""
        rest = Target(gradient_norm=REST)
        for method in methods:
            self._plan(Cell(LARGER[network].name, method, 0, self._seconds(network, method), rest, 0, {"rest": rest}))

    def _seconds(self, network: str, method: Method) -> float:
        usual, waiting = SECONDS[network]
        return waiting * self.scale.waiting if method == ORIGINAL else usual * self.scale.patience

    def want_exact(self, network: str, methods: Iterable[Method]) -> None:
        """Plan a method on a network of `EXACT`, until an RMS error of the last of `ERRORS`."""
        problem = EXACT[network]
        levels = {level(error): Target(loss=loss_at(problem, error)) for error in ERRORS}
        for method in methods:
            for seed in range(self.scale.exact_seeds):
                stop = levels[level(ERRORS[-1])]
                self._plan(Cell(problem.name, method, seed, 3.0 * self.scale.patience, stop, PATH, levels))

    def _plan(self, cell: Cell) -> None:
        self._cells.setdefault((cell.problem, cell.method, cell.seed), cell)

    # ---- making

    def make(self) -> None:
        """Run what is missing: learning rates and reference losses first, then all cells, methods in turns."""
        tunings = dict.fromkeys(_tuning_of(cell) for cell in self._cells.values() if tunable(cell.method))
        rates = {tuning: self._tuned(tuning) for tuning in tunings}
        ordered = sorted(self._cells.items(), key=lambda item: item[1].seed)

        def arguments(cell: Cell) -> tuple[Any, ...]:
            tuned = rates.get(_tuning_of(cell), {})
            whole = dataclasses.replace(cell, watched=cell.watched or self._levels(cell.problem, cell.seed))
            return (whole, tuned.get("learning_rate"), tuned.get("tuning_seconds")) if tuned else (whole,)

        if self.dask is not None:
            self._make_on_cluster([cell for _, cell in ordered], arguments, self.dask)
        for index, (key, cell) in enumerate(ordered):
            before = self.store.computed
            data = self.store.get(_content(cell), lambda cell=cell: run_cell(*arguments(cell)))  # type: ignore[misc]
            if self.store.computed > before:
                self.say(f"{index + 1}/{len(ordered)} {cell}: {data['message']}")
            self._results[key] = Result(data)
        check_one_run([result.data for result in self._results.values()])

    def _make_on_cluster(
        self, cells: Sequence[Cell], arguments: Callable[[Cell], tuple[Any, ...]], address: str
    ) -> None:
        """Run the cells that are missing on a Dask cluster, into the files where the store looks for them."""

        def job(cell: Cell) -> Job:
            def crashed(reason: str, seconds: float) -> dict[str, Any]:
                return {**failed_cell(cell, reason, seconds), "content": _content(cell)}

            path = self.store.path(_content(cell))
            return Job(str(cell), path, run_for_store, lambda: arguments(cell), crashed, cell.seconds)

        missing = [job(cell) for cell in cells if self.store.read(_content(cell)) is None]
        run_all(missing, 0, dask=address)
        self.store.computed += len(missing)

    def _tuned(self, tuning: Tuning) -> Mapping[str, Any]:
        before = self.store.computed
        found = self.store.get({"kind": "tuning", **tuning.content}, lambda: tune(tuning))
        if self.store.computed > before:
            self.say(f"{tuning}: {found['learning_rate']}")
        return found

    def _levels(self, problem: str, seed: int) -> dict[str, Target]:
        """Losses at each share of what training can remove: down to the lowest that three methods reach."""
        network = next(name for name, made in NETWORKS.items() if made.name == problem)
        seconds = SECONDS[network][0] * self.scale.patience

        def make() -> dict[str, Any]:
            objective = objective_of(problem, seed)
            until = Until(gradient_norm=REST, wall_seconds=seconds)
            ends = {name: solve(objective, name, until=until, throw=False).loss for name in REFERENCES if has(name)}
            return {"start": float(objective.value(objective.w0)), "ends": ends}

        content = {"kind": "reference", "problem": problem, "seed": seed, "seconds": seconds, "code": code()}
        known = self.store.get(content, make)
        start, end = known["start"], min(end for end in known["ends"].values() if end is not None)
        return {level(share): Target(loss=start - share * (start - end)) for share in SHARES}

    # ---- reading

    def results(self, problem: str, method: Method) -> list[Result]:
        """The results of a method from all starts; none where the installation lacks its solver."""
        return [result for (p, m, _), result in self._results.items() if (p, m) == (problem, method)]

    def costs(self, problem: str, method: Method, at: str, name: str = "wall_seconds") -> list[Amount]:
        """What reaching a level cost from each start."""
        return [result.cost(at, name) for result in self.results(problem, method)]

    def analysed(self, kind: str, about: Mapping[str, Any], make: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Something computed from results, kept like them."""
        return self.store.get({"kind": kind, **about, "code": code()}, make)

    def verdict(self, problem: str, result: Result) -> dict[str, Any] | None:
        """What kind of point a run ended in; None where it failed."""
        w = result.w
        if w is None:
            return None

        def make() -> dict[str, Any]:
            # Far from rest the verdict is known: Lanczos is enough for the ends of the spectrum.
            dense = 1500 if result.gradient_norm <= 2 * REST else 0
            found = minimum(
                objective_of(problem, result.seed), w, gradient_tolerance=2 * REST, dense=dense, products=40
            )
            return dataclasses.asdict(found)

        return self.analysed("verdict", {"cell": result.data["key"]}, make)

    def same(self, problem: str, a: Result, b: Result) -> dict[str, Any]:
        """Whether two end points of one start lie in the same valley."""

        def make() -> dict[str, Any]:
            found = dataclasses.asdict(same_minimum(objective_of(problem, a.seed), a.w, b.w, points=21))
            return {name: value for name, value in found.items() if name != "path"}

        return self.analysed("pair", {"cells": sorted([a.data["key"], b.data["key"]])}, make)

    def probes(self, problem: str, result: Result) -> list[dict[str, Any]]:
        """Stiffness along a run, with the row of the trace at each point."""

        def make() -> dict[str, Any]:
            found = []
            for point in result.path:
                here = stiffness(objective_of(problem, result.seed), np.array(point["w"], float), products=30)
                seen = ("eigenvalue_max", "eigenvalue_min", "ratio", "negative", "excess")
                row = {name: value for name, value in point.items() if name != "w"}
                found.append({**row, **{name: float(getattr(here, name)) for name in seen}})
            return {"probes": found}

        return self.analysed("probes", {"cell": result.data["key"]}, make)["probes"]


def run_for_store(cell: Cell, *extra: float | None) -> dict[str, Any]:
    """A cell's result as `Store.get` keeps it. Found by its name, it brings the study's networks along."""
    return dict(finite({**run_cell(cell, *extra), "content": _content(cell)}))


def _content(cell: Cell) -> dict[str, Any]:
    return {"kind": "cell", **cell.content}


def _tuning_of(cell: Cell) -> Tuning:
    return Tuning(cell.problem, cell.method, cell.seconds, cell.target)


@functools.cache
def has(solver: str) -> bool:
    """Whether the installation has a solver."""
    if solver not in names():
        return False
    try:
        solver_class(solver)
    except ImportError:  # a package that it needs is not there
        return False
    return True


def methods(*given: str) -> Methods:
    """Solvers with their defaults, by name; those that the installation lacks are left out."""
    return {name: Method(name) for name in given if has(name)}
