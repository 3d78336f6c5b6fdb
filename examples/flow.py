"""The gradient flow itself: weights of a small network along it, and how far an explicit step may go on its way.

Writes flow.png beside where it is run: python examples/flow.py
"""

import matplotlib.pyplot as plt
import numpy as np

import stiffgrad as sg

X = np.linspace(-1, 1, 50)[:, None]
apply, params = sg.mlp([1, 6, 1], activation="tanh", seed=0)
objective = sg.supervised(apply, params, X, np.sin(3 * X[:, 0]))
times = np.logspace(-2, 4, 40)
path = sg.solve(objective, "lsoda", save_at=times).path
along = [sg.stiffness(objective, w) for w in path.weights]
first, last = along[0].excess, along[-1].excess
losses = [objective.value(w) for w in path.weights]
print(f"loss {losses[0]:.2e} at t = {times[0]:g}, {losses[-1]:.2e} at t = {times[-1]:g}")
print(f"stability costs {first:.2g} steps for each that accuracy needs at first, {last:.2g} at the end")

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
axes[0].plot(path.times, path.weights, linewidth=1)
axes[0].set(xscale="log", xlabel="flow time", ylabel="weights", title="19 weights")
axes[1].plot(path.times, [here.step_explicit for here in along], "--", label="stability (explicit Euler)")
axes[1].plot(path.times, [here.step_accuracy for here in along], "-", label="accuracy")
axes[1].set(xscale="log", yscale="log", xlabel="flow time", ylabel="step", title="longest step by")
axes[1].legend()
figure.savefig("flow.png", dpi=120)
