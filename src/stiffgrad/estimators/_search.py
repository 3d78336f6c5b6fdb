"""Which networks are fitted: from which starts, of which architecture, and to which columns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stiffgrad._types import Outcome, Params
from stiffgrad.estimators import _committee, _screening, _training
from stiffgrad.estimators._columns import by_column
from stiffgrad.estimators._leave_one_out import ROWS
from stiffgrad.estimators._network import Matrix
from stiffgrad.estimators._race import Race, entrants
from stiffgrad.estimators._training import Fitted, Member, Settings, Task

CROWDED = 0.7  # part of the weights that the data determine, from which "auto" tries a larger network for regression
LARGE = 2e6  # entries of the Jacobian up to which it does


@dataclasses.dataclass(frozen=True)
class Before:
    """With `warm_start` the networks of the last fit, of the columns that it was to; else none."""

    members: Sequence[Member] = ()
    lead: int = 0
    activation: str = ""


@dataclasses.dataclass
class Search:
    """A search for the networks that fit some tasks best.

    Attributes
    ----------
    settings : Settings
        With all of the seconds.
    random : numpy.random.RandomState
        Draws the starts.
    alpha : str or float
        As it was asked for.
    hidden : tuple of int or None
        Hidden layers asked for; None: the data choose.
    activation : str
        As it was asked for; "auto": the data choose.
    restarts : int or None
        Starts asked for; None: the data choose.
    score : callable
        The validation score of outputs, for their targets and weights; higher is better.
    before : Before
        The last fit.
    columns : Columns or None
        What the fits are to; None: all.
    """

    settings: Settings
    random: Any
    alpha: str | float
    hidden: tuple[int, ...] | None
    activation: str
    restarts: int | None
    score: Callable[[Matrix, Matrix, Matrix], float]
    before: Before
    columns: _screening.Columns | None = None

    def narrow(self, tasks: list[Task]) -> list[Task]:
        """Tasks of the columns that the fits are to."""
        return tasks if self.columns is None else [_screening.of_columns(each, self.columns) for each in tasks]

    # ---- classes

    def committee(self, tasks: list[Task], screened: bool) -> tuple[list[Fitted], list[Task]]:
        """Networks of all columns, or, `screened`, of few, if samples that are left out are likelier; and the tasks."""
        tasks = self.narrow(tasks)
        found = self._committee(tasks)
        columns = _screening.few(tasks[0]) if screened else None
        if columns is None or any(each.solution.outcome is Outcome.OUT_OF_TIME for each in found):
            return found, tasks
        narrow = [_screening.of_columns(each, columns) for each in tasks]
        other = self._committee(narrow)
        if not _committee.predicts_better(other, found):
            return found, tasks
        self.columns = columns
        return other, narrow

    def _committee(self, tasks: list[Task]) -> list[Fitted]:
        return _committee.committee(tasks, self.settings, self._start, self.restarts)

    # ---- one network

    def network(
        self, tasks: list[Task], held_out: Any, starts: int | None, screened: bool = False
    ) -> tuple[list[Fitted], list[Task]]:
        """Without noise least squares; else the first architecture, and larger ones while they raise the evidence.

        `screened`: of few columns, where these are worth more than all. With the tasks of the columns that are taken.
        `held_out`: scaled inputs, targets and weights that judge.
        """
        begin = time.perf_counter()
        by_evidence = self.alpha == "evidence" and tasks[0].loss == "squared" and self.settings.solver is None
        if held_out is not None or not by_evidence:
            return [self._best_of_restarts(tasks[0], held_out)], tasks
        last = self._last_task(tasks)
        if last is not None:
            return [self._with_columns(self._best_of_restarts(last), last, begin)], [last]
        known = self._few_columns(tasks[0]) if screened else None
        if known is not None:
            self.columns = known.columns
            tasks = self.narrow(tasks)
        race = Race(
            tasks[0], self.settings, entrants(self.activation, self.hidden), int(self.random.randint(2**31 - 1))
        )
        exact = race.finish(starts) if race.hopeful() else None
        if exact is not None:
            return exact, tasks
        best = self._best_of_restarts(tasks[0]) if known is None else known.fitted
        final = None if known is None else known.by_column
        final = self._with_columns(best, tasks[0], begin) if final is None else final
        for task in tasks[1:]:
            late = self.settings.late(begin)
            done = best.solution.outcome is not Outcome.TARGET or final.determined < CROWDED
            wide = task is not tasks[1] and task.network.size > len(task.X) * task.y.shape[1]
            if late or done or wide or entries(task) > LARGE:
                break
            other = self._best_of_restarts(task)
            if _rank(other, False) <= _rank(best, False):
                break
            best, final = other, self._with_columns(other, task, begin)
        found = race.better(best, starts)
        if len(found) == 1:
            found = [final if found[0] is best else self._with_columns(found[0], tasks[0], begin)]
        return found, tasks

    def _last_task(self, tasks: list[Task]) -> Task | None:
        """That of the last fit's network, where it fits the data and what is asked for."""
        if not self.before.members:
            return None
        sizes, first = self.before.members[self.before.lead].sizes, tasks[0].sizes
        task = dataclasses.replace(tasks[0], activation=self.before.activation, sizes=sizes)
        asked = self.hidden is None or sizes == first
        same = self.activation in ("auto", self.before.activation)
        return task if asked and same and (sizes[0], sizes[-1]) == (first[0], first[-1]) else None

    def _few_columns(self, task: Task) -> _screening.Choice | None:
        """A fit to few columns or to all of them, whichever is worth more; nothing where all are seen to matter."""
        begin, columns = time.perf_counter(), _screening.few(task)
        if columns is None:
            return None
        whole = self._best_of_restarts(task)
        if whole.solution.outcome is not Outcome.TARGET:
            return _screening.Choice(None, whole)
        narrow = self._best_of_restarts(_screening.of_columns(task, columns))
        return _screening.better(task, whole, columns, narrow, self.settings.since(begin))

    def _with_columns(self, fitted: Fitted, task: Task, begin: float) -> Fitted:
        """The fit with a decay for each column, where that is better; for large tables that is not asked."""
        return fitted if entries(task) > LARGE else by_column(fitted, task, self.settings.since(begin))

    # ---- one fit

    def _best_of_restarts(self, task: Task, held_out: Any = None) -> Fitted:
        validation, score = None, self.score
        if held_out is not None:
            inputs, y, weights = held_out

            def validation(params: Params) -> float:
                return -score(_training.outputs(task.network, params, inputs), y, weights)

        results: list[Fitted] = []
        begin, jobs = time.perf_counter(), self.settings.jobs
        drawn = [self._start(task, 0) for _ in range(self.restarts or 1)]
        for batch in jobs.batches(drawn):
            settings = self.settings.since(begin)
            if settings.until.wall_seconds == 0.0 and results:
                break
            if jobs.at_once > 1:
                settings = dataclasses.replace(settings, progress=False)
            calls = [(task, settings, start, validation, decays) for start, decays in batch]
            results += jobs.map(_training.train, calls)
        return max(results, key=lambda fitted: _rank(fitted, held_out is not None))

    def _start(self, task: Task, index: int) -> tuple[Params, Matrix | None]:
        """Parameters and decays of the last fit's network of these sizes; else new parameters."""
        fresh = _training.start_of(task, int(self.random.randint(2**31 - 1)))
        same = self.before.activation == task.activation
        last = [member for member in self.before.members if same and member.sizes == task.sizes]
        if index >= len(last):
            return fresh, None
        decays, count = last[index].decays, _training.groups_of(fresh, self.alpha == "relevance")[1]
        return last[index].params, decays if decays is not None and len(decays) == count else None


def entries(task: Task) -> int:
    """Of the Jacobian of the rows that count."""
    return min(len(task.X), ROWS) * task.network.size * task.y.shape[1]


def _rank(fitted: Fitted, validated: bool) -> float:
    if validated:
        return -float(np.nanmin(fitted.solution.trace["validation"]))
    return fitted.score if fitted.score is not None and np.isfinite(fitted.score) else -np.inf
