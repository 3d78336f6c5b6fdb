"""What is a Gauss-Newton step of an equation worth, in gradients? Errors after a minute with two answers.

    taskset -c 1 python benchmarks/pde_worth.py    # five minutes

`auto` takes dense steps up to so many gradients' operations, secants beyond: docs/auto.md.
"""

import argparse

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.laboratory import problems
from stiffgrad.solvers import auto

WORTH = (320.0, 2000.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", action="append", choices=["kovasznay", "poisson5d-wide", "wave", "helmholtz2d"])
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    for name in arguments.problem or ["kovasznay", "poisson5d-wide"]:
        equation = problems.get(name).equation
        for worth in WORTH:
            auto.DENSE_WORTH_EQUATION = worth
            problem = equation.problem(0)
            until = sg.Until(loss=1e-20, wall_seconds=arguments.seconds)
            solution = pde.solve(problem, until=until, throw=False)
            error = getattr(equation.errors(problem, solution.params), equation.measure)
            run = solution.run
            took = f"after {run.statistics.steps} steps, {run.wall_seconds:.0f} s"
            print(f"{name:15} worth {worth:5.0f}: error {error:.1e} {took}; {run.solver}")


if __name__ == "__main__":
    main()
