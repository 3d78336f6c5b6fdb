"""Regression with nothing set: a learning curve beside MLPRegressor's, on a function with noise.

Writes regression.png beside where it is run: python examples/regression.py
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from stiffgrad.estimators import FlowRegressor

X, y = make_friedman1(1000, noise=1.0, random_state=0)
held_out = slice(500, None)
rows = (64, 128, 256)
peer = TransformedTargetRegressor(make_pipeline(StandardScaler(), MLPRegressor()), transformer=StandardScaler())
scores = {"FlowRegressor": [], "MLPRegressor (Adam)": []}
for count in rows:
    for name, model in (("FlowRegressor", FlowRegressor()), ("MLPRegressor (Adam)", peer)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # Adam's, at its default number of steps
            scores[name].append(model.fit(X[:count], y[:count]).score(X[held_out], y[held_out]))

print(f"{'rows':>6}  " + "  ".join(f"{name:>20}" for name in scores))
for index, count in enumerate(rows):
    print(f"{count:6}  " + "  ".join(f"{values[index]:20.3f}" for values in scores.values()))

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for (name, values), marker in zip(scores.items(), "os"):
    axes.plot(rows, values, marker=marker, label=name)
best = 1 - 1 / np.var(y)
axes.axhline(best, color="0.5", linestyle=":", label="the noise allows no more")
axes.set(xscale="log", xlabel="rows to learn from", ylabel="R2 on 500 held-out rows", title="friedman1, nothing tuned")
axes.set_xticks(rows, map(str, rows))
axes.minorticks_off()
axes.legend()
figure.savefig("regression.png", dpi=120)
