"""What ends a run at a row of its trace, and what comes first where several things do."""

import numpy as np
import pytest

from stiffgrad import Outcome, Until
from stiffgrad.run.until import Stops

UNTIL = Until(loss=1e-3, gradient_norm=1e-4, wall_seconds=5.0, steps=10, presentations=50, flow_time=2.0)
ROW = {"loss": 1.0, "gradient_norm": 1.0, "steps": 3.0, "presentations": 4.0, "flow_time": 0.5}


def ending(seconds_left=1.0, **row):
    return Stops(UNTIL, lambda: seconds_left).ending(ROW | row)


def test_a_run_goes_on_short_of_all_targets_and_budgets():
    assert ending() is None
    assert ending(steps=9.0, presentations=49.0, flow_time=1.99, loss=1.001e-3, gradient_norm=1.001e-4) is None


@pytest.mark.parametrize(
    ("row", "outcome", "word"),
    [
        ({"loss": 1e-3}, Outcome.TARGET, "loss"),
        ({"gradient_norm": 1e-4}, Outcome.TARGET, "gradient norm"),
        ({"flow_time": 2.0 * (1 - 1e-13)}, Outcome.TARGET, "flow time"),
        ({"steps": 10.0}, Outcome.OUT_OF_STEPS, "10 steps"),
        ({"presentations": 50.0}, Outcome.OUT_OF_STEPS, "50 presentations"),
        ({"seconds_left": 0.0}, Outcome.OUT_OF_TIME, "5 s"),
        ({"loss": np.nan}, Outcome.DIVERGED, "after 3 steps"),
        ({"loss": np.inf, "steps": 0.0}, Outcome.DIVERGED, "at the start"),
    ],
)
def test_each_target_and_budget_ends_it(row, outcome, word):
    found = ending(**row)
    assert found.outcome is outcome
    assert word in found.reason
    assert bool(found.advice) == ("at the start" in found.reason)


def test_a_target_comes_before_a_budget_and_what_diverged_before_both():
    spent = {"steps": 10.0, "presentations": 50.0, "seconds_left": 0.0}
    assert ending(loss=1e-4, **spent).outcome is Outcome.TARGET
    assert ending(loss=np.nan, gradient_norm=0.0, **spent).outcome is Outcome.DIVERGED
    assert ending(**spent).reason == "10 steps were allowed"


def test_without_a_target_of_the_gradient_only_zero_is_stationary():
    stops = Stops(Until(loss=None), lambda: np.inf)
    assert stops.ending(ROW | {"gradient_norm": 1e-300}) is None
    assert stops.ending(ROW | {"gradient_norm": 0.0}).outcome is Outcome.STATIONARY
