"""Whether balanced terms and stages help: errors after the same number of steps with and without, from the same starts.

    python benchmarks/pde_choices.py --seeds 3

Counts steps, so the machine's speed has no part in it. Gauss-Newton integration by `rosenbrock` throughout.
"""

import argparse
import dataclasses

from scipy.integrate import solve_ivp

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.laboratory.problems import equations

ORBIT = solve_ivp(
    lambda t, y: [1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]], (0, 4), [1, 1], rtol=1e-11, atol=1e-11,
    dense_output=True,
)  # fmt: skip


def predators(u, t):
    prey, hunters = u(t)
    prey_rate, hunters_rate = pde.derivative(u, t)
    return [prey_rate - 1.5 * prey + prey * hunters, hunters_rate + 3 * hunters - prey * hunters]


def lotka_volterra():
    conditions = (pde.interior(predators), pde.initial([1.0, 1.0]))
    return equations.Equation(
        ((0.0, 4.0),), conditions, (20, 20), lambda z: list(ORBIT.sol(z[0])), outputs=2, components=2
    )


def in_other_units(scale):
    """The same equation multiplied by a number, as another choice of units would do it."""
    plain = equations.poisson2d()
    inside, edge = plain.conditions
    scaled = pde.interior(lambda u, z: scale * inside.equation(u, z), inside.points)
    return dataclasses.replace(plain, conditions=(scaled, edge))


PROBLEMS = {
    "poisson2d": equations.poisson2d,
    "heat1d": equations.heat1d,
    "Lotka-Volterra": lotka_volterra,
    "poisson2d x 1e3": lambda: in_other_units(1e3),
    "poisson2d x 1e-3": lambda: in_other_units(1e-3),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--problem", action="append", choices=list(PROBLEMS), help="repeatable; by default all")
    arguments = parser.parse_args()
    print("| problem | balance | stages | error of each seed |\n|---|---|---|---|")
    for name in arguments.problem or PROBLEMS:
        equation = PROBLEMS[name]()
        for balance, stages in ((True, True), (False, True), (True, False)):
            if not stages and not any(c.kind == "initial" for c in equation.conditions):
                continue
            found = []
            for seed in range(arguments.seeds):
                problem = equation.problem(seed, balance)
                solution = pde.solve(
                    problem,
                    sg.solvers.Rosenbrock(curvature="gauss-newton"),
                    until=sg.Until(loss=0.0, wall_seconds=None, steps=arguments.steps),
                    stages=stages,
                    resample=None,
                    throw=False,
                )
                found.append(getattr(equation.errors(problem, solution.params), equation.measure))
            row = ", ".join(f"{error:.1e}" for error in found)
            print(f"| {name} | {'yes' if balance else 'no'} | {'yes' if stages else 'no'} | {row} |", flush=True)


if __name__ == "__main__":
    main()
