"""What the parts and the step control of `rosenbrock` are worth, in counts: `python benchmarks/rosenbrock_control.py`.

Counts do not depend on the machine or on what else runs on it. For each variant: the starts solved, and the mean
numbers of Jacobians, factorizations and gradients to the deep target.
"""

import argparse
import math

import jax
import numpy as np

import stiffgrad as sg
from stiffgrad.laboratory import problems
from stiffgrad.solvers import Rosenbrock, rosenbrock

LOW = ((-math.inf, 0.5), (0.25, 1.0))
VARIANTS = {
    "default": ({}, {}),
    "no correction": ({}, {"correction": False}),
    "no W-steps": ({}, {"w_steps": 0}),
    "growth 3 and 6": ({"GROWTH": (*LOW, (0.75, 3.0), (0.9, 6.0))}, {}),
    "growth 2 and 3": ({"GROWTH": (*LOW, (0.75, 2.0), (0.9, 3.0))}, {}),
    "growth 1.5 only": ({"GROWTH": (*LOW, (0.75, 1.5))}, {}),
    "rejected: h/2": ({"SHRINK": 0.5}, {}),
    "rejected: h/10": ({"SHRINK": 0.1}, {}),
    "correction to 2|a| <= |d|": ({"BEND": 1.0}, {}),
    "correction to 2|a| <= |d|/2": ({"BEND": 0.5}, {}),
    "W-steps need 75%": ({"W_PROMISE": 0.75}, {}),
}

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--problem", action="append", help="default: sine")
parser.add_argument("--seeds", type=int, default=6)
arguments = parser.parse_args()
print("| problem | variant | solved | Jacobians | factorizations | gradients |\n|---|---|---|---|---|---|")
for name in arguments.problem or ["sine"]:
    problem = problems.get(name)
    target = problem.targets["deep"]
    until = sg.Until(loss=target.loss, gradient_norm=target.gradient_norm, wall_seconds=None, steps=600)
    for variant, (constants, options) in VARIANTS.items():
        kept = {key: getattr(rosenbrock, key) for key in constants}
        for key, constant in constants.items():
            setattr(rosenbrock, key, constant)
        jax.clear_caches()  # the constants are part of the compiled code
        rows = []
        for seed in range(arguments.seeds):
            solution = sg.solve(problem.objective(seed), Rosenbrock(**options), until=until, throw=False)
            counts = solution.statistics
            work = (counts.jacobian_evaluations, counts.factorizations, counts.rhs_evaluations)
            rows.append((solution.outcome is sg.Outcome.TARGET, *work))
        for key, constant in kept.items():
            setattr(rosenbrock, key, constant)
        means = np.mean(np.array(rows, float), axis=0)
        solved = f"{means[0] * len(rows):.0f}/{len(rows)}"
        print(f"| {name} | {variant} | {solved} | " + " | ".join(f"{m:.0f}" for m in means[1:]) + " |", flush=True)
