"""What the parts and the step control of `rosenbrock` are worth, in counts: `python benchmarks/rosenbrock_control.py`.

Counts do not depend on the machine or on what else runs on it. For each variant: the starts solved, and the mean
numbers of Jacobians, factorizations and gradients to the deep target.
"""

import argparse

import numpy as np

import stiffgrad as sg
from stiffgrad.laboratory import problems
from stiffgrad.solvers import Control, Rosenbrock

VARIANTS = {
    "default": {},
    "no correction": {"correction": False},
    "no W-steps": {"w_steps": 0},
    "W-steps need 75%": {"promise": 0.75},
    "model error of 0.05": {"control": Control(bend=0.05)},
    "model error of 0.3": {"control": Control(bend=0.3)},
    "model error of 0.5": {"control": Control(bend=0.5)},
    "growth to 3 at most": {"control": Control(leap=3.0)},
    "rejected: h/2": {"control": Control(shrink=0.5)},
    "rejected: h/10": {"control": Control(shrink=0.1)},
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
    for variant, options in VARIANTS.items():
        rows = []
        for seed in range(arguments.seeds):
            solver = Rosenbrock(curvature="gauss-newton", **options)
            solution = sg.solve(problem.objective(seed), solver, until=until, throw=False)
            counts = solution.statistics
            work = (counts.jacobian_evaluations, counts.factorizations, counts.rhs_evaluations)
            rows.append((solution.outcome is sg.Outcome.TARGET, *work))
        means = np.mean(np.array(rows, float), axis=0)
        solved = f"{means[0] * len(rows):.0f}/{len(rows)}"
        print(f"| {name} | {variant} | {solved} | " + " | ".join(f"{m:.0f}" for m in means[1:]) + " |", flush=True)
