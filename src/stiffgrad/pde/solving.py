"""`pde.solve`: train on collocation points, draw new ones by residual, and look at points never trained on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import numpy as np
from numpy.typing import NDArray

from stiffgrad._float64 import float64
from stiffgrad._types import Outcome, Params, SolveError
from stiffgrad.objective import Objective
from stiffgrad.pde import verdict
from stiffgrad.pde.confidence import Path, scatter
from stiffgrad.pde.defect import Defect, defect, defect_of_pieces
from stiffgrad.pde.division import GOAL, STEPS, Division
from stiffgrad.pde.measures import Errors, errors, grid_points, reference_values
from stiffgrad.pde.points import Points, interior_points
from stiffgrad.pde.problem import Problem
from stiffgrad.pde.resampling import check_resample, redrawn, root_means
from stiffgrad.pde.slices import energy
from stiffgrad.pde.verdict import FAR, TRUSTED, UNSOLVED
from stiffgrad.run.driver import Callback, Step, Until
from stiffgrad.run.driver import solve as integrate
from stiffgrad.run.promotion import continued
from stiffgrad.run.trace import Solution as Run
from stiffgrad.run.trace import Trace
from stiffgrad.solvers._base import Solver
from stiffgrad.solvers._compiled import nominal_seconds
from stiffgrad.solvers._registry import resolve

ENDS = (Outcome.TARGET, Outcome.STATIONARY, Outcome.STALLED)
DOUBLINGS = 4  # of the number of points, at most
PATIENCE = 50  # steps on one set of points before more may be drawn
RISEN = 2.0  # a held-out energy so many times its lowest of the run rises
CERTAIN = 100.0  # a held-out residual so many times the training one needs no patience
PART = 0.25  # of the time interval, which comes before all of it, and how much longer the next part may be
SHORTER, RETRIES = 0.25, 6  # how much longer a part may be instead where the run is stuck, and how often it may be so
STUCK = 0.3  # a run is stuck where its loss fell to no less than so much of it in the second half of its steps
SHARES = (1e-4, 1e-2)  # what equations weigh first, where observations come before them
STAGE_END = 1e-4  # where a stage ends, over the loss at the start or that of a network that gives nothing
STAGE_STEPS, WHOLE_STEPS, SHARE_STEPS = 100, 200, 40  # of a part of the time, of all of it, with small equations
STRICT, STRICT_STEPS, NEAR = 1e-3, 50, 10.0  # a second march: where parts end, or are near enough to go on
SHARPER = (3.0, 9.0)  # starts to try in turn, where after STAGE_STEPS the loss is still that of no solution
FIRST_POINTS = 1024  # of an interior condition, at first
APART = 2.0  # a held-out residual so many times the training one, and more points come in before all are
LOOK_SECONDS, MOST_STEPS = 0.05, 25  # between two looks at the held-out points
SHORTENED = 1  # a part of the time so often, and it is divided where it can be
LENGTHENED, LEAST_PART = 150, 1 / 64  # steps after which a part of an interval is tried, and by how much it is longer
DIVIDED = 500  # steps on all of the time, after which it is divided where the loss is far from a solution
MANY = 2**14  # points of one coordinate, on which equations are looked at once at the end
JUDGED = 1024  # points on which solutions along the run are compared
TARGET = 1e-15  # of the loss, whose root is about the relative error or some times as much
WITHOUT_NOISE = 1e-12  # observations met to such a part of the loss of nothing have none


@dataclasses.dataclass(frozen=True)
class Solution:
    """The result of `pde.solve`.

    Attributes
    ----------
    problem : Problem
        What was solved; `problem.weights` tells the weights of the terms.
    run : stiffgrad.Solution
        The integration: counts, trace, seconds. Its trace's column `validation` is the energy of equations and faces
        on points that were not trained on, looked at after each chunk of steps and NaN in between; `points` counts the
        sets of points, stages included, from 0.
    residuals : dict of str to float
        Root mean square of what each condition leaves, on the points of the last objective.
    held_out : dict of str to float
        The same for interior equations and for conditions on faces, on points never trained on.
    error_estimate : float
        The relative L2 error as the run lets one expect it, and as the equations do at its end: see
        `stiffgrad.pde.confidence`, `stiffgrad.pde.defect` and docs/pinns.md, which says how it compared with true ones.
        Without constants that nothing determines, such as that of a pressure. NaN where the run does not tell: with
        observations whose noise stays, where the residuals hardly fell, or where the conditions do not determine a
        solution.
    verdict : str
        Whether the equation is solved, holds between the points as it does on them, and can be trusted to 1e-5, in a
        few sentences.
    """

    problem: Problem
    run: Run
    residuals: Mapping[str, float]
    held_out: Mapping[str, float]
    error_estimate: float
    verdict: str

    @property
    def params(self) -> Params:
        """The parameters found."""
        return self.run.params

    @property
    def unknowns(self) -> dict[str, Any]:
        """The coefficients found, by name; empty where the problem has none."""
        return _plain(self.params["unknowns"]) if self.problem.inverse else {}

    @property
    def outcome(self) -> Outcome:
        """How the run ended."""
        return self.run.outcome

    @property
    def loss(self) -> float:
        """The objective at the end."""
        return self.run.loss

    def u(self, points: Any) -> np.ndarray:
        """The solution at points (N, d), or at one (d,): of shape (N,), or (N, k) for k components."""
        return self.problem.evaluate(self.params, points)

    def errors(self, reference: Any, points: Points | None = None) -> Errors:
        """The errors against a reference, a function of one point, or its values at `points`.

        By default on a fixed grid of about 10,000 points (Sobol points from four dimensions on).
        """
        if points is None:
            if not callable(reference):
                raise ValueError("reference is an array: give the points where these are its values, as points=...")
            points = grid_points(self.problem.domain)
        return errors(self.u(points), reference_values(reference, np.asarray(points, float)))

    def __repr__(self) -> str:
        lines = [repr(self.run)]
        for name, value in self.residuals.items():
            beside = f", held out {self.held_out[name]:.2e}" if name in self.held_out else ""
            lines.append(f"  residual       {name} {value:.2e}{beside} (weight {self.problem.weights[name]:.3g})")
        lines += [f"  unknown        {name} = {value}" for name, value in self.unknowns.items()]
        return "\n".join([*lines, f"  verdict        {self.verdict}"])


@float64
def solve(
    problem: Problem,
    solver: str | Solver = "auto",
    *,
    until: Until | None = None,
    resample: int | Literal["auto"] | None = "auto",
    stages: bool = True,
    progress: bool = False,
    callback: Callback | None = None,
    throw: bool = True,
) -> Solution:
    """Solve a problem; nothing need be set.

    Parameters
    ----------
    problem : Problem
        What is solved, with its start.
    solver : str or Solver
        As for `stiffgrad.solve`.
    until : Until, optional
        Targets and budgets over all; by default a loss of 1e-15 or 60 seconds. The loss has no unit: see
        `Problem.weights`.
    resample : "auto", int or None
        Draw interior points by residual (Wu et al. 2023, k = 1, c = 1): a point's chance is its residual over the mean
        one, plus 1. An int: all of them anew, every that many accepted steps (RAD); their number stays, so nothing
        compiles again. "auto": as many again beside the old ones (RAR-D), where the held-out residual is more than 5
        times the training one after 50 steps, or sooner where it rises, at most four times; each compiles anew. None:
        never. The integrator starts afresh from the weights reached, because its energy is another.
    stages : bool
        Begin with easier problems, which lead to the solution that is meant. With an initial condition: all points in
        the first quarter of the time interval, then in half, in three quarters and in all of it; otherwise an equation
        is often met at late times first, by another solution than that which begins here. The time of an ordinary
        equation in which this is stuck is divided: each piece has a network of its own, and `params` is a list. With
        unknowns and observations: equations that weigh 1e-4, then 1e-2 of what they do in the end. A stage
        ends at 1e-4 (for all of the time: 1e-7) of the loss at the start, or of the network with all weights zero if
        that is less, or after 100 steps (200 for all of the time, 40 for the latter). With resample="auto" an interior
        equation begins with 1,024 of its points: steps on few points are cheap, and far from the solution as good.
        Where the held-out residual is twice the training one, as many again are drawn by residual, until there are as
        many as were asked for; where a run ends on fewer points, by a target or by itself, it goes on with those of the
        problem.
    progress : bool
        As for `stiffgrad.solve`.
    callback : callable, optional
        As for `stiffgrad.solve`.
    throw : bool
        As for `stiffgrad.solve`.

    Returns
    -------
    Solution
        The function found, its coefficients, and how the run ended.

    Examples
    --------
    >>> from stiffgrad import pde
    >>> decay = pde.interior(lambda u, t: pde.derivative(u, t) + 3 * u(t), points=32)
    >>> solution = pde.solve(pde.Problem([(0, 1)], [decay, pde.initial(1.0)], network=[8]), until=Until(loss=1e-8))
    >>> bool(abs(solution.u([1.0]) - np.exp(-3)) < 1e-3)
    True
    """
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be a pde.Problem, not {type(problem).__name__}; see stiffgrad.solve for objectives"
        )
    until = Until(loss=TARGET) if until is None else until
    if not isinstance(until, Until):
        raise TypeError(f"until must be stiffgrad.Until(...), not {type(until).__name__}")
    check_resample(resample, problem)
    if problem.held_out is not None:
        energy(problem.held_out, problem.objective.w0)  # compiled here, and not in solving time
    rounds = _Rounds(problem, resolve(solver), until, resample, {"progress": progress, "throw": False}, callback)
    points = {name: problem.points[name] for name in problem.interiors}
    if stages and resample == "auto":
        points |= problem.some_points(FIRST_POINTS)
    if stages and problem.interiors:
        points = _run_stages(problem, points, rounds)
    if not rounds.divided:
        _run_whole(problem, points, rounds, until.loss, stages)
    if rounds.divided and rounds.going:
        _run_pieces(problem, rounds, until.loss)
    solution = _judged(rounds.problem, rounds)
    if throw and solution.outcome.failure:
        raise SolveError(solution.run.message, solution.outcome, solution)
    return solution


def _run_whole(problem: Problem, points: dict[str, Points], rounds: _Rounds, loss: float | None, stages: bool) -> None:
    """Run on all of the problem, on more and more of its points and then beyond them, down to a loss.

    Where time can be divided, a run that is still far from a solution after DIVIDED steps ends.
    """
    inside = lambda: sum(len(points[name]) for name in problem.interiors)  # noqa: E731
    whole = sum(len(problem.points[name]) for name in problem.interiors)
    few = inside() < whole
    divisible, lengthens = stages and rounds.divisible, stages and problem.lengthens

    def run(params: Params, trial: bool = False) -> None:
        objective = problem.with_points(points, params) if rounds.count or few else problem.objective
        nothing = None if problem.observed else rounds.nothing
        nowhere = UNSOLVED * nothing if trial and nothing is not None else None
        patience = DIVIDED if divisible else LENGTHENED if lengthens else None
        rounds.run(objective, loss, apart=APART if few else None, nowhere=nowhere, patience=patience)
        rounds.divided = rounds.divided or (divisible and rounds.far)

    if stages and not rounds.count:
        _start_well(problem, rounds, run)
    elif rounds.going:
        run(rounds.params)
    if rounds.going and lengthens and rounds.far:
        lengthens = False
        run(_lengthened(problem, rounds) if rounds.slow else rounds.params)
    while rounds.going and few and not rounds.divided:
        if rounds.wants_points:
            points = redrawn(problem, points, rounds.params, rounds.count, keep=True)
        else:
            points = points | {name: problem.points[name] for name in problem.interiors}
        few = rounds.wants_points and inside() < whole
        run(rounds.params)
    while rounds.going and rounds.wants_points and not rounds.divided:
        points = redrawn(problem, points, rounds.params, rounds.count, keep=rounds.adds)
        run(rounds.params)


def _lengthened(problem: Problem, rounds: _Rounds) -> Params:
    """Continuation in the length of an interval: where to begin on all of it, from a solution on a part of it.

    The condition at the far end of a boundary layer is met by something else before it is met by the solution; near to
    the wall it is not (Allgower and Georg 1990, chapter 1, for continuation). A part that is not met is begun again,
    half as much longer than the last.
    """
    lowest, loss = rounds.params, rounds.loss
    params, reached, longer = problem.params, 0.0, PART
    while rounds.going and reached < 1.0 and longer >= LEAST_PART:
        part = min(reached + longer, 1.0)
        rounds.back_to(params)
        rounds.run(problem.with_points(problem.shortened(part), params), TRUSTED**2, steps=STAGE_STEPS)
        if rounds.loss <= TRUSTED**2:
            params, reached, longer = rounds.params, part, min(2.0 * longer, PART)
        else:
            longer *= 0.5
    found = reached == 1.0 and rounds.loss < loss
    rounds.back_to(params if found else lowest)
    return params if found else lowest


def _run_pieces(problem: Problem, rounds: _Rounds, loss: float | None) -> None:
    """March through the time in pieces, each with its own network; where that fails, go on with the one network."""
    before, division = rounds.params, Division(problem)
    while rounds.going and not (division.done or division.hopeless):
        objective, held_out = division.next()
        rounds.run(objective, GOAL, steps=STEPS, held_out=held_out)
        division.judge(rounds.params, rounds.energy, rounds.steps)
    if division.found and not (rounds.going and division.hopeless):
        whole = problem.with_network(*division.whole)
        rounds.end_with(whole, whole.params, division)
    else:
        rounds.end_with(problem, before)
        if rounds.going:
            rounds.run(problem.with_points({}, before), loss)


def _start_well(problem: Problem, rounds: _Rounds, run: Callable[[Params, bool], None]) -> Params:
    """Run from the problem's start; where that leads nowhere, from sharper ones, then on from the lowest energy.

    `run(params, trial)`: a trial ends where it leads nowhere. Returns the parameters from which the last run began.
    """
    ends: list[tuple[float, Params]] = []
    for times in (1.0, *SHARPER):
        start = problem.sharper(times)
        if start is None:
            break
        run(start, True)
        ends.append((rounds.energy, rounds.params))
        best = min(energy for energy, _ in ends)
        if not rounds.going or (not rounds.nowhere and rounds.energy == best):
            return start
    _, lowest = min(ends, key=lambda end: end[0])
    run(lowest, False)
    return lowest


def _run_stages(problem: Problem, points: dict[str, Points], rounds: _Rounds) -> dict[str, Points]:
    """Easier problems that come first, each down to a loss or for some steps; returns the points to go on with."""
    if problem.inverse and problem.observed:
        for share in SHARES:
            rounds.run(problem.with_points(points, rounds.params, share), rounds.end, steps=SHARE_STEPS)
    elif problem.time is not None:
        return _march(problem, points, rounds)
    return points


def _march(problem: Problem, points: dict[str, Points], rounds: _Rounds) -> dict[str, Points]:
    """Parts of the time interval, each a quarter longer than the last, down to `end`; returns the points to go on with.

    A part in which the run is stuck is begun again from before, a quarter as much longer; what then goes well may be
    twice as much longer again. What grows from a small start is lost in a long interval: near a solution that stays,
    such as nobody ill, there is a minimum, and a run that has come there does not leave it. A part in which the
    equation holds on its points only goes on with as many again: the next one would begin with what is no solution.

    A solution that is wrong from one moment on leaves a residual at that moment only, and may come below `end`. So the
    whole interval is tried down to STRICT times `end`; where that is stuck, the march begins again, with every part
    down to there. Where that leads no further, the lower of both energies is gone on with.
    """
    end = rounds.end

    def run(part: float, params: Params, trial: bool = False) -> None:
        objective = problem.with_points(problem.marched(part, points), params)
        nowhere = UNSOLVED / STAGE_END * end if trial else None
        goal = STRICT * end if strict or part == 1.0 else end
        steps = STRICT_STEPS if strict else WHOLE_STEPS if part == 1.0 else STAGE_STEPS
        whole = part == 1.0
        held_out = None if whole else problem.held_out_until(part)
        rounds.run(objective, goal, steps=steps, held_out=held_out, nowhere=nowhere, whole=whole)

    strict = False
    start = _start_well(problem, rounds, functools.partial(run, PART))
    good, reached, longer, failures, lowest = start, 0.0, PART, 0, (np.inf, start)
    while rounds.going:
        part, begin = min(reached + longer, 1.0), rounds.params
        stuck = rounds.stuck and not problem.observed  # whose noise stays, and looks the same
        near = not strict or rounds.loss <= NEAR * STRICT * end
        if rounds.wants_points or (rounds.may_draw and rounds.loss <= end and rounds.between > FAR**2 * end):
            rounds.doublings += 1
            points = redrawn(problem, points, begin, rounds.count, keep=True, part=part)
        elif stuck and rounds.divisible and (part == 1.0 or failures == SHORTENED):
            rounds.divided = True
            return points
        elif part == 1.0 and not strict and stuck:
            lowest, strict = (rounds.energy, rounds.params), True
            begin = good = start
            reached, longer, failures = 0.0, PART, 0
        elif stuck and strict and not near and reached == 0.0 and failures:  # no part of the start is any better
            break
        elif stuck and not (strict and near) and failures < RETRIES:
            failures += 1
            longer *= SHORTER
            begin = good
        elif near:
            good, reached, longer = begin, part, min(2.0 * longer, PART)
            failures = 0 if strict else failures
        elif stuck:
            break
        if reached == 1.0:
            break
        run(min(reached + longer, 1.0), begin)
    if rounds.going and strict and not (reached == 1.0 and rounds.energy < lowest[0]):
        rounds.back_to(lowest[1])
    return points


def _of_nothing(problem: Problem) -> float | None:
    """The loss where the network gives nothing, all its weights being zero: mostly u = 0, which many equations admit.

    None where it is no scale: it vanishes, or is not finite.
    """
    network = problem.params["network"] if problem.inverse else problem.params
    zero = jax.tree.map(np.zeros_like, network)
    params = {**problem.params, "network": zero} if problem.inverse else zero
    loss = float(energy(problem.objective, problem.objective.layout.flatten(params)))
    return loss if 0 < loss < np.inf else None


class _Rounds:
    """Runs on one objective after the other within the budgets of one, and their common solution."""

    def __init__(
        self,
        problem: Problem,
        solver: Solver,
        until: Until,
        resample: int | str | None,
        options: dict[str, Any],
        callback: Callback | None,
    ) -> None:
        self.problem, self._solver, self._until, self._resample = problem, solver, until, resample
        self._options, self._callback = options, callback
        self._total: Run | None = None
        self._held_out = problem.held_out
        self._limit, self.nowhere = np.inf, False  # the last run led nowhere
        self._patience, self.far = np.inf, False  # or ended far from a solution
        self._seen: dict[float, float] = {}  # held-out energies of this run, by its number of steps
        self.whole = False  # whether the last run was on the problem itself, and not on an easier one
        self.objective = problem.objective  # of the last run
        self._last_losses = np.zeros(0)
        self.path = Path()
        self._apart: float | None = None  # how far the residuals may be apart before points are wanted
        self._looked = 0.0  # how often the held-out points were looked at in this run
        self.count = 0
        self._back: Params | None = None
        self.doublings = 0
        self.going = True
        self.divided = False  # whether the time is to be divided
        self.division: Division | None = None  # and how it was
        self.wants_points = False

    @property
    def params(self) -> Params:
        """Where the next run starts."""
        if self._back is not None:
            return self._back
        return self.problem.params if self._total is None else self._total.params

    def back_to(self, params: Params) -> None:
        """Let the next run start at parameters of before."""
        self._back = params

    @functools.cached_property
    def nothing(self) -> float | None:
        """The loss of a network that gives nothing."""
        return _of_nothing(self.problem)

    @functools.cached_property
    def end(self) -> float:
        """The loss at which an equation holds on its points well enough for a stage."""
        start = float(energy(self.problem.objective, self.problem.objective.w0))
        return STAGE_END * min(start, self.nothing or start)

    @property
    def loss(self) -> float:
        """Of the last run, at its end."""
        return float(self._last_losses[-1])

    @property
    def energy(self) -> float:
        """There, on the points trained on or on those held out, whichever is higher."""
        return float(np.fmax(self.loss, self.between))

    @property
    def between(self) -> float:
        """The held-out energy there; NaN where no points are held out."""
        return next(reversed(self._seen.values()), np.nan)

    @property
    def steps(self) -> int:
        """Of the last run."""
        return len(self._last_losses) - 1

    @property
    def divisible(self) -> bool:
        """Whether the time can be divided, for a solver of Gauss-Newton steps: others need too many for a piece."""
        return self.problem.divisible and hasattr(self._solver, "h0")

    @property
    def adds(self) -> bool:
        """Whether new points come beside the old ones."""
        return self._resample == "auto"

    @property
    def may_draw(self) -> bool:
        """Whether points may be added."""
        return bool(self._resample == "auto" and self.problem.drawn and self.doublings < DOUBLINGS)

    @property
    def stuck(self) -> bool:
        """Whether the last run ended by its steps, and fell by little in the second half of them."""
        assert self._total is not None
        if self._total.outcome is not Outcome.OUT_OF_STEPS:
            return self._total.outcome in (Outcome.STATIONARY, Outcome.STALLED)
        return self.slow

    @property
    def slow(self) -> bool:
        """Whether it fell by little in the second half of its steps."""
        loss = self._last_losses
        return bool(loss[-1] > STUCK * loss[len(loss) // 2])

    def run(
        self,
        objective: Objective,
        loss: float | None,
        steps: int | None = None,
        apart: float | None = None,
        held_out: Objective | None = None,
        nowhere: float | None = None,
        whole: bool = False,
        patience: int | None = None,
    ) -> None:
        """Down to a loss, for so many steps, or until new points are wanted; if the budgets allow any.

        `apart`: points are waiting, and are wanted where the held-out residual is so many times the training one.
        `held_out`: the held-out points, where these are not the problem's.
        `nowhere`: a loss above which a run leads nowhere, and ends, after STAGE_STEPS steps.
        `patience`: steps after which a run that is far from a solution ends.
        `whole`: a stage that is on all of the time interval.
        """
        if not self.going:
            return
        stage = steps is not None
        self.whole, self.objective = whole or not stage, objective
        if not stage and isinstance(self._resample, int):
            steps = self._resample
        left = self._until if self._total is None else self._until.after(self._total)
        most = left.steps if steps is None else steps if left.steps is None else min(steps, left.steps)
        doubles = self.may_draw and not stage
        self._apart = apart if apart is not None else FAR if self.may_draw and self.whole else None
        self._limit, self.nowhere = np.inf if nowhere is None else nowhere, False
        self._patience, self.far = np.inf if patience is None else patience, False
        self._held_out = held_out = self.problem.held_out if held_out is None else held_out
        self.wants_points, self._seen = False, {} if held_out is None else {0.0: float(energy(held_out, objective.w0))}
        own = dataclasses.replace(left, loss=loss, steps=most)
        watch = _Watch(self._watch, _looks_every(objective))
        self._looked = 0.0
        run = integrate(objective, self._begun(), until=own, callback=watch, **self._options)
        self._back = None
        self._last_losses = run.trace["loss"]
        self.nowhere, self.far = self._leads_nowhere(run.trace.row(-1)), self._is_far(run.trace.row(-1))
        if held_out is not None:
            self._look(run.w, run.trace.row(-1))
        run = dataclasses.replace(run, trace=self._with_held_out(run.trace))
        self._total = run if self._total is None else continued(self._total, run, "points")
        self.count += 1
        left = self._until.after(self._total)
        spent = any(
            number is not None and number <= 0 for number in (left.wall_seconds, left.steps, left.presentations)
        )
        stopped = run.outcome is Outcome.INTERRUPTED and not (self.wants_points or self.nowhere or self.far)
        self.going = not (spent or stopped or run.outcome.failure)
        if apart is not None:
            return
        if isinstance(self._resample, int):
            self.wants_points = run.outcome is Outcome.OUT_OF_STEPS
        elif doubles:
            self.doublings += 1
            if run.outcome in ENDS:  # an end on these points, and on no others
                self.wants_points = _far(run.trace.row(-1), FAR) and self.doublings <= DOUBLINGS

    def end_with(self, problem: Problem, params: Params, division: Division | None = None) -> None:
        """Let these be the end of all runs: of a problem whose network a division has found, or of the first."""
        assert self._total is not None
        objective = problem.objective
        w = objective.flatten(params)
        loss, done = float(energy(objective, w)), division is not None and division.done
        # Every piece has met its own target; only who asked for a lower one than that has not got it.
        within = self._until.loss in (None, TARGET) or loss <= self._until.loss
        outcome = self._total.outcome if not done else Outcome.TARGET if within else Outcome.OUT_OF_STEPS
        self._total = dataclasses.replace(
            self._total, params=params, w=np.asarray(w), loss=loss, outcome=outcome, best_params=None
        )
        self.problem, self.objective, self.division, self.whole = problem, objective, division, done

    def _begun(self) -> Solver:
        """The solver, to begin with the step at which the last run left off, where both follow the flow by steps."""
        solver: Any = self._solver
        if self._total is None or getattr(solver, "h0", 0.0) is not None:
            return self._solver
        row = self._total.trace.row(-1)
        if row.get("jacobian") != 1.0 or not row["step_size"] > 0:  # another method of `auto` made it
            return self._solver
        return dataclasses.replace(solver, h0=float(row["step_size"]))

    def _watch(self, every: int, step: Step) -> bool:
        """Look at the held-out points, and say whether to end a run because the residual there is far larger."""
        looks = step.row["steps"] // every
        if self._held_out is not None and looks > self._looked:
            self._looked = looks
            step = dataclasses.replace(step, row={**step.row, "validation": self._look(step.w, step.row)})
            self.wants_points = self._too_few(step.row)
        if self._leads_nowhere(step.row) or self._is_far(step.row) or self.wants_points:
            return True
        return bool(self._callback is not None and self._callback(step))

    def _too_few(self, row: Mapping[str, float]) -> bool:
        """Whether points are wanted: the held-out residual is far larger, and does not follow any more."""
        if self._apart is None or not _far(row, self._apart):
            return False
        rises = row["validation"] > RISEN * min(self._seen.values())
        certain = row["loss"] <= self.end and (rises or _far(row, CERTAIN))
        return self._apart == APART or certain or row["steps"] >= PATIENCE

    def _leads_nowhere(self, row: Mapping[str, float]) -> bool:
        return bool(row["steps"] >= STAGE_STEPS and row["loss"] > self._limit)

    def _is_far(self, row: Mapping[str, float]) -> bool:
        return bool(row["steps"] >= self._patience and row["loss"] > TRUSTED**2)

    def _look(self, w: Any, row: Mapping[str, float]) -> float:
        """The energy on the held-out points, noted."""
        assert self._held_out is not None
        between = self._seen[row["steps"]] = float(energy(self._held_out, w))
        if self.whole:
            self.path.add(max(between, row["loss"]), w)
        return between

    def _with_held_out(self, trace: Trace) -> Trace:
        columns = {name: trace[name] for name in trace}
        if self._seen:
            columns["validation"] = np.array([self._seen.get(number, np.nan) for number in trace["steps"]])
        return Trace(columns)

    def solution(self) -> Run:
        """The runs as one, whose message tells the budgets of all."""
        run = self._total
        assert run is not None
        outcome = run.outcome
        if self.wants_points and not self.going:  # a budget ended on the step that asked for new points
            outcome = Outcome.OUT_OF_STEPS if self._until.after(run).wall_seconds else Outcome.OUT_OF_TIME
        if self.count == 1:
            columns = {name: run.trace[name] for name in run.trace}
            return dataclasses.replace(run, trace=Trace({**columns, "points": np.zeros(len(run.trace))}))
        counts = f"{run.statistics.steps} steps on {self.count} sets of points, {run.wall_seconds:.3g} s"
        name = run.message.split(":")[0]
        message = f"{name}: {outcome.value} ({counts}; loss {run.loss:.3e}). {outcome.advice}"
        return dataclasses.replace(run, outcome=outcome, message=message)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """A callback that looks every so many steps, however long the clock makes a chunk: so a run repeats exactly."""

    look: Callable[[int, Step], bool]
    every: int

    def __call__(self, step: Step) -> bool:
        return self.look(self.every, step)


def _looks_every(objective: Objective) -> int:
    """Steps of about LOOK_SECONDS, by the work of a gradient, which a step is some times of."""
    return int(np.clip(LOOK_SECONDS / (5.0 * nominal_seconds(objective)), 1, MOST_STEPS))


def _far(row: Mapping[str, float], times: float) -> bool:
    """Whether the held-out residual is so many times that of the points trained on."""
    return row["validation"] > times**2 * row["loss"]


def _judged(problem: Problem, rounds: _Rounds) -> Solution:
    run, objective, weights = rounds.solution(), rounds.objective, problem.weights
    residuals = root_means(objective, run.w, weights)
    held_out: dict[str, float] = {}
    error, unbound, bent = float("nan"), False, False
    left: Defect | None
    free = problem.free_constants(run.params)
    values = lambda w, points: problem.evaluate(objective.unflatten(w), points)  # noqa: E731
    if problem.held_out is not None:
        names = problem.interiors + problem.faces
        held_out = root_means(problem.held_out, run.w, {name: weights[name] for name in names})
        worst = max(run.loss, float(energy(problem.held_out, run.w)))
        for name, dense in _on_many(problem, run.params).items():
            more = 0.5 * weights[name] * (dense**2 - held_out[name] ** 2)
            worst, held_out[name] = worst + max(more, 0.0), max(held_out[name], dense)
        if not problem.observed or run.loss <= WITHOUT_NOISE * (rounds.nothing or 0.0):
            points = _judged_at(problem)
            size = float(np.linalg.norm(_less_constants(values(run.w, points), free)))
            if rounds.division is not None:
                left = defect_of_pieces(rounds.division.onset, rounds.division.found, points)
            else:
                error = rounds.path.error(worst, run.w, lambda w: _less_constants(values(w, points), free))
                left = defect(problem, run.params, points) if np.isfinite(error) else None
            if left is not None:
                error = float(np.fmax(error, np.linalg.norm(_less_constants(left.change, free)) / size))
                unbound, bent = left.free > len(free), left.bent
    # With observations their noise leaves a loss that no solution takes away.
    nothing = None if problem.observed else rounds.nothing
    told = verdict.unsolved(run.loss, nothing) if rounds.whole else verdict.IN_A_STAGE
    division = rounds.division
    if division is not None:
        told = verdict.in_pieces(len(division.found), division.at, problem.domain[division.axis][1])
    untold = np.isnan(error) and not (told or problem.observed or problem.held_out is None)
    if not rounds.whole:  # what was seen of the whole problem was before
        error = float("nan")
    doubts = verdict.lost(problem.jumps) + (verdict.OPEN if unbound else verdict.BENT if bent else "")
    error, told = (float("nan"), doubts + told) if doubts else (error, told)
    told = "".join(verdict.missed(name, *_fit(problem, name, residuals[name])) for name in problem.observed) + told
    parts = {name: (run.loss / weight / len(weights)) ** 0.5 for name, weight in weights.items()}
    told += verdict.between(residuals, held_out, _start(run), parts) + verdict.trusted(error)
    told += (verdict.UNTOLD if untold else "") + verdict.undetermined(free, len(problem.scales.size))
    return Solution(problem, run, residuals, held_out, error, told)


def _fit(problem: Problem, name: str, left: float) -> tuple[float, float]:
    """How far observations are missed, and how far they are scattered themselves; NaN where that cannot be seen."""
    points, condition = problem.points[name], problem.conditions[name]
    values = np.asarray(condition.value, float).reshape(len(points), -1)
    noise = scatter(points[:, 0], values) if len(problem.domain) == 1 else float("nan")
    return left / values.shape[1] ** 0.5, noise


def _on_many(problem: Problem, params: Params) -> dict[str, float]:
    """Root mean squares of equations of one coordinate on MANY points: a jump of the solution may lie between fewer."""
    if len(problem.domain) > 1:
        return {}
    points = interior_points(problem.domain, MANY, "grid")
    left = {name: problem.residual(name, params, points).reshape(MANY, -1) for name in problem.drawn}
    return {name: float(np.sqrt(np.mean(np.sum(r**2, axis=1)))) for name, r in left.items()}


def _judged_at(problem: Problem) -> Points:
    """Points of the domain; or those that were given, where all were: outside of their region the network is free."""
    if problem.drawn or not problem.interiors:
        return interior_points(problem.domain, JUDGED)
    points = np.concatenate([problem.points[name] for name in problem.interiors])
    return points[:: -(-len(points) // JUDGED)]


def _less_constants(values: NDArray[np.float64], free: tuple[int, ...]) -> NDArray[np.float64]:
    """Values of the solution, (N,) or (N, k), less the mean of components in which nothing determines it."""
    if not free:
        return values
    means = values.mean(axis=0)
    return np.asarray(
        values - (means if values.ndim == 1 else np.where(np.isin(np.arange(len(means)), free), means, 0.0))
    )


def _start(run: Run) -> float:
    """How many times the held-out residual has fallen, from the first row of the trace to the last."""
    seen = run.trace["validation"] if "validation" in list(run.trace) else np.ones(1)
    seen = seen[np.isfinite(seen)]
    return float(np.sqrt(seen[0] / max(seen[-1], 1e-300)))


def _plain(unknowns: Any) -> dict[str, Any]:
    return {name: float(value) if np.ndim(value) == 0 else np.asarray(value) for name, value in unknowns.items()}
