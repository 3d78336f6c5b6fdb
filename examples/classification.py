"""Classification with nothing set: the decision map of two moons, with calibrated probabilities.

Writes classification.png beside where it is run: python examples/classification.py
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons

from stiffgrad.estimators import FlowClassifier

X, y = make_moons(400, noise=0.25, random_state=0)
model = FlowClassifier().fit(X[:200], y[:200])
print(f"accuracy on 200 held-out points: {model.score(X[200:], y[200:]):.3f}")

a, b = np.meshgrid(np.linspace(-2, 3, 60), np.linspace(-1.6, 2, 50))
p = model.predict_proba(np.column_stack([a.ravel(), b.ravel()]))[:, 1].reshape(a.shape)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
filled = axes.contourf(a, b, p, levels=np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.8)
axes.contour(a, b, p, levels=[0.5], colors="black")
for label, marker in enumerate("o^"):
    chosen = y[:200] == label
    axes.scatter(*X[:200][chosen].T, marker=marker, s=18, edgecolors="black", label=f"class {label}")
figure.colorbar(filled, label="probability of class 1")
axes.legend()
axes.set_title("two moons, nothing tuned")
figure.savefig("classification.png", dpi=120)
