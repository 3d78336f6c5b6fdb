"""Options: one validator, and every option of every solver refuses what it cannot use, by name."""

import dataclasses

import numpy as np
import pytest

import stiffgrad as sg
from stiffgrad import _checks


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: _checks.whole("pairs", 2.0), TypeError, "pairs=2.0 must be a whole number, at least 0"),
        (lambda: _checks.whole("pairs", True), TypeError, "pairs=True must be"),
        (lambda: _checks.whole("pairs", -1), ValueError, "pairs=-1 must be"),
        (
            lambda: _checks.whole("k", 9, 1, 5, "None is all"),
            ValueError,
            "k=9 must be a whole number, from 1 to 5; None",
        ),
        (lambda: _checks.number("m", 1.0, least=0.0, below=1.0), ValueError, "m=1.0 must be a finite .* below 1"),
        (lambda: _checks.number("m", np.nan), ValueError, "m=nan"),
        (lambda: _checks.positive("h0", "x"), TypeError, "h0='x' must be a positive"),
        (lambda: _checks.positive("h0", np.inf), ValueError, "h0=inf"),
        (lambda: _checks.choice("kind", True, ("a", 1.0)), ValueError, "kind=True is unknown; use one of 'a', 1.0"),
        (lambda: _checks.choice("kind", np.zeros(2), ("a", "b")), ValueError, "kind=array"),
        (lambda: _checks.flag("throw", "no"), TypeError, "throw='no' must be True or False"),
        (lambda: _checks.flag("throw", 1), TypeError, "throw=1"),
    ],
)
def test_what_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_what_is_taken():
    assert _checks.whole("n", np.int32(3)) == 3
    assert _checks.positive("h0", np.float32(0.5)) == _checks.number("h0", 0.5) == 0.5
    assert _checks.choice("kind", "b", ("a", "b")) == "b"
    assert _checks.flag("throw", np.True_) is True


def bad_values():
    """For each solver and option what no option of its type can be."""
    for name in sg.solvers.names():
        for field in dataclasses.fields(sg.solvers.solver_class(name)):
            default, kind = field.default, str(field.type)
            if isinstance(default, bool):
                bad = ["no", 1]
            elif isinstance(default, int) or "int" in kind:
                bad = ["x", 2.5, -1, True]
            elif isinstance(default, float) or "float" in kind or field.name == "learning_rate":
                bad = ["x", np.nan, -1.0, True]
            else:
                bad = ["unheard of", 3]
            yield from ((name, field.name, value) for value in bad)


@pytest.mark.parametrize(("name", "option", "value"), list(bad_values()))
def test_every_option_refuses_what_it_cannot_be(name, option, value):
    objective = sg.minimise(lambda w: (w**2).sum(), np.ones(2))
    if sg.solvers.solver_class(name).squares_only:
        objective = sg.least_squares(lambda w, s: w - s, np.ones(2), np.zeros((3, 2)))
    with pytest.raises((TypeError, ValueError), match=option):
        sg.solve(objective, sg.solvers.create(name, **{option: value}))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cvode-krylov", {"krylov_dim": 10**9}),
        ("exponential", {"krylov": 10**7}),
        ("exponential", {"pairs": 10**7}),
        ("lbfgs", {"memory": 10**7}),
    ],
)
def test_memory_is_asked_for_before_it_is_taken(name, options):
    with pytest.raises(MemoryError, match=next(iter(options))):
        sg.solve(sg.minimise(lambda w: (w**2).sum(), np.ones(2)), sg.solvers.create(name, **options))


DENSE = ["rosenbrock", "quasi-newton", "vode", "zvode", "lsoda", "radau", "bdf", "cvode", "cvode-adams", "kvaerno5"]
DENSE += ["implicit-euler", "bfgs", "optimistix-bfgs", "ssbroyden", "levenberg-marquardt", "minpack"]


@pytest.mark.parametrize("name", DENSE)
def test_every_dense_method_asks_for_its_matrices_first(name, monkeypatch):
    objective = sg.least_squares(lambda w, s: w * s, np.ones(100), np.ones((200, 100)))
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: 8.0 * 100**2)  # one matrix of n x n
    with pytest.raises(MemoryError, match=f"solver '{name}' needs about .* use solver="):
        sg.solve(objective, name)


def test_a_batch_is_no_larger_than_the_data():
    objective = sg.least_squares(lambda w, s: w - s, np.ones(2), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="batch_size=1000000000 must be a whole number, from 1 to 3; None takes all"):
        sg.solve(objective, sg.solvers.create("sgd", batch_size=10**9))


def test_memory_is_that_of_the_matrix_that_is_formed(monkeypatch):
    # 8 rows and 100 weights: the kernel is 8 x 8, but the path's and the exact Hessian's matrices are n x n.
    from stiffgrad.curvature.dense import GaussNewton

    objective = sg.least_squares(lambda w, s: w @ s, np.ones(100), np.ones((8, 100)))
    small = GaussNewton().bytes(objective)
    assert small == 8 * (
        3 * 8 * 100 + 4 * 8**2
    )  # the rows, twice more where they are joined, the matrix and its copies
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: 4.0 * small)
    for solver in (sg.solvers.ROS2(), sg.solvers.Rosenbrock(curvature="hessian")):
        with pytest.raises(MemoryError, match=solver.name):
            sg.solve(objective, solver)


@pytest.mark.parametrize("name", ["kvaerno5", "implicit-euler", "levenberg-marquardt"])
def test_products_at_once_are_asked_for_too(name, monkeypatch):
    # All Hessian products, or columns of the Jacobian, at once: 100 times what a gradient holds.
    apply, params = sg.mlp([1, 33, 1])
    objective = sg.supervised(apply, params, np.linspace(-1, 1, 3000)[:, None], np.zeros(3000))
    matrices = 8.0 * 4.0 * 3000 * 100
    monkeypatch.setattr("stiffgrad._memory.available_bytes", lambda: 2.0 * matrices)
    with pytest.raises(MemoryError, match=f"solver '{name}' needs about"):
        sg.solve(objective, name)


# ---- beyond the solvers' options


def bowl():
    return sg.minimise(lambda w: (w**2).sum(), np.ones(2))


def labelled(y, loss="cross_entropy"):
    apply, params = sg.mlp([1, 2, 2])
    return sg.supervised(apply, params, np.ones((2, 1)), y, loss)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: sg.multistart(bowl(), [np.ones(2)], 5), TypeError, "until must be stiffgrad.Until"),
        (lambda: sg.multistart(None, [np.ones(2)]), TypeError, "objective must be a stiffgrad.Objective, not NoneType"),
        (lambda: sg.mlp([1, 10**9, 10**9]), MemoryError, "GiB.*take fewer units"),
        (lambda: sg.Until(steps=2.5), ValueError, r"steps=2.5\) must be a whole number"),
        (lambda: sg.solve(bowl(), throw="no"), TypeError, "throw='no' must be True or False"),
        (lambda: sg.solve(bowl(), validation=lambda p: np.nan), ValueError, "validation is nan at the start"),
        (lambda: sg.solve(bowl(), validation=lambda p: "good"), TypeError, "validation must return a number.*not str"),
        (lambda: bowl().with_decay(np.array([-1.0, 0.0])), ValueError, "decay must be finite and not neg.*seen -1"),
        (lambda: labelled(np.array([[0.5, 0.6], [1.0, 0.0]])), ValueError, "sums to 1.1: divide each row"),
        (lambda: labelled(np.ones((2, 2)), lambda z, y: (z - y).sum() * 1j), ValueError, "one real number"),
        (lambda: labelled(np.ones((2, 2)), lambda z, y: 1), ValueError, "one real number"),
        (lambda: sg.minimise(lambda w: (w * 1j).sum(), np.ones(2)), TypeError, "real numbers"),
        (lambda: sg.minimise(lambda w: 3, np.ones(2)), TypeError, "real numbers"),
        (lambda: sg.supervised(*sg.mlp([1, 1]), None, np.ones(2)), ValueError, r"samples must be arrays .* not None"),
        (lambda: sg.Objective(np.ones(1), sg.Term(abs, np.ones(3))), TypeError, r"not Term; one .* \[term\]$"),
    ],
)  # fmt: skip
def test_bad_input_is_named_with_its_remedy(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("name", ["auto", "rosenbrock", "bdf", "adam"])
def test_a_start_without_a_loss_is_told_as_such(name):
    objective = sg.minimise(lambda w: (w * np.nan).sum(), np.ones(2))
    with pytest.raises(sg.SolveError, match=r"the loss is nan at the start\). Start from other parameters") as caught:
        sg.solve(objective, name)
    assert "auto'" not in str(caught.value)
