"""`Until(wall_seconds=...)` of compiled solvers, by a clock that the steps advance: no second of the test counts."""

import dataclasses
import types
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import Outcome, Until
from stiffgrad.run import driver
from stiffgrad.solvers import _compiled
from stiffgrad.solvers._compiled import SteppedSolver

TICK = 1e-3  # seconds of the clock for each presentation


@partial(jax.tree_util.register_dataclass, data_fields=["first", "after", "later"], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Working(SteppedSolver):
    """Steps of so many presentations each, and of `later` ones once `after` have been made."""

    name: ClassVar[str] = "working"
    family: ClassVar[str] = "test"
    summary: ClassVar[str] = ""
    source: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ("steps", "loss", "gradient_norm", "presentations", "rhs_evaluations")
    first: float = 1.0
    after: float = np.inf
    later: float = 1.0

    def initial(self, objective, w):
        return self._row(w, jnp.zeros(()), jnp.ones(()))

    def step(self, objective, state):
        w, count, spent = state
        return self._row(w, count + 1, spent + jnp.where(count < self.after, self.first, self.later))

    def _row(self, w, count, spent):
        row = dict.fromkeys(self.columns, spent) | {"steps": count, "loss": 1.0, "gradient_norm": 1.0, "ended": 0}
        return (w, count, spent), row

    def weights(self, state):
        return state[0]


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(seconds=0.0, chunks=0)
    chunk = _compiled.CompiledRun._chunk

    def timed(run, state, row, limits, length):
        out = chunk(run, state, row, limits, length)
        at = run.names.index("presentations")
        now.seconds += TICK * float(out[1][at] - row[at])
        now.chunks += int(out[3]) > 0
        return out

    fake = types.SimpleNamespace(perf_counter=lambda: now.seconds)
    monkeypatch.setattr(_compiled.CompiledRun, "_chunk", timed)
    for module in (_compiled, driver):
        monkeypatch.setattr(module, "time", fake)
    return now


def run(solver, seconds):
    objective = sg.minimise(lambda w: (w**2).sum(), np.ones(2))
    solution = sg.solve(objective, solver, until=Until(wall_seconds=seconds))
    assert solution.outcome is Outcome.OUT_OF_TIME
    return solution


def test_even_steps_end_with_the_budget(clock):
    solution = run(Working(), 1.0)
    assert 1.0 <= solution.wall_seconds < 1.0 + 2 * TICK
    assert clock.chunks < 50  # chunks of 50 steps, not of one


@pytest.mark.parametrize("after", [1, 3, 60, 800])
def test_steps_that_become_dear_are_noticed_within_a_chunk(clock, after):
    # Before, a chunk was so many steps, however much they came to: 50 of 0.2 s each.
    solution = run(Working(after=after, later=200.0), 1.5)
    assert -0.2 < solution.wall_seconds - 1.5 <= 0.2 + TICK


def test_a_step_that_would_end_late_is_not_begun(clock):
    # Steps of 2 s: after the second 1 s is left, and 1.6 s, where 2 s are not half a second too many.
    solution = run(Working(first=2000.0), 5.0)
    assert (solution.statistics.steps, solution.wall_seconds) == (2, pytest.approx(4.0))
    solution = run(Working(first=2000.0), 5.6)
    assert (solution.statistics.steps, solution.wall_seconds) == (3, pytest.approx(6.0))


def test_the_first_step_is_taken(clock):
    assert run(Working(first=9000.0), 1.0).statistics.steps == 1


def test_one_dear_step_is_forgotten(clock):
    # Steps of 4 s, and then of 1 ms: the run does not end early for it.
    solution = run(Working(first=4000.0, after=1, later=1.0), 8.0)
    assert solution.wall_seconds == pytest.approx(8.0, abs=0.01)


def test_a_loop_is_compiled_once(monkeypatch):
    # A plain number in a state had another type after the first chunk, and the loop was compiled again in the run.
    types_seen = set()
    chunk = _compiled.CompiledRun._chunk

    def noted(run, state, *arguments):
        types_seen.add(tuple((leaf.dtype, getattr(leaf, "weak_type", False)) for leaf in jax.tree.leaves(state)))
        return chunk(run, state, *arguments)

    monkeypatch.setattr(_compiled.CompiledRun, "_chunk", noted)
    objective = sg.minimise(lambda w: (w**2).sum(), np.ones(2))
    sg.solve(objective, "optax-lbfgs", until=Until(steps=4), validation=lambda params: 0.0)
    assert len(types_seen) == 1
    assert not any(weak for leaf in types_seen for _, weak in leaf)
