"""Where the runs of all questions come from, so that questions share them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from stiffgrad.laboratory.study._problems import SETTINGS
from stiffgrad.laboratory.study._runs import Run, Spec, execute
from stiffgrad.laboratory.study._store import Store
from stiffgrad.solvers import names, solver_class

REST = 1e-6  # gradient norm at which a run of the study ends
STRICT = (("atol", 1e-8), ("rtol", 1e-6))
ORIGINAL = (*STRICT, ("jacobian", "finite-difference"))
DESCENT = ("sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam")
TUNING_SEED = 1000  # of the starts on which learning rates are chosen: no run of the study uses them
SHARES = (0.8, 0.9, 0.99, 0.999)  # of the loss that training can remove

Options = Iterable[tuple[str, Any]]


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much is run.

    Attributes
    ----------
    problems : tuple of str
        Settings for questions 0 to 5.
    grid_problems : tuple of str
        Settings for the grid of solvers and tolerances, with all seeds.
    grid_solvers : tuple of str
        Solvers of that grid.
    exact_problems : tuple of str
        Settings for Owens and Filkin's table.
    seeds : int
        Starts of each problem.
    patience : float
        Factor on all budgets of time.
    rates : tuple of float
        Learning rates tried.
    """

    problems: tuple[str, ...] = ("iris", "diabetes", "encoder", "sine", "digits")
    grid_problems: tuple[str, ...] = ("iris", "diabetes")
    grid_solvers: tuple[str, ...] = ("zvode", "vode", "lsoda", "cvode")
    exact_problems: tuple[str, ...] = ("encoder-exact", "xor-exact", "sine-exact")
    seeds: int = 5
    patience: float = 1.0
    rates: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
    tuning: float = 0.15  # budget of one learning rate, as a share of a run's


FULL = Scale()
QUICK = Scale(
    ("iris",), ("iris",), ("zvode", "vode"), ("xor-exact",), seeds=1, patience=0.15, rates=(0.1, 0.01), tuning=0.2
)


class Lab:
    """Runs, by what they depend on; each is made once."""

    def __init__(self, store: Store, scale: Scale, say: Callable[[str], None]) -> None:
        self.store = store
        self.scale = scale
        self.say = say
        self.seeds = range(scale.seeds)
        self._known: dict[Spec, Run] = {}

    def has(self, solver: str) -> bool:
        """Whether the installation has the solver."""
        if solver not in names():
            return False
        try:
            solver_class(solver)
        except ImportError:  # a package that it needs is not there
            return False
        return True

    def available(self, solvers: Iterable[str]) -> list[str]:
        """Those that the installation has."""
        return [solver for solver in solvers if self.has(solver)]

    def run(self, spec: Spec) -> Run:
        """The run of a spec."""
        if spec not in self._known:
            before = self.store.computed
            result = self.store.get(spec.content, lambda: execute(spec))
            if self.store.computed > before:
                options = ", ".join(f"{k}={v}" for k, v in spec.options)
                self.say(f"{spec.problem} {spec.solver} {options} seed {spec.seed}: {result['message']}")
            self._known[spec] = Run(spec, result)
        return self._known[spec]

    def main(
        self, problem: str, solver: str, seed: int, options: Options = (), probe: bool = False, judge: bool = True
    ) -> Run:
        """A run until the gradient norm is REST, within the problem's budget."""
        seconds = SETTINGS[problem].seconds * self.scale.patience
        chosen = tuple(sorted(options))
        return self.run(Spec(problem, solver, chosen, seed, seconds, None, REST, probe, judge))

    def mains(self, problem: str, solver: str, options: Options = (), probe: bool = False) -> list[Run]:
        """The same for every seed. Descent gets its tuned learning rate."""
        chosen = tuple(options)
        if solver in DESCENT:
            chosen = (*chosen, ("learning_rate", self.learning_rate(problem, solver)["learning_rate"]))
        return [self.main(problem, solver, seed, chosen, probe) for seed in self.seeds]

    def learning_rate(self, problem: str, solver: str) -> Mapping[str, Any]:
        """The learning rate whose run on another start ends lowest, and what finding it cost."""
        setting = SETTINGS[problem]
        seconds = setting.seconds * self.scale.patience * self.scale.tuning
        content = {
            "kind": "rate",
            "problem": problem,
            "solver": solver,
            "rates": self.scale.rates,
            "seconds": seconds,
            "setting": dataclasses.asdict(setting),
        }

        def make() -> dict[str, Any]:
            ends, spent = [], 0.0
            for rate in self.scale.rates:
                result = execute(Spec(problem, solver, (("learning_rate", rate),), TUNING_SEED, seconds))
                ends.append(result["loss"] if np.isfinite(result["loss"]) else np.inf)
                spent += result["wall_seconds"]
            best = int(np.argmin(ends))
            self.say(f"{problem} {solver}: learning rate {self.scale.rates[best]:g}")
            return {"learning_rate": self.scale.rates[best], "losses": ends, "tuning_seconds": spent}

        return self.store.get(content, make)

    def levels(self, problem: str, seed: int) -> tuple[float, dict[float, float]]:
        """The lowest loss that three methods reached from a start, and the loss at each share of what they removed."""
        runs = [self.main(problem, solver, seed) for solver in self.available(("lbfgs", "rosenbrock"))]
        runs.append(self.main(problem, "vode", seed, probe=True))
        start = runs[0].trace["loss"][0]
        end = min(np.nanmin(run.trace["loss"]) for run in runs)
        return float(end), {share: float(start - share * (start - end)) for share in SHARES}

    def costs(self, runs: Iterable[Run], share: float, name: str) -> list[float]:
        """What it cost each run to remove that share of the removable loss; inf where it did not within its budget."""
        found = []
        for run in runs:
            _, levels = self.levels(run.spec.problem, run.spec.seed)
            found.append(run.cost("loss", levels[share], name))
        return found
