"""Which network for a function without noise: a race, judged by leave-one-out.

A few networks start, of three activations and one or two layers, and those that predict left-out samples best go on.
One layer of waves, at the scale that random features tell, is the best model of a smooth function that oscillates; two
layers of tanh of one with steps and ridges. No activation is the best one for both: errors differ by powers of ten, and
leaving out samples tells which, also where all of them fail and there is noise (see the measurements in the docs).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from stiffgrad.estimators import _evidence, _training
from stiffgrad.estimators._exact import HOPE, MATRICES, NIL, Run
from stiffgrad.estimators._leave_one_out import ROWS as JUDGES
from stiffgrad.estimators._record import Record
from stiffgrad.estimators._scale import scale_of, start_at
from stiffgrad.estimators._training import DENSE, ENTRIES, Fitted, Settings, Task

ROWS = 500  # that choose
ROUNDS = ((15, 4), (30, 4), (60, 3), (150, 2), (MATRICES, 1))  # so many matrices, of so many networks, the best before
EARLY = 9  # matrices of the first one, after which it must still get better for the others to start
FALL = 0.5  # by that factor of the left-out mean square, or random features must be better by as much
STARTS = 4  # of the network that wins at most
BUDGET = 2e6  # entries of the Jacobians of all of them
BETTER = 0.5  # of the left-out mean square of a fit: what is below may have seen what the fit has not


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network that takes part."""

    activation: str
    hidden: tuple[int, ...]
    pace: float | None = None  # its first layer starts at so many times the scale of random features; None: as always


CANDIDATES = (
    Candidate("tanh", (12, 12)),
    Candidate("silu", (12, 12)),
    Candidate("sine", (12, 12), 0.5),
    Candidate("sine", (40,), 1.0),
)


Make = Callable[[Run, Record], Fitted]


def entrants(activation: str, hidden: tuple[int, ...] | None = None) -> tuple[Candidate, ...]:
    """Those of an activation, or with "auto" all; `hidden` are the only hidden layers that are wanted."""
    found = tuple(each for each in CANDIDATES if activation in ("auto", each.activation))
    if hidden is not None or not any(each.pace for each in found):
        activation, hidden = "tanh" if activation == "auto" else activation, hidden or (12, 12)
        found = (Candidate(activation, hidden), Candidate(activation, hidden, 1.0))
    return found


class Race:
    """Networks for the samples and targets of a task, whose own sizes and activation are not used.

    Entrants have `seed` and those that follow it. Those that are too large for a dense matrix do not start.
    """

    def __init__(self, task: Task, settings: Settings, candidates: Sequence[Candidate], seed: int) -> None:
        self._task, self._settings, self._begin = task, settings, time.perf_counter()
        used = np.flatnonzero(task.weights > 0)
        rows = np.sort(np.random.default_rng(0).choice(used, min(len(used), ROWS), replace=False))
        self._part = task.chosen(rows)
        self._samples = len(used)
        self._variance = _evidence.spread_of(task.y, task.rows)
        self._scale = scale_of(self._part.X, self._part.y, self._part.rows)
        self._seeds = {each: seed + i for i, each in enumerate(candidates) if _dense(self._of(task, each))}
        self._runs: dict[Candidate, tuple[Run, Record]] = {}
        self._finished = False

    def __getstate__(self) -> dict[str, object]:
        """For further starts in other processes, without the runs of this one."""
        return {**self.__dict__, "_runs": {}}

    @property
    def left_out(self) -> float:
        """The least mean square error of left-out samples that was seen."""
        return min([self._scale.left_out, *(run.left_out for run, _ in self._runs.values())])

    def hopeful(self) -> bool:
        """Whether short runs on a part of the samples predict those that they leave out as if there were no noise."""
        for number, each in enumerate(self._seeds):
            if number == 0:  # others take longer than a fit to a noisy table
                before = self._to(each, EARLY)[0].left_out
            self._to(each, ROUNDS[0][0])
            if self.left_out >= HOPE[0] * self._variance:  # the first one has not seen a function, nor random features
                return False
            if number == 0 and self.left_out >= FALL * before:
                return False
        self._rounds(ROUNDS[1:2])
        return bool(self._runs) and self._runs[self._ranked()[0]][0].left_out < HOPE[1] * self._variance

    def finish(self, starts: int | None = None) -> list[Fitted] | None:
        """Fits of the network that wins, to all samples; nothing if there may be noise.

        They are of `starts` starts, or of as many as there is time for, with their shares, the largest first.
        """
        run, record = self._winner()
        if run.left_out >= NIL * self._variance:
            return None
        return self._several(run, record, self._exactly, starts)

    def better(self, fitted: Fitted, starts: int | None = None) -> list[Fitted]:
        """A fit to noisy samples, or those of higher evidence where something in this race left samples out better.

        What it leaves out begins the search, and does not decide: for a network that follows the noise it is too small.
        """
        if not self._seeds or fitted.decays is None:
            return [fitted]
        bound = BETTER * _training.left_out(self._task.like(fitted), fitted)
        if self.left_out >= bound or self._left().until.wall_seconds == 0.0:
            return [fitted]
        if not self._finished:
            for each in self._seeds:
                self._to(each, ROUNDS[0][0])
            self._rounds(ROUNDS[1:3])
        run, record = self._runs[self._ranked()[0]]
        if run.left_out < HOPE[1] * self._variance:
            run, record = self._winner()
        if run.left_out < NIL * self._variance:
            return self._several(run, record, self._exactly, starts)
        found: list[tuple[Fitted, Make | None]] = [(fitted, None)]
        if run.left_out <= self._scale.left_out:
            found.append((self._refined(run, record), self._refined))
        else:
            each, seed = [*self._seeds.items()][-1]
            task = self._of(self._task, each)
            w = start_at(task.sizes, self._scale.value, task.X, seed)
            found.append((_training.paced(task, w, self._scale.left_out, self._left()), None))
        if len(run.problem.X) == self._samples:
            found.append((_training.reached(run, record), _training.reached))
        best, make = max(found, key=lambda each: -np.inf if each[0].log_evidence is None else each[0].log_evidence)
        return [best] if make is None else self._several(run, record, make, starts, best)

    def _exactly(self, run: Run, record: Record) -> Fitted:
        return _training.exactly(self._task.like(run.problem.network), run, record, self._left())

    def _refined(self, run: Run, record: Record) -> Fitted:
        return _training.refined(self._task.like(run.problem.network), run.best.w, run.best.decay, self._left())

    def _several(
        self, run: Run, record: Record, make: Make, starts: int | None, first: Fitted | None = None
    ) -> list[Fitted]:
        """Fits like that of a run, of several starts, with what each says of samples that it leaves out."""
        if starts is None:
            entries = self._samples * run.problem.network.size * run.problem.y.shape[1]
            starts = min(STARTS, max(1, int(BUDGET // entries)))
        starts = 1 if self._samples > JUDGES else starts  # of more samples not all are left out
        fitted = first or make(run, record)
        if starts == 1:
            return [fitted]
        each = next(each for each, (other, _) in self._runs.items() if other is run)
        task = self._task if len(run.problem.X) == self._samples else self._part
        found, jobs = [self._with_left_out(fitted, run, make)], self._settings.jobs
        matrices = MATRICES if run.ended else run.matrices
        for numbers in jobs.batches(range(1, starts)):
            if self._left().until.wall_seconds == 0.0:
                break
            found += jobs.map(self._further, [(task, each, number, matrices, make) for number in numbers])
        return found

    def _further(self, task: Task, each: Candidate, number: int, matrices: int, make: Make) -> Fitted:
        """One of several starts."""
        run, record = self._started(task, each, number * len(self._seeds))
        with record:
            run.to(matrices, record)
        return self._with_left_out(make(run, record), run, make)

    def _with_left_out(self, fitted: Fitted, run: Run, make: Make) -> Fitted:
        if make == self._refined:
            left_out = _training.outputs_left_out(self._task.like(fitted), fitted)
        else:
            left_out = run.problem.y + run.best.errors
        return dataclasses.replace(fitted, left_out=left_out)

    def _winner(self) -> tuple[Run, Record]:
        if not self._finished:
            self._rounds(ROUNDS[1:-1])
        best = self._ranked()[0]
        if len(self._part.X) < self._samples and not self._finished:
            self._runs = {best: self._started(self._task, best)}
        self._finished = True
        self._runs[best][1].show(self._settings.progress)
        return self._to(best, MATRICES)

    def _rounds(self, rounds: Sequence[tuple[int, int]]) -> None:
        for matrices, count in rounds:
            for each in self._ranked()[:count]:
                self._to(each, matrices)

    def _ranked(self) -> list[Candidate]:
        return sorted(self._runs, key=lambda each: self._runs[each][0].left_out)

    def _to(self, each: Candidate, matrices: int) -> tuple[Run, Record]:
        if each not in self._runs:
            self._runs[each] = self._started(self._part, each)
        run, record = self._runs[each]
        with record:
            run.to(matrices, record)
        return run, record

    def _started(self, task: Task, each: Candidate, further: int = 0) -> tuple[Run, Record]:
        task, seed = self._of(task, each), self._seeds[each] + further
        params = _training.start_of(task, seed)
        w = _training.flat(params)
        if each.pace is not None:
            w = start_at(task.sizes, each.pace * self._scale.value, task.X, seed)
        settings = self._left()
        record = Record("least squares", settings.until, 0, False, None)
        return Run(_training.problem_of(task, params, False), w), record

    def _left(self) -> Settings:
        limit = self._settings.until.wall_seconds
        left = None if limit is None else max(limit - (time.perf_counter() - self._begin), 0.0)
        return dataclasses.replace(self._settings, until=dataclasses.replace(self._settings.until, wall_seconds=left))

    def _of(self, task: Task, each: Candidate) -> Task:
        sizes = (task.X.shape[1], *each.hidden, task.y.shape[1])
        return dataclasses.replace(task, sizes=sizes, activation=each.activation)


def _dense(task: Task) -> bool:
    size = task.network.size
    return size <= DENSE and len(task.X) * size * task.y.shape[1] <= ENTRIES


__all__ = ["CANDIDATES", "Candidate", "Race", "entrants"]
