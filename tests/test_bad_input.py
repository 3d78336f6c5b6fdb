"""Input as users get it wrong, over the whole public API: every case is refused by a ValueError or TypeError.

Each case is a call and what its message must name. The command line's are in `tests/cli/test_bad_commands.py`.
"""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.estimators import FlowClassifier, FlowRegressor, TableModel

X = np.linspace(-1, 1, 24).reshape(12, 2)
Y = np.sin(X.sum(1))
LABELS = np.arange(12) % 3
FRAME = pd.DataFrame(X, columns=["a", "b"])
APPLY, PARAMS = sg.mlp([2, 3, 1])


def bowl(start=(1.0, 2.0)):
    return sg.minimise(lambda w: (w**2).sum(), np.array(start))


def fitted():
    return sg.supervised(APPLY, PARAMS, X, Y)


def supervised(**changes):
    arguments = {"apply": APPLY, "params": PARAMS, "X": X, "y": Y} | changes
    return lambda: sg.supervised(**arguments)


def weighted(weight):
    return lambda: sg.Objective(np.ones(2), [sg.Term(lambda w, s: w, np.ones(3), weight=weight)])


def solve(*arguments, **options):
    return lambda: sg.solve(bowl(), *arguments, **options)


def until(**budget):
    return lambda: sg.Until(**budget)


def regress(X=X, y=Y, **options):
    return lambda: FlowRegressor(**options).fit(X, y)


def classify(X=X, y=LABELS, **options):
    return lambda: FlowClassifier(**options).fit(X, y)


NAN = np.where(np.arange(24).reshape(12, 2) == 5, np.nan, X)

NETWORKS = {
    "no sizes": (lambda: sg.mlp([]), "sizes"),
    "one size": (lambda: sg.mlp([3]), "sizes"),
    "a number": (lambda: sg.mlp(3), "sizes"),
    "text": (lambda: sg.mlp("2,3,1"), "sizes"),
    "float sizes": (lambda: sg.mlp([2, 3.0, 1]), "sizes"),
    "zero units": (lambda: sg.mlp([2, 0, 1]), "sizes"),
    "negative units": (lambda: sg.mlp([2, -3, 1]), "sizes"),
    "None among sizes": (lambda: sg.mlp([2, None, 1]), "sizes"),
    "nested sizes": (lambda: sg.mlp([[2, 3], [3, 1]]), "sizes"),
    "an activation that nobody knows": (lambda: sg.mlp([2, 3, 1], activation="swisch"), "activation"),
    "an activation that is a function": (lambda: sg.mlp([2, 3, 1], activation=jnp.tanh), "activation"),
    "no activation": (lambda: sg.mlp([2, 3, 1], activation=None), "activation"),
    "a text as seed": (lambda: sg.mlp([2, 3, 1], seed="a"), "seed"),
    "a float seed": (lambda: sg.mlp([2, 3, 1], seed=1.5), "seed"),
    "a negative seed": (lambda: sg.mlp([2, 3, 1], seed=-1), "seed"),
    "a seed of None": (lambda: sg.mlp([2, 3, 1], seed=None), "seed"),
    "a sample of another size": (lambda: APPLY(PARAMS, np.ones(3)), "2|shape"),
}

OBJECTIVES = {
    "params under jit": (lambda: jax.jit(lambda p: supervised(params=p)().w0)(PARAMS), r"params\[0\].*jax.jit"),
    "samples under vmap": (lambda: jax.vmap(lambda s: supervised(X=s * X)().w0)(jnp.ones(2)), "samples.*vmap"),
    "targets under grad": (lambda: jax.grad(lambda s: supervised(y=s * Y)().value(PARAMS))(1.0), "targets.*grad"),
    "X of other width": (supervised(X=np.ones((12, 5))), r"2|5"),
    "fewer targets": (supervised(y=Y[:5]), "5|12"),
    "no samples": (supervised(X=X[:0], y=Y[:0]), "sample|empty|0"),
    "X of one dimension": (supervised(X=X[:, 0]), "shape|sample"),
    "X of text": (supervised(X=np.array([["a", "b"]] * 12)), "numbers"),
    "X of objects": (supervised(X=np.array([[None, 1]] * 12)), "numbers|None"),
    "complex X": (supervised(X=X * 1j), "complex"),
    "NaN in X": (supervised(X=NAN), "NaN|nan"),
    "infinity in y": (supervised(y=np.where(Y > 0, np.inf, Y)), "infinit|inf"),
    "ragged X": (supervised(X=[[1, 2], [3]], y=[1, 2]), "X|samples"),
    "dates as X": (supervised(X=np.array([["2024-01-01", "2024-01-02"]] * 12, "datetime64[D]")), "numbers"),
    "y of text": (supervised(y=np.array(["a"] * 12)), "target|y"),
    "y with two columns": (supervised(y=np.stack([Y, Y], 1)), r"\(2,\)|2"),
    "y of None": (supervised(y=None), "y"),
    "an unknown loss": (supervised(loss="mse"), "loss"),
    "no loss": (supervised(loss=None), "loss"),
    "a loss of one argument": (supervised(loss=lambda z: z), "loss"),
    "labels beyond the outputs": (supervised(y=np.arange(12), loss="cross_entropy"), "label|class|outputs"),
    "negative labels": (supervised(y=-np.arange(12), loss="cross_entropy"), "label|class|-"),
    "float labels": (supervised(y=Y, loss="cross_entropy"), "label|class|whole"),
    "labels of two columns": (supervised(y=LABELS[:, None] + 0.5, loss="cross_entropy"), "targets"),
    "binary labels of 2": (supervised(y=LABELS, loss="binary_cross_entropy"), "0|1"),
    "decay as text": (supervised(weight_decay="small"), "decay"),
    "negative decay": (supervised(weight_decay=-1.0), "decay"),
    "decay of NaN": (supervised(weight_decay=np.nan), "decay"),
    "decay of another structure": (supervised(weight_decay=[1.0]), "decay"),
    "decay of None": (supervised(weight_decay=None), "decay"),
    "weights of another length": (supervised(sample_weight=np.ones(3)), "weight"),
    "negative weights": (supervised(sample_weight=-np.ones(12)), "weight"),
    "weights of zero": (supervised(sample_weight=np.zeros(12)), "weight"),
    "weights of text": (supervised(sample_weight="balanced"), "weight"),
    "NaN weights": (supervised(sample_weight=np.full(12, np.nan)), "weight"),
    "another dtype": (supervised(dtype="float16"), "dtype"),
    "an integer dtype": (supervised(dtype=int), "dtype"),
    "no dtype": (supervised(dtype=None), "dtype"),
    "chunks of zero": (supervised(chunk_samples=0), "chunk_samples"),
    "chunks of 2.5": (supervised(chunk_samples=2.5), "chunk_samples"),
    "chunks of text": (supervised(chunk_samples="all"), "chunk_samples"),
    "a negative budget": (supervised(memory_budget=-1), "memory_budget"),
    "a budget of text": (supervised(memory_budget="1GB"), "memory_budget"),
    "no sharding": (supervised(sharding="gpu:0"), "sharding"),
    "NaN parameters": (supervised(params=[{"weight": np.full((1, 2), np.nan), "bias": np.zeros(1)}]), "param|NaN"),
    "no parameters": (supervised(params=[]), "param"),
    "integer parameters": (lambda: sg.minimise(lambda w: w.sum(), "abc"), "param"),
    "apply is no function": (supervised(apply=3), "apply.*not int"),
    "apply is a text": (supervised(apply="mlp"), "apply.*not str"),
    "apply of one argument": (supervised(apply=lambda p: p), "apply|argument|function"),
    "apply that returns nothing": (supervised(apply=lambda p, x: None), "None|nothing"),
    "apply that raises": (supervised(apply=lambda p, x: p["weight"]), "apply|function|params"),
    "apply that returns text": (supervised(apply=lambda p, x: "out"), "apply|function|text|str|output"),
    "apply with an index beyond": (supervised(apply=lambda p, x: x[5] * p[0]["bias"]), "function.*index 5"),
    "apply with numpy inside": (supervised(apply=lambda p, x: np.tanh(float(x[0]))), "apply|function|jax|JAX"),
    "nothing but a function": (lambda: sg.supervised(APPLY), "params|X|y|missing|supervised"),
    "a model alone": (lambda: sg.supervised((APPLY, PARAMS)), "X|y|missing|supervised"),
    "a scikit-learn model": (lambda: sg.supervised(FlowRegressor(), X, Y), "FlowRegressor|model"),
    "a loss with two arguments": (lambda: sg.minimise(lambda a, b: a, np.ones(2)), "loss|argument"),
    "a loss that is an array": (lambda: sg.minimise(lambda w: w, np.ones(2)), "scalar|number"),
    "a loss that is text": (lambda: sg.minimise(lambda w: "x", np.ones(2)), "str"),
    "a loss that returns None": (lambda: sg.minimise(lambda w: None, np.ones(2)), "number|None"),
    "a loss that is no function": (lambda: sg.minimise(3.0, np.ones(2)), "loss"),
    "a start of None": (lambda: sg.minimise(lambda w: 0.0, None), "param"),
    "a start of text": (lambda: sg.minimise(lambda w: 0.0, {"a": "b"}), "param"),
    "a start of complex numbers": (lambda: sg.minimise(lambda w: 0.0, np.ones(2) * 1j), "complex|param"),
    "a start that is empty": (lambda: sg.minimise(lambda w: 0.0, np.ones(0)), "param"),
    "residual that is no function": (lambda: sg.least_squares(None, np.ones(2), np.ones((3, 2))), "residual"),
    "residual without data": (lambda: sg.least_squares(lambda w, s: w - s, np.ones(2), None), "data|sample|None"),
    "residual of another shape": (lambda: sg.least_squares(lambda w, s: w - s, np.ones(2), np.ones((3, 5))), "sample"),
    "residual with an index beyond": (
        lambda: sg.least_squares(lambda w, s: w[0] - s[2], np.ones(2), np.ones((3, 2))),
        "index 2",
    ),
    "no terms": (lambda: sg.Objective(np.ones(2), []), "term"),
    "terms of None": (lambda: sg.Objective(np.ones(2), None), "term"),
    "terms of functions": (lambda: sg.Objective(np.ones(2), [abs]), "term|Term"),
    "a term without samples": (lambda: sg.Objective(np.ones(2), [sg.Term(lambda w, s: w, None)]), "sample|None"),
    "a term of no function": (lambda: sg.Objective(np.ones(2), [sg.Term(3, np.ones(3))]), "function"),
    "a term with a negative weight": (weighted(-1.0), "weight"),
    "a term with a weight of text": (weighted("x"), "weight"),
    "a term with a weight of NaN": (weighted(np.nan), "weight"),
    "a value elsewhere": (lambda: bowl().value(np.ones(3)), "3|2|shape"),
    "a value of text": (lambda: bowl().value("abc"), "w|number|shape|text"),
    "a gradient elsewhere": (lambda: bowl().gradient(np.ones(3)), "3|2|shape"),
    "a product with a short vector": (lambda: bowl().hvp(np.ones(2), np.ones(3)), "3|2|shape"),
    "a Gauss-Newton product of no residual": (lambda: bowl().gnvp(np.ones(2), np.ones(2)), "Gauss-Newton"),
    "a Gauss-Newton matrix of no residual": (lambda: bowl().gauss_newton(np.ones(2)), "Gauss-Newton"),
    "weights of another size": (lambda: bowl().unflatten(np.ones(3)), "3|2"),
    "parameters of another structure": (lambda: bowl().flatten({"a": 1.0}), "structure|param"),
    "a start of another structure": (lambda: bowl().with_start([1.0]), "structure|param|shape|size|1"),
    "a decay of another size": (lambda: bowl().with_decay(np.ones(3)), "decay"),
}  # fmt: skip

SOLVES = {
    "no objective": (lambda: sg.solve(None), "objective"),
    "a function as objective": (lambda: sg.solve(lambda w: 0.0), "objective"),
    "a pair as objective": (lambda: sg.solve((APPLY, PARAMS)), "objective"),
    "an unknown solver": (solve("adamm"), "did you mean 'adam'"),
    "no solver": (solve(None), "solver"),
    "a solver class": (solve(sg.solvers.Rosenbrock), "solver"),
    "a list of solvers": (solve(["adam"]), "solver"),
    "an empty solver": (solve(""), "solver"),
    "until a number": (solve(until=1e-8), "until"),
    "until a dict": (solve(until={"loss": 1e-8}), "until"),
    "progress of text": (solve(progress="yes"), "progress"),
    "progress of 1": (solve(progress=1), "progress"),
    "promote of None": (solve(promote=None), "promote"),
    "a callback that is no function": (solve(callback=3), "callback"),
    "a callback of no argument": (solve(callback=lambda: None), "callback"),
    "validation of data": (solve(validation=(X, Y)), "validation"),
    "validation of another objective": (solve(validation=fitted()), "validation|parameters|structure|shape"),
    "validation of None's": (solve(validation=lambda p: None), "validation"),
    "a checkpoint of a number": (solve(checkpoint=3), "checkpoint"),
    "a checkpoint in no folder": (solve(checkpoint="/nonexistent/run.npz"), "checkpoint"),
    "a checkpoint that is a folder": (solve(checkpoint="/"), "checkpoint"),
    "a checkpoint that is a device": (solve(checkpoint="/dev/null"), "checkpoint"),
    "a checkpoint with a zero byte": (solve(checkpoint="a\0b"), "checkpoint"),
    "an empty checkpoint": (solve(checkpoint=""), "checkpoint"),
    "a compilation that nobody knows": (solve(compilation="fast"), "compilation"),
    "a compilation of True": (solve(compilation=True), "compilation"),
    "times for a solver of no flow": (solve("adam", save_at=[0, 1]), "save_at"),
    "times of text": (solve("vode", save_at="0,1"), "save_at"),
    "times that fall": (solve("vode", save_at=[1, 0]), "save_at"),
    "negative times": (solve("vode", save_at=[-1, 1]), "save_at"),
    "no times": (solve("vode", save_at=[]), "save_at"),
    "times twice": (solve("vode", save_at=[1, 1]), "save_at"),
    "times of NaN": (solve("vode", save_at=[np.nan]), "save_at"),
    "times beyond the end": (solve("vode", save_at=[5], until=sg.Until(flow_time=1)), "save_at"),
    "times and a checkpoint": (solve("vode", save_at=[1], checkpoint="run.npz"), "save_at"),
    "a flow time for a solver of no flow": (solve("lbfgs", until=sg.Until(flow_time=1.0)), "flow_time"),
    "squares for what are none": (solve("levenberg-marquardt"), "sums of squares|squared"),
    "squares for what are none, by MINPACK": (solve("minpack"), "sums of squares|squared"),
    "Gauss-Newton for what has none": (solve(sg.solvers.Rosenbrock(curvature="gauss-newton")), "gauss-newton"),
    "a Jacobian that nobody knows": (solve(sg.solvers.VODE(jacobian="exact")), "jacobian"),
    "a schedule for a solver without one": (solve(sg.solvers.Chebyshev(rtol=sg.ToleranceSchedule(1e-2, 1e-6))), "rtol"),
    "a schedule that is no pair": (lambda: sg.ToleranceSchedule("a", "b"), "start|end|tolerance"),
    "a schedule that loosens": (lambda: sg.ToleranceSchedule(-1.0, 1e-3), "start|tolerance|-1"),
    "options of no solver": (lambda: sg.solvers.create("adam", rtol=1e-3), "rtol"),
    "an option that nobody knows": (lambda: sg.solvers.create("rosenbrock", step=1.0), "step"),
    "a solver that nobody knows": (lambda: sg.solvers.create("newton"), "newton"),
    "a class of no solver": (lambda: sg.solvers.solver_class("newton"), "newton"),
    "a learning rate of a schedule": (solve(sg.solvers.create("sgd", learning_rate=lambda t: 0.1)), "learning_rate"),
    "a learning rate of infinity": (solve(sg.solvers.create("sgd", learning_rate=np.inf)), "learning_rate"),
    "a NaN target": (until(loss=np.nan), "loss"),
    "a target of text": (until(loss="1e-8"), "loss"),
    "a negative gradient norm": (until(gradient_norm=-1.0), "gradient_norm"),
    "seconds of text": (until(wall_seconds="60s"), "wall_seconds"),
    "negative seconds": (until(wall_seconds=-1), "wall_seconds"),
    "seconds of a list": (until(wall_seconds=[60]), "wall_seconds"),
    "half a presentation": (until(presentations=0.5), "presentations"),
    "steps of True": (until(steps=True), "steps"),
    "steps of an array": (until(steps=np.array([3, 4])), "steps"),
    "a complex target": (until(loss=1j), "loss"),
    "a negative flow time": (until(flow_time=-1.0), "flow_time"),
    "no path": (lambda: sg.Checkpoint(None), "checkpoint|path"),
    "a negative interval": (lambda: sg.Checkpoint("a", every_seconds=-1), "every_seconds"),
    "an interval of text": (lambda: sg.Checkpoint("a", every_seconds="5"), "every_seconds"),
    "an interval of NaN": (lambda: sg.Checkpoint("a", every_seconds=np.nan), "every_seconds"),
    "keep_best of text": (lambda: sg.Checkpoint("a", keep_best="yes"), "keep_best"),
    "no starts": (lambda: sg.multistart(bowl(), []), "starts"),
    "starts of None": (lambda: sg.multistart(bowl(), None), "starts"),
    "starts of a number": (lambda: sg.multistart(bowl(), 5), "starts"),
    "starts of a dict": (lambda: sg.multistart(bowl(), {"a": 1}), "starts"),
    "starts of text": (lambda: sg.multistart(bowl(), "abc"), "starts|param|structure"),
    "starts of another size": (lambda: sg.multistart(bowl(), [np.ones(3)]), "3|2|structure|shape"),
    "starts in an array of another size": (lambda: sg.multistart(bowl(), np.ones((4, 3))), "starts"),
    "starts of NaN": (lambda: sg.multistart(bowl(), [np.full(2, np.nan)]), "NaN"),
    "starts by a solver that is not compiled": (lambda: sg.multistart(bowl(), [np.ones(2)], solver="vode"), "compiled"),
    "starts by no solver": (lambda: sg.multistart(bowl(), [np.ones(2)], solver="x"), "solver"),
    "starts until a flow time": (lambda: sg.multistart(bowl(), [np.ones(2)], sg.Until(flow_time=1)), "flow time"),
}  # fmt: skip

ANALYSES = {
    "minimum of no objective": (lambda: sg.minimum(None, np.ones(2)), "objective"),
    "minimum of no point": (lambda: sg.minimum(bowl(), None), "param|structure|point"),
    "minimum of a Solution": (lambda: sg.minimum(bowl(), sg.solve(bowl())), "Solution|params|structure"),
    "minimum at another size": (lambda: sg.minimum(bowl(), np.ones(3)), "3|2"),
    "minimum at NaN": (lambda: sg.minimum(bowl(), np.full(2, np.nan)), "NaN|nan|finite"),
    "a tolerance of text": (lambda: sg.minimum(bowl(), np.ones(2), gradient_tolerance="x"), "gradient_tolerance"),
    "a negative tolerance": (lambda: sg.minimum(bowl(), np.ones(2), gradient_tolerance=-1.0), "gradient_tolerance"),
    "products of zero": (lambda: sg.minimum(bowl(), np.ones(2), products=0), "products"),
    "products of 2.5": (lambda: sg.minimum(bowl(), np.ones(2), products=2.5), "products"),
    "dense of text": (lambda: sg.minimum(bowl(), np.ones(2), dense="yes"), "dense"),
    "the same minimum of one": (lambda: sg.same_minimum(bowl(), np.ones(2), None), "param|structure|b"),
    "the same minimum of no objective": (lambda: sg.same_minimum(PARAMS, np.ones(2), np.ones(2)), "objective"),
    "the same minimum at another size": (lambda: sg.same_minimum(bowl(), np.ones(2), np.ones(3)), "3|2"),
    "the same minimum at NaN": (lambda: sg.same_minimum(bowl(), np.ones(2), np.full(2, np.nan)), "NaN|nan|finite"),
    "one point between": (lambda: sg.same_minimum(bowl(), np.ones(2), np.zeros(2), points=1), "points"),
    "points of 2.5": (lambda: sg.same_minimum(bowl(), np.ones(2), np.zeros(2), points=2.5), "points"),
    "stiffness of no objective": (lambda: sg.stiffness(3, np.ones(2)), "objective"),
    "stiffness with rtol of text": (lambda: sg.stiffness(bowl(), np.ones(2), rtol="x"), "rtol"),
    "stiffness with rtol of zero": (lambda: sg.stiffness(bowl(), np.ones(2), rtol=0.0), "rtol"),
    "stiffness of products of -1": (lambda: sg.stiffness(bowl(), np.ones(2), products=-1), "products"),
    "stiffness with a seed of text": (lambda: sg.stiffness(bowl(), np.ones(2), seed="a"), "seed"),
    "stiffness at NaN": (lambda: sg.stiffness(bowl(), np.full(2, np.nan)), "NaN|nan|finite"),
    "stiffness along nothing": (lambda: sg.stiffness_along(bowl(), None), "points|iterable"),
    "spectrum of no objective": (lambda: sg.spectrum("x", np.ones(2)), "objective"),
    "spectrum without probes": (lambda: sg.spectrum(bowl(), np.ones(2), probes=0), "probes"),
    "spectrum with probes of 2.5": (lambda: sg.spectrum(bowl(), np.ones(2), probes=2.5), "probes"),
    "spectrum with no points": (lambda: sg.spectrum(bowl(), np.ones(2), points=0), "points"),
    "spectrum of a negative width": (lambda: sg.spectrum(bowl(), np.ones(2), width=-1.0), "width"),
    "spectrum of a width of text": (lambda: sg.spectrum(bowl(), np.ones(2), width="x"), "width"),
    "spectrum at NaN": (lambda: sg.spectrum(bowl(), np.full(2, np.nan)), "NaN|nan|finite"),
}  # fmt: skip

COMPARISONS = {
    "no problem": (lambda: sg.compare(None), "problem"),
    "a problem's name": (lambda: sg.compare("sine"), "problem"),
    "a function of no objective": (lambda: sg.compare(lambda seed: 3, ["adam"], 1), "objective|Objective"),
    "no solvers": (lambda: sg.compare(bowl(), []), "solver"),
    "a number for solvers": (lambda: sg.compare(bowl(), 3), "solvers"),
    "an unknown solver": (lambda: sg.compare(bowl(), ["adamm"]), "adam"),
    "solvers of None": (lambda: sg.compare(bowl(), None), "solver"),
    "options of another solver": (lambda: sg.compare(bowl(), [("adam", {"rtol": 1})], 1), "rtol"),
    "a pair of three": (lambda: sg.compare(bowl(), [("adam", {}, 3)], 1), "solver|pair"),
    "no seeds": (lambda: sg.compare(bowl(), ["adam"], 0), "seeds"),
    "negative seeds": (lambda: sg.compare(bowl(), ["adam"], -1), "seeds"),
    "seeds of text": (lambda: sg.compare(bowl(), ["adam"], "5"), "seeds"),
    "seeds of 2.5": (lambda: sg.compare(bowl(), ["adam"], 2.5), "seeds"),
    "seeds of None": (lambda: sg.compare(bowl(), ["adam"], None), "seeds"),
    "an empty list of seeds": (lambda: sg.compare(bowl(), ["adam"], []), "seeds"),
    "seeds of texts": (lambda: sg.compare(bowl(), ["adam"], ["a"]), "seed"),
    "until a number": (lambda: sg.compare(bowl(), ["adam"], 1, 1e-3), "until"),
    "until nothing": (lambda: sg.compare(bowl(), ["adam"], 1, sg.Until()), "target|loss"),
    "until two targets": (lambda: sg.compare(bowl(), ["adam"], 1, sg.Until(loss=1, gradient_norm=1)), "target|loss"),
    "without seconds": (lambda: sg.compare(bowl(), ["adam"], 1, sg.Until(loss=1.0, wall_seconds=None)), "wall_seconds"),
    "until steps": (lambda: sg.compare(bowl(), ["adam"], 1, sg.Until(loss=1.0, steps=5)), "steps"),
    "a folder that is a file": (lambda: sg.compare(bowl(), ["adam"], 1, out="/dev/null"), "out"),
    "a folder of a number": (lambda: sg.compare(bowl(), ["adam"], 1, out=5), "out|path"),
}  # fmt: skip

FILES = {
    "no file": (lambda: sg.load("/nonexistent.npz"), "does not exist"),
    "a folder": (lambda: sg.load("/tmp"), "no file"),
    "a path of None": (lambda: sg.load(None), "path"),
    "a path of a number": (lambda: sg.load(3), "path"),
    "code": (lambda: sg.load(__file__), "damaged"),
    "save into no folder": (lambda: sg.solve(bowl()).save("/nonexistent/a.npz"), "folder"),
    "save over a folder": (lambda: sg.solve(bowl()).save("/tmp"), "folder"),
    "save to None": (lambda: sg.solve(bowl()).save(None), "path"),
    "a column that no trace has": (lambda: sg.solve(bowl()).trace["los"], "los"),
    "a model of a function": (lambda: sg.solve(bowl()).model, "model"),
    "a model file that is code": (lambda: TableModel.load(pathlib.Path(__file__)), "damaged"),
    "no model file": (lambda: TableModel.load("/nonexistent"), "does not exist"),
}  # fmt: skip

ESTIMATORS = {
    "text in a column of a frame": (regress(FRAME.assign(k=list("uv") * 6)), "column 'k'.*'u'.*get_dummies"),
    "a category in a frame": (
        classify(FRAME.assign(k=pd.Categorical(list("uv") * 6))),
        "column 'k'.*text.*OneHotEncoder",
    ),
    "times in a column of a frame": (regress(FRAME.assign(t=pd.date_range("2020", periods=12))), "column 't'.*times"),
    "text in an array": (regress(np.array([["1.5", "b"]] * 12)), "column 1.*'b'"),
    "targets of text": (regress(y=np.array(list("ab") * 6)), "y holds text, such as 'a'.*FlowClassifier"),
    "sparse targets": (regress(y=csr_array(Y[:, None])), "y is sparse.*toarray"),
    "a label of None among text": (classify(y=np.array(["a", "b", None] * 4, object)), "y .*None.* row 2"),
    "a label of NA": (classify(y=pd.Series(["a", pd.NA] * 6, dtype="string")), "y .*NA.* row 1"),
    "error bars of one row": (
        lambda: FlowRegressor().fit(X[:1], Y[:1]).predict(X, return_std=True),
        "return_std.*single row",
    ),
    "intervals of one row and its copies": (
        lambda: FlowRegressor().fit(X[[0, 0, 0]], Y[[0, 0, 0]]).predict(X, quantiles=[0.1]),
        "quantiles.*single row",
    ),
    "fewer targets": (regress(y=Y[:5]), "5|12"),
    "no samples": (regress(X=X[:0], y=Y[:0]), "sample"),
    "one dimension": (regress(X=X[:, 0]), "2D|dimension"),
    "three dimensions": (regress(X=X[:, :, None]), "dim"),
    "text": (regress(X=np.array([["a", "b"]] * 12)), "string|number|convert"),
    "infinity": (regress(X=X / 0.0 if False else np.where(X > 0.9, np.inf, X)), "infinity"),
    "NaN targets": (regress(y=np.where(Y > 0.5, np.nan, Y)), "NaN"),
    "complex inputs": (regress(X=X * 1j), "[Cc]omplex"),
    "targets of None": (regress(y=None), "y"),
    "targets of infinity": (regress(y=np.where(Y > 0.5, np.inf, Y)), "infinity"),
    "layers of text": (regress(hidden_layer_sizes="large"), "hidden_layer_sizes"),
    "layers of zero": (regress(hidden_layer_sizes=(0,)), "hidden_layer_sizes|units|sizes"),
    "layers of 2.5": (regress(hidden_layer_sizes=(2.5,)), "hidden_layer_sizes|units|sizes"),
    "layers of None": (regress(hidden_layer_sizes=None), "hidden_layer_sizes"),
    "an activation": (regress(activation="gelu6"), "activation"),
    "a negative alpha": (regress(alpha=-1.0), "alpha"),
    "an alpha of text": (regress(alpha="auto"), "alpha"),
    "an unknown solver": (regress(solver="sag"), "solver"),
    "no iterations": (regress(max_iter=0), "max_iter"),
    "iterations of 2.5": (regress(max_iter=2.5), "max_iter"),
    "no seconds": (regress(wall_seconds=0), "wall_seconds"),
    "seconds of text": (regress(wall_seconds="10"), "wall_seconds"),
    "no restarts": (regress(restarts=0), "restarts"),
    "a random state of text": (regress(random_state="a"), "random_state"),
    "early stopping of text": (regress(early_stopping="yes"), "early_stopping"),
    "a validation part of 1": (regress(validation_fraction=1.0), "validation_fraction"),
    "a verbose of text": (regress(verbose="no"), "verbose"),
    "weights of another length": (lambda: FlowRegressor().fit(X, Y, sample_weight=np.ones(3)), "sample_weight"),
    "weights of zero": (lambda: FlowRegressor().fit(X, Y, sample_weight=np.zeros(12)), "[Ss]ample.weight"),
    "predict before fit": (lambda: FlowRegressor().predict(X), "fit"),
    "labels that are numbers": (classify(y=Y), "label|class|continuous"),
    "labels of NaN": (classify(y=np.where(Y > 0, np.nan, LABELS)), "NaN"),
    "labels of None": (classify(y=None), "y"),
    "probabilities before fit": (lambda: FlowClassifier().predict_proba(X), "fit"),
    "an option that nobody knows": (lambda: FlowRegressor().set_params(learning_rate=0.1), "learning_rate"),
    "a table without the target": (lambda: TableModel.fit(pd.DataFrame({"a": range(9)}), "b"), "target"),
    "a table of two rows": (lambda: TableModel.fit(pd.DataFrame({"a": [1, 2], "b": [1, 2]}), "b"), "rows"),
    "a table for no task": (lambda: TableModel.fit(pd.DataFrame({"a": range(9), "b": range(9)}), "b", "x"), "task"),
    "a table and a seed": (lambda: TableModel.fit(pd.DataFrame({"a": range(9), "b": range(9)}), "b", seed=-1), "seed"),
}  # fmt: skip

EQUATION = pde.interior(lambda u, x: pde.derivative(u, x, 0, 0) - 1.0)
ENDS = pde.boundary(0.0)
LINE = [(0, 1)]

EQUATIONS = {
    "no domain": (lambda: pde.Problem(None, [EQUATION, ENDS]), "domain"),
    "a domain of a number": (lambda: pde.Problem(1.0, [EQUATION, ENDS]), "domain"),
    "a domain of text": (lambda: pde.Problem("line", [EQUATION, ENDS]), "domain"),
    "a domain that is empty": (lambda: pde.Problem([], [EQUATION, ENDS]), "domain"),
    "a domain upside down": (lambda: pde.Problem([(1, 0)], [EQUATION, ENDS]), "domain"),
    "a domain of three numbers": (lambda: pde.Problem([(0, 1, 2)], [EQUATION, ENDS]), "domain"),
    "a domain of NaN": (lambda: pde.Problem([(0, np.nan)], [EQUATION, ENDS]), "domain"),
    "an endless domain": (lambda: pde.Problem([(0, np.inf)], [EQUATION, ENDS]), "domain"),
    "no conditions": (lambda: pde.Problem(LINE, []), "condition"),
    "conditions of None": (lambda: pde.Problem(LINE, None), "condition"),
    "a function as condition": (lambda: pde.Problem(LINE, [lambda u, x: 0.0]), "condition"),
    "an equation of text": (lambda: pde.interior("u_xx = 1"), "equation"),
    "an equation of one argument": (lambda: pde.Problem(LINE, [pde.interior(lambda u: u), ENDS]), "equation|interior"),
    "an equation of four arguments": (
        lambda: pde.Problem(LINE, [pde.interior(lambda u, x, p, q: u), ENDS]),
        "argument",
    ),
    "an equation that returns nothing": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: None), ENDS]), "nothing"),
    "an equation that returns u": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u), ENDS]), "function"),
    "an equation with an index beyond": (
        lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x) * x[5]), ENDS]),
        "interior.*index 5",
    ),
    "a derivative along no coordinate": (
        lambda: pde.Problem(LINE, [pde.interior(lambda u, x: pde.derivative(u, x, 3)), ENDS]),
        "interior|coordinate",
    ),
    "a boundary of text": (lambda: pde.boundary("zero"), "boundary"),
    "a boundary of None": (lambda: pde.boundary(None), "boundary"),
    "a boundary of NaN": (lambda: pde.Problem(LINE, [EQUATION, pde.boundary(np.nan)]), "boundary"),
    "a boundary that raises": (lambda: pde.Problem(LINE, [EQUATION, pde.boundary(lambda x: x[3])]), "boundary"),
    "a face that is none": (lambda: pde.Problem(LINE, [EQUATION, pde.boundary(0.0, faces=[(0, 0.5)])]), "face"),
    "a face of a number": (lambda: pde.Problem(LINE, [EQUATION, pde.boundary(0.0, faces=[1])]), "face"),
    "faces of text": (lambda: pde.Problem(LINE, [EQUATION, pde.boundary(0.0, faces="left")]), "face"),
    "points of text": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), points="many"), ENDS]), "points"),
    "points of zero": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), points=0), ENDS]), "points|count"),
    "points of 2.5": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), points=2.5), ENDS]), "points"),
    "points outside": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), points=[[2.0]]), ENDS]), "points"),
    "a weight of zero": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), weight=0.0)]), "weight"),
    "a weight of text": (lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), weight="x")]), "weight"),
    "a sampling that nobody knows": (
        lambda: pde.Problem(LINE, [pde.interior(lambda u, x: u(x), sampling="halton"), ENDS]),
        "sampling",
    ),
    "a time that is no coordinate": (lambda: pde.Problem(LINE, [EQUATION, pde.initial(0.0, axis=3)]), "axis"),
    "observations of other length": (lambda: pde.observations([[0.5]], [1.0, 2.0]), "observations|values"),
    "observations of NaN": (lambda: pde.Problem(LINE, [EQUATION, pde.observations([[0.5]], [np.nan])]), "observations"),
    "observations outside": (lambda: pde.Problem(LINE, [EQUATION, pde.observations([[5.0]], [1.0])]), "observations"),
    "no problem": (lambda: pde.solve(None), "problem"),
    "a network's layers of text": (lambda: pde.network(LINE, "20,20"), "hidden"),
    "a network's layers of zero": (lambda: pde.network(LINE, [0]), "hidden|size|units"),
    "a network of no outputs": (lambda: pde.network(LINE, outputs=0), "outputs"),
    "a network's activation": (lambda: pde.network(LINE, activation="relu7"), "activation"),
    "a network periodic in nothing": (lambda: pde.network(LINE, periodic=[4]), "periodic"),
    "a network's features": (lambda: pde.network(LINE, fourier=-1), "fourier"),
    "a network's scale": (lambda: pde.network(LINE, fourier=3, fourier_scale="x"), "fourier_scale"),
    "a network's seed": (lambda: pde.network(LINE, seed=-1), "seed"),
    "a siren of one size": (lambda: pde.siren([2]), "sizes"),
    "a siren without a frequency": (lambda: pde.siren([2, 3, 1], omega=0.0), "omega"),
    "points of no count": (lambda: pde.interior_points(LINE, -1), "count"),
    "points by no sampling": (lambda: pde.interior_points(LINE, 5, "x"), "sampling"),
    "points by a seed of text": (lambda: pde.interior_points(LINE, 5, seed="x"), "seed"),
    "points of a boundary of no count": (lambda: pde.boundary_points(LINE, 0), "count"),
    "a grid over nothing": (lambda: pde.grid_points("x"), "domain"),
}  # fmt: skip

GROUPS = {
    "networks": NETWORKS, "objectives": OBJECTIVES, "solves": SOLVES, "analyses": ANALYSES,
    "comparisons": COMPARISONS, "files": FILES, "estimators": ESTIMATORS, "equations": EQUATIONS,
}  # fmt: skip
CASES = {f"{group}: {name}": case for group, cases in GROUPS.items() for name, case in cases.items()}


@pytest.mark.filterwarnings("ignore:column .* of X has size:UserWarning", "ignore:y has mean:UserWarning")
@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_by_name(name):
    call, words = CASES[name]
    with pytest.raises((ValueError, TypeError, FileNotFoundError, KeyError)) as caught:
        call()
    message = str(caught.value)
    assert re.search(words, message), message
    assert len(message) < 700, message
