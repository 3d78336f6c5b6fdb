"""Solutions on disk, in pickles, in notebooks and in pictures."""

import dataclasses
import json
import pickle
import zipfile
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stiffgrad as sg
from stiffgrad.run.saving import packed, unpacked

X = np.linspace(-1, 1, 7)[:, None]
y = np.sin(X[:, 0])
FEW = {"solver": "lbfgs", "until": sg.Until(steps=3)}  # compiles little


@pytest.fixture(scope="module")
def network():
    apply, params = sg.mlp([1, 3, 1], seed=0)
    objective = sg.supervised(apply, params, X, y)
    return objective, sg.solve(objective, **FEW, validation=objective)


def same(tree, other):
    assert jax.tree.structure(tree) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.asarray(a).dtype == np.asarray(b).dtype


def equal(one, two):
    for field in dataclasses.fields(one):
        if field.name not in ("params", "best_params", "w", "trace", "state", "restore", "predictor"):
            assert getattr(one, field.name) == getattr(two, field.name), field.name
    same([one.params, one.best_params, one.w], [two.params, two.best_params, two.w])
    same({name: one.trace[name] for name in one.trace}, {name: two.trace[name] for name in two.trace})


def test_a_solution_comes_back_from_its_file_bit_for_bit(tmp_path, network):
    objective, solution = network
    solution.save(tmp_path / "a.npz")
    read = sg.load(tmp_path / "a.npz")
    equal(read, solution)
    assert read.outcome is solution.outcome
    assert objective.value(objective.flatten(read.params)) == pytest.approx(solution.loss, rel=1e-14)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["w"], solution.w)


leaves = st.integers(-5, 5) | st.floats(allow_nan=False) | st.none()
containers = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
)


@given(containers)
def test_every_plain_structure_comes_back(tree):
    structure, arrays = packed(tree, "p")
    assert unpacked(json.loads(json.dumps(structure)), "p", arrays) == tree


class Line(NamedTuple):
    a: float
    b: float


def test_other_structures_come_back_with_the_objective(tmp_path):
    objective = sg.least_squares(
        lambda p, s: p.a * s[0] + p.b - s[1], Line(0.0, 0.0), np.array([[0.0, 1.0], [1.0, 3.0]])
    )
    solution = sg.solve(objective, **FEW)
    solution.save(tmp_path / "a.npz")
    np.testing.assert_array_equal(sg.load(tmp_path / "a.npz").params, solution.w)
    assert sg.load(tmp_path / "a.npz", objective).params == solution.params


def test_a_model_comes_back_with_the_objective(tmp_path):
    model = eqx.nn.MLP(1, 1, 3, 1, activation=jnp.tanh, key=jax.random.key(0))
    objective = sg.supervised(model, X, y)
    solution = sg.solve(objective, **FEW)
    solution.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"load\(path, objective\)"):
        _ = sg.load(tmp_path / "a.npz").model
    same(sg.load(tmp_path / "a.npz", objective).model, solution.model)


def _zip(path, **settings):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("settings.json", json.dumps(settings))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "no stiffgrad solution"),
        ({"format": "stiffgrad solution", "version": 99}, "version 99"),
        ({"format": "stiffgrad solution", "version": 1, "shapes": {"w": [3]}}, "has no 'loss'"),
        ({"format": "stiffgrad solution", "version": 1, "shapes": {}}, "no weights"),
    ],
)
def test_foreign_files_are_refused(tmp_path, settings, match):
    _zip(tmp_path / "a.npz", **settings)
    with pytest.raises(ValueError, match=match):
        sg.load(tmp_path / "a.npz")


def test_unreadable_files_are_refused(tmp_path, network):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        sg.load(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match="damaged"):
        sg.load(tmp_path / "text.npz")
    network[1].save(tmp_path / "a.npz")
    other = sg.supervised(*sg.mlp([1, 4, 1]), X, y)
    with pytest.raises(ValueError, match="another one"):
        sg.load(tmp_path / "a.npz", other)
    with pytest.raises(ValueError, match="folder does not exist"):
        network[1].save(tmp_path / "no" / "a.npz")


class Net(eqx.Module):
    layer: eqx.nn.Linear

    def __call__(self, x):
        return jnp.cos(self.layer(x))


def test_solutions_and_objectives_pickle(network):
    objective, solution = network
    again, copy = pickle.loads(pickle.dumps((objective, solution)))
    equal(copy, solution)
    assert again.value(solution.w) == pytest.approx(solution.loss, rel=1e-12)
    layer = eqx.nn.Linear(1, 1, key=jax.random.key(0))
    for model in (Net(layer), layer):  # the second is recognised as a perceptron
        objective = sg.supervised(model, X, y)
        solution = sg.solve(objective, **FEW)
        again, copy = pickle.loads(pickle.dumps((objective, solution)))
        same(copy.model, solution.model)
        same(again.restore(copy.params), solution.model)
        assert again.value(solution.w) == pytest.approx(solution.loss, rel=1e-12)


def test_a_solution_pickles_without_a_model_that_does_not():
    model = eqx.nn.MLP(1, 1, 3, 1, activation=lambda x: jnp.tanh(x), key=jax.random.key(0))
    solution = pickle.loads(pickle.dumps(sg.solve(sg.supervised(model, X, y), **FEW)))
    with pytest.raises(ValueError, match="knows no model"):
        _ = solution.model


def test_pictures_and_tables(tmp_path, network):
    objective, solution = network
    figure = solution.plot()
    loss = figure.axes[0].lines[0]
    np.testing.assert_array_equal(loss.get_ydata(), solution.trace["loss"])
    minimum = sg.minimum(objective, solution.params)
    assert len(minimum.eigenvalues) == objective.size
    assert minimum.eigenvalues[0] == minimum.eigenvalue_min
    shown = sum(len(line.get_xdata()) for line in minimum.plot().axes[0].lines[:-1])
    assert shown == objective.size
    plt.close("all")
    for thing in (objective, solution, minimum, sg.stiffness(objective, solution.params)):
        assert "<table>" in thing._repr_html_()
    assert f"{solution.loss:.6e}" in solution._repr_html_()
    solution.trace.to_csv(tmp_path / "a.csv")
    np.testing.assert_allclose(pd.read_csv(tmp_path / "a.csv")["loss"], solution.trace["loss"], rtol=1e-15)


def test_parquet_or_its_install_line(tmp_path, network):
    trace = network[1].trace
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match=r"pyarrow: pip install 'stiffgrad\[parquet\]'"):
            trace.to_parquet(tmp_path / "a.parquet")
    else:
        trace.to_parquet(tmp_path / "a.parquet")
        np.testing.assert_array_equal(pd.read_parquet(tmp_path / "a.parquet")["loss"], trace["loss"])
