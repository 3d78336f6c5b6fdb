"""When a step is accepted, how long the next one is, and what a run has cost: rules that every own method shares."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad.curvature.point import ROUNDINGS, Point
from stiffgrad.objective import derivatives
from stiffgrad.solvers import _compiled
from stiffgrad.solvers._combination import _fall
from stiffgrad.solvers._control import SMALLER, Control, judge
from stiffgrad.solvers._own import Place, relative_length
from stiffgrad.solvers._tally import COUNTED, Prices, Tally, dense_prices

EPS = np.finfo(float).eps


@pytest.fixture
def objective():
    """23 weights, 2 outputs."""
    X = np.random.default_rng(0).normal(size=(20, 3))
    return sg.supervised(sg.mlp([3, 3, 2]), X, np.sin(X[:, :2]))


def point(loss, gradient=(3.0, 4.0)):
    return Point(jnp.zeros(2), jnp.asarray(loss), jnp.asarray(gradient))


@pytest.mark.parametrize(
    ("loss", "gradient", "promise", "share", "accepted", "ratio"),
    [
        (0.5, (3.0, 4.0), 1.0, 0.0, True, 0.5),
        (0.5, (6.0, 8.0), 0.25, 0.0, True, 2.0),  # the gradient has no say where the energy tells
        (1.5, (0.3, 0.4), 1.0, 0.0, False, -0.5),
        (0.95, (0.3, 0.4), 1.0, 0.1, False, 0.05),  # it fell by less than its share of the promise
        (0.85, (6.0, 8.0), 1.0, 0.1, True, 0.15),
        (1.0 - 2 * ROUNDINGS * EPS, (6.0, 8.0), 1.0, 0.1, False, 2 * ROUNDINGS * EPS),
        (1.0 + ROUNDINGS * EPS / 2, (0.3, 0.4), 1.0, 0.0, True, -ROUNDINGS * EPS / 2),  # equal but for rounding
        (1.0 + ROUNDINGS * EPS / 2, (2.999, 3.999), 1.0, 0.0, False, -ROUNDINGS * EPS / 2),
        (1.0, (0.3, 0.4), ROUNDINGS * EPS / 2, 0.0, True, 1.0),  # the promise itself is hidden
        (0.5, (3.0, 4.0), -1.0, 0.0, True, 1.0),  # and so is one that is none
        (np.nan, (0.3, 0.4), 1.0, 0.0, False, np.nan),
        (-np.inf, (0.3, 0.4), 1.0, 0.0, False, np.inf),
    ],
)
def test_a_step_is_judged(loss, gradient, promise, share, accepted, ratio):
    verdict = judge(point(1.0), point(loss, gradient), promise, share)
    assert bool(verdict.accepted) == accepted
    np.testing.assert_allclose(verdict.ratio, ratio, rtol=1e-9)
    assert bool(verdict.hidden) == (promise < ROUNDINGS * EPS)


def test_a_gradient_must_shrink_by_a_part_where_it_judges():
    for factor, accepted in ((SMALLER + 1e-3, False), (SMALLER - 1e-3, True)):
        assert bool(judge(point(1.0), point(1.0, (3.0 * factor, 4.0 * factor)), 1.0).accepted) == accepted


def test_a_start_is_accepted_as_it_is():
    verdict = judge(point(np.inf), point(7.0, (60.0, 80.0)), -3.0)
    assert verdict.accepted
    assert verdict.ratio == 1.0
    assert not judge(point(np.inf), point(np.nan), 1.0).accepted


@pytest.mark.parametrize(
    ("ratio", "factor"),
    [(1.0, 10.0), (0.97, 5.0), (1.03, 5.0), (0.9, 1.5), (0.85, 1.0), (0.5, 1.0), (0.26, 1.0), (0.25, 0.5), (0.01, 0.5)],
)
def test_the_next_step_follows_the_error_of_the_model(ratio, factor):
    """bend / |1 - ratio| = 0.15 / |1 - ratio|, between 1 and 10; half where less than a quarter came of the promise."""
    verdict = judge(point(1.0), point(1.0 - ratio * 0.5), 0.5)
    np.testing.assert_allclose(Control().next_step(jnp.asarray(2.0), verdict), 2.0 * factor, rtol=1e-6)


def test_a_step_shrinks_where_it_was_rejected_and_has_a_bound():
    rejected, perfect = judge(point(1.0), point(2.0), 0.5), judge(point(1.0), point(0.5), 0.5)
    assert Control().next_step(jnp.asarray(2.0), rejected) == 0.5
    assert Control(longest=3.0).next_step(jnp.asarray(2.0), perfect) == 3.0
    assert Control(leap=4.0).next_step(jnp.asarray(2.0), perfect) == 8.0


# ---- counts


def test_counts_add_up_and_are_had_by_name():
    tally = Tally.zero()
    for number, name in enumerate(COUNTED):
        tally = tally.plus(**{name: number}).plus(**{name: np.bool_(True)})
    assert [int(getattr(tally, name)) for name in COUNTED] == [number + 1 for number in range(len(COUNTED))]
    with pytest.raises(AttributeError, match="no count 'gradient': it has steps, rejected"):
        _ = tally.gradient
    with pytest.raises(AssertionError, match="no such counts: gradient"):
        tally.plus(gradient=1)


def test_presentations_and_cost_of_each_count(objective):
    """One count at a time, so that no two formulas can be mistaken for each other."""
    n, outputs = objective.size, 2
    prices = Prices(gradient=3.0, loss=5.0, product=7.0, single=2.0, jacobian=11.0, hessian=13.0, factorization=17.0)
    expected = {  # presentations, cost
        "steps": (0, 0.0), "rejected": (0, 0.0), "gradients": (1, 3.0), "losses": (1, 5.0), "products": (2, 7.0),
        "jacobians": (outputs, 11.0), "hessians": (2 * n, 13.0), "factorizations": (0, 17.0), "solves": (0, 0.0),
        "singles": (0, -(1.0 - 2.0)),
    }  # fmt: skip
    for name, (presentations, cost) in expected.items():
        tally = Tally.zero().plus(**{name: 1})
        assert tally.presentations(objective) == presentations, name
        row = tally.row(objective, prices)
        assert (row["presentations"], row["cost"]) == (presentations, cost if name != "singles" else 1.0), name
    both = Tally.zero().plus(jacobians=2, hessians=3)
    assert both.row(objective, prices)["jacobian_evaluations"] == 5


def test_prices_of_dense_work_are_those_of_its_operations(objective):
    """A factorization takes side^3 / 3 operations, as cheap as 1.5 times as many of a gradient."""
    prices = dense_prices(objective, 6000.0, 30.0)
    assert prices.factorization == pytest.approx(30.0**3 / 3.0 / (1.5 * objective.gradient_flops))
    assert prices.jacobian == pytest.approx(2 + 6000.0 / (1.5 * objective.gradient_flops))
    assert prices.hessian == 2 * objective.size
    assert Prices() == (1.0, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0)


def test_a_place_counts_steps_and_rejections_but_not_its_start():
    place = Place.start(np.zeros(2))
    place = place.moved(np.bool_(True), Point(np.ones(2), np.float64(2.0), np.ones(2)), 0.5, gradients=1)
    assert (place.tally.steps, place.tally.rejected, place.tally.gradients, place.flow_time) == (0, 0, 1, 0.0)
    better = Point(np.full(2, 2.0), np.float64(1.0), np.ones(2))
    after = place.moved(np.bool_(False), better, 0.5, gradients=1)
    assert (after.tally.steps, after.tally.rejected, after.flow_time, after.tries) == (0, 1, 0.0, 1)
    assert after.point.loss == 2.0
    assert after.moved(np.bool_(False), better, 0.5).tries == 2
    after = after.moved(np.bool_(True), better, 0.5, gradients=1)
    assert (after.tally.steps, after.tally.rejected, after.tally.gradients) == (1, 1, 3)
    assert (after.flow_time, after.tries, after.point.loss) == (0.5, 0, 1.0)
    assert after.moved(np.bool_(True), better, 0.5, rejected=4).tally.rejected == 5


def test_time_along_the_flow_is_length_over_speed():
    assert relative_length(np.array([3.0, 4.0]), np.array([0.0, 2.0])) == 2.5
    assert relative_length(np.array([3.0, 4.0]), np.zeros(2)) == 5.0


def test_falls_are_compared_in_logarithms_and_at_rounding_by_a_trace_of_the_gradient():
    assert _fall(8.0, 2.0, 1.0, 1.0) == pytest.approx(np.log(4.0))
    assert _fall(1.0, -1.0, 1.0, 1.0) == 2.0  # a loss below zero has no logarithm
    assert _fall(np.inf, 1.0, 1.0, 1.0) == np.inf
    assert 0.0 < _fall(1.0, 1.0, 1.0, 0.5) < 1e-15
    assert -1e-15 < _fall(1.0, 1.0, 0.5, 1.0) < 0.0


@dataclasses.dataclass(frozen=True)
class _Idle(_compiled.SteppedSolver):
    """Tries for ever, and gets nowhere."""

    name = "idle"
    columns = ("loss", "gradient_norm", "steps")

    def initial(self, objective, w):
        loss = derivatives.value(objective, w)
        return w, {"loss": loss, "gradient_norm": 1.0, "steps": 0.0, "ended": 0}

    def weights(self, state):
        return state

    def step(self, objective, state):
        return state, {"loss": 0.0, "gradient_norm": 1.0, "steps": 0.0, "ended": 0, "recorded": False}


jax.tree_util.register_dataclass(_Idle, data_fields=[], meta_fields=[])


def test_a_method_that_gets_nowhere_is_ended_by_its_budget():
    objective = sg.minimise(lambda w: jnp.sum(w**2), np.ones(2))
    solution = sg.solve(objective, _Idle(), until=sg.Until(loss=1e-9, wall_seconds=0.3), throw=False)
    assert solution.outcome is sg.Outcome.OUT_OF_TIME
