"""A stiff inverse problem: rates of a drug's absorption and elimination from 24 noisy blood samples, with error bars.

The drug leaves the gut at rate a and enters the blood, which it leaves at rate e: g' = -a g, b' = a g - e b. Absorption
takes minutes and elimination hours. Writes pharmacokinetics.png: python examples/pharmacokinetics.py
"""

import matplotlib.pyplot as plt
import numpy as np

import stiffgrad as sg
from stiffgrad import pde

a, e = 6.0, 0.3  # per hour
times = np.concatenate([np.linspace(0.1, 1, 12), np.linspace(1.5, 12, 12)])


def blood(t):
    return a / (a - e) * (np.exp(-e * t) - np.exp(-a * t))


measured = blood(times) + 0.01 * np.random.default_rng(0).normal(size=times.size)


def compartments(u, t, p):
    gut, blood = u(t)
    gut_rate, blood_rate = pde.derivative(u, t)
    absorbed = p["absorption"] * gut
    return [gut_rate + absorbed, blood_rate - absorbed + p["elimination"] * blood]


problem = pde.Problem(
    [(0, 12)],
    [
        pde.interior(compartments),
        pde.initial([1.0, 0.0]),
        pde.observations(times, measured, lambda u, t: u(t)[1]),
    ],
    outputs=2,
    unknowns={"absorption": 2.0, "elimination": 1.0},
)
solution = pde.solve(problem, until=sg.Until(gradient_norm=1e-6, loss=None, steps=300))
print(solution)
print(pde.error_bars(solution))

t = np.linspace(0, 12, 400)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(t, solution.u(t[:, None]), label=["gut", "blood"])
axes.plot(times, measured, "k.", label="measured")
axes.set(xlabel="hours", ylabel="part of the dose")
axes.legend()
figure.savefig("pharmacokinetics.png", dpi=120)
