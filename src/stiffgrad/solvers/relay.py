"""`adam-lbfgs`: Adam for a part of the budget and L-BFGS from there, the usual recipe for equations with networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from stiffgrad import _checks
from stiffgrad._types import Outcome
from stiffgrad.flow import Flow, OutOfTime
from stiffgrad.solvers._base import Finished, Limits, Monitor, Solver
from stiffgrad.solvers._compiled import CompiledRun
from stiffgrad.solvers.descent import Descent
from stiffgrad.solvers.peers import OptaxLBFGS

COUNTED = ("steps", "rhs_evaluations", "loss_evaluations", "presentations")


@dataclasses.dataclass(frozen=True)
class AdamLBFGS(Solver):
    """Adam, then Optax's L-BFGS from where it has come to; both compiled before the run begins.

    Parameters
    ----------
    learning_rate : float
        Of Adam.
    part : float
        Of the budget that Adam has: of the seconds, steps or presentations of `Until`, whichever it has used first.
        With steps or presentations alone a run repeats exactly.

    Raises
    ------
    ValueError
        For a number out of range.

    Examples
    --------
    >>> from stiffgrad import Until, minimise, solve
    >>> valley = minimise(lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, np.array([-1.0, 1.0]))
    >>> solution = solve(valley, AdamLBFGS(), until=Until(loss=1e-12, steps=200))
    >>> solution.outcome.value, int(solution.trace["second"].argmax())
    ('reached a target', 101)
    """

    learning_rate: float = 1e-3
    part: float = 0.5

    name = "adam-lbfgs"
    family = "descent"
    summary = "Adam for half of the budget, then Optax's L-BFGS: the usual recipe for equations with networks"
    source = "Rathore et al. 2024 (arXiv:2402.01868), section 2.2; optax.adam and optax.lbfgs"

    def start(self, flow: Flow, w: NDArray[np.float64]) -> Relay:
        """Compile both."""
        _checks.number("part", self.part, least=0.0, below=1.0)
        legs = Descent("adam", learning_rate=self.learning_rate), OptaxLBFGS()
        runs = []
        for leg in legs:
            leg.check(flow.objective)
            runs.append(CompiledRun(leg, flow.objective, w, flow.compilation))
            runs[-1].compile()
        return Relay((runs[0], runs[1]), self.part)

    def advance(self, state: Relay, monitor: Monitor) -> Relay:
        """One chunk of the method whose turn it is."""
        state.advance(monitor)
        return state


class Relay:
    """Two runs, the second from where the first has ended, after a part of the budget."""

    def __init__(self, runs: tuple[CompiledRun, CompiledRun], part: float) -> None:
        self._runs, self._part = runs, part
        self._second = False
        self._keep: float | None = None  # seconds that are left to the second
        self.used: dict[str, float] = {}  # counts of the first, at its end

    def advance(self, monitor: Monitor) -> None:
        """One chunk; the second begins where the first has used its part, or rests."""
        if self._second:
            self._runs[1].run_chunk(_Leg(monitor, self.used, 1.0, 0.0))
            return
        if self._keep is None:
            self._keep = (1.0 - self._part) * monitor.seconds_left()
        leg = _Leg(monitor, {}, self._part, self._keep)
        try:
            self._runs[0].run_chunk(leg)
        except OutOfTime:
            if monitor.seconds_left() <= 0:
                raise
            leg.over = True
        except Finished as end:
            if end.outcome is not Outcome.STALLED:
                raise
            leg.over = True
        if leg.over:
            first = self._runs[0]
            self._second = True
            self.used = {name: float(first.row[first.names.index(name)]) for name in COUNTED}
            self._runs[1].w = jnp.asarray(first.solver.weights(first.state))


class _Leg:
    """The monitor as one of the two sees it.

    `used`: counts of the one before, which are taken off the budgets and added to the rows.
    """

    def __init__(self, monitor: Monitor, used: Mapping[str, float], part: float, keep: float) -> None:
        self._monitor, self._used, self._keep = monitor, used, keep
        self.steps_only, self.step, self.compiling = monitor.steps_only, monitor.step, monitor.compiling
        self.next_time, self.reach = monitor.next_time, monitor.reach
        self.look = monitor.look - used.get("steps", 0.0)
        limits = monitor.limits
        self._most = {name: part * getattr(limits, name) for name in ("steps", "presentations")}
        self.limits: Limits = limits._replace(**{name: m - used.get(name, 0.0) for name, m in self._most.items()})
        self.over = self.seconds_left() <= 0

    def seconds_left(self) -> float:
        """Until this part ends."""
        return self._monitor.seconds_left() - self._keep

    def chunk(self, w: Any, rows: Mapping[str, NDArray[np.float64]]) -> bool:
        """Pass the rows on, with the counts of both; a start is the point where the one before has ended."""
        ended = any(rows[name][-1] >= most for name, most in self._most.items() if name in rows)
        self.over = ended or self.seconds_left() <= 0
        second, count = bool(self._used), len(rows["loss"])
        more = {name: self._used.get(name, 0.0) + rows.get(name, np.zeros(count)) for name in COUNTED}
        shown = {**rows, **more, "second": np.full(count, float(second))}
        if second and rows["steps"][0] == 0:
            shown = {name: column[1:] for name, column in shown.items()}
        return len(shown["loss"]) > 0 and self._monitor.chunk(w, shown)
