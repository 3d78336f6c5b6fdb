"""No network at all: three overlapping Lorentzian peaks fitted to a noisy spectrum, with error bars.

Writes peaks.png beside where it is run: python examples/peaks.py
"""

import matplotlib.pyplot as plt
import numpy as np

import stiffgrad as sg
from stiffgrad import pde


def spectrum(p, x):
    peaks = p["height"] / (1 + ((x - p["centre"]) / p["width"]) ** 2)
    return peaks.sum(axis=-1) + p["ground"]


true = {"height": [1.0, 0.6, 0.8], "centre": [-1.0, 0.4, 2.0], "width": [0.5, 0.3, 0.8], "ground": 0.1}
true = {name: np.array(value) for name, value in true.items()}
x = np.linspace(-5, 6, 400)
seen = spectrum(true, x[:, None]) + 0.01 * np.random.default_rng(0).normal(size=x.size)

guess = {"height": np.ones(3), "centre": np.array([-1.5, 0.5, 2.5]), "width": np.ones(3), "ground": np.array(0.0)}
objective = sg.least_squares(lambda p, s: spectrum(p, s[0]) - s[1], guess, np.column_stack([x, seen]))
solution = sg.solve(objective, until=sg.Until(gradient_norm=1e-10, loss=None, steps=500))
print(solution)
bars = pde.error_bars(objective, solution.params)
for name, estimate in bars.estimate.items():
    print(f"{name:7} {np.round(estimate, 4)} +- {np.round(bars.standard_error[name], 4)}, in truth {true[name]}")

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(x, seen, ".", markersize=3, label="measured")
axes.plot(x, spectrum(solution.params, x[:, None]), label="three peaks")
axes.set(xlabel="frequency", ylabel="intensity")
axes.legend()
figure.savefig("peaks.png", dpi=120)
