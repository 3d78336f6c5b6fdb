"""Many starts at once: the same answers as one by one, best first, each with its own stop and statistics."""

import numpy as np
import pytest

import stiffgrad as sg


def make(seed):
    apply, params = sg.mlp([3, 4, 1], seed=seed)
    X = np.array([[a, b, c] for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)])
    return sg.supervised(apply, params, X, X.sum(axis=1) % 2)


@pytest.fixture(scope="module")
def objective():
    return make(0)


@pytest.fixture(scope="module")
def starts(objective):
    return [objective.unflatten(make(seed).w0) for seed in range(5)]


@pytest.fixture(scope="module")
def solutions(objective, starts):
    return sg.multistart(objective, starts, sg.Until(loss=1e-6, steps=200))


def test_same_answers_as_one_by_one(solutions):
    alone = [sg.solve(make(seed), "rosenbrock", until=sg.Until(loss=1e-6, steps=200)) for seed in range(5)]
    alone.sort(key=lambda solution: solution.loss)
    assert [s.statistics for s in solutions] == [s.statistics for s in alone]
    for together, single in zip(solutions, alone, strict=True):
        assert np.allclose(together.w, single.w, rtol=1e-6, atol=1e-8)


def test_best_first_each_with_its_own_stop(solutions):
    losses = [solution.loss for solution in solutions]
    assert losses == sorted(losses)
    assert len({solution.statistics.steps for solution in solutions}) > 1
    for solution in solutions:
        assert solution.outcome is sg.Outcome.TARGET
        assert solution.trace["loss"][-1] <= 1e-6 < solution.trace["loss"][-2]


def test_flat_starts(objective, starts, solutions):
    flat = np.stack([objective.flatten(start) for start in starts])
    again = sg.multistart(objective, flat, sg.Until(loss=1e-6, steps=200))
    assert [s.loss for s in again] == [s.loss for s in solutions]


def test_budget_of_steps(objective, starts):
    for solution in sg.multistart(objective, starts, sg.Until(steps=3)):
        assert solution.statistics.steps == 3
        assert solution.outcome is sg.Outcome.OUT_OF_STEPS


@pytest.mark.parametrize(
    ("starts", "error", "word"),
    [
        ([], ValueError, "starts is empty"),
        (np.full((2, 21), np.nan), ValueError, "NaN"),
        (np.zeros((2, 3)), TypeError, "starts"),
        ([{"a": np.zeros(2)}], ValueError, "structure"),
    ],
)
def test_bad_starts(objective, starts, error, word):
    with pytest.raises(error, match=word):
        sg.multistart(objective, starts)


@pytest.mark.parametrize("name", ["auto", "quasi-newton"])
def test_auto_chooses_for_all_starts(objective, starts, name):
    solutions = sg.multistart(objective, starts, sg.Until(steps=5), solver=name)
    alone = sg.solve(objective.with_start(starts[0]), name, until=sg.Until(steps=5))
    assert len(solutions) == len(starts)
    assert min(abs(alone.loss - solution.loss) for solution in solutions) <= 1e-9 * alone.loss


def test_solver_must_be_compiled(objective, starts):
    with pytest.raises(TypeError, match="vode"):
        sg.multistart(objective, starts, solver="vode")
