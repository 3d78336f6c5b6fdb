"""A heat equation from paper to picture: u_t = u_xx / 4 on [0, 1] x [0, 1], u = 0 at both ends, sin(pi x) at first.

Writes heat.png beside where it is run: python examples/heat.py
"""

import matplotlib.pyplot as plt
import numpy as np

import stiffgrad as sg
from stiffgrad import pde


def heat(u, z):  # z = (x, t)
    return pde.derivative(u, z, 1) - 0.25 * pde.derivative(u, z, 0, 0)


def exact(z):
    return np.exp(-(np.pi**2) * z[1] / 4) * np.sin(np.pi * z[0])


start = pde.initial(lambda z: np.sin(np.pi * z[0]))
problem = pde.Problem([(0, 1), (0, 1)], [pde.interior(heat), pde.boundary(0.0), start])
solution = pde.solve(problem, until=sg.Until(loss=1e-8, wall_seconds=60))
print(solution)
print(solution.errors(exact))

x, t = np.meshgrid(np.linspace(0, 1, 101), np.linspace(0, 1, 101), indexing="ij")
points = np.stack([x.ravel(), t.ravel()], axis=1)
found = solution.u(points).reshape(x.shape)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
for ax, values, title in zip(axes, [found, np.abs(found - exact((x, t)))], ["u", "error"], strict=True):
    figure.colorbar(ax.pcolormesh(t, x, values, shading="gouraud"), ax=ax)
    ax.set(xlabel="t", title=title)
axes[0].set_ylabel("x")
figure.savefig("heat.png", dpi=120)
