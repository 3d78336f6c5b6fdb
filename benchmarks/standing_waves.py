"""Which starts find standing waves: `python benchmarks/standing_waves.py --hidden 20 --hidden 100 --seconds 45`.

u_tt = u_xx on [0, 1] x [0, 2] from sin(4 pi x), two waves in space and four in time, with the first units as sharp as
`pde/pace.py` makes them for many units, sharper in time or space only, and as they are. Prints error and steps.
"""

import argparse

import numpy as np

import stiffgrad as sg
from stiffgrad import pde

DOMAIN = [(0, 1), (0, 2)]
SHARPNESS = ((1.0, 1.0), (2.0, 1.0), (1.0, 4.0), (2.0, 4.0))
K = 4 * np.pi


def equation(u, z):
    return pde.derivative(u, z, 1, 1) - pde.derivative(u, z, 0, 0)


def start(u, z):
    return [u(z) - np.sin(K * z[0]), pde.derivative(u, z, 1)]


def exact(z):
    return np.sin(K * z[0]) * np.cos(K * z[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, action="append", help="units of both layers; default: 20, 100")
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    conditions = [pde.interior(equation), pde.boundary(0.0), pde.initial(start)]
    print("| units | sharper in space, time | error | estimate | steps |\n|---|---|---|---|---|")
    for units in arguments.hidden or [20, 100]:
        for sharpness in SHARPNESS:
            # A start that is not the network's own is left as it is: the last digits of a factor are enough.
            factors = tuple(factor * (1 + 1e-12) for factor in sharpness)
            network = pde.network(DOMAIN, [units] * 2, sharpness=factors, seed=arguments.seed)
            problem = pde.Problem(DOMAIN, conditions, network)
            solution = pde.solve(problem, until=sg.Until(wall_seconds=arguments.seconds), throw=False)
            error, steps = solution.errors(exact).relative_l2, solution.run.statistics.steps
            row = f"| {units} | {sharpness[0]:g}, {sharpness[1]:g} | {error:.1e}"
            print(f"{row} | {solution.error_estimate:.1e} | {steps} |", flush=True)


if __name__ == "__main__":
    main()
