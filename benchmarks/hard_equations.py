"""Equations that are hard in one way each, solved with the defaults: stiff ones, jumping ones, ill posed ones.

    python benchmarks/hard_equations.py --seconds 30
    python benchmarks/hard_equations.py --only robertson --only switch

Errors are relative L2 on 10,000 points, against exact solutions or SciPy's `Radau` to 10 digits. All in one process,
unless `--out` names a folder of cells.
"""
# ruff: noqa: E731  a formula is one line

import numpy as np
from equation_runs import Equation, main
from scipy.integrate import solve_ivp

from stiffgrad import pde

D = pde.derivative


def trajectory(rates, start, end):
    """The solution of an ODE, to 10 digits."""
    path = solve_ivp(rates, (0, end), start, method="Radau", rtol=1e-10, atol=1e-12, dense_output=True).sol
    return lambda z: path(z[0]).T


def robertson():
    """Three kinds with rates from 0.04 to 3e7, on [0, 40]."""

    def rates(t, y):
        slow, middle, fast = 0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] ** 2
        return [middle - slow, slow - middle - fast, fast]

    def equation(u, t):
        change = D(u, t)
        return [change[i] - rate for i, rate in enumerate(rates(t, u(t)))]

    return Equation(
        [(0, 40)], [pde.interior(equation), pde.initial([1.0, 0.0, 0.0])], trajectory(rates, [1, 0, 0], 40), outputs=3
    )


def relaxation():
    """y' = -1000 (y - cos t) from 2 on [0, 3]."""
    rates = lambda t, y: -1000 * (y - np.cos(t))
    equation = lambda u, t: D(u, t) + 1000 * (u(t) - np.cos(t[0]))
    path = trajectory(rates, [2], 3)
    return Equation([(0, 3)], [pde.interior(equation), pde.initial(2.0)], lambda z: path(z)[:, 0])


def van_der_pol():
    """u'' - 20 (1 - u^2) u' + u = 0 from 2 at rest, on [0, 20]."""
    rates = lambda t, y: [y[1], 20 * (1 - y[0] ** 2) * y[1] - y[0]]
    equation = lambda u, t: D(u, t, 0, 0) - 20 * (1 - u(t) ** 2) * D(u, t) + u(t)
    start = pde.initial(lambda u, t: [u(t) - 2, D(u, t)])
    path = trajectory(rates, [2, 0], 20)
    return Equation([(0, 20)], [pde.interior(equation), start], lambda z: path(z)[:, 0])


def switch():
    """y' = -y + (1 from t = 2 on), from 1 on [0, 5]."""
    equation = lambda u, t: D(u, t) + u(t) - np.where(t[0] > 2, 1.0, 0.0)
    exact = lambda z: np.exp(-z[0]) + np.where(z[0] > 2, 1 - np.exp(2 - z[0]), 0.0)
    return Equation([(0, 5)], [pde.interior(equation), pde.initial(1.0)], exact)


def load():
    """-u'' = 10 up to x = 0.4 and 0 from there, 0 at both ends of [0, 1]."""
    equation = lambda u, x: D(u, x, 0, 0) + np.where(x[0] < 0.4, 10.0, 0.0)
    exact = lambda z: np.where(z[0] < 0.4, 3.2 * z[0] - 5 * z[0] ** 2, 0.8 * (1 - z[0]))
    return Equation([(0, 1)], [pde.interior(equation), pde.boundary(0.0)], exact)


def unstable():
    """y' = 10 (y - cos t) - sin t from 1 on [0, 3]: errors grow by e^30."""
    equation = lambda u, t: D(u, t) - 10 * (u(t) - np.cos(t[0])) + np.sin(t[0])
    return Equation([(0, 3)], [pde.interior(equation), pde.initial(1.0)], lambda z: np.cos(z[0]))


def half_given():
    """u'' + u = 0, u(0) = 1, and no second condition; against cos t."""
    return Equation(
        [(0, 5)], [pde.interior(lambda u, t: D(u, t, 0, 0) + u(t)), pde.initial(1.0)], lambda z: np.cos(z[0])
    )


def advection():
    """u_t + 9 u_x = 0 on the unit square, sin 2 pi x at first: nine waves pass."""
    exact = lambda z: np.sin(2 * np.pi * (z[0] - 9 * z[1]))
    equation = lambda u, z: D(u, z, 1) + 9 * D(u, z, 0)
    return Equation(
        [(0, 1), (0, 1)], [pde.interior(equation), pde.boundary(exact, faces=[(0, 0.0)]), pde.initial(exact)], exact
    )


EQUATIONS = {
    "robertson": robertson,
    "relaxation": relaxation,
    "van-der-pol": van_der_pol,
    "switch": switch,
    "load": load,
    "unstable": unstable,
    "half-given": half_given,
    "advection": advection,
}


if __name__ == "__main__":
    main(EQUATIONS, __doc__, seconds=30.0)
