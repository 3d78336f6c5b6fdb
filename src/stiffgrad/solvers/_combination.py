"""Methods that change between others, outside of compiled code: each is compiled when it first runs.

The one whose energy falls faster for its cost goes on; the other is tried now and then, the more rarely the more often
it has lost. Costs are counts times prices, and the ends of the windows are seen inside the compiled loops, so that a
run repeats exactly. (Interlacing two methods by their success: Morales and Nocedal 2002.)
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stiffgrad._types import Outcome
from stiffgrad.flow import Flow
from stiffgrad.objective import Objective
from stiffgrad.solvers._base import Finished, Limits, Monitor, Solver
from stiffgrad.solvers._compiled import CompiledRun, CompiledSolver, nominal_seconds

CUMULATIVE = (
    "flow_time", "steps", "rejected_steps", "rhs_evaluations", "loss_evaluations", "hessian_products",
    "jacobian_evaluations", "factorizations", "linear_solves", "presentations", "cost",
)  # fmt: skip


COMPILE_SECONDS = 1.0  # nominal seconds of work that a method which has not run yet must be worth


@dataclasses.dataclass(frozen=True)
class Pace:
    """When the methods of a combination are compared. Costs are in gradients.

    Attributes
    ----------
    window : float
        Cost over which a rate is measured; a method whose step costs more takes four steps.
    patience : float
        Slow windows before the other method is tried for the first time; doubled each time it loses.
    fast : float
        A window in which the energy falls by this factor is not slow.
    part : float
        A trial may cost at most this part of the cost so far.
    """

    window: float = 24.0
    patience: float = 16.0
    fast: float = 2.0
    part: float = 0.25


@dataclasses.dataclass(frozen=True)
class Combination(Solver, abc.ABC):
    """A solver that changes between compiled ones."""

    pace: ClassVar[Pace] = Pace()
    exact_rows: ClassVar[bool] = True

    @abc.abstractmethod
    def members(self, objective: Objective) -> Sequence[CompiledSolver[Any]]:
        """The methods, the first to run first; options and memory are checked before anything is compiled."""

    @abc.abstractmethod
    def label(self, member: CompiledSolver[Any], objective: Objective) -> dict[str, float]:
        """Columns of the trace that tell which member made a row."""

    @abc.abstractmethod
    def words(self, members: Sequence[CompiledSolver[Any]], objective: Objective) -> str:
        """For `Solution.solver`: what ran, in the order in which it first did."""

    def reason(self, objective: Objective) -> str:
        """Why the first member is the first; empty where its options say so."""
        return ""

    def start(self, flow: Flow, w: NDArray[np.float64]) -> Contest:
        """Compile the first method."""
        members = self.members(flow.objective)
        members[0].check(flow.objective)
        contest = Contest(self, members, flow, w)
        contest.run.compile()
        return contest

    def advance(self, state: Contest, monitor: Monitor) -> Contest:
        """Advance the method whose turn it is."""
        state.advance(monitor)
        return state


class Contest:
    """One run of a combination.

    Attributes
    ----------
    runs : dict
        The runs of those members that have run, by their numbers.
    current : int
        The member whose turn it is.
    """

    def __init__(
        self, combination: Combination, members: Sequence[CompiledSolver[Any]], flow: Flow, w: NDArray[np.float64]
    ) -> None:
        self.combination = combination
        self.members = members
        self.flow = flow
        self.reason = combination.reason(flow.objective)
        self.current = 0
        self.runs = {0: CompiledRun(members[0], flow.objective, w, flow.compilation)}
        self._step_costs = [_step_cost(member, flow.objective) for member in members]
        self._compilation = COMPILE_SECONDS / nominal_seconds(flow.objective)  # cost that compiling must be worth
        self.last: dict[int, dict[str, float]] = {}  # cumulative columns of each run, as it left them
        self.loss = self.norm = math.inf
        self.exhausted: dict[int, Finished] = {}
        self._moved = False  # whether the current member has made a step since its turn came
        self._probing = False
        self._rate = 0.0
        self._patience = self._left = combination.pace.patience
        self._mark: tuple[float, float, float] | None = None  # loss, gradient norm and cost at the start of the window
        self._next: int | None = None  # the member whose turn comes after this chunk

    @property
    def run(self) -> CompiledRun:
        """The run whose turn it is."""
        return self.runs[self.current]

    @property
    def description(self) -> str:
        """For `Solution.solver`."""
        ran = [self.members[number] for number in self.runs]
        words = self.combination.words(ran, self.flow.objective)
        return f"{words} ({self.reason})" if self.reason else words

    def advance(self, monitor: Monitor) -> None:
        """One chunk of the member whose turn it is."""
        if self._next is not None:
            self._turn(self._next, monitor)
        try:
            self.run.run_chunk(_Window(self, monitor))
        except Finished as end:
            self._turn_after(end, monitor)

    # ---- on disk

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The runs of all members that have run, and whose turn it is."""
        found: dict[str, NDArray[Any]] = {}
        for number, run in self.runs.items():
            found |= {f"{number}.{name}": array for name, array in run.arrays().items()}
            columns = self.last.get(number, {})
            found[f"{number}.last"] = np.array([columns.get(name, np.nan) for name in CUMULATIVE])
        mark = self._mark or (np.nan,) * 3
        exhausted = [number in self.exhausted for number in range(len(self.members))]
        after = self.current if self._next is None else self._next
        turns = self.current, after, self._moved, self._probing, self._rate, self._patience, self._left
        return found | {"turns": np.array([*turns, self.loss, self.norm, *mark, *exhausted], float)}

    def resume(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `arrays` gave."""
        current, after, moved, probing, self._rate, self._patience, self._left, *rest = arrays["turns"].tolist()
        self.loss, self.norm, *mark = rest[:5]
        self.current, self._moved, self._probing = int(current), bool(moved), bool(probing)
        self._next = None if after == current else int(after)
        self._mark = None if np.isnan(mark[0]) else (mark[0], mark[1], mark[2])
        ended = Finished(Outcome.STALLED, "no step lowered the energy before the run was resumed")
        self.exhausted = {number: ended for number, yes in enumerate(rest[5:]) if yes}
        for number, member in enumerate(self.members):
            own = {name.split(".", 1)[1]: array for name, array in arrays.items() if name.startswith(f"{number}.")}
            if not own:
                continue
            run = self.runs.setdefault(
                number, CompiledRun(member, self.flow.objective, self.runs[0].w, self.flow.compilation)
            )
            columns = own.pop("last").tolist()
            if not np.all(np.isnan(columns)):
                self.last[number] = {name: value for name, value in zip(CUMULATIVE, columns) if not np.isnan(value)}
            if own:
                run.resume(own)

    # ---- counts

    def own(self, name: str) -> float:
        """A cumulative column of the current run."""
        return self.last.get(self.current, {}).get(name, 0.0)

    def others(self, name: str) -> float:
        """A cumulative column of all other runs."""
        return sum(columns.get(name, 0.0) for number, columns in self.last.items() if number != self.current)

    def _length(self) -> float:
        """Cost of a window: four steps of the dearest member that is to be compared."""
        return max(self.combination.pace.window, 4.0 * max(self._step_costs[number] for number in self.runs))

    def horizon(self) -> float:
        """The cost of the current run before which no other member's turn can come."""
        if len(self.members) == 1:
            return math.inf
        begun, length = self.own("cost") if self._mark is None else self._mark[2], self._length()
        if self._probing:
            return begun + length
        return max(begun + length * max(1.0, math.ceil(self._left)), self._affordable() - self.others("cost"))

    def _affordable(self) -> float:
        """The cost of all members from which a trial of the other one is worth its own, and its compilation."""
        other = self._other()
        compilation = 0.0 if other in self.runs else self._compilation
        return max(4.0 * self._step_costs[other] / self.combination.pace.part, compilation)

    # ---- turns

    def _close_windows(self, rows: Mapping[str, NDArray[np.float64]]) -> None:
        """Judge the windows that end in these rows, until one says that another member's turn has come."""
        loss, norm, cost = (rows[name] for name in ("loss", "gradient_norm", "cost"))
        at = 0
        while self._next is None:
            if self._mark is None:
                at += int(np.argmax(np.append(np.isfinite(loss[at:]), True)))
            else:
                at = max(at, int(np.searchsorted(cost, self._mark[2] + self._length())))
            if at >= len(cost):
                return
            point = float(loss[at]), float(norm[at]), float(cost[at])
            if self._mark is not None:
                self._decide(self._mark, point)
            self._mark = point

    def _decide(self, begin: tuple[float, float, float], end: tuple[float, float, float]) -> None:
        """At the end of a window: who goes on."""
        pace = self.combination.pace
        (loss, norm, cost), (loss_after, norm_after, cost_after) = begin, end
        fall = _fall(loss, loss_after, norm, norm_after)
        rate = fall / (cost_after - cost)
        if self._probing:
            self._probing = False
            if rate > self._rate:
                self._patience = self._left = 1.0
            else:
                self._patience = self._left = 2.0 * self._patience
                self._next = self._other()
            return
        self._rate = rate
        self._left = max(0.0, self._left - 1.0) if fall < math.log(pace.fast) else self._left
        affordable = cost_after + self.others("cost") >= self._affordable()
        if self._left <= 0.0 and affordable and self._other() not in self.exhausted:
            self._probing = True
            self._next = self._other()

    def _turn_after(self, end: Finished, monitor: Monitor) -> None:
        """The current member cannot go on from here: another may, unless nothing is left to descend."""
        other = self._other()
        self.exhausted = {**({} if self._moved else self.exhausted), self.current: end}
        if len(self.members) == 1 or end.outcome is Outcome.STATIONARY or other in self.exhausted:
            raise min(self.exhausted.values(), key=lambda e: e.outcome is not Outcome.STATIONARY)
        self._probing = False
        self._turn(other, monitor)

    def _other(self) -> int:
        return (self.current + 1) % len(self.members)

    def _turn(self, number: int, monitor: Monitor) -> None:
        w = np.asarray(self.run.solver.weights(self.run.state))
        self.current, self._moved, self._mark, self._next = number, False, None, None
        if number in self.runs:
            self.run.restart(w)
            return
        try:
            self.members[number].check(self.flow.objective)
        except (MemoryError, ValueError):  # it cannot run here: it never will
            self.exhausted[number] = Finished(Outcome.STALLED, f"{self.members[number].name} cannot run here")
            self.current = self._other()
            self.run.restart(w)
            return
        self.runs[number] = CompiledRun(self.members[number], self.flow.objective, w, self.flow.compilation)
        with monitor.compiling():
            self.run.compile()

    def record(self, rows: Mapping[str, NDArray[np.float64]]) -> None:
        """Remember where the current run is."""
        self._moved |= len(rows["steps"]) > 0 and rows["steps"][-1] > self.own("steps")
        self.last[self.current] = {name: float(rows[name][-1]) for name in CUMULATIVE if name in rows}
        self.loss, self.norm = float(rows["loss"][-1]), float(rows["gradient_norm"][-1])
        if self._moved:
            self.exhausted = {}
        if len(self.members) > 1:
            self._close_windows(rows)


class _Window:
    """The monitor as one member sees it: what the others have used is taken off the budgets, and added to its rows."""

    def __init__(self, contest: Contest, monitor: Monitor) -> None:
        self._contest = contest
        self._monitor = monitor
        self.steps_only = monitor.steps_only
        self.seconds_left = monitor.seconds_left
        self.step = monitor.step
        self.compiling = monitor.compiling
        self.next_time, self.reach = math.inf, monitor.reach  # no combination follows the flow in time
        self.look = monitor.look - contest.others("steps")
        limits = monitor.limits
        self.limits = Limits(
            limits.loss,
            limits.gradient_norm,
            limits.steps - contest.others("steps"),
            limits.presentations - contest.others("presentations"),
            cost=contest.horizon(),
        )

    def chunk(self, w: Any, rows: Mapping[str, NDArray[np.float64]]) -> bool:
        """Pass the rows on, with the counts of all members."""
        contest = self._contest
        member = contest.members[contest.current]
        again = contest.run.starting and len(contest.last) > 0
        contest.record(rows)
        count = len(rows["loss"])
        others = {name: contest.others(name) for name in CUMULATIVE} if len(contest.last) > 1 else {}
        total = {name: more + rows.get(name, 0.0) * np.ones(count) for name, more in others.items()}
        labels = {
            name: np.full(count, value)
            for name, value in contest.combination.label(member, contest.flow.objective).items()
        }
        shown = {**rows, **total, **labels}
        # The first row after a turn is the point where the other member left off.
        if again:
            shown = {name: column[1:] for name, column in shown.items()}
        if not len(shown["loss"]):
            return False
        return self._monitor.chunk(w, shown)


def _step_cost(member: CompiledSolver[Any], objective: Objective) -> float:
    prices = member.prices(objective)  # type: ignore[attr-defined]
    kind = prices.hessian if getattr(member, "curvature", "") == "hessian" else prices.jacobian
    return 2.0 + (kind + prices.factorization if member.side(objective) > 0 else 0.0)


def _fall(loss: float, after: float, norm: float, norm_after: float) -> float:
    """How far the energy fell, in its logarithm; where that is rounding, a trace of how far the gradient did."""
    if not (math.isfinite(loss) and math.isfinite(after)):
        return math.inf
    size = max(abs(loss), abs(after), 1e-300)
    if loss - after <= 8.0 * 2.3e-16 * size:
        return 1e-16 * math.log(max(norm, 1e-300) / max(norm_after, 1e-300))
    return math.log(loss / after) if after > 0 else (loss - after) / size
