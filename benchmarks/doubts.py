"""What the verdict must doubt: conditions that are missing, kinks, and fits beside the one that is meant.

    python benchmarks/doubts.py
    python benchmarks/doubts.py --only constants

`constants` prints what functions of size one leave at least in all conditions, for half of the functions and for all:
before any training, of textbook equations and of the same with a condition less. The others are solved.
"""
# ruff: noqa: E731  a formula is one line

import argparse

import numpy as np
import plain_equations
from scipy.integrate import solve_ivp

import stiffgrad as sg
from stiffgrad import pde
from stiffgrad.pde.defect import defect

D = pde.derivative
UNIT = (0.0, 1.0)
SINE = lambda z: np.sin(np.pi * z[0])
HEAT = pde.interior(lambda u, z: D(u, z, 1) - 0.25 * D(u, z, 0, 0))
PLAIN = ("heat", "wave", "poisson-2d", "fisher", "advection", "helmholtz", "burgers", "kink", "soliton", "string")
MISSING = {
    "heat, nothing at the ends": [HEAT, pde.initial(SINE)],
    "heat, nothing at one end": [HEAT, pde.initial(SINE), pde.boundary(0.0, faces=[(0, 0.0)])],
    "wave, no first velocity": [
        pde.interior(lambda u, z: D(u, z, 1, 1) - D(u, z, 0, 0)),
        pde.initial(SINE),
        pde.boundary(0.0),
    ],
    "Laplace, one side open": [
        pde.interior(lambda u, z: pde.laplacian(u, z)),
        pde.boundary(SINE, faces=[(0, 0.0), (0, 1.0), (1, 0.0)]),
    ],
    "advection, no inflow": [pde.interior(lambda u, z: D(u, z, 1) + D(u, z, 0)), pde.initial(SINE)],
}


def constants():
    """The least that is left, for half of the functions and for all."""
    problems = {name: pde.Problem(*plain_equations.EQUATIONS[name]()[:2]) for name in PLAIN}
    problems |= {name: pde.Problem([UNIT, UNIT], conditions) for name, conditions in MISSING.items()}
    for name, problem in problems.items():
        found = defect(problem, problem.params, problem.points["interior"])
        half, least = found.least_of_half, found.least
        print(
            f"{name}: {half:.1e} of half, {least:.1e} of all, {half / least:.3g} times; {found.free} free", flush=True
        )


def heat():
    """Nothing at the ends; against the solution with 0 there."""
    solution = pde.solve(pde.Problem([UNIT, UNIT], MISSING["heat, nothing at the ends"]), until=sg.Until(steps=300))
    error = solution.errors(lambda z: np.exp(-(np.pi**2) * z[1] / 4) * SINE(z)).relative_l2
    print(f"heat: error {error:.1e}, estimated {solution.error_estimate:.1e}; {solution.verdict}", flush=True)


def eikonal():
    """|grad u| = 1 from a point."""
    equation = pde.interior(lambda u, z: D(u, z, 0) ** 2 + D(u, z, 1) ** 2 - 1)
    problem = pde.Problem([(-1, 1), (-1, 1)], [equation, pde.boundary(0.0, points=np.zeros((1, 2)))])
    solution = pde.solve(problem, until=sg.Until(steps=300))
    error = solution.errors(lambda z: np.hypot(z[0], z[1])).relative_l2
    print(f"eikonal: error {error:.1e}, estimated {solution.error_estimate:.1e}; {solution.verdict}", flush=True)


def michaelis_menten():
    """y' = -V y / (K + y) with V = 1 and K = 0.5, from 21 values with noise of 0.02."""
    t = np.linspace(0, 10, 21)
    path = solve_ivp(lambda t, y: -y / (0.5 + y), (0, 10), [2.0], t_eval=t, rtol=1e-10, atol=1e-12).y[0]
    seen = pde.observations(t[:, None], path + 0.02 * np.random.default_rng(0).normal(size=21))
    equation = pde.interior(lambda u, t, p: D(u, t) + p["V"] * u(t) / (p["K"] + u(t)))
    for v, k in ((1.0, 1.0), (5.0, 0.1)):
        problem = pde.Problem([(0, 10)], [equation, pde.initial(2.0), seen], unknowns={"V": v, "K": k})
        solution = pde.solve(problem, until=sg.Until(loss=1e-15, steps=800))
        bars = pde.error_bars(solution)
        print(f"from V = {v}, K = {k}: {bars.estimate}, {bars.standard_error}; {solution.verdict}", flush=True)


CASES = {"constants": constants, "heat": heat, "eikonal": eikonal, "michaelis-menten": michaelis_menten}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=CASES, help="repeatable; by default all")
    for name in parser.parse_args().only or CASES:
        CASES[name]()


if __name__ == "__main__":
    main()
