"""Ordinary differential equations that users try first, solved with the defaults of `pde.solve`.

    python benchmarks/ode_systems.py --seconds 60
    python benchmarks/ode_systems.py --only lorenz --only kepler --steps 2000

Errors are relative L2 on 10,000 points over all components, then with each in units of its own root mean square,
against SciPy's `Radau` to 10 digits (`solve_bvp` for Blasius). All in one process, unless `--out` names a
folder of cells.
"""

import numpy as np
from equation_runs import Equation, main
from scipy.integrate import solve_bvp, solve_ivp

from stiffgrad import pde

D = pde.derivative


def system(rates, start, end):
    """A system y' = rates(t, y) from `start` on [0, end]."""

    def equation(u, t):
        return [change - rate for change, rate in zip(D(u, t), rates(t[0], u(t)), strict=True)]

    path = solve_ivp(rates, (0, end), start, method="Radau", rtol=1e-11, atol=1e-13 * np.max(np.abs(start)) + 1e-14,
                     dense_output=True).sol  # fmt: skip
    conditions = [pde.interior(equation), pde.initial([float(value) for value in start])]
    return Equation([(0, end)], conditions, lambda z: path(z[0]).T, len(start))


def sir():
    """A million people, ten of them ill; 0.4 and 0.1 a day, for 120 days."""
    return system(lambda t, y: [-4e-7 * y[0] * y[1], 4e-7 * y[0] * y[1] - 0.1 * y[1], 0.1 * y[1]],
                  [999_990, 10, 0], 120)  # fmt: skip


def seir():
    """The same with a fifth of the exposed falling ill each day, for 200 days."""
    return system(lambda t, y: [-4e-7 * y[0] * y[2], 4e-7 * y[0] * y[2] - 0.2 * y[1], 0.2 * y[1] - 0.1 * y[2],
                                0.1 * y[2]], [999_990, 0, 10, 0], 200)  # fmt: skip


def duffing():
    """x'' + 0.3 x' - x + x^3 = 0.5 cos(1.2 t) from 1 at rest, on [0, 20]."""
    return system(lambda t, y: [y[1], 0.5 * np.cos(1.2 * t) - 0.3 * y[1] + y[0] - y[0] ** 3], [1, 0], 20)


def brusselator():
    """A = 1, B = 3, from (1, 1), on [0, 20]."""
    return system(lambda t, y: [1 + y[0] ** 2 * y[1] - 4 * y[0], 3 * y[0] - y[0] ** 2 * y[1]], [1, 1], 20)


def van_der_pol(mu, end):
    """x'' - mu (1 - x^2) x' + x = 0 from 2 at rest."""
    rates = lambda t, y: [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]  # noqa: E731
    equation = lambda u, t: D(u, t, 0, 0) - mu * (1 - u(t) ** 2) * D(u, t) + u(t)  # noqa: E731
    path = system(rates, [2, 0], end).exact
    start = pde.initial(lambda u, t: [u(t) - 2, D(u, t)])
    return Equation([(0, end)], [pde.interior(equation), start], lambda z: path(z)[:, 0])


def lorenz():
    """sigma = 10, rho = 28, beta = 8/3, from (1, 1, 1), to t = 5."""
    return system(lambda t, y: [10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]],
                  [1, 1, 1], 5)  # fmt: skip


def kepler():
    """An orbit of eccentricity 0.6, from its nearest point, two periods."""

    def rates(t, y):
        cube = (y[0] ** 2 + y[1] ** 2) ** 1.5
        return [y[2], y[3], -y[0] / cube, -y[1] / cube]

    return system(rates, [0.4, 0, 0, 2.0], 4 * np.pi)


def double_pendulum():
    """Two equal rods and masses, g = 9.81, from 2 and 1 radians at rest, 5 s."""

    def rates(t, y):
        a, b, p, q = y
        between, g = a - b, 9.81
        below = 2 - np.cos(between) ** 2
        first = (-g * (2 * np.sin(a) - np.sin(b) * np.cos(between))
                 - np.sin(between) * (q**2 + p**2 * np.cos(between))) / below  # fmt: skip
        second = (2 * np.sin(between) * (p**2 + 0.5 * q**2 * np.cos(between)) + 2 * g * np.sin(a) * np.cos(between)
                  - 2 * g * np.sin(b)) / below  # fmt: skip
        return [p, q, first, second]

    return system(rates, [2, 1, 0, 0], 5)


def oregonator():
    """Field, Koros and Noyes (Hairer and Wanner 1996, IV.10), on [0, 100]."""
    return system(lambda t, y: [77.27 * (y[1] + y[0] * (1 - 8.375e-6 * y[0] - y[1])),
                                (y[2] - (1 + y[0]) * y[1]) / 77.27, 0.161 * (y[0] - y[2])], [1, 2, 3], 100)  # fmt: skip


def hires():
    """High irradiance response, eight kinds (Hairer and Wanner 1996, IV.10), on [0, 321.8122]."""

    def rates(t, y):
        return [-1.71 * y[0] + 0.43 * y[1] + 8.32 * y[2] + 0.0007, 1.71 * y[0] - 8.75 * y[1],
                -10.03 * y[2] + 0.43 * y[3] + 0.035 * y[4], 8.32 * y[1] + 1.71 * y[2] - 1.12 * y[3],
                -1.745 * y[4] + 0.43 * y[5] + 0.43 * y[6],
                -280 * y[5] * y[7] + 0.69 * y[3] + 1.71 * y[4] - 0.43 * y[5] + 0.69 * y[6],
                280 * y[5] * y[7] - 1.81 * y[6], -280 * y[5] * y[7] + 1.81 * y[6]]  # fmt: skip

    return system(rates, [1, 0, 0, 0, 0, 0, 0, 0.0057], 321.8122)


def blasius():
    """f''' + f f'' / 2 = 0, f and f' 0 at the wall, f' 1 far away, on [0, 8]."""
    equation = lambda u, x: D(u, x, 0, 0, 0) + 0.5 * u(x) * D(u, x, 0, 0)  # noqa: E731
    conditions = [
        pde.interior(equation),
        pde.boundary(lambda u, x: [u(x), D(u, x)], faces=[(0, 0.0)]),
        pde.boundary(lambda u, x: D(u, x) - 1, faces=[(0, 8.0)]),
    ]
    x = np.linspace(0, 8, 200)
    start = np.stack([x**2 / (x + 4), np.minimum(x / 4, 1), np.exp(-x) / 3])
    path = solve_bvp(lambda x, y: np.stack([y[1], y[2], -0.5 * y[0] * y[2]]),
                     lambda a, b: np.array([a[0], a[1], b[1] - 1]), x, start, tol=1e-11).sol  # fmt: skip
    return Equation([(0, 8)], conditions, lambda z: path(z[0])[0])


EQUATIONS = {
    "sir": sir,
    "seir": seir,
    "duffing": duffing,
    "brusselator": brusselator,
    "blasius": blasius,
    "van-der-pol-5": lambda: van_der_pol(5, 25),
    "van-der-pol-10": lambda: van_der_pol(10, 40),
    "van-der-pol-20": lambda: van_der_pol(20, 80),
    "lorenz": lorenz,
    "kepler": kepler,
    "double-pendulum": double_pendulum,
    "oregonator": oregonator,
    "hires": hires,
}


if __name__ == "__main__":
    main(EQUATIONS, __doc__, seconds=60.0)
